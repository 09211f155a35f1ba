// The Jinja engine of chat templates.
import { ofPackage } from './lib/of_package.mjs';

export const output = 'glue/generated/jinja.js';

const WANTED = ['Environment', 'Interpreter', 'parse', 'tokenize'];

/** @param {{read: (path: string) => string}} files */
export const generate = ({ read }) => ofPackage(read, '@huggingface/jinja', WANTED);
