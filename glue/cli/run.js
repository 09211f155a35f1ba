// run, chat and tokenize: texts and answers.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { HyperionError } from '../core/errors.js';
import { OPTIONS } from '../generated/options.js';
import { answerOptions, openOptions, sessionOptions, withModel } from './model.js';
import { say, writeOut } from './output.js';
import { figures, line, textArgument } from './terminal.js';

/**
 * What the engine runs on: fibers, pages of weights, lanes.
 * @param {import('../model/model.js').Stats} s
 */
function runtimeLine({ fibers, threads, weights, memory, lanes }) {
  const part = (/** @type {number} */ n, /** @type {string} */ what) =>
    `${n} ${what}${n === 1 ? '' : 's'}`;
  const absent =
    weights.resident < weights.pages
      ? `, ${part(weights.frames, 'frame')} for the rest, ${(weights.filledBytes / 1e6).toFixed(1)} MB read`
      : '';
  const shared =
    threads.count > 1
      ? ` (workers computed ${Math.round((threads.byWorkers * 100) / (threads.tiles || 1))} % of what was shared)`
      : '';
  return [
    `${part(threads.count, 'thread')}${shared}`,
    `${part(fibers.count, 'fiber')} (${fibers.policy}, ${part(fibers.switches, 'switch').replace('switchs', 'switches')})`,
    `${weights.present} of ${weights.pages} weight pages resident (${(weights.presentBytes / 1e6).toFixed(1)} MB${absent})`,
    part(memory.blocks, 'slab block'),
    ...lanes.map(lane => `lane ${lane.name}: ${part(lane.received, 'capsule')}`),
  ].join(', ');
}

/**
 * @param {any} model
 * @param {any} o
 * @param {import('../model/session.js').Answer} pieces
 * @param {string} [prompt]
 */
async function answer(model, o, pieces, prompt) {
  let text = '';
  let finish = 'length'; // where no token was asked for
  let echo = o.json ? '' : prompt; // said when it has been read: until then there may be a bar
  for await (const piece of pieces) {
    if (echo) say(echo);
    echo = '';
    text += piece.text;
    finish = piece.finish || 'length';
    if (!o.json) say(piece.text);
  }
  if (echo) say(echo);
  const usage = /** @type {import('../model/session.js').Usage} */ (pieces.usage);
  const { promptTokens, answerTokens, promptTokensPerSecond, answerTokensPerSecond, readBytes } =
    usage;
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
        readBytes,
        memoryPeakBytes: s.memory.peakBytes,
        linearMemoryBytes: s.memory.linearMemoryBytes,
        kernels: s.kernels,
        artefact: s.artefact,
      }),
    );
    return text;
  }
  say('\n');
  if (o.quiet) return text;
  const megabytes = (s.memory.linearMemoryBytes / 1e6).toFixed(1);
  figures(
    `${promptTokens} prompt tokens at ${promptTokensPerSecond.toFixed(1)}/s, ${answerTokens} tokens at ${answerTokensPerSecond.toFixed(1)}/s, ${megabytes} MB of linear memory, ${s.kernels} kernels, artefact ${s.artefact}`,
  );
  figures(runtimeLine(s));
  const { wholeLimitBytes } = s.weights;
  if (wholeLimitBytes)
    figures(
      `${(readBytes / 1e6).toFixed(1)} MB of weights read again for this answer; with --memory ${Math.ceil(wholeLimitBytes / 1e6)}MB they would stay`,
    );
  return text;
}

/** @param {any} o @param {string[]} args */
export async function run(o, [model, given]) {
  const resumed = o.state !== undefined && given === undefined;
  const prompt = resumed
    ? undefined
    : await textArgument(given ?? (model === undefined ? 'Once upon a time' : undefined));
  await withModel(model ?? 'story', { ...openOptions(o), worker: true }, async opened => {
    if (o.state === undefined && o.saveState === undefined)
      return answer(opened, o, opened.generate(prompt, answerOptions(o)), prompt);
    const session =
      o.state === undefined
        ? await opened.session()
        : await opened.restore(readState(o.state), sessionOptions(o));
    await answer(opened, o, answerOfSession(session, o, prompt), prompt);
    if (o.saveState !== undefined) {
      const state = await session.save();
      await writeOut(o.saveState, write => write(state));
    }
  });
}

/** @param {string} path */
function readState(path) {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`can not read ${path}: ${/** @type {Error} */ (cause).message}`, { cause });
  }
}

/**
 * To be saved, an answer is broken off: what is held back of it comes when it is certain.
 * @param {import('../model/session.js').Session} session @param {any} o
 * @param {string | undefined} prompt undefined: the answer that there is goes on
 */
function answerOfSession(session, o, prompt) {
  const { maxTokens: asked, ...rest } = /** @type {any} */ (answerOptions(o));
  const maxTokens = asked ?? OPTIONS.answer.maxTokens.usual;
  const broken = o.saveState !== undefined && maxTokens > 0 && maxTokens < 2 ** 32 - 1;
  const most = { maxTokens: broken ? maxTokens + 1 : maxTokens };
  const whole =
    prompt === undefined
      ? session.resume(most)
      : session.generate(prompt, { ...rest, ...most, append: o.state !== undefined });
  return broken ? begin(whole, maxTokens) : whole;
}

/**
 * The first pieces of an answer.
 * @param {import('../model/session.js').Answer} whole @param {number} most
 * @returns {import('../model/session.js').Answer}
 */
function begin(whole, most) {
  const pieces = (async function* () {
    let made = 0;
    for await (const piece of whole) {
      yield piece;
      if (++made === most) break;
    }
  })();
  return /** @type {any} */ (Object.defineProperty(pieces, 'usage', { get: () => whole.usage }));
}

/** @param {any} o @param {string[]} args */
export async function chat(o, [name, message]) {
  await withModel(name, { ...openOptions(o), worker: true }, async model => {
    if (!model.facts.chatTemplate)
      throw new HyperionError('HYP_E_UNSUPPORTED', "this model has no chat template; use 'run'");
    const messages = o.system ? [{ role: 'system', content: o.system }] : [];
    const turn = async (/** @type {string} */ content) => {
      messages.push({ role: 'user', content });
      const pieces = model.chat(messages, answerOptions(o));
      messages.push({ role: 'assistant', content: await answer(model, o, pieces) });
    };
    if (message !== undefined) return turn(message);
    const lines = createInterface({
      input: process.stdin,
      output: process.stderr,
      prompt: process.stdin.isTTY ? '> ' : '',
    });
    lines.prompt();
    for await (const one of lines) {
      await turn(one);
      lines.prompt();
    }
  });
}

/** @param {any} o @param {string[]} args */
export async function tokenize(o, [name, words]) {
  await withModel(name, { ...openOptions(o), worker: false }, async model => {
    const tokens = await model.tokenize(await textArgument(words), {
      parseSpecial: o.parseSpecial,
    });
    if (o.json) return line(JSON.stringify({ tokens }));
    for (const token of tokens) {
      const text = await model.detokenize([token], { parseSpecial: true });
      line(`${String(token).padStart(8)}  ${JSON.stringify(text)}`);
    }
  });
}
