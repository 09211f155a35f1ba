// The house keeps its order: floors, the seam, no struct layouts in the glue.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { enumsOf, exportsOf, statusesOf } from '../../tools/generate/interface.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const walk = dir =>
  readdirSync(join(root, dir), { withFileTypes: true }).flatMap(e =>
    e.isDirectory() ? walk(join(dir, e.name)) : [join(dir, e.name)],
  );
// A folder includes only what stands on a lower floor. The interface and the seam are declarations
// that stand under the house.
const FLOORS = [
  ['hyperion'],
  ['port.h'],
  ['base'],
  ['mem'],
  ['fiber', 'kernels'],
  ['bus', 'stream', 'store'],
  ['pool'],
  ['pager', 'gguf'],
  ['nn', 'text'],
  ['models', 'decode', 'convert', 'media', 'hsx', 'service'],
  ['runtime'],
];
const LIBC = new Set(['stdbool.h', 'stddef.h', 'stdint.h', 'stdarg.h', 'string.h']);

const folder = file => file.split('/')[1];
const floor = file => FLOORS.findIndex(folders => folders.includes(folder(file)));

function violations(file, text) {
  const found = [];
  for (const [, kind, name] of text.matchAll(/^\s*#\s*include\s*(["<])([^">]+)[">]/gm)) {
    if (kind === '<') {
      if (!LIBC.has(name)) found.push(`${file} includes <${name}>`);
      continue;
    }
    const target = normalize(join(dirname(file), name));
    if (!target.startsWith('src/')) found.push(`${file} includes ${target}, which is outside src/`);
    else if (folder(target) !== folder(file) && (floor(target) < 0 || floor(target) >= floor(file)))
      found.push(`${file} (floor ${floor(file)}) includes ${target} (floor ${floor(target)})`);
  }
  for (const [line] of text.matchAll(
    /^\s*#\s*(?:if|ifdef|ifndef|elif).*\b(?:_WIN32|__linux__|__APPLE__|__wasm\w*|__EMSCRIPTEN__|__x86_64__|__aarch64__|__arm\w*|__SSE\w*|__AVX\w*|__ARM\w*|__unix__)\b.*$/gm,
  ))
    found.push(`${file}: ${line.trim()}`);
  return found;
}

const sources = walk('src').filter(f => /\.(c|h)$/.test(f));

test('no file of src/ includes what stands above it, or an operating system', () => {
  assert.ok(sources.length > 30);
  assert.deepEqual(
    sources.flatMap(f => violations(f, readFileSync(join(root, f), 'utf8'))),
    [],
  );
});

test('the check sees a step up, an OS header, an architecture #if', () => {
  assert.equal(violations('src/mem/x.c', '#include "../gguf/gguf.h"\n').length, 1);
  assert.equal(
    violations('src/fiber/x.c', '#include "../kernels/kernels.h"\n').length,
    1,
    'the same floor',
  );
  assert.equal(
    violations('src/new/x.c', '#include "../base/bytes.h"\n').length,
    1,
    'a folder without a floor',
  );
  assert.equal(violations('src/mem/x.c', '#include <unistd.h>\n').length, 1);
  assert.equal(violations('src/mem/x.c', '#include "../../native/port_posix.h"\n').length, 1);
  assert.equal(violations('src/mem/x.c', '#ifdef __x86_64__\n').length, 1);
  assert.equal(violations('src/nn/x.c', '#include "../mem/arena.h"\n').length, 0);
});

test('one file knows the operations of a graph from one another, besides who builds one', () => {
  const names = text => [...text.matchAll(/\bHYP_OP_(?!KINDS\b|#)\w+/g)].map(([name]) => name);
  const known = file => file === 'src/nn/ops.c' || file.startsWith('src/models/');
  for (const file of sources.filter(f => !known(f)))
    assert.deepEqual(names(readFileSync(join(root, file), 'utf8')), [], file);
  assert.deepEqual(names('if (op->kind == HYP_OP_GLU) count = HYP_OP_KINDS;'), ['HYP_OP_GLU']);
});

test('native/ and wasm/ do not know each other', () => {
  for (const [dir, other] of [
    ['native', 'wasm'],
    ['wasm', 'native'],
  ])
    for (const file of walk(dir))
      assert.ok(
        !new RegExp(`#include "[^"]*\\.\\./${other}/`).test(readFileSync(join(root, file), 'utf8')),
        file,
      );
});

// The glue's floors: a folder imports itself and what stands below it, and no file comes back to
// itself. The types that comments name count as imports do, and so do the files that a worker
// starts with.
const GLUE_FLOORS = ['generated', 'core', 'source', 'model', 'edge', 'cli'];
const GLUE_FOUNDATIONS = ['glue/core/errors.js']; // with generated/: they import nothing

const glueFloor = file => GLUE_FLOORS.indexOf(folder(file));

/** Files that a file of the glue names, by their paths; other modules are left out. */
const importsOf = (file, text) => [
  ...new Set(
    [
      ...text.matchAll(/(?:\bfrom|\bimport|\bimport\(|\bnew URL\()\s*(['"`])(\.[^'"`]*\.m?js)\1/g),
    ].map(([, , path]) => normalize(join(dirname(file), path))),
  ),
];

/** @param {Map<string, string>} files texts by path */
function glueViolations(files) {
  const graph = new Map([...files].map(([file, text]) => [file, importsOf(file, text)]));
  const found = [];
  for (const [file, targets] of graph) {
    if (glueFloor(file) < 0) found.push(`${file} stands on no floor`);
    for (const target of targets) {
      if (!graph.has(target)) found.push(`${file} imports ${target}, which is no file of the glue`);
      else if (glueFloor(target) > glueFloor(file)) found.push(`${file} imports ${target}`);
      else if (folder(file) === 'generated' || GLUE_FOUNDATIONS.includes(file))
        found.push(`${file} imports ${target}, and stands below everything`);
    }
  }
  const done = new Set();
  const visit = (file, path) => {
    if (path.includes(file)) found.push([...path.slice(path.indexOf(file)), file].join(' -> '));
    if (path.includes(file) || done.has(file)) return;
    for (const target of graph.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return found;
}

test('no file of the glue imports what stands above it, or itself in a circle', () => {
  const files = walk('glue').filter(file => /\.(js|ts)$/.test(file));
  // Types are imported by the name that a file has when it is compiled.
  const named = file => file.replace(/\.ts$/, '.js');
  const texts = new Map(files.map(file => [named(file), readFileSync(join(root, file), 'utf8')]));
  assert.deepEqual([...new Set(files.map(folder))].sort(), [...GLUE_FLOORS].sort());
  assert.ok(files.length > 30);
  assert.deepEqual(glueViolations(texts), []);
  // That imports are seen at all, of each kind.
  const seen = (from, to) => assert.ok(importsOf(from, texts.get(from)).includes(to), from);
  seen('glue/core/places.js', 'glue/core/thread.js');
  seen('glue/model/index.js', 'glue/model/chat.js');
  seen('glue/model/open.js', 'glue/core/errors.js');
  seen('glue/source/file.js', 'glue/core/core.js');

  const wrong = (path, text) => glueViolations(new Map([...texts, [path, text]])).length;
  for (const [path, text] of [
    ['glue/core/x.js', "import { openSource } from '../source/index.js';"],
    ['glue/core/x.js', "import {\n  Engine,\n} from '../model/engine.js';"],
    [
      'glue/core/x.js',
      "/** @typedef {import('../model/options.js').EngineOptions} EngineOptions */",
    ],
    [
      'glue/core/x.js',
      "const worker = new Worker(new URL('../model/worker.js', import.meta.url));",
    ],
    ['glue/source/x.js', "import '../model/session.js';"],
    ['glue/source/x.js', "export * from '../cli/table.js';"],
    ['glue/model/x.js', "const { line } = await import('../cli/terminal.js');"],
    ['glue/core/errors.js', "import { refuse } from './check.js';"],
    ['glue/generated/options.js', "import { Status } from './interface.js';"],
    ['glue/generated/x.js', "import '../core/errors.js';"],
    ['glue/core/x.js', "import './missing.js';"],
    ['glue/core/x.js', "import '../../web/app.js';"],
    ['glue/new/x.js', ''],
    ['glue/x.js', "export { open } from './model/index.js';"],
    ['glue/core/x.js', "import './x.js';"],
    ['glue/core/detect.js', "import { locate } from './module.js';"],
    ['glue/model/options.js', "/** @param {import('./index.js').Model} model */"],
  ])
    assert.ok(wrong(path, text) > 0, `${path}: ${text}`);
  for (const [path, text] of [
    ['glue/core/x.js', "import { HyperionError } from './errors.js';"],
    ['glue/source/x.js', "import { OPTIONS } from '../generated/options.js';"],
    ['glue/cli/x.js', "import { open } from '../model/index.js';\nimport fs from 'node:fs';"],
  ])
    assert.equal(wrong(path, text), 0, `${path}: ${text}`);
});

// A struct offset in the glue would show as a DataView read at a number, or an address plus one.
const layout = text =>
  /\bget(?:Ui|I)nt(?:8|16|32)\s*\(|\bgetFloat(?:32|64)\s*\(|\b(?:ptr|pointer|address)\s*\+\s*\d/.test(
    text,
  );

test('the glue holds no hand-written struct offset', () => {
  const written = walk('glue').filter(file => folder(file) !== 'generated');
  for (const file of written) assert.ok(!layout(readFileSync(join(root, file), 'utf8')), file);
  assert.ok(layout('view.getUint32(pointer + 8, true)') && layout('pointer + 4'));
});

test("the glue's enums and signatures are those of the C interface", () => {
  const files = walk('wasm').filter(file => /exports.*\.c$/.test(file));
  const count = files
    .map(file => readFileSync(join(root, file), 'utf8').match(/\bEXPORT\(/g)?.length ?? 0)
    .reduce((sum, n) => sum + n, 0);
  assert.equal(files.flatMap(f => exportsOf(readFileSync(join(root, f), 'utf8'))).length, count);
  assert.deepEqual(
    exportsOf(
      'EXPORT(a_b)\nhyp_status a_b(const x *m, // c, d\n  uint32_t n) {} EXPORT(c) void c(void) {}',
    ),
    [
      { name: 'a_b', parameters: ['m', 'n'], result: 'number' },
      { name: 'c', parameters: [], result: 'void' },
    ],
  );
  const enums = enumsOf(readFileSync(join(root, 'src/hyperion/hyperion.h'), 'utf8'));
  assert.deepEqual(enums.get('Finish'), { NONE: 0, END: 1, STOP: 2, CONTEXT: 3 });
  assert.deepEqual(enums.get('Text'), { ADD_SPECIAL: 1, PARSE_SPECIAL: 2 });
  assert.throws(() => enumsOf('enum { HYP_X_A = HYP_Y, HYP_X_B };'), /no number/);
  assert.equal(
    statusesOf(readFileSync(join(root, 'src/hyperion/status.def'), 'utf8')).CANCELLED,
    -7,
  );
});

// A number that the core gives a meaning is named by what is generated: typed by hand it would be a
// list of the core's names, a name in capitals with a small number, or a number beside the name of
// a call.
const NAMES = 'none|prefill|next|score|mean|cls|end|stop|interactive|batch|f16|cancelled|io|nomem';
const typedEnum = text =>
  new RegExp(
    `\\b(?:${NAMES})\\b['"]?\\s*:\\s*-?\\d|\\[\\s*'',\\s*'(?:${NAMES})'|^const (?:EDGES|SPECIALS|READY|IO)\\b\\s*=\\s*-?\\d`,
    'im',
  ).test(text);

test('the glue types no enum of the core by hand', () => {
  // A lane's layout is docs/LANES.md's, and held against C by tests/bus.
  for (const file of walk('glue').filter(f => f.endsWith('.js') && !/generated|lane\.js/.test(f)))
    assert.ok(!typedEnum(readFileSync(join(root, file), 'utf8')), file);
  for (const wrong of [
    "const FINISH = ['', 'end', 'stop', 'context'];",
    'const CALL = { prefill: 0, next: 1 };',
    'const EDGES = 1;',
    'const STATUS = { IO: -2 };',
  ])
    assert.ok(typedEnum(wrong), wrong);
});

test('what runs in pages imports by path, no module of Node, and awaits nothing at its top', async () => {
  const { build } = await import('esbuild');
  const scripts = [
    'model/index',
    'model/slim',
    'model/local',
    'model/worker_chat',
    'core/thread',
    'edge/index',
  ];
  // As a script, which has no `await` at its top; what no path leads to is an error, too.
  const script = options =>
    build({
      bundle: true,
      write: false,
      format: 'iife',
      platform: 'browser',
      logLevel: 'silent',
      ...options,
    });
  for (const name of scripts)
    await script({ entryPoints: [join(root, `glue/${name}.js`)], outdir: 'out' });
  for (const contents of ["await import('./x.js');", "import('node:fs');", "import 'jinja';"])
    await assert.rejects(script({ stdin: { contents, resolveDir: root } }), contents);
});

test('the web page uses only the public interface', () => {
  for (const file of walk('web').filter(f => f.endsWith('.js')))
    for (const [, from] of readFileSync(join(root, file), 'utf8').matchAll(/\bfrom\s+'([^']+)'/g))
      assert.ok(
        from === '/glue/model/index.js' || from.startsWith('./'),
        `${file} imports ${from}`,
      );
});

test('nothing names a path of a machine or a registry', () => {
  const text = readFileSync(join(root, 'package-lock.json'), 'utf8');
  assert.ok(!/"resolved"/.test(text), 'package-lock.json names where packages came from');
  for (const file of ['src', 'glue', 'web', 'tools', 'native', 'wasm', 'docs'].flatMap(walk))
    if (/\.(c|h|m?js|md|py|html|css|json)$/.test(file))
      assert.ok(
        !/\/home\/\w|\/root\//.test(readFileSync(join(root, file), 'utf8')),
        relative(root, file),
      );
});

test('as many threads as processors, or as a test pretends; at most eight', async () => {
  const { execFileSync } = await import('node:child_process');
  const { availableParallelism } = await import('node:os');
  const threads = env =>
    Number(
      execFileSync(
        process.execPath,
        [
          '--input-type=module',
          '-e',
          `import { threadsHere } from ${JSON.stringify(join(root, 'glue/core/detect.js'))}; console.log(threadsHere())`,
        ],
        { env: { PATH: process.env.PATH, ...env } },
      ),
    );
  assert.equal(threads({}), Math.min(availableParallelism(), 8));
  for (const [pretended, expected] of [
    ['1', 1],
    ['3', 3],
    ['16', 8],
  ])
    assert.equal(threads({ HYP_PROCESSORS: pretended }), expected);
  for (const nonsense of ['0', '', 'many', '-1'])
    assert.equal(threads({ HYP_PROCESSORS: nonsense }), Math.min(availableParallelism(), 8));
});
