// Answers as OpenAI's servers do: bun run main.ts
import { createHandler } from 'hyperion-runtime/edge';

const model = new URL(import.meta.resolve('hyperion-runtime/models/story.gguf'));
const handler = createHandler({ model, cors: true });
const server = Bun.serve({
  port: Number(process.env.PORT ?? 3000),
  idleTimeout: 0, // an answer may take its time
  fetch: request => handler(request),
});
console.log(`listening on ${server.url}`);
