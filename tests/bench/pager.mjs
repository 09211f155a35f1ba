// The pager: resident pages against a plain block, faults against pread, and a model under memory
// limits from all of it down to a quarter.
import { createWriteStream, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { build, json, median, medians, quick, root, shape } from './tools.mjs';

const SHARES = [100, 75, 50, 37, 25];
const TOKENS = 8;

async function makeFile(path, bytes) {
  if (existsSync(path) && statSync(path).size === bytes) return;
  const out = createWriteStream(path);
  const chunk = randomFillSync(Buffer.alloc(1 << 20));
  for (let at = 0; at < bytes; at += chunk.length) if (!out.write(chunk)) await once(out, 'drain');
  out.end();
  await once(out, 'finish');
}

/** Tokens a second over the share of the weights that is resident. */
function plot(rows, path) {
  const [w, h, left, bottom] = [560, 300, 60, 40];
  const most = Math.max(...rows.flatMap(r => [r.native, r.wasm]));
  const x = share => left + ((share - 20) / 85) * (w - left - 20);
  const y = rate =>
    h - bottom - (Math.log10(Math.max(rate, 1)) / Math.log10(most)) * (h - bottom - 20);
  const line = (key, colour) =>
    `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${rows.map(r => `${x(r.share)},${y(r[key]).toFixed(1)}`).join(' ')}"/>` +
    rows
      .map(r => `<circle cx="${x(r.share)}" cy="${y(r[key]).toFixed(1)}" r="3" fill="${colour}"/>`)
      .join('');
  const ticks = [1, 10, 100]
    .map(
      v =>
        `<text x="${left - 8}" y="${y(v) + 4}" text-anchor="end">${v}</text><line x1="${left}" x2="${w - 20}" y1="${y(v)}" y2="${y(v)}" stroke="#ccc"/>`,
    )
    .join('');
  const shares = rows
    .map(
      r =>
        `<text x="${x(r.share)}" y="${h - bottom + 18}" text-anchor="middle">${r.share} %</text>`,
    )
    .join('');
  writeFileSync(
    path,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" font-family="sans-serif" font-size="12" fill="#333"><rect width="${w}" height="${h}" fill="#fff"/>${ticks}${shares}${line('native', '#0a6')}${line('wasm', '#06c')}<text x="${left + 10}" y="20" fill="#0a6">native</text><text x="${left + 70}" y="20" fill="#06c">wasm (Node)</text><text x="${w - 20}" y="${h - 6}" text-anchor="end">share of the weights that fits; tokens a second, logarithmic</text></svg>\n`,
  );
}

export async function run({ rounds, model: size, say }) {
  build('native', 'bench_pager', 'bench_paged', 'hyperion');
  mkdirSync(join(root, 'build/bench'), { recursive: true });
  const file = join(root, `build/bench/pager${quick ? '-quick' : ''}.bin`);
  await makeFile(file, (quick ? 32 : 512) << 20);
  const records = [];
  for (let round = 0; round < Math.min(rounds, 5); round++) {
    records.push(await json(join(root, 'build/native/bench_pager'), [file]));
    const r = records.at(-1);
    say(
      `round ${round + 1}: pinned ${r.pinned_vs_raw}, cold ${r.cold_vs_pread} (single 4 KiB pages ${r.cold_4k_vs_pread}), sequential ${r.sequential_vs_pread}`,
    );
  }
  rmSync(file);
  const path = shape({ '135m': 'smol135m', '15m': 'stories15m' }[size], 'q4_0');
  const paged = limit =>
    json(join(root, 'build/native/bench_paged'), [path, String(limit), String(TOKENS)]);
  const whole = await paged(0);
  const rows = [];
  for (const share of SHARES) {
    const limit =
      share === 100
        ? 0
        : Math.round((whole.peak_mb - whole.whole_mb + 0.6 + (whole.whole_mb * share) / 100) * 1e6);
    const runs = [];
    for (let i = 0; i < (quick ? 1 : 3); i++) runs.push(await paged(limit));
    if (runs.some(r => r.error || r.token !== whole.token))
      throw new Error(`under ${limit} bytes: ${JSON.stringify(runs[0])}`);
    const wasm = await json(process.execPath, [
      join(root, 'tests/bench/paged_wasm.mjs'),
      path,
      String(limit),
      String(TOKENS),
    ]);
    const r = medians(runs);
    rows.push({
      share,
      limit,
      native: r.tokens_per_second,
      wasm: wasm.tokensPerSecond,
      read: r.read_mb_per_token,
      least: r.least_mb_per_token,
      resident: r.resident_mb,
      wasmMemory: wasm.linearMemoryMb,
      wasmRead: wasm.readMb,
      wasmLeast: wasm.leastMb,
    });
    const last = rows.at(-1);
    say(
      `${String(share).padStart(3)} % fits: native ${last.native.toFixed(1)} tokens/s, ${last.read.toFixed(2)} MB read a token (least ${last.least.toFixed(2)}), ${last.resident.toFixed(1)} MB resident of a limit of ${limit ? (limit / 1e6).toFixed(1) : 'none'}; wasm ${last.wasm.toFixed(1)} tokens/s, ${last.wasmMemory.toFixed(1)} MB of linear memory`,
    );
  }
  if (!quick) plot(rows, join(root, 'build/bench/pager.svg'));
  const limited = rows.filter(r => r.limit);
  const figures = { rounds: records.length, ...medians(records) };
  for (const r of rows)
    Object.assign(figures, {
      [`native_tokens_per_second_${r.share}`]: r.native,
      [`wasm_tokens_per_second_${r.share}`]: r.wasm,
    });
  const ratios = {
    reread_vs_ideal: Math.max(...limited.map(r => r.read / r.least)),
    reread_vs_ideal_wasm: Math.max(...limited.map(r => r.wasmRead / r.wasmLeast)),
    resident_vs_limit: Math.max(...limited.map(r => (r.resident * 1e6) / (r.limit * 1.1 + 8e6))),
    linear_memory_vs_limit: Math.max(
      ...limited.map(r => (r.wasmMemory * 1e6) / (r.limit * 1.1 + 8e6)),
    ),
  };
  for (const key of Object.keys(figures))
    if (key.includes('_vs_')) ((ratios[key] = figures[key]), delete figures[key]);
  return { figures, ratios };
}
