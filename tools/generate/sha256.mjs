// SHA-256 that takes its bytes piece by piece, which the web's own interface does not.
import { ofPackage } from './lib/of_package.mjs';

export const output = 'glue/generated/sha256.js';

/** @param {{read: (path: string) => string}} files */
export const generate = ({ read }) => ofPackage(read, '@noble/hashes', ['sha256'], '/sha2.js');
