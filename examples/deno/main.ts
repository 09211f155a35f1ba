// Tells a story in the terminal: deno run --allow-all main.ts
import { open } from 'hyperion-runtime';

const model = await open(new URL(import.meta.resolve('hyperion-runtime/models/story.gguf')));
const encoder = new TextEncoder();
for await (const { text } of model.generate('Once upon a time', { maxTokens: 64, seed: 7 }))
  await Deno.stdout.write(encoder.encode(text));
await model.close();
