// For the handler of glue/edge: a server that gives parts of a file, as a bucket does, and what an
// answer tells.
import { openSync, readSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const HOST = '127.0.0.1';

/**
 * Parts of a file over loopback HTTP. `delay`: ms before each answer; `asked`: how often, and for
 * how many bytes.
 * @param {string} path @param {{delay?: number}} [options]
 */
export async function serveParts(path, { delay = 0 } = {}) {
  const size = statSync(path).size;
  const file = openSync(path, 'r');
  const asked = { count: 0, bytes: 0 };
  const server = createServer(async (request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    if (!range) return void response.writeHead(400).end();
    const start = Number(range[1]);
    const end = Math.min(Number(range[2]) + 1, size);
    const bytes = Buffer.alloc(end - start);
    readSync(file, bytes, 0, bytes.length, start);
    asked.count++;
    asked.bytes += bytes.length;
    if (delay) await sleep(delay);
    const headers = {
      'content-range': `bytes ${start}-${end - 1}/${size}`,
      'content-length': bytes.length,
      etag: '"1"',
    };
    response.writeHead(206, headers).end(bytes);
  });
  await new Promise(resolve => server.listen(0, HOST, () => resolve(undefined)));
  const { port } = server.address();
  const close = () => (server.closeAllConnections(), server.close());
  return { host: `${HOST}:${port}`, url: `http://${HOST}:${port}/model.gguf`, size, asked, close };
}

/**
 * What comes of an answer as server-sent events, up to its end.
 * @param {Response} response
 * @param {(event: any) => void} [seen] as each comes
 */
export async function eventsOf(response, seen = () => {}) {
  const all = [];
  let text = '';
  for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
    text += bytes;
    const lines = text.split('\n\n');
    text = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, '');
      all.push(data === '[DONE]' ? data : JSON.parse(data));
      seen(all.at(-1));
    }
  }
  return all;
}
