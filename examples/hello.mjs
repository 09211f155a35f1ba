import { open } from 'hyperion-runtime';

const model = await open('models/story.gguf', {
  memory: '64MB',
  onProgress: p => process.stderr.write(`\r${p.loaded} of ${p.total} bytes`),
});
process.stderr.write('\n');
const answer = model.generate('Once upon a time', { maxTokens: 64, temperature: 0.7, seed: 7 });
for await (const piece of answer) process.stdout.write(piece.text);
const { memory, artefact } = await model.stats();
console.log(
  `\n${answer.usage.answerTokensPerSecond.toFixed(0)} tokens/s, ${memory.linearMemoryBytes / 1e6} MB, ${artefact}`,
);
await model.close();
