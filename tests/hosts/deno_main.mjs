// Run by Deno: eight tokens from the story model. Imports the package as Deno resolves it from this folder's neighbour.
import { open } from '../../glue/index.js';

const model = await open(new URL('../../models/story.gguf', import.meta.url));
let text = '';
let tokens = 0;
for await (const piece of model.generate('Once upon a time', { temperature: 0, maxTokens: 8 })) (text += piece.text), tokens++;
const { artefact } = await model.stats();
await model.close();
console.log(JSON.stringify({ text, tokens, artefact }));
