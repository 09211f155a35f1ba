// Tells a story in the terminal: node main.mjs
import { open } from 'hyperion-runtime';

const model = await open(new URL(import.meta.resolve('hyperion-runtime/models/story.gguf')), {
  memory: '64MB',
  onProgress: ({ loaded, total }) => process.stderr.write(`\r${loaded} of ${total} bytes`),
});
process.stderr.write('\n');
const answer = model.generate('Once upon a time', { maxTokens: 64, temperature: 0.7, seed: 7 });
for await (const { text } of answer) process.stdout.write(text);
const { memory, artefact } = await model.stats();
console.log(
  `\n${answer.usage.answerTokensPerSecond.toFixed(0)} tokens/s, ${memory.linearMemoryBytes / 1e6} MB, ${artefact}`,
);
await model.close();
