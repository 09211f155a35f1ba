// Serves stories, piece by piece, as the model writes them: bun run main.ts, then
// curl -N 'http://localhost:3000/?prompt=Once%20upon%20a%20time'
import { open } from 'hyperion-runtime';

const model = await open(new URL(import.meta.resolve('hyperion-runtime/models/story.gguf')));

const server = Bun.serve({
  port: Number(process.env.PORT ?? 3000),
  fetch(request) {
    const prompt = new URL(request.url).searchParams.get('prompt') ?? 'Once upon a time';
    // When the reader goes away, so does its answer.
    const answer = model.generate(prompt, { maxTokens: 200, signal: request.signal });
    const encoder = new TextEncoder();
    const body = new ReadableStream({
      async pull(controller) {
        const { done, value } = await answer.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value.text));
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/plain;charset=utf-8' } });
  },
});
console.log(`listening on ${server.url}`);
