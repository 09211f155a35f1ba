#!/usr/bin/env node
// hyperion: the command line over the WebAssembly core. The same verbs and options as the native
// one, native/cli: commands.def has them.
import { readFileSync } from 'node:fs';
import { HyperionError } from '../core/errors.js';
import { readArguments, UsageError, usageText } from './arguments.js';
import { bench } from './bench.js';
import { cache } from './cache.js';
import { completionScript } from './completion.js';
import { info, prune, quantize } from './files.js';
import { helpText } from './help.js';
import { manifest } from './manifest.js';
import { calibrate, perplexity } from './measure.js';
import { endOnInterrupt, say } from './output.js';
import { pull } from './pull.js';
import { chat, run, tokenize } from './run.js';
import { clearBar } from './progress.js';
import { line } from './terminal.js';

/** @param {any} o @param {string[]} args */
async function completion(o, [shell]) {
  const script = completionScript(shell);
  if (script === undefined)
    throw new UsageError(`there is no completion for '${shell}': bash, zsh or fish`);
  say(script);
}

/** @type {Record<string, (o: any, args: string[]) => Promise<void>>} */
const acts = {
  run,
  chat,
  tokenize,
  info,
  bench,
  quantize,
  prune,
  calibrate,
  perplexity,
  pull,
  cache,
  manifest,
  completion,
};

async function main() {
  const { verb, values, positionals } = readArguments(process.argv.slice(2));
  if (values.help) return say(helpText(verb));
  if (values.version) {
    const facts = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
    return line(`hyperion ${JSON.parse(facts).version}`);
  }
  if (verb) return acts[verb.name](values, positionals);
  process.stderr.write(helpText(null));
  process.exitCode = 2;
}

endOnInterrupt();
main().catch(error => {
  clearBar();
  const usage = error instanceof UsageError;
  const code = error instanceof HyperionError ? ` (${error.code})` : '';
  process.stderr.write(usage ? usageText(error) : `hyperion: ${error.message}${code}\n`);
  process.exitCode = usage ? 2 : 1;
});
