// What `cmake --install` gives is enough to build on: headers, library, CMake package, pkg-config.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { foreignSymbols, publicFunctions, root, run } from './tools.mjs';

const work = mkdtempSync(join(tmpdir(), 'hyperion-install-'));
after(() => rmSync(work, { recursive: true, force: true }));
// Installed in one place and moved to another: nothing in it may name where it was.
const prefix = join(work, 'moved');
run('cmake', '--install', join(root, 'build/native'), '--prefix', join(work, 'prefix'));
renameSync(join(work, 'prefix'), prefix);

const story = join(root, 'models/story.gguf');
const told = run(
  join(prefix, 'bin/hyperion'),
  'run',
  story,
  'Once upon a time',
  '-t',
  '0.7',
  '-s',
  '7',
  '-q',
);
const library = join(prefix, 'lib/libhyperion.a');
const STRICT = ['-Wall', '-Wextra', '-pedantic', '-Werror', `-I${join(prefix, 'include')}`];

test('everything is there', () => {
  for (const file of [
    'include/hyperion/hyperion.h',
    'include/hyperion/types.h',
    'include/hyperion/status.def',
    'lib/libhyperion.a',
    'lib/cmake/Hyperion/HyperionConfig.cmake',
    'lib/cmake/Hyperion/HyperionConfigVersion.cmake',
    'lib/cmake/Hyperion/HyperionTargets.cmake',
    'lib/pkgconfig/hyperion.pc',
    'bin/hyperion',
    'share/doc/hyperion/LICENSE',
  ])
    assert.ok(existsSync(join(prefix, file)), file);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.match(
    readFileSync(join(prefix, 'lib/pkgconfig/hyperion.pc'), 'utf8'),
    new RegExp(`^Version: ${version}$`, 'm'),
  );
});

test('each header alone is C17 and C++17', () => {
  for (const header of ['hyperion', 'types'])
    for (const [language, standard] of [
      ['c', 'c17'],
      ['c++', 'c++17'],
    ])
      execFileSync(
        'clang-19',
        [...STRICT, `-std=${standard}`, '-x', language, '-c', '-o', join(work, 'alone.o'), '-'],
        {
          input: `#include <hyperion/${header}.h>\nint main(void);\n`,
          stdio: ['pipe', 'pipe', 'inherit'],
        },
      );
});

test('the library defines what the header declares, and its names all begin with hyp_', () => {
  const { defined, foreign } = foreignSymbols('llvm-nm-19', library);
  assert.deepEqual(foreign, []);
  const declared = publicFunctions(join(prefix, 'include/hyperion'));
  assert.ok(declared.length > 40, `${declared.length} functions`);
  assert.deepEqual(
    declared.filter(name => !defined.includes(name)),
    [],
  );
});

test('the examples include public headers alone', () => {
  const text = readFileSync(join(root, 'examples/hello.c'), 'utf8');
  const included = [...text.matchAll(/#include (.*)/g)].map(m => m[1]);
  assert.deepEqual(included, ['<hyperion/hyperion.h>', '<stdio.h>', '<string.h>']);
});

test('hello.c by find_package', () => {
  const build = join(work, 'cmake');
  run(
    'cmake',
    '-G',
    'Ninja',
    '-S',
    join(root, 'examples/cmake'),
    '-B',
    build,
    `-DCMAKE_PREFIX_PATH=${prefix}`,
    '-DCMAKE_C_COMPILER=clang-19',
  );
  run('cmake', '--build', build);
  assert.equal(run(join(build, 'hello'), story), told);
});

test('a newer version than there is, is not found', () => {
  const source = join(work, 'newer');
  const project = readFileSync(join(root, 'examples/cmake/CMakeLists.txt'), 'utf8');
  mkdirSync(source);
  writeFileSync(join(source, 'CMakeLists.txt'), project.replace('Hyperion 0.1', 'Hyperion 0.2'));
  assert.throws(
    () =>
      run(
        'cmake',
        '-G',
        'Ninja',
        '-S',
        source,
        '-B',
        join(work, 'newer/build'),
        `-DCMAKE_PREFIX_PATH=${prefix}`,
        '-DCMAKE_C_COMPILER=clang-19',
      ),
    /version/,
  );
});

test('hello.c by pkg-config', () => {
  const env = { ...process.env, PKG_CONFIG_PATH: join(prefix, 'lib/pkgconfig') };
  const flags = execFileSync('pkg-config', ['--cflags', '--libs', 'hyperion'], {
    env,
    encoding: 'utf8',
  });
  const program = join(work, 'hello');
  run(
    'clang-19',
    '-std=c17',
    ...STRICT.slice(0, -1),
    join(root, 'examples/hello.c'),
    ...flags.trim().split(/\s+/),
    '-o',
    program,
  );
  assert.equal(run(program, story), told);
});

test('a C++ program', () => {
  const program = join(work, 'cpp');
  execFileSync(
    'clang++-19',
    [
      '-std=c++17',
      ...STRICT,
      '-x',
      'c++',
      '-',
      '-x',
      'none',
      library,
      '-lm',
      '-pthread',
      '-o',
      program,
    ],
    {
      input: `#include <hyperion/hyperion.h>
#include <cstdio>
int main(int, char **argv) {
    hyp_source file;
    hyp_model *model = nullptr;
    hyp_engine *engine = hyp_engine_create(nullptr);
    if (hyp_source_open_file(argv[1], &file) || hyp_model_open(engine, &file, 1, nullptr, &model))
        return 1;
    std::puts(hyp_model_get_info(model).architecture);
    hyp_model_close(model);
    hyp_engine_destroy(engine);
    hyp_source_close(&file);
}
`,
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  assert.equal(run(program, story), 'llama\n');
});
