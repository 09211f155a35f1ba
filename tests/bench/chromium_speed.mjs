// Our own speed in headless Chromium. usage: chromium_speed.mjs MODEL ARTEFACT THREADS; prints one
// JSON line, as `hyperion bench --json` does
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import puppeteer from 'puppeteer-core';
import { BROWSERS } from '../tools/browsers.mjs';
import send from 'send';
import { root } from './tools.mjs';

const [path, artefact, threads] = process.argv.slice(2);
const server = createServer((request, response) => {
  response.setHeader('cross-origin-opener-policy', 'same-origin');
  response.setHeader('cross-origin-embedder-policy', 'require-corp');
  if (request.url === '/')
    return response.setHeader('content-type', 'text/html').end('<!doctype html>');
  if (request.url === '/model.gguf')
    return createReadStream(path).pipe(response.setHeader('content-length', statSync(path).size));
  send(request, request.url, { root }).pipe(response);
}).listen(0, '127.0.0.1');
await new Promise(resolve => server.once('listening', resolve));
const browser = await puppeteer.launch({
  headless: true,
  ...BROWSERS.chromium,
  protocolTimeout: 600000,
});
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/`);
const result = await page.evaluate(
  async (build, count) => {
    // no worker: what a page's own thread computes is what a worker would
    const { openModel } = await import('/glue/model/engine.js');
    const model = await openModel('/model.gguf', {
      artefact: build,
      threads: count,
      context: 512,
      profile: true,
    });
    const rates = { prompt: [], decode: [] };
    for (let run = -1; run < 5; run++) {
      const tokens = Array.from(
        { length: 126 },
        (_, i) => (i * 31 + (run + 1) * 7 + 300) % model.facts.vocab,
      );
      const answer = model.generate(tokens, { maxTokens: 64, temperature: 0 });
      for await (const piece of answer) void piece;
      if (run >= 0) {
        rates.prompt.push(answer.usage.promptTokensPerSecond);
        rates.decode.push(answer.usage.answerTokensPerSecond);
      }
    }
    const middle = list => list.sort((a, b) => a - b)[list.length >> 1];
    const s = await model.stats();
    return {
      promptTokensPerSecond: middle(rates.prompt),
      answerTokensPerSecond: middle(rates.decode),
      kernels: s.kernels,
      artefact: s.artefact,
      threads: s.threads,
    };
  },
  artefact,
  Number(threads),
);
console.log(JSON.stringify(result));
await browser.close();
server.close();
