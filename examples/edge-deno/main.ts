// Answers as OpenAI's servers do: deno run --allow-all main.ts
import { createHandler } from 'hyperion-runtime/edge';

const model = await Deno.readFile(
  new URL(import.meta.resolve('hyperion-runtime/models/story.gguf')),
);
const handler = createHandler({ model, cors: true });
const port = Number(Deno.env.get('PORT') ?? 3000);
Deno.serve({ port }, (request: Request) => handler(request));
