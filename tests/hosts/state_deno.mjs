// Run by Deno: goes on with an answer for some tokens, from the file of its state and back to it.
// usage: state_deno.mjs FILE TOKENS
import { readFileSync, writeFileSync } from 'node:fs';
import { open } from '../../glue/model/index.js';

const [file, tokens] = process.argv.slice(2);
const model = await open(new URL('../../models/story.gguf', import.meta.url), { worker: true });
const session = await model.restore(readFileSync(file));
let text = '';
let made = 0;
for await (const piece of session.resume({ maxTokens: Number(tokens) + 1 })) {
  text += piece.text;
  if (++made === Number(tokens)) break;
}
writeFileSync(file, await session.save());
await model.close();
console.log(JSON.stringify({ text }));
