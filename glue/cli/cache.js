// cache: what is kept of models, and how it is looked after. As native/cli/cache.c.
import { ModelCache } from '../source/store/cache.js';
import { UsageError } from './arguments.js';
import { progressBar } from './progress.js';
import { line } from './terminal.js';

const megabytes = (/** @type {number} */ bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

/** @param {string[]} columns */
const row = ([size, part, pin, used, model]) =>
  line(`${size.padStart(12)}  ${part.padStart(6)}  ${pin.padEnd(6)}  ${used.padEnd(10)}  ${model}`);

/** @param {any} o */
async function list(o) {
  const cache = new ModelCache();
  const files = await cache.list();
  const { where, bytes } = await cache.usage();
  if (o.json) return line(JSON.stringify({ where, bytes, files }));
  if (!files.length) return line(`the cache at ${where} is empty`);
  row(['size', 'cached', '', 'used', 'model']);
  for (const { name, size, cached, pinned, used } of files)
    row([
      megabytes(size),
      `${Math.floor((cached * 100) / size)} %`,
      pinned ? 'pinned' : '',
      used.toISOString().slice(0, 10),
      name,
    ]);
  line(`\n${files.length} file${files.length === 1 ? '' : 's'}, ${megabytes(bytes)} in ${where}`);
}

/** @param {any} o @param {string} model */
async function remove(o, model) {
  const bytes = await new ModelCache().remove(model);
  if (o.json) line(JSON.stringify({ bytes }));
  else if (!o.quiet) line(`${model}: ${megabytes(bytes)} are free now`);
}

/** @param {any} o @param {string} [model] */
async function verify(o, model) {
  const files = await new ModelCache().verify(model, {
    onProgress:
      o.quiet || o.json ? undefined : p => progressBar({ what: 'verifying', bytes: true, ...p }),
  });
  if (files.some(({ damaged, missing }) => damaged.length || missing.length)) process.exitCode = 1;
  if (o.json) return line(JSON.stringify({ files }));
  for (const { name, chunks, damaged, missing } of files) {
    const odd = Object.entries({ damaged, missing })
      .filter(([, indices]) => indices.length)
      .map(([what, indices]) => ` ${indices.length} ${what} (${indices.join(', ')})`);
    if (odd.length)
      line(`${name}: of ${chunks} chunks${odd}; they are fetched again when it is opened`);
    else if (!o.quiet) line(`${name}: ${chunks} chunks are as they should be`);
  }
}

/** @param {any} o @param {string} model @param {boolean} pinned */
async function pin(o, model, pinned) {
  await new ModelCache().pin(model, pinned);
  if (o.json) line(JSON.stringify({ pinned }));
}

/** @type {Record<string, (o: any, model: string) => Promise<void>>} */
const ACTIONS = {
  ls: list,
  rm: remove,
  verify,
  pin: (o, model) => pin(o, model, true),
  unpin: (o, model) => pin(o, model, false),
};

/** @param {any} o @param {string[]} args */
export async function cache(o, [action, model]) {
  if (!Object.hasOwn(ACTIONS, action))
    throw new UsageError(
      `'${action}' is nothing that is done with a cache: ls, rm, verify, pin or unpin`,
    );
  if (action === 'ls' && model !== undefined) throw new UsageError('cache ls takes no MODEL');
  if (action !== 'ls' && action !== 'verify' && model === undefined)
    throw new UsageError(`cache ${action} takes a MODEL, as 'hyperion cache ls' names it`);
  await ACTIONS[action](o, model);
}
