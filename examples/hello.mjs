import { open } from 'hyperion-runtime';

const model = await open('models/story.gguf', {
  memory: '64MB',
  onProgress: p => process.stderr.write(`\r${p.loaded} of ${p.total} bytes`),
});
process.stderr.write('\n');
for await (const piece of model.generate('Once upon a time', {
  maxTokens: 64,
  temperature: 0.7,
  seed: 7,
}))
  process.stdout.write(piece.text);
const { answerTokensPerSecond, memory, artefact } = await model.stats();
console.log(
  `\n${answerTokensPerSecond.toFixed(0)} tokens/s, ${memory.linearMemoryBytes / 1e6} MB, ${artefact}`,
);
await model.close();
