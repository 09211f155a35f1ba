// Speed of wllama (llama.cpp in WebAssembly) in headless Chromium. usage: wllama_speed.mjs MODEL
// THREADS PROMPT ANSWER RUNS; prints one JSON line
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';
import { BROWSERS } from '../tools/browsers.mjs';
import send from 'send';

const [path, threads, prompt, answer, runs] = process.argv.slice(2);
const files = fileURLToPath(new URL('node_modules/@wllama/wllama/esm', import.meta.url));
const server = createServer((request, response) => {
  response.setHeader('cross-origin-opener-policy', 'same-origin');
  response.setHeader('cross-origin-embedder-policy', 'require-corp');
  if (request.url === '/')
    return response.setHeader('content-type', 'text/html').end('<!doctype html>');
  if (request.url === '/model.gguf')
    return createReadStream(path).pipe(response.setHeader('content-length', statSync(path).size));
  send(request, request.url, { root: files }).pipe(response);
}).listen(0, '127.0.0.1');
await new Promise(resolve => server.once('listening', resolve));
const browser = await puppeteer.launch({
  headless: true,
  ...BROWSERS.chromium,
  protocolTimeout: 600000,
});
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/`);
const rates = await page.evaluate(
  async (threadCount, promptTokens, answerTokens, count) => {
    const { Wllama } = await import('/index.js');
    const engine = new Wllama({ default: '/wasm/wllama.wasm' }, { suppressNativeLog: true });
    const blob = await (await fetch('/model.gguf')).blob();
    await engine.loadModel([blob], {
      n_threads: threadCount,
      n_ctx: 512,
      n_batch: 512,
      n_gpu_layers: 0,
      warmup: false,
    });
    // single letters and spaces: about a token each in the generated vocabularies
    const text = count =>
      Array.from({ length: count }, (_, i) => String.fromCharCode(97 + (i % 26)))
        .join(' ')
        .slice(0, 2 * count);
    const ask = (tokens, answers) =>
      engine.createCompletion({
        prompt: text(tokens),
        max_tokens: answers,
        temperature: 0,
        ignore_eos: true,
        cache_prompt: false,
        stream: false,
      });
    // the engine's optimised code is in place after that
    await ask(Math.ceil(promptTokens / 3), Math.ceil(answerTokens / 3));
    const out = { prefill: [], decode: [] };
    for (let run = 0; run < count; run++) {
      const { timings } = await ask(promptTokens, answerTokens);
      (out.prefill.push(timings.prompt_per_second), out.decode.push(timings.predicted_per_second));
    }
    return out;
  },
  Number(threads),
  Number(prompt),
  Number(answer),
  Number(runs),
);
console.log(JSON.stringify(rates));
await browser.close();
server.close();
