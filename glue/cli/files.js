// info, quantize and prune: files of models, without computing with them.
import { inspect, quantize as rewrite } from '../model/index.js';
import { openOptions, place, readOptions } from './model.js';
import { writeOut } from './output.js';
import { line } from './terminal.js';

/** C's %.9g. @param {number} v */
const general = v =>
  v !== 0 && (Math.abs(v) < 1e-4 || Math.abs(v) >= 1e9)
    ? v
        .toExponential(8)
        .replace(/\.?0+e/, 'e')
        .replace(/e([+-])(\d)$/, 'e$10$2')
    : String(Number(v.toPrecision(9)));

/** A value of the metadata. @param {any} value */
function shown(value) {
  if (value && typeof value === 'object')
    return `[${value.count} ${typeof value.first[0] === 'string' ? 'texts' : 'numbers'}]`;
  if (typeof value === 'string' && value.length > 60)
    return `${JSON.stringify(value.slice(0, 60))} ...`;
  return typeof value === 'number' ? general(value) : JSON.stringify(value);
}

/** @param {any} o @param {string[]} args */
export async function info(o, [name]) {
  const found = await inspect(place(name), readOptions(o));
  if (o.json) return line(JSON.stringify(found));
  const { version, metadata, tensors, parameters, bytes } = found;
  line(`GGUF version ${version}\n\nmetadata`);
  for (const [key, value] of Object.entries(metadata)) line(`  ${key.padEnd(44)} ${shown(value)}`);
  const row = (/** @type {string[]} */ [tensor, type, shape, size]) =>
    line(
      `  ${tensor.padEnd(32)} ${type.padEnd(6)} ${shape.padStart(22)} ${String(size).padStart(12)}`,
    );
  line('\ntensors');
  row(['name', 'type', 'shape', 'bytes']);
  for (const t of tensors) row([t.name, t.type, t.shape.join(' x '), t.bytes]);
  const bits = parameters ? `, ${((bytes * 8) / parameters).toFixed(2)} bits per weight` : '';
  line(
    `\n${tensors.length} tensors, ${(parameters / 1e6).toFixed(2)} M parameters, ${(bytes / 1e6).toFixed(2)} MB${bits}`,
  );
}

/**
 * Writes a file, and says so.
 * @param {any} o
 * @param {string} path
 * @param {(write: (data: Uint8Array) => void) => Promise<object | void>} act what it gives is said
 *   in JSON
 */
export async function writeFile(o, path, act) {
  /** @type {object | void} */
  let more = undefined;
  const bytes = await writeOut(path, async write => {
    more = await act(write);
  });
  if (o.json) line(JSON.stringify(more ?? { bytes }));
  else if (!o.quiet) line(`${path}: ${(bytes / 1e6).toFixed(2)} MB`);
}

/** @param {any} o @param {string[]} args @param {string} format @param {number} [density] */
const convert = (o, [from, to], format, density) =>
  writeFile(o, to, write =>
    rewrite(place(from), format, write, {
      ...openOptions(o, 'converting'),
      imatrix: o.imatrix,
      density,
    }),
  );

/** @param {any} o @param {string[]} args */
export const quantize = (o, args) => convert(o, args, args[2]);

/** @param {any} o @param {string[]} args */
export const prune = (o, args) => convert(o, args, 'q4_0', o.density ?? 0.5);
