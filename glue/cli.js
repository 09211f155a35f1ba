#!/usr/bin/env node
// hyperion: the command line over the WebAssembly core. The same verbs and options as the native one in native/cli.c.
import { readFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import { calibrate, HyperionError, inspect, open, quantize } from './index.js';
import { readArguments, UsageError } from './arguments.js';
import { blocking, endOnInterrupt, say, writeOut } from './output.js';

const HELP = `hyperion: run quantized language models

usage:
  hyperion run [MODEL] [PROMPT]      continue a text (PROMPT '-': read it from standard input)
  hyperion chat MODEL [MESSAGE]      talk to a model that has a chat template; without MESSAGE, turn by turn
  hyperion tokenize MODEL [TEXT]     show the tokens of a text
  hyperion info MODEL                show metadata and tensors
  hyperion bench MODEL               measure prompt and answer speed
  hyperion quantize IN OUT FORMAT    write the model in another format: q4_k, q6_k, q8_0, f16 ...
  hyperion prune IN OUT              write it in q4_0 with only part of its weights, as sparse matrices where they are smaller
  hyperion calibrate MODEL TEXT [OUT]  measure on a text what each column counts for (OUT: MODEL's name with .imatrix.gguf)
  hyperion perplexity MODEL TEXT     perplexity of a text, one line or story at a time with --lines

MODEL is a GGUF file or URL; of a split model, its first part. 'story' is the small model that comes with Hyperion.

sampling:
  -n, --max-tokens N        stop after N tokens (default 256)
  -t, --temperature X       0 always takes the likeliest token (default 0.7)
  -k, --top-k N             choose among the N likeliest
  -p, --top-p X             choose among the likeliest that make up X of the probability
      --min-p X             drop tokens below X times the likeliest one's probability
      --typical-p X         locally typical sampling
      --repeat-penalty X    discourage tokens of the last 64 (1: off)
      --frequency-penalty X, --presence-penalty X
      --mirostat TAU        mirostat 2 with that target surprise in bits
  -s, --seed N              same seed, same text, on every platform (default 0)
      --stop TEXT           end the answer before TEXT; may be repeated

engine:
  -c, --context N           tokens of prompt and answer together
      --threads N           threads that compute (default: one for each processor)
      --lookup N            guess up to N tokens ahead from the text itself; the answer is the same, sooner where it repeats
      --draft MODEL         let a smaller model of the same vocabulary guess; the answer is the same, sooner where it is right
      --memory SIZE         limit for weights, cache and buffers, as 500MB or 2GB
      --cache f16|q8_0      format of the KV cache (default f16)
      --artefact NAME       simd or relaxed: which build of the engine (default: the best that this host compiles)
      --system TEXT         chat: the system message
      --lines               perplexity, calibrate: every line is a text of its own
      --against MODEL       perplexity: the mean divergence from another model's predictions, too
      --imatrix FILE        quantize, prune: what calibrate has written
      --density X           prune: the part of the weights that stays (default 0.5)
      --profile             bench: time, bytes and multiply-adds of each operation and layer
      --trace FILE          bench: the last steps, for Perfetto or chrome://tracing
      --parse-special       tokenize: read special tokens in the text
      --json                one JSON object instead of text for people
  -q, --quiet               no progress and no figures

OUT, and FILE of --trace, take the place of what was there when they are whole, also of IN;
a device or a pipe is written to directly.

exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; after another signal 128 + its
number (SIGTERM 143, SIGHUP 129)
`;

let lastShown = 0;
function progressBar(
  /** @type {string} */ what,
  /** @type {number} */ done,
  /** @type {number} */ total,
) {
  const now = performance.now();
  if (!process.stderr.isTTY || (done < total && now - lastShown < 50)) return;
  lastShown = now;
  const share = total ? done / total : 1;
  writeSync(
    2,
    `\r${what} [${'#'.repeat(Math.floor(share * 32)).padEnd(32)}] ${String(Math.floor(share * 100)).padStart(3)}%${done === total ? '\r\x1b[K' : ''}`,
  );
}

/** @param {string} text */
const line = text => say(`${text}\n`);

const dim = (/** @type {string} */ text) =>
  process.stderr.isTTY && !process.env.NO_COLOR ? `\x1b[2m${text}\x1b[0m` : text;

/** @param {any} o */
const sampling = o => ({
  maxTokens: o['max-tokens'] ?? 256,
  temperature: o.temperature ?? 0.7,
  topK: o['top-k'],
  topP: o['top-p'],
  minP: o['min-p'],
  typicalP: o['typical-p'],
  repeatPenalty: o['repeat-penalty'],
  frequencyPenalty: o['frequency-penalty'],
  presencePenalty: o['presence-penalty'],
  mirostat: o.mirostat,
  seed: o.seed ?? 0,
  stop: o.stop ?? [],
});

/** @param {string} model */
const place = model =>
  model === 'story' ? new URL('../models/story.gguf', import.meta.url) : model;

/** @param {any} o @param {string} what */
const engine = (o, what) => ({
  memory: o.memory,
  context: o.context || undefined,
  cache: o.cache,
  threads: o.threads,
  lookup: o.lookup,
  draft: o.draft === undefined ? undefined : place(o.draft),
  artefact: o.artefact,
  onProgress: o.quiet
    ? undefined
    : (/** @type {{loaded: number, total: number}} */ p) => progressBar(what, p.loaded, p.total),
});

/** All of standard input. @returns {Promise<string>} */
async function readInput() {
  const parts = [];
  for await (const part of process.stdin) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** The argument itself, or standard input for '-' and where nothing is given and something is piped in. @param {string | undefined} argument */
async function textArgument(argument) {
  if (argument !== undefined && argument !== '-') return argument;
  return argument === '-' || !process.stdin.isTTY ? readInput() : '';
}

/** Opens a model for `act`, and closes it whatever happens: a worker would keep the process. @param {string} name @param {import('./engine.js').OpenOptions} options @param {(model: any) => Promise<unknown>} act */
async function withModel(name, options, act) {
  const model = await open(place(name), options);
  try {
    await act(model);
  } finally {
    await model.close();
  }
}

/** What the engine runs on: fibers, pages of weights, lanes. @param {import('./model.js').Stats} s */
function runtimeLine({ fibers, threads, weights, memory, lanes }) {
  const part = (/** @type {number} */ n, /** @type {string} */ what) =>
    `${n} ${what}${n === 1 ? '' : 's'}`;
  const absent =
    weights.resident < weights.pages
      ? `, ${part(weights.frames, 'frame')} for the rest, ${(weights.filledBytes / 1e6).toFixed(1)} MB read`
      : '';
  const helped =
    threads.count > 1
      ? ` (workers computed ${Math.round((threads.byWorkers * 100) / (threads.tiles || 1))} % of what was shared)`
      : '';
  return [
    `${part(threads.count, 'thread')}${helped}`,
    `${part(fibers.count, 'fiber')} (${fibers.policy}, ${part(fibers.switches, 'switch').replace('switchs', 'switches')})`,
    `${weights.present} of ${weights.pages} weight pages resident (${(weights.presentBytes / 1e6).toFixed(1)} MB${absent})`,
    part(memory.blocks, 'slab block'),
    ...lanes.map(lane => `lane ${lane.name}: ${part(lane.received, 'capsule')}`),
  ].join(', ');
}

/** @param {any} model @param {any} o @param {import('./session.js').Answer} pieces @param {string} [prompt] */
async function answer(model, o, pieces, prompt) {
  if (!o.json && prompt) say(prompt);
  let text = '';
  let finish = 'length'; // where no token was asked for
  for await (const piece of pieces) {
    text += piece.text;
    finish = piece.finish;
    if (!o.json) say(piece.text);
  }
  const usage = /** @type {import('./session.js').Usage} */ (pieces.usage);
  const { promptTokens, answerTokens, promptTokensPerSecond, answerTokensPerSecond } = usage;
  const s = await model.stats();
  if (o.json) {
    line(
      JSON.stringify({
        text,
        finish,
        promptTokens,
        answerTokens,
        promptTokensPerSecond,
        answerTokensPerSecond,
        memoryPeakBytes: s.memory.peakBytes,
        linearMemoryBytes: s.memory.linearMemoryBytes,
        kernels: s.kernels,
        artefact: s.artefact,
      }),
    );
  } else {
    say('\n');
    if (!o.quiet)
      console.error(
        dim(
          `${promptTokens} prompt tokens at ${promptTokensPerSecond.toFixed(1)}/s, ${answerTokens} tokens at ${answerTokensPerSecond.toFixed(1)}/s, ${(s.memory.linearMemoryBytes / 1e6).toFixed(1)} MB of linear memory, ${s.kernels} kernels, artefact ${s.artefact}`,
        ),
      );
    if (!o.quiet) console.error(dim(runtimeLine(s)));
  }
  return text;
}

/** C's %.9g. @param {number} v */
const general = v =>
  v !== 0 && (Math.abs(v) < 1e-4 || Math.abs(v) >= 1e9)
    ? v
        .toExponential(8)
        .replace(/\.?0+e/, 'e')
        .replace(/e([+-])(\d)$/, 'e$10$2')
    : String(Number(v.toPrecision(9)));

/** Sums of operations by name and by layer. @param {import('./session.js').Operation[]} operations */
function phase(operations) {
  /** @type {Record<string, {ms: number, bytes: number, macs: number}>} */
  const names = {};
  /** @type {number[]} */
  const layers = [];
  for (const { name, layer, ms, bytes, macs } of operations) {
    const sum = (names[name] ??= { ms: 0, bytes: 0, macs: 0 });
    ((sum.ms += ms), (sum.bytes += bytes), (sum.macs += macs));
    if (layer >= 0) layers[layer] = (layers[layer] ?? 0) + ms;
  }
  return { names, layers };
}

/** @param {ReturnType<typeof phase>} sums @param {number} tokens */
const perToken = ({ names, layers }, tokens) => ({
  operations: Object.fromEntries(
    Object.entries(names).map(([name, x]) => [
      name,
      {
        usPerToken: (x.ms * 1000) / tokens,
        gbPerSecond: x.bytes / x.ms / 1e6,
        gmacPerSecond: x.macs / x.ms / 1e6,
      },
    ]),
  ),
  layersUsPerToken: layers.map(ms => (ms * 1000) / tokens),
});

/** @param {string} title @param {ReturnType<typeof perToken>} profile @param {import('./model.js').Peaks} peaks */
function printPhase(title, { operations, layersUsPerToken }, peaks) {
  line(
    `\n${title}, for each token\n  operation           us       %     GB/s  of peak   GMAC/s  of peak`,
  );
  const total = Object.values(operations).reduce((sum, x) => sum + x.usPerToken, 0);
  for (const [name, x] of Object.entries(operations)) {
    const rates = x.gmacPerSecond
      ? ` ${x.gbPerSecond.toFixed(1).padStart(8)} ${((x.gbPerSecond * 100) / peaks.gbPerSecond).toFixed(0).padStart(7)}% ${x.gmacPerSecond.toFixed(1).padStart(8)} ${((x.gmacPerSecond * 100) / peaks.gmacPerSecond).toFixed(0).padStart(7)}%`
      : '';
    line(
      `  ${name.padEnd(12)} ${x.usPerToken.toFixed(1).padStart(9)} ${((x.usPerToken * 100) / total).toFixed(1).padStart(6)}%${rates}`,
    );
  }
  line(
    `  layers, us:${layersUsPerToken.map((us, i) => `${i % 10 ? ' ' : '\n   '}${us.toFixed(1).padStart(6)}`).join('')}`,
  );
}

const WINDOW_FLOATS = 2 ** 26; // of a reference's log-probabilities

/** D(P || Q) = sum of p (log p - log q), P the reference's distribution [Kullback, Leibler 1951]. @param {{divergence: number, same: number, compared: number}} sums @param {Float32Array} p @param {Float32Array} q */
function compare(sums, p, q) {
  let [bestP, bestQ] = [0, 0];
  for (let i = 0; i < p.length; i++) {
    sums.divergence += Math.exp(p[i]) * (p[i] - q[i]);
    if (p[i] > p[bestP]) bestP = i;
    if (q[i] > q[bestQ]) bestQ = i;
  }
  sums.same += bestP === bestQ ? 1 : 0;
  sums.compared++;
}

/** The texts of a file: one, or its lines. @param {any} o @param {string} path */
async function textsOf(o, path) {
  const text = path === '-' ? await readInput() : await blocking(() => readFileSync(path, 'utf8'));
  return o.lines ? text.split('\n').filter(Boolean) : [text];
}

/**
 * Writes a file, and says so.
 * @param {any} o @param {string} path @param {(write: (data: Uint8Array) => void) => Promise<void>} act
 */
async function writeFile(o, path, act) {
  const bytes = await writeOut(path, act);
  if (o.json) line(JSON.stringify({ bytes }));
  else if (!o.quiet) line(`${path}: ${(bytes / 1e6).toFixed(2)} MB`);
}

/** @type {Record<string, (o: any, args: string[]) => Promise<void>>} */
const verbs = {
  async run(o, args) {
    if (args.length > 2) throw new UsageError('run takes a model and a prompt');
    const prompt = await textArgument(
      args[1] ?? (args.length === 0 ? 'Once upon a time' : undefined),
    );
    const how = sampling(o);
    await withModel(args[0] ?? 'story', { ...engine(o, 'loading'), worker: true }, model =>
      answer(model, o, model.generate(prompt, how), prompt),
    );
  },

  async chat(o, args) {
    if (args.length < 1 || args.length > 2)
      throw new UsageError('chat takes a model and perhaps a message');
    const how = sampling(o);
    await withModel(args[0], { ...engine(o, 'loading'), worker: true }, async model => {
      if (!model.facts.chatTemplate)
        throw new HyperionError('HYP_E_UNSUPPORTED', "this model has no chat template; use 'run'");
      const messages = o.system ? [{ role: 'system', content: o.system }] : [];
      const turn = async (/** @type {string} */ content) => {
        messages.push({ role: 'user', content });
        messages.push({
          role: 'assistant',
          content: await answer(model, o, model.chat(messages, how)),
        });
      };
      if (args[1] !== undefined) return turn(args[1]);
      const lines = createInterface({
        input: process.stdin,
        output: process.stderr,
        prompt: process.stdin.isTTY ? '> ' : '',
      });
      lines.prompt();
      for await (const line of lines) {
        await turn(line);
        lines.prompt();
      }
    });
  },

  async tokenize(o, args) {
    if (args.length < 1 || args.length > 2)
      throw new UsageError('tokenize takes a model and a text');
    const model = await open(place(args[0]), engine(o, 'loading'));
    const tokens = await model.tokenize(await textArgument(args[1]), {
      parseSpecial: o['parse-special'],
    });
    if (o.json) line(JSON.stringify({ tokens }));
    else
      for (const token of tokens)
        line(
          `${String(token).padStart(8)}  ${JSON.stringify(await model.detokenize([token], { parseSpecial: true }))}`,
        );
    await model.close();
  },

  async info(o, args) {
    if (args.length !== 1) throw new UsageError('info takes a model');
    const info = await inspect(place(args[0]));
    if (o.json) return line(JSON.stringify(info));
    line(`GGUF version ${info.version}\n\nmetadata`);
    for (const [key, value] of Object.entries(info.metadata)) {
      const text =
        value && typeof value === 'object'
          ? `[${value.count} ${typeof value.first[0] === 'string' ? 'texts' : 'numbers'}]`
          : typeof value === 'string' && value.length > 60
            ? `${JSON.stringify(value.slice(0, 60))} ...`
            : typeof value === 'number'
              ? general(value)
              : JSON.stringify(value);
      line(`  ${key.padEnd(44)} ${text}`);
    }
    line(
      `\ntensors\n  ${'name'.padEnd(32)} ${'type'.padEnd(6)} ${'shape'.padStart(22)} ${'bytes'.padStart(12)}`,
    );
    for (const t of info.tensors)
      line(
        `  ${t.name.padEnd(32)} ${t.type.padEnd(6)} ${t.shape.join(' x ').padStart(22)} ${String(t.bytes).padStart(12)}`,
      );
    line(
      `\n${info.tensors.length} tensors, ${(info.parameters / 1e6).toFixed(2)} M parameters, ${(info.bytes / 1e6).toFixed(2)} MB${info.parameters ? `, ${((info.bytes * 8) / info.parameters).toFixed(2)} bits per weight` : ''}`,
    );
  },

  async bench(o, args) {
    if (args.length !== 1) throw new UsageError('bench takes a model');
    const PROMPT = 126;
    const ANSWER = 64;
    const RUNS = 5;
    const start = performance.now();
    const model = await open(place(args[0]), {
      ...engine(o, 'loading'),
      context: 512,
      profile: true,
    });
    const loadSeconds = (performance.now() - start) / 1000;
    const session = await model.session();
    const prompt = [];
    const decode = [];
    for (let run = -1; run < RUNS; run++) {
      const tokens = Array.from(
        { length: PROMPT },
        (_, i) => (i * 31 + (run + 1) * 7 + 300) % model.facts.vocab,
      );
      const pieces = session.generate(tokens, { maxTokens: ANSWER, temperature: 0 });
      for await (const piece of pieces) void piece;
      const usage = /** @type {import('./session.js').Usage} */ (pieces.usage);
      if (run >= 0) {
        prompt.push(usage.promptTokensPerSecond);
        decode.push(usage.answerTokensPerSecond);
      }
      if (!o.quiet && !o.json) progressBar('measuring', run + 1, RUNS - 1);
    }
    const middle = (/** @type {number[]} */ values) =>
      values.sort((a, b) => a - b)[values.length >> 1];
    const s = await model.stats();
    const { operations, latencyMs } = await session.stats();
    const whole = phase(operations);
    /** @type {any} */
    let profile = null;
    if (o.profile || o.trace) {
      const peaks = await model.measure();
      const fresh = Array.from(
        { length: PROMPT },
        (_, i) => ((PROMPT - i) * 37 + 500) % model.facts.vocab,
      );
      await session.resetProfile();
      const pieces = session.generate(fresh, { maxTokens: ANSWER + 1, temperature: 0 });
      await pieces.next(); // its logits are the prompt's
      const prompt = (await session.stats()).operations;
      await session.resetProfile();
      for await (const piece of pieces) void piece;
      const answer = (await session.stats()).operations;
      profile = {
        peaks,
        prompt: perToken(phase(prompt), PROMPT),
        answer: perToken(phase(answer), Math.max(1, (pieces.usage?.answerTokens ?? 1) - 1)),
      };
      if (o.trace)
        await writeOut(o.trace, write =>
          write(
            Buffer.from(
              `{"traceEvents":[\n${[
                ['prompt', prompt],
                ['answer', answer],
              ]
                .flatMap(([cat, list]) =>
                  /** @type {import('./session.js').Operation[]} */ (list)
                    .filter(x => x.lastMs)
                    .map(x =>
                      JSON.stringify({
                        name: x.name,
                        cat,
                        ph: 'X',
                        pid: 1,
                        tid: 1,
                        ts: x.beganMs * 1000,
                        dur: x.lastMs * 1000,
                        args: { layer: x.layer },
                      }),
                    ),
                )
                .join(',\n')}\n]}\n`,
            ),
          ),
        );
    }
    const figures = {
      promptTokensPerSecond: middle(prompt),
      answerTokensPerSecond: middle(decode),
      loadSeconds,
      memoryPeakBytes: s.memory.peakBytes,
      linearMemoryBytes: s.memory.linearMemoryBytes,
      kernels: s.kernels,
      artefact: s.artefact,
      threads: s.threads.count,
      helped: s.threads.tiles ? s.threads.byWorkers / s.threads.tiles : 0,
      repeated: s.threads.repeated,
      latencyMs,
      operationMs: Object.fromEntries(Object.entries(whole.names).map(([name, x]) => [name, x.ms])),
      ...(o.profile && profile),
    };
    if (o.json) line(JSON.stringify(figures));
    else {
      const { p50, p90, p95, p99 } = latencyMs;
      line(
        `prompt  ${figures.promptTokensPerSecond.toFixed(1).padStart(8)} tokens/s  (${PROMPT} tokens, median of ${RUNS})\nanswer  ${figures.answerTokensPerSecond.toFixed(1).padStart(8)} tokens/s  (${ANSWER} tokens)\nload    ${loadSeconds.toFixed(2).padStart(8)} s\nmemory  ${(s.memory.linearMemoryBytes / 1e6).toFixed(1).padStart(8)} MB of linear memory\nkernels ${s.kernels.padStart(8)}, ${s.threads.count} thread${s.threads.count > 1 ? 's' : ''}\nlatency ${p50.toFixed(2).padStart(8)} ms at the median, ${p90.toFixed(2)} / ${p95.toFixed(2)} / ${p99.toFixed(2)} at the 90th, 95th and 99th percentile`,
      );
      if (o.profile) {
        line(
          `peaks   ${profile.peaks.gbPerSecond.toFixed(1).padStart(8)} GB/s from memory, ${profile.peaks.gmacPerSecond.toFixed(0)} GMAC/s in the first cache, one thread`,
        );
        for (const title of ['prompt', 'answer']) printPhase(title, profile[title], profile.peaks);
      }
    }
    await model.close();
  },

  async quantize(o, args) {
    if (args.length !== 3) throw new UsageError('quantize takes an input, an output and a format');
    await writeFile(o, args[1], write =>
      quantize(place(args[0]), args[2], write, {
        ...engine(o, 'converting'),
        imatrix: o.imatrix,
      }),
    );
  },

  async prune(o, args) {
    if (args.length !== 2) throw new UsageError('prune takes an input and an output');
    const { density = 0.5 } = o;
    await writeFile(o, args[1], write =>
      quantize(place(args[0]), 'q4_0', write, {
        ...engine(o, 'converting'),
        imatrix: o.imatrix,
        density,
      }),
    );
  },

  async calibrate(o, args) {
    if (args.length < 2 || args.length > 3)
      throw new UsageError('calibrate takes a model, a text file and perhaps an output');
    const texts = await textsOf(o, args[1]);
    await writeFile(o, args[2] ?? `${args[0].replace(/\.gguf$/, '')}.imatrix.gguf`, write =>
      calibrate(place(args[0]), texts, write, engine(o, 'loading')),
    );
  },

  async perplexity(o, args) {
    if (args.length !== 2) throw new UsageError('perplexity takes a model and a text file');
    const texts = await textsOf(o, args[1]);
    const model = await open(place(args[0]), engine(o, 'loading'));
    const reference =
      o.against === undefined ? null : await open(place(o.against), engine(o, 'loading'));
    const { vocab } = model.facts;
    if (reference && reference.facts.vocab !== vocab)
      throw new UsageError('the models have different vocabularies');
    const usual = Math.min(model.facts.context, reference?.facts.context ?? Infinity, 2048);
    const context = Math.min(
      o.context || usual,
      reference ? Math.floor(WINDOW_FLOATS / vocab) + 1 : Infinity,
    );
    const sums = { loss: 0, counted: 0, divergence: 0, same: 0, compared: 0 };
    const expected = reference ? new Float32Array(context * vocab) : null;
    for (const [index, one] of texts.entries()) {
      const tokens = await model.tokenize(one);
      for (let from = 0; from < tokens.length; from += context) {
        const part = tokens.slice(from, from + context); // windows of a whole context, each from an empty cache
        if (reference)
          await reference.score(
            part,
            (/** @type {number} */ position, /** @type {Float32Array} */ p) =>
              expected?.set(p, position * vocab),
          );
        await model.score(part, (/** @type {number} */ position, /** @type {Float32Array} */ q) => {
          if (expected)
            compare(sums, expected.subarray(position * vocab, (position + 1) * vocab), q);
          if (position + 1 >= part.length) return;
          sums.loss -= q[part[position + 1]];
          sums.counted++;
        });
      }
      if (!o.quiet) progressBar('scoring', index + 1, texts.length);
    }
    if (!sums.counted) throw new Error('the text has no token to score');
    const perplexity = Math.exp(sums.loss / sums.counted);
    const [divergence, sameTop] = [sums.divergence / sums.compared, sums.same / sums.compared];
    if (o.json)
      line(
        JSON.stringify({
          perplexity,
          tokens: sums.counted,
          ...(reference && { divergence, sameTop }),
        }),
      );
    else {
      line(`perplexity ${perplexity.toFixed(4)} over ${sums.counted} tokens`);
      if (reference)
        line(
          `mean KL divergence ${divergence.toFixed(6)} nats from the reference, whose likeliest token is this model's in ${(sameTop * 100).toFixed(2)} %`,
        );
    }
    await reference?.close();
    await model.close();
  },
};

async function main() {
  const { values, positionals } = readArguments(process.argv.slice(2));
  if (values.help) return say(HELP);
  if (values.version)
    return line(
      `hyperion ${JSON.parse(readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8')).version}`,
    );
  const verb = positionals.shift();
  if (!verb) {
    process.stderr.write(HELP);
    process.exitCode = 2;
    return;
  }
  if (!Object.hasOwn(verbs, verb)) throw new UsageError(`unknown command ${verb}`);
  await verbs[verb](values, positionals);
}

endOnInterrupt();
main().catch(error => {
  if (error instanceof UsageError) {
    console.error(`hyperion: ${error.message}\ntry 'hyperion --help'`);
    process.exitCode = 2;
  } else {
    console.error(
      `hyperion: ${error.message}${error instanceof HyperionError ? ` (${error.code})` : ''}`,
    );
    process.exitCode = 1;
  }
});
