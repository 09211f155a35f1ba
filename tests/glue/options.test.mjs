// The glue's options are those of options.def, and are refused as C refuses them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { optionsJson } from '../../glue/core/check.js';
import { Core } from '../../glue/core/core.js';
import { OPTIONS } from '../../glue/generated/options.js';
import { checkEngine, checkGenerate, checkModel } from '../../glue/model/options.js';
import { enumsOf } from '../../tools/generate/interface.mjs';
import { generate, rowsOf } from '../../tools/generate/options.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = path => readFileSync(join(root, path), 'utf8');
const table = read('src/hyperion/options.def');
const header = read('src/hyperion/hyperion.h');

test('every row is read, and its choices are the names of its enum', () => {
  const rows = rowsOf(table, header);
  assert.equal(rows.length, table.match(/^HYP_\w+_OPTION\(/gm).length);
  const enums = [...enumsOf(header).values()].map(one => Object.keys(one).join('|'));
  for (const { choices, name, least, most, usual, type } of rows) {
    if (type === 'CHOICE')
      assert.ok(enums.includes(choices.join('|').toUpperCase().replaceAll('-', '_')), name);
    assert.ok(least <= most && (usual === 0 || (usual >= least && usual <= most)), name);
  }
  const keys = Object.keys(OPTIONS.sampling);
  assert.ok(keys.includes('topK') && keys.includes('repeatPenalty'));
  assert.equal(OPTIONS.session.context.most, 2 ** 24);
  assert.equal(generate({ read }), read('glue/generated/options.js'));
});

test('a row of another form is an error', () => {
  const row = 'HYP_X_OPTION(U32, a, 0, 1, 0, EVERYWHERE, 0, "a", "N", "", "")';
  assert.equal(rowsOf(row, '').length, 1);
  assert.throws(() => rowsOf(row.replace(', ""', ''), ''), /10 columns/);
  assert.throws(() => rowsOf(row.replace(' 1,', ' HYP_MOST,'), ''), /HYP_MOST is no number/);
  assert.throws(() => rowsOf(row.slice(0, -1), ''), /another form/);
});

/** @param {() => void} act */
function messageOf(act) {
  try {
    act();
  } catch (error) {
    assert.equal(error.code, 'HYP_E_ARGUMENT');
    return error.message;
  }
  return assert.fail('accepted');
}

test('refused in the words of C: tests/test_options.c has the same', () => {
  const generated = options => messageOf(() => checkGenerate(options));
  const opened = options => messageOf(() => checkModel(options));
  const cases = [
    [generated({ topP: 2 }), 'topP must be a number from 0 to 1, not 2'],
    [generated({ topK: '40' }), "topK must be a whole number from 0 to 2147483647, not '40'"],
    [generated({ topK: 1.5 }), 'topK must be a whole number from 0 to 2147483647, not 1.5'],
    [generated({ minP: 1 }), 'minP must be a number from 0 to 0.99999, not 1'],
    [opened({ cache: 'f32' }), "cache must be f16 or q8_0, not 'f32'"],
    [opened({ profile: 1 }), 'profile must be true or false, not 1'],
    [opened({ context: 0 }), 'context must be a whole number from 1 to 16777216, not 0'],
    [
      messageOf(() => checkEngine({ memory: 'lots' })),
      "memory must be an amount of memory, as 96MB or 2GB, not 'lots'",
    ],
  ];
  const inC = read('tests/test_options.c');
  for (const [message, expected] of cases) {
    assert.equal(message, expected);
    assert.ok(inC.includes(`"${expected}"`), expected);
  }
});

test('the core itself refuses what the glue does not look at', async () => {
  const policy = /** @type {any} */ ('chance');
  const expected = messageOf(() => checkEngine({ policy }));
  assert.equal(expected, "policy must be intent or round-robin, not 'chance'");
  await assert.rejects(Core.create({ threads: 1, policy }), {
    code: 'HYP_E_ARGUMENT',
    message: expected,
  });
});

test('what is undefined or null is left out', () => {
  checkGenerate({ topP: undefined, topK: null });
  assert.equal(optionsJson('sampling', { topP: 0.5, stop: ['x'], other: 1 }), '{"topP":0.5}');
});
