// Every benchmark works: each runs in its quick way, prints its record, and leaves docs/ alone.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { BENCHES } from './benches.mjs';
import { root } from './tools.mjs';

const RUN = join(root, 'tests/bench/run.mjs');
const HANGS_MS = 120000;
const execute = promisify(execFile);

/** What the documents and plots of the benchmarks hold. */
function documents() {
  const hash = createHash('sha256').update(readFileSync(join(root, 'docs/BENCHMARKS.md')));
  const dir = join(root, 'docs/benchmarks');
  for (const file of readdirSync(dir).sort())
    hash.update(file).update(readFileSync(join(dir, file)));
  return hash.digest('hex');
}

/** Numbers of a record; a break-even density may be none at all. */
const numbers = record => Object.values(record).filter(value => value !== null);

describe('benchmarks', () => {
  const before = documents();
  for (const name of Object.keys(BENCHES)) {
    test(name, { timeout: HANGS_MS }, async () => {
      const args = [RUN, name, '--quick', '--json'];
      const { stdout } = await execute(process.execPath, args, { cwd: root, maxBuffer: 1 << 24 });
      const lines = stdout.trim().split('\n');
      assert.equal(lines.length, 1, stdout);
      const { bench, figures, ratios, ...rest } = JSON.parse(lines[0]);
      assert.equal(bench, name);
      assert.deepEqual(rest, {});
      assert.ok(numbers(figures).length > 1, 'figures');
      assert.equal(typeof ratios, 'object');
      for (const value of [...numbers(figures), ...numbers(ratios)])
        assert.ok(Number.isFinite(value), lines[0]);
      console.log(lines[0]);
    });
  }
  test('the documents are as they were', () => assert.equal(documents(), before));
});

test('an unknown benchmark is wrong usage', async () => {
  await assert.rejects(
    execute(process.execPath, [RUN, 'nonsense']),
    e => e.code === 2 && /usage: .*fiber/.test(e.stderr),
  );
});
