// Answers as OpenAI's servers do: node main.mjs
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createHandler } from 'hyperion-runtime/edge';

const model = new URL(import.meta.resolve('hyperion-runtime/models/story.gguf'));
const handler = createHandler({ model, cors: true });

/** Node's request as the Request of other hosts. */
function requestOf(incoming, signal) {
  const { method, headers, url } = incoming;
  const body = method === 'GET' || method === 'HEAD' ? null : Readable.toWeb(incoming);
  return new Request(new URL(url, 'http://localhost'), {
    method,
    headers,
    body,
    signal,
    duplex: 'half',
  });
}

const server = createServer(async (incoming, outgoing) => {
  const gone = new AbortController();
  outgoing.on('close', () => gone.abort()); // its answer ends with the reader
  const response = await handler(requestOf(incoming, gone.signal));
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (!response.body) return outgoing.end();
  await pipeline(Readable.fromWeb(response.body), outgoing).catch(() => {});
});
server.listen(Number(process.env.PORT ?? 3000), () =>
  console.log(`listening on http://localhost:${server.address().port}/`),
);
