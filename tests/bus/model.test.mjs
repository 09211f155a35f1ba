// The lane's algorithms under model checkers: the ring's own source in Relacy's full search, with
// each of its orderings taken away in turn, and the protocol of sleeping and waking in SPIN, with
// each of its steps spoilt in turn.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'hyperion-bus-'));
after(() => rmSync(dir, { recursive: true }));

/** The exit status of the search and what it printed. */
function search(capacity, most, attempts, ...defines) {
  const program = join(dir, `ring-${capacity}-${most}-${defines.join('-').replace(/\W/g, '')}`);
  execFileSync('clang++-19', [
    '-std=c++17',
    '-O1',
    '-w',
    `-DCAPACITY=${capacity}`,
    `-DMOST=${most}`,
    `-DATTEMPTS=${attempts}`,
    ...defines,
    join(here, 'ring_relacy.cpp'),
    '-o',
    program,
  ]);
  const { status, stdout } = spawnSync(program, { encoding: 'utf8', maxBuffer: 1 << 26 });
  return { status, stdout };
}

describe('the ring in Relacy, every interleaving', () => {
  for (const [capacity, most, attempts] of [
    [2, 1, 4],
    [3, 1, 4],
    [4, 2, 4],
  ])
    test(`capacity ${capacity}, grants of up to ${most}, ${attempts} attempts each`, () => {
      const { status, stdout } = search(capacity, most, attempts);
      assert.equal(status, 0, stdout.slice(-2000));
      assert.ok(Number(/iterations: (\d+)/.exec(stdout)[1]) > 10000, stdout.slice(-300));
    });
  const orderings = [
    ...readFileSync(join(here, '../../src/bus/ring.h'), 'utf8').matchAll(
      /^#define (HYP_RING_\w+) HYP_(ACQUIRE|RELEASE)/gm,
    ),
  ].map(m => m[1]);
  test('has four orderings', () => assert.equal(orderings.length, 4));
  for (const ordering of orderings)
    test(`${ordering} is needed: relaxed, the search finds a race`, () =>
      assert.match(search(2, 1, 4, `-D${ordering}=HYP_RELAXED`).stdout, /DATA RACE/));
});

/** Errors that SPIN finds in the model. */
function errors(...defines) {
  execFileSync('spin', ['-Pclang-19 -E -x c', ...defines, '-a', join(here, 'wake.pml')], {
    cwd: dir,
  });
  execFileSync('clang-19', ['-O1', '-w', '-DSAFETY', '-o', 'pan', 'pan.c'], { cwd: dir });
  return Number(
    /errors: (\d+)/.exec(execFileSync(join(dir, 'pan'), { cwd: dir, encoding: 'utf8' }))[1],
  );
}

describe('sleeping and waking in SPIN', () => {
  test('nobody sleeps for ever, and all is consumed', () => assert.equal(errors(), 0));
  test('without the look at the sleeper somebody does', () => assert.ok(errors('-DNO_LOOK') > 0));
  test('with the word read after the second look somebody does', () =>
    assert.ok(errors('-DLATE_SEEN') > 0));
});
