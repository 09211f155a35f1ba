// Both command lines by the same cases: the files that they write, what they read, the numbers that
// they take, how they end.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspect, quantize } from 'hyperion-runtime';
import { readArguments, UsageError, usageText } from '../../glue/cli/arguments.js';
import { helpText } from '../../glue/cli/help.js';
import { barText } from '../../glue/cli/progress.js';
import { options, takesOption, takesValue } from '../../glue/cli/table.js';
import { VERBS } from '../../glue/generated/commands.js';
import { makeOracleModels } from '../tools/models.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const STORY = join(root, 'models/story.gguf');
const NATIVE = join(root, 'build/native/hyperion');
const LINES = { native: [NATIVE], JavaScript: [process.execPath, join(root, 'glue/cli/main.js')] };
const HANG_MS = 60000;

/**
 * Runs a command to its end. `code` is what a shell would say: 128 + its number after a signal.
 * `each` gets the process as soon as it runs.
 * @param {string[]} command
 * @param {{input?: string | Buffer, cwd?: string, each?: Function}} [options]
 * @returns {Promise<{code: number, stdout: string, stderr: string}>}
 */
const run = (command, { input, cwd, each } = {}) =>
  new Promise((resolve, reject) => {
    const child = spawn(command[0], command.slice(1), {
      cwd,
      timeout: HANG_MS,
      killSignal: 'SIGKILL',
    });
    const [out, err] = [[], []];
    child.stdout?.on('data', data => out.push(data));
    child.stderr?.on('data', data => err.push(data));
    child.stdin?.on('error', () => {}); // a command that wants no input may be gone
    child.stdin?.end(input);
    child.on('error', reject).on('close', (code, signal) =>
      resolve({
        code: code ?? 128 + constants.signals[signal],
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      }),
    );
    each?.(child);
  });
/**
 * The command under a shell's redirections and limits.
 * @param {string} script @param {string[]} command
 */
const shell = (script, command) => ['bash', '-c', `${script}`, 'bash', ...command];

for (const [name, line] of Object.entries(LINES))
  describe(`the ${name} command line`, () => {
    let dir;
    let wide; // the story model in floats
    let want; // `wide` in q8_0
    const at = file => join(dir, file);
    const cli = (...args) => [...line, ...args];
    const remains = () => fs.readdirSync(dir).filter(file => file.startsWith('.hyperion'));
    const q8 = (from, to) => run(cli('quantize', from, to, 'q8_0', '-q'));
    const ok = result => assert.deepEqual([result.code, result.stderr], [0, ''], result.stderr);
    before(async () => {
      dir = fs.mkdtempSync(join(tmpdir(), 'hyperion-cli-'));
      wide = at('wide.gguf');
      ok(await run([NATIVE, 'quantize', STORY, wide, 'f16', '-q']));
      ok(await run([NATIVE, 'quantize', wide, at('want.gguf'), 'q8_0', '-q']));
      want = fs.readFileSync(at('want.gguf'));
    });
    after(() => fs.rmSync(dir, { recursive: true }));
    const whole = file =>
      assert.ok(fs.readFileSync(file).equals(want), `${file} is not what it should be`);

    test('an output may be its input, also through links', async () => {
      fs.copyFileSync(wide, at('same.gguf'));
      ok(await q8(at('same.gguf'), at('same.gguf')));
      whole(at('same.gguf'));
      fs.copyFileSync(wide, at('target.gguf'));
      fs.symlinkSync('target.gguf', at('link.gguf'));
      ok(await q8(at('target.gguf'), at('link.gguf')));
      whole(at('target.gguf'));
      assert.equal(fs.readlinkSync(at('link.gguf')), 'target.gguf');
      fs.linkSync(wide, at('hard.gguf'));
      ok(await q8(wide, at('hard.gguf')));
      whole(at('hard.gguf'));
      assert.notEqual(fs.statSync(wide).ino, fs.statSync(at('hard.gguf')).ino);
      fs.symlinkSync('deep/new.gguf', at('dangling.gguf')); // a link to where nothing is yet
      fs.mkdirSync(at('deep'));
      ok(await q8(wide, at('dangling.gguf')));
      whole(at('deep/new.gguf'));
      fs.mkdirSync(at('deep/er'));
      fs.symlinkSync('deep/er', at('folder'));
      fs.symlinkSync('../up.gguf', at('deep/er/out.gguf')); // up from where the folder really is
      ok(await q8(wide, at('folder/out.gguf')));
      whole(at('deep/up.gguf'));
    });

    test("neither an input OUT.partial nor somebody's file of that name is touched", async () => {
      fs.copyFileSync(wide, at('x.gguf.partial'));
      ok(await q8(at('x.gguf.partial'), at('x.gguf')));
      whole(at('x.gguf'));
      assert.ok(fs.readFileSync(at('x.gguf.partial')).equals(fs.readFileSync(wide)));
      fs.writeFileSync(at('y.gguf.partial'), 'somebody else is writing this');
      assert.equal((await run(cli('quantize', wide, at('y.gguf'), 'q1_0'))).code, 1);
      assert.equal(fs.readFileSync(at('y.gguf.partial'), 'utf8'), 'somebody else is writing this');
      assert.ok(!fs.existsSync(at('y.gguf')));
    });

    test('of two writers of one output the last one wins', async () => {
      ok(await run([NATIVE, 'quantize', wide, at('other.gguf'), 'q4_0', '-q']));
      const results = await Promise.all([
        q8(wide, at('two.gguf')),
        run(cli('quantize', wide, at('two.gguf'), 'q4_0', '-q')),
      ]);
      results.forEach(ok);
      const got = fs.readFileSync(at('two.gguf'));
      assert.ok(got.equals(want) || got.equals(fs.readFileSync(at('other.gguf'))), 'a mixture');
      assert.deepEqual(remains(), []);
    });

    test('permissions: those of the file that is replaced, else those of umask', async () => {
      fs.writeFileSync(at('mode.gguf'), 'old');
      fs.chmodSync(at('mode.gguf'), 0o604);
      ok(
        await run(
          shell('umask 027; exec "$@"', cli('quantize', wide, at('mode.gguf'), 'q8_0', '-q')),
        ),
      );
      assert.equal(fs.statSync(at('mode.gguf')).mode & 0o777, 0o604);
      ok(
        await run(
          shell('umask 027; exec "$@"', cli('quantize', wide, at('mode2.gguf'), 'q8_0', '-q')),
        ),
      );
      assert.equal(fs.statSync(at('mode2.gguf')).mode & 0o777, 0o640);
    });

    test('a device or a pipe as output is written to, not replaced', async () => {
      // Devices of our own: whoever may replace those of /dev would do so here, were this broken.
      const mine = (file, minor) => {
        try {
          spawnSync('mknod', [at(file), 'c', '1', minor]);
          fs.closeSync(fs.openSync(at(file), fs.constants.O_WRONLY));
          return true;
        } catch {
          return false; // not ours to make, or not on this file system
        }
      };
      if (mine('null', '3')) {
        ok(await q8(wide, at('null')));
        assert.ok(fs.statSync(at('null')).isCharacterDevice());
      }
      if (mine('full', '7')) {
        const { code, stderr } = await q8(wide, at('full'));
        assert.ok(code === 1 && /can not write .*full: .*no space left/i.test(stderr), stderr);
        assert.ok(fs.statSync(at('full')).isCharacterDevice());
      }
      spawnSync('mkfifo', [at('pipe')]);
      const [result, got] = await Promise.all([
        q8(wide, at('pipe')),
        fs.promises.readFile(at('pipe')),
      ]);
      ok(result);
      assert.ok(got.equals(want) && fs.statSync(at('pipe')).isFIFO());
      fs.symlinkSync('/proc/self/fd/1', at('stdout'));
      const through = await run(
        shell('"$@" | cksum', cli('quantize', wide, at('stdout'), 'q8_0', '-q')),
      );
      assert.equal(through.stdout, (await run(['cksum'], { input: want })).stdout);
    });

    test('a pipe that nobody reads holds no signal back', async () => {
      spawnSync('mkfifo', [at('lonely')]);
      // Open for reading, but never read: it fills.
      const reader = fs.openSync(at('lonely'), fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
      const full = child => {
        const watch = setInterval(() => {
          const waits = /^(State:\s+S)/m.test(fs.readFileSync(`/proc/${child.pid}/status`, 'utf8'));
          const wchan = waits ? fs.readFileSync(`/proc/${child.pid}/wchan`, 'utf8') : '';
          if (/pipe/.test(wchan)) child.kill('SIGINT');
        }, 20);
        child.on('exit', () => clearInterval(watch));
      };
      const { code } = await run(cli('quantize', wide, at('lonely'), 'q8_0', '-q'), { each: full });
      fs.closeSync(reader);
      assert.equal(code, 130);
    });

    test('a full disk leaves what was there, and nothing else', async () => {
      const blocks = Math.floor(want.length / 1024);
      assert.ok(want.length % 1024, 'the last write is to be taken in part');
      for (const limit of [0, 1, Math.floor(blocks / 2), blocks]) {
        fs.writeFileSync(at('old.gguf'), 'as it was');
        const { code, stdout, stderr } = await run(
          shell(`ulimit -f ${limit}; exec "$@"`, cli('quantize', wide, at('old.gguf'), 'q8_0')),
        );
        assert.deepEqual([code, stdout], [1, ''], stderr);
        assert.match(stderr, /can not write .*old\.gguf: .*file too large/i);
        assert.equal(fs.readFileSync(at('old.gguf'), 'utf8'), 'as it was');
        assert.deepEqual(remains(), []);
      }
      ok(
        await run(
          shell(
            `ulimit -f ${blocks + 1}; exec "$@"`,
            cli('quantize', wide, at('old.gguf'), 'q8_0', '-q'),
          ),
        ),
      );
      whole(at('old.gguf'));
      fs.writeFileSync(at('text.txt'), 'Once upon a time, there was a little fox.\n');
      for (const args of [
        ['calibrate', STORY, at('text.txt'), at('old.gguf')],
        ['prune', wide, at('old.gguf')],
        ['bench', STORY, '-q', '--trace', at('old.gguf')],
      ]) {
        const { code, stderr } = await run(shell('ulimit -f 1; exec "$@"', cli(...args)));
        assert.ok(
          code === 1 && /can not write .*old\.gguf/.test(stderr),
          `${args[0]}: ${code} ${stderr}`,
        );
        whole(at('old.gguf'));
        assert.deepEqual(remains(), [], args[0]);
      }
    });

    test('what can not be an output is said, and why', async () => {
      for (const [out, why] of [
        [dir, /directory/i],
        [at('no/such/x.gguf'), /no such/i],
        ['', /no such|no name/i],
        [at(`${'n'.repeat(300)}`), /too long/i],
      ]) {
        const { code, stderr } = await run(cli('quantize', wide, out, 'q8_0'), { cwd: dir });
        assert.ok(code === 1 && why.test(stderr) && /can not write/.test(stderr), stderr);
      }
      assert.equal(
        (await run(cli('quantize', wide, at(`${'n'.repeat(250)}.gguf`), 'q8_0', '-q'))).code,
        0,
      ); // room for no more of a name
      assert.deepEqual(remains(), []);
    });

    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ])
      test(`${signal} ends it with ${code}, and nothing is left`, async () => {
        fs.writeFileSync(at('old.gguf'), 'as it was');
        const seen = file => child => {
          const watch = setInterval(() => {
            if (file() && child.exitCode === null) child.kill(signal);
          }, 1);
          child.on('exit', () => clearInterval(watch));
        };
        for (const args of [
          ['quantize', wide, at('old.gguf'), 'q2_k'],
          ['prune', wide, at('old.gguf')],
        ]) {
          const result = await run(cli(...args), { each: seen(() => remains().length > 0) });
          assert.equal(result.code, code, result.stderr);
          assert.equal(fs.readFileSync(at('old.gguf'), 'utf8'), 'as it was');
          assert.deepEqual(remains(), []);
        }
        let said = 0;
        const endless = cli('run', STORY, 'Once', '-n', '1000000', '-c', '60000', '-t', '5', '-q');
        const answer = await run(endless, {
          each: child => child.stdout.on('data', () => said++ || child.kill(signal)),
        });
        assert.ok(
          answer.code === code && answer.stdout.length < 1e6,
          `${answer.code} ${answer.stderr}`,
        );
      });

    if (name === 'native')
      // Node takes every signal back from whoever has ignored it
      test('a signal that is ignored (nohup) stays ignored', async () => {
        const hangUp = child => {
          const watch = setInterval(() => remains().length && child.kill('SIGHUP'), 5);
          child.on('exit', () => clearInterval(watch));
        };
        ok(
          await run(
            shell(`trap '' HUP; exec "$@"`, cli('quantize', wide, at('hup.gguf'), 'q8_0', '-q')),
            { each: hangUp },
          ),
        );
        whole(at('hup.gguf'));
      });

    test('a full standard output is a failure, a reader that has gone is none', async () => {
      for (const args of [
        ['--help'],
        ['--version'],
        ['info', STORY],
        ['info', STORY, '--json'],
        ['tokenize', STORY, 'Hello'],
        ['run', STORY, 'Once', '-n', '4', '-q'],
        ['run', STORY, 'Once', '-n', '4', '--json'],
        ['quantize', wide, at('told.gguf'), 'q8_0'],
      ]) {
        const { code, stderr } = await run(shell('exec "$@" >/dev/full', cli(...args)));
        assert.ok(
          code === 1 && /can not write to standard output: .*no space left/i.test(stderr),
          `${args}: ${code} ${stderr}`,
        );
      }
      const { code, stderr } = await run(
        shell(`ulimit -f 1; exec "$@" > '${at('out.json')}'`, cli('info', STORY, '--json')),
      ); // of which a part fits
      assert.ok(code === 1 && /can not write to standard output/.test(stderr), `${code} ${stderr}`);
      const gone = await run(
        shell(
          '"$@" | head -c 1; exit ${PIPESTATUS[0]}',
          cli('run', STORY, 'Once', '-n', '4000', '-c', '4100', '-t', '5', '-q'),
        ),
      );
      assert.ok(
        [0, 128 + constants.signals.SIGPIPE].includes(gone.code) && !gone.stderr,
        `${gone.code} ${gone.stderr}`,
      );
    });

    test('a pipe or a folder as a model is refused', async () => {
      spawnSync('mkfifo', [at('model')]);
      for (const path of [at('model'), dir, '/dev/null'])
        for (const args of [
          ['info', path],
          ['run', path, 'x'],
          ['run', STORY, 'x', '--draft', path],
          ['quantize', path, at('none.gguf'), 'q8_0'],
          ['quantize', wide, at('none.gguf'), 'q8_0', '--imatrix', path],
        ]) {
          const { code, stderr } = await run(cli(...args));
          assert.ok(
            code === 1 && stderr.includes(path) && /not a regular file/.test(stderr),
            `${args}: ${code} ${stderr}`,
          );
        }
      assert.ok(!fs.existsSync(at('none.gguf')));
    });

    test('closed descriptors: no prompt, and no model is read as one', async () => {
      const options = ['-n', '8', '-t', '0', '-q'];
      const empty = await run(cli('run', STORY, '-', ...options), { input: '' });
      assert.ok(empty.code === 0 && empty.stdout.length > 5, empty.stderr);
      for (const script of ['exec "$@" <&-', 'exec "$@" <&- 2>&-'])
        assert.equal(
          (await run(shell(script, cli('run', STORY, '-', ...options)))).stdout,
          empty.stdout,
          script,
        );
      assert.equal(
        (await run(shell('exec "$@" <&-', cli('tokenize', STORY, '--json')))).stdout,
        '{"tokens":[1]}\n',
      );
      fs.copyFileSync(wide, at('copy.gguf'));
      assert.equal(
        (
          await run(
            shell(
              'exec "$@" <&- >&- 2>&-',
              cli('quantize', at('copy.gguf'), at('quiet.gguf'), 'q8_0'),
            ),
          )
        ).code,
        0,
      );
      whole(at('quiet.gguf'));
      assert.ok(fs.readFileSync(at('copy.gguf')).equals(fs.readFileSync(wide)));
      if (name !== 'native') return; // Node takes a folder for no input at all
      const folder = await run(shell(`exec "$@" < '${dir}'`, cli('run', STORY, '-', ...options)));
      assert.ok(
        folder.code === 1 && /directory/i.test(folder.stderr) && !folder.stdout,
        folder.stderr,
      );
    });

    test('a terminal sees a bar in its width, which makes way for what is written', async () => {
      const out = join(dir, 'bar.gguf');
      const command = cli('quantize', STORY, out, 'q8_0').join(' ');
      const seen = async (columns, before = '') => {
        const typed = `stty cols ${columns}; export TERM=xterm ${before}; ${command}`;
        const { code, stdout } = await run(['script', '-qefc', typed, '/dev/null']);
        assert.equal(code, 0, stdout);
        return stdout;
      };
      for (const columns of [90, 40, 14]) {
        const shown = (await seen(columns, 'NO_COLOR=1')).split('\r');
        const bars = shown.filter(part => / %/.test(part));
        assert.ok(bars.length > 0, 'no bar');
        for (const bar of bars) {
          assert.match(bar, /\x1b\[K$/);
          assert.ok(bar.length - 3 < columns, `${bar.length - 3} in ${columns} columns`);
          assert.match(
            bar.slice(0, -3),
            columns < 25 ? /^[a-z]* ? *\d+ %$/ : /^converting \[=*-+\]/,
          );
        }
        // gone before the line that says what was written
        assert.ok(shown.at(shown.findLastIndex(part => / %/.test(part)) + 1).startsWith('\x1b[K'));
        assert.match(shown.join(''), /\x1b\[K[^ ]*bar\.gguf: \d/);
      }
      assert.match(await seen(90), /\x1b\[36m/);
      assert.doesNotMatch(await seen(90, 'TERM=dumb'), / %/);
      assert.equal((await run(cli('quantize', STORY, out, 'q8_0'))).stderr, '');
    });

    test('a value may begin with a minus sign', async () => {
      const { code, stdout, stderr } = await run(
        cli(
          'run',
          STORY,
          'Once',
          '--presence-penalty',
          '-0.5',
          '-qn',
          '5',
          '-t0',
          '--stop',
          '-x',
          '-s',
          '007',
          '--',
          '-',
        ),
        { input: '' },
      );
      assert.equal(code, 2, stdout); // a prompt too many
      ok(
        await run(
          cli(
            'run',
            STORY,
            'Once',
            '--presence-penalty',
            '-0.5',
            '-qn',
            '5',
            '-t0',
            '--stop',
            '-x',
            '-s',
            '007',
          ),
        ),
      );
      const cold = await run(cli('run', STORY, 'Once', '-t', '-1'));
      assert.ok(cold.code === 2 && /temperature/.test(cold.stderr), `${cold.stderr}${stderr}`);
    });
  });

describe('both command lines', () => {
  const both = async (...args) =>
    Promise.all(Object.values(LINES).map(line => run([...line, ...args])));

  test('take the same numbers, and refuse the same', () => {
    const whole = {
      yes: ['0', '1', '7', '007'],
      no: [
        '',
        ' ',
        '-1',
        '+1',
        '1.0',
        '1e1',
        '0x1',
        ' 1',
        '1 ',
        '1_0',
        '٣',
        'one',
        'NaN',
        '1,0',
        '99999999999999999999999',
      ],
    };
    // Of real numbers: how they are written, then what is in a range.
    const real = (least, most) => ({
      yes: ['0.5', '.5', '5e-1', '5E-1', '+0.5', '0.50', '1', '1.', '1e0', '1e+0'].concat(
        least <= 0 ? ['0', '0.0', '-0', '1e-60'] : [],
        least < 0 ? [String(least), '-0.5', '-.5'] : [],
        [String(most)],
      ),
      no: [
        '',
        ' ',
        '.',
        '-',
        '+',
        'e5',
        '1e',
        '1e+',
        '--1',
        '0x10',
        '0b1',
        ' 1',
        '1 ',
        'inf',
        '-inf',
        'Infinity',
        'nan',
        'NaN',
        '1e39',
        '3e38',
        '-4e38',
        '1,5',
        '1f',
        '1.2.3',
        'hot',
        String(most + 1),
        String(least - 1),
      ],
    });
    const count = (least, most) => ({
      yes: ['1', '7', '007', String(most)].concat(least ? [String(least)] : ['0']),
      no: [...whole.no, String(most + 1), '4294967296', '-4294967295'].concat(least ? ['0'] : []),
    });
    const cases = {
      'max-tokens': count(0, 4294967295),
      'top-k': count(0, 2147483647),
      context: count(1, 16777216),
      batch: count(1, 4096),
      'penalty-last': count(1, 65536),
      'prompt-tokens': count(1, 16777216),
      runs: { yes: ['1', '64'], no: [...whole.no, '0', '65'] },
      seed: {
        yes: [...whole.yes, '8', '4294967295', '4294967296', '9007199254740991'],
        no: [
          ...whole.no,
          '9007199254740992',
          '9007199254740993',
          '18446744073709551615',
          '18446744073709551616',
          '-18446744073709551615',
        ],
      },
      threads: { yes: ['1', '16', '02'], no: [...whole.no, '0', '17'] },
      lookup: { yes: whole.yes, no: [...whole.no, '8'] },
      temperature: real(0, 100),
      'top-p': real(0, 1),
      'min-p': { yes: ['0', '.5', '0.99999'], no: [...real(0, 1).no, '1'] },
      'typical-p': real(0, 1),
      'repeat-penalty': real(0, 10),
      'frequency-penalty': real(-10, 10),
      'presence-penalty': real(-10, 10),
      mirostat: real(0, 100),
      density: {
        yes: ['1', '.5', '1e-3', '1.00000001'],
        no: [...real(0, 1).no, '0', '-1', '1.1', '1e-60', '0.0009'],
      },
      memory: {
        yes: [
          '0',
          '5',
          '5B',
          '5b',
          '500MB',
          '2GB',
          '2gb',
          '1.5g',
          '.5 m',
          '5.K',
          '96MiB',
          '5 B',
          '999999999999999',
          '1000000G',
          '9007199254740991',
        ],
        no: [
          '',
          ' ',
          'B',
          'MB',
          '-5',
          '+5',
          '5XB',
          '5MBs',
          '5 MB ',
          ' 5',
          '5  MB',
          '5M B',
          '1e3',
          '0x10',
          '5T',
          '5iB',
          '5Bi',
          'inf',
          'nan',
          '9007199254740992',
          '10000000G',
          '1e9G',
          'lots',
        ],
      },
      cache: { yes: ['f16', 'q8_0'], no: ['', 'F16', 'q4_0', 'f16 '] },
    };
    const native = (...args) =>
      spawnSync(NATIVE, [...args, '--version'], { timeout: HANG_MS }).status;
    const script = (...args) => {
      try {
        readArguments([...args, '--version']);
        return 0;
      } catch (error) {
        assert.ok(error instanceof UsageError, error);
        return 2;
      }
    };
    for (const [name, { yes, no }] of Object.entries(cases))
      for (const [texts, code] of [
        [yes, 0],
        [no, 2],
      ])
        for (const text of texts)
          assert.deepEqual(
            [
              native(`--${name}`, text),
              script(`--${name}`, text),
              native(`--${name}=${text}`),
              script(`--${name}=${text}`),
            ],
            [code, code, code, code],
            `--${name} '${text}'`,
          );
    for (const [args, code] of [
      [['-n5'], 0],
      [['-qn5'], 0],
      [['-n', '-5'], 2],
      [['-qn'], 2],
      [['-n=5'], 2],
      [['-x'], 2],
      [['-s', '--'], 2],
      [['--frob'], 2],
      [['--json=1'], 2],
      [['--max'], 2],
      [['--stop='], 2],
      [[`--stop=${'é'.repeat(128)}`], 0],
      [[`--stop=${'é'.repeat(129)}`], 2],
      [Array(16).fill('--stop=x'), 0],
      [Array(17).fill('--stop=x'), 2],
    ])
      assert.deepEqual([native(...args), script(...args)], [code, code], `${args}`);
    assert.equal(readArguments(['--memory', '1.5 g']).values.memory, 1.5e9);
  });

  test('say the same of numbers in their exit codes', async () => {
    for (const args of [
      ['run', STORY, 'x', '-s', '-1'],
      ['info', STORY, '--memory', '5XB'],
      ['info', STORY, '-t', 'hot'],
      ['quantize', STORY, join(tmpdir(), 'never.gguf'), 'q8_0', '--threads', '0'],
    ])
      for (const { code, stderr } of await both(...args))
        assert.ok(
          code === 2 && /--\S+ must be .*, not '/.test(stderr),
          `${args}: ${code} ${stderr}`,
        );
  });

  test('an answer goes on from a saved state, in the other command line too', async () => {
    const dir = fs.mkdtempSync(join(tmpdir(), 'hyperion-state-'));
    const at = name => join(dir, name);
    const sampling = ['-s', '9', '--stop', 'friend', '--repeat-penalty', '1.1', '--cache', 'q8_0'];
    const tell = (line, ...args) => run([...LINES[line], 'run', STORY, ...args, '-q']);
    const text = ({ code, stdout, stderr }) => {
      assert.equal(code, 0, stderr);
      return stdout.replace(/\n$/, '');
    };
    const fails = async (message, ...args) => {
      for (const line of Object.keys(LINES)) {
        const { code, stderr, stdout } = await tell(line, ...args);
        assert.ok(code === 1 && message.test(stderr) && !stdout, `${line}: ${stderr}${stdout}`);
      }
    };
    try {
      const want = text(await tell('native', 'Tom', '-n', '60', ...sampling));
      for (const [i, lines] of [
        ['native', 'JavaScript', 'native'],
        ['JavaScript', 'native', 'JavaScript'],
      ].entries()) {
        const file = at(`${i}.state`);
        const said = [
          text(await tell(lines[0], 'Tom', '-n', '11', ...sampling, '--save-state', file)),
          text(await tell(lines[1], '-n', '9', '--state', file, '--save-state', file)),
          text(await tell(lines[2], '-n', '40', '--state', file)),
        ];
        assert.equal(said.join(''), want);
        assert.deepEqual(
          fs.readdirSync(dir).filter(name => name.startsWith('.')),
          [],
        );
      }
      const [a, b] = fs.readdirSync(dir).map(at);
      const more = ['--state', a, ' and then', '-n', '12', '-t', '0'];
      const both = Object.keys(LINES).map(line => tell(line, ...more));
      const [first, second] = (await Promise.all(both)).map(text);
      assert.ok(first === second && first.startsWith(' and then') && first.length > 20, first);
      const json = await tell('JavaScript', '--state', b, '-n', '5', '--json');
      assert.equal(JSON.parse(json.stdout).finish, 'length');
      await fails(/can not read .*none/, '--state', at('none'));
      await fails(/HYP_E_FORMAT/, '--state', STORY);
      await fails(/HYP_E_CONTEXT/, '--state', a, '-c', '5');
      const nowhere = await tell('native', 'Tom', '-n', '1', '--save-state', at('no/where'));
      assert.ok(nowhere.code === 1 && /can not write/.test(nowhere.stderr), nowhere.stderr);
      const unwritten = await tell('JavaScript', 'Tom', '-n', '1', '--save-state', at('no/where'));
      assert.ok(unwritten.code === 1 && /can not write/.test(unwritten.stderr), unwritten.stderr);
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  });

  test('JSON is JSON: bytes that are no text, numbers that are none', async () => {
    // far from what it has learned the model writes single bytes, too
    for (const seed of ['1', '2', '3']) {
      const [a, b] = (
        await both(
          'run',
          STORY,
          'Once',
          '-t',
          '100',
          '-n',
          '300',
          '-c',
          '400',
          '-s',
          seed,
          '--json',
        )
      ).map(r => JSON.parse(r.stdout));
      assert.equal(a.text, b.text);
      assert.match(a.text, /\ufffd/);
    }
    const raw = spawnSync(NATIVE, [
      'run',
      STORY,
      'Once',
      '-t',
      '100',
      '-n',
      '300',
      '-c',
      '400',
      '-s',
      '1',
      '--json',
    ]).stdout;
    new TextDecoder('utf-8', { fatal: true }).decode(raw);
    const [a, b] = await both('run', STORY, 'Once', '-n', '0', '--json');
    assert.deepEqual(
      [JSON.parse(a.stdout).finish, JSON.parse(b.stdout).finish],
      ['length', 'length'],
    );
    const dir = fs.mkdtempSync(join(tmpdir(), 'hyperion-cli-'));
    try {
      fs.writeFileSync(join(dir, 'text.txt'), 'Once upon a time');
      const wide = join(dir, 'sure.gguf');
      assert.equal((await run([NATIVE, 'quantize', STORY, wide, 'f16', '-q'])).code, 0);
      const bytes = fs.readFileSync(wide);
      const { tensors } = await inspect(wide);
      const sizes = tensors.map(t => Math.ceil(t.bytes / 32) * 32);
      let place = bytes.length - sizes.reduce((sum, n) => sum + n, 0);
      for (const [i, { name, bytes: size }] of tensors.entries()) {
        // 2^14 times as large: logits of many thousands, and a perplexity beyond every number
        for (let j = place; name === 'token_embd.weight' && j < place + size; j += 2) {
          const half = bytes.readUInt16LE(j);
          bytes.writeUInt16LE(half & 0x7c00 ? half + (14 << 10) : 0, j);
        }
        place += sizes[i];
      }
      fs.writeFileSync(wide, bytes);
      for (const against of [[], ['--against', STORY]])
        for (const { code, stdout, stderr } of await both(
          'perplexity',
          wide,
          join(dir, 'text.txt'),
          '--json',
          ...against,
        )) {
          assert.equal(code, 0, stderr);
          assert.equal(JSON.parse(stdout).perplexity, null);
          if (against.length) assert.ok(JSON.parse(stdout).divergence > 1000);
        }
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  });

  test('bench uses its draft model', async () => {
    makeOracleModels(join(root, 'build/models'));
    for (const { code, stderr } of await both(
      'bench',
      STORY,
      '--json',
      '--draft',
      join(root, 'build/models/llama-f16.gguf'),
    ))
      assert.ok(code === 1 && /vocabulary/.test(stderr), `${code} ${stderr}`);
  });

  test("natively, a failing reference's own words are shown", async () => {
    const dir = fs.mkdtempSync(join(tmpdir(), 'hyperion-cli-'));
    try {
      const reference = join(dir, 'reference.gguf');
      fs.copyFileSync(STORY, reference);
      spawnSync('mkfifo', [join(dir, 'text')]);
      const result = run([
        NATIVE,
        'perplexity',
        STORY,
        join(dir, 'text'),
        '--against',
        reference,
        '--memory',
        '8MB',
        '-c',
        '64',
      ]);
      const text = await fs.promises.open(join(dir, 'text'), 'w'); // once both models are open
      fs.truncateSync(reference, 4096);
      await text.writeFile('Once upon a time, there was a little fox.');
      await text.close();
      const { code, stderr } = await result;
      assert.equal(code, 1);
      assert.match(stderr, /hyperion: \w.*\(HYP_E_\w+\)/);
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  });
});

describe('the table of verbs and options', () => {
  const native = (...args) => {
    const { status, stdout, stderr } = spawnSync(NATIVE, args, { timeout: HANG_MS });
    return { code: status, stdout: `${stdout}`, stderr: `${stderr}` };
  };
  /** How both command lines refuse these arguments; the same words. */
  const refusal = args => {
    const { code, stderr, stdout } = native(...args);
    assert.throws(
      () => readArguments(args),
      error => {
        assert.ok(error instanceof UsageError, `${error}`);
        assert.deepEqual([code, stdout, stderr], [2, '', usageText(error)], `${args}`);
        return true;
      },
      `${args}: ${stderr}`,
    );
    return stderr;
  };
  const GOOD = { bytes: '1GB', texts: 'x', text: 'x', file: 'x' };
  const good = ({ type, choices, least }) => choices[0] ?? GOOD[type] ?? String(least);
  const given = one => [`--${one.name}`, ...(takesValue(one) ? [good(one)] : [])];

  test('the help of all and of every verb is the same, within 80 columns', async () => {
    for (const verb of [null, ...VERBS]) {
      const text = helpText(verb);
      const { code, stdout } = native(...(verb ? [verb.name] : []), '--help');
      assert.deepEqual([code, stdout], [0, text]);
      assert.ok(
        text.split('\n').every(line => line.length <= 80 && line === line.trimEnd()),
        text,
      );
      if (verb)
        for (const one of options)
          assert.equal(text.includes(` --${one.name}`), takesOption(verb, one), one.name);
    }
    const { stdout } = await run([...LINES.JavaScript, '-h']);
    assert.equal(stdout, helpText(null));
    for (const line of Object.values(LINES)) {
      const nothing = await run(line);
      assert.deepEqual(nothing, { code: 2, stdout: '', stderr: helpText(null) });
    }
  });

  test('every option is refused in the same words, and named', () => {
    assert.ok(options.length > 30);
    for (const one of options) {
      const { name, letter, type, least, most } = one;
      if (!takesValue(one)) {
        assert.match(refusal([`--${name}=1`]), /takes no value/);
        continue;
      }
      assert.match(refusal([`--${name}`]), new RegExp(`--${name} needs a value`));
      if (letter) assert.match(refusal([`-q${letter}`]), new RegExp(`--${name} needs a value`));
      if (type === 'text' || type === 'file') continue;
      const wrong = type === 'texts' ? ['', 'x'.repeat(most + 1)] : ['', 'nonsense', '0x1', '-1e9'];
      if (/^[uf]/.test(type)) wrong.push(String(least - 1), String(most * 2 + 1), 'a'.repeat(99));
      for (const text of wrong) {
        const said = refusal([`--${name}=${text}`]);
        assert.ok(said.startsWith(`hyperion: --${name} must be `), said);
        if (/^[uf]/.test(type)) assert.ok(said.includes(`from ${least} to ${most}, not '`), said);
      }
    }
    for (const args of [['--frob'], ['--frob=1'], ['-x'], ['-qx'], ['--temp', '1'], ['-é']])
      assert.match(refusal(args), /^hyperion: there is no option '-/);
    refusal(['--stop=x', ...Array(16).fill('--stop=x')]);
  });

  test('a verb refuses what it does not take, and numbers of arguments that it does not', () => {
    for (const verb of VERBS) {
      const { name, least, usage } = verb;
      const enough = verb.arguments.map(word => word.toLowerCase());
      for (const one of options)
        if (!takesOption(verb, one) && one.name !== 'version')
          assert.equal(
            refusal([name, ...enough, ...given(one)]),
            `hyperion: ${name} takes no --${one.name}\ntry 'hyperion ${name} --help'\n`,
          );
      const counted = `hyperion: ${name} takes ${usage}\ntry 'hyperion ${name} --help'\n`;
      assert.equal(refusal([name, ...enough, 'more']), counted);
      if (least) assert.equal(refusal([name, ...enough.slice(0, least - 1)]), counted);
    }
    assert.match(refusal(['frobnicate']), /unknown command 'frobnicate'/);
    assert.match(native('run', STORY, '--artefact', 'simd').stderr, /WebAssembly engine/);
  });

  test('shells complete: the same scripts, which the shells understand', async t => {
    const dir = fs.mkdtempSync(join(tmpdir(), 'hyperion-completion-'));
    t.after(() => fs.rmSync(dir, { recursive: true }));
    const scripts = {};
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { stdout } = native('completion', shell);
      assert.equal((await run([...LINES.JavaScript, 'completion', shell])).stdout, stdout);
      scripts[shell] = stdout;
      for (const { name } of VERBS) assert.ok(stdout.includes(name), `${shell}: ${name}`);
      for (const { name, where } of options)
        assert.ok(name === 'version' || (stdout.includes(name) && where === 'everywhere'));
      const file = join(dir, shell);
      fs.writeFileSync(file, stdout);
      if (spawnSync(shell, ['-c', 'true']).status === 0)
        assert.equal((await run([shell, '-n', file])).stderr, '', shell);
    }
    for (const line of Object.values(LINES))
      assert.match((await run([...line, 'completion', 'tcsh'])).stderr, /bash, zsh or fish/);
    const bash = `${scripts.bash}
      words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hyperion; echo "\${COMPREPLY[*]}"; }
      words hyperion qu
      words hyperion -q per
      words hyperion run --temp
      words hyperion run --cache q
      words hyperion run --cache = ''
      words hyperion --cache = f16 run --artefact = re
      words hyperion quantize -q --imatrix x in out iq4
      words hyperion info --cache
      words hyperion completion ''
      words hyperion run -n ''
    `;
    assert.deepEqual((await run(['bash'], { input: bash })).stdout.split('\n').slice(0, -1), [
      'quantize',
      'perplexity',
      '--temperature',
      'q8_0',
      'f16 q8_0',
      'relaxed',
      'iq4_nl iq4_xs',
      '',
      'bash zsh fish',
      '',
    ]);
    if (spawnSync('fish', ['-c', 'true']).status !== 0) return;
    const fish = `${scripts.fish}
      complete -C 'hyperion qua'
      complete -C 'hyperion run --cache q'
      complete -C 'hyperion perplexity --again'
    `;
    const { stdout } = await run(['env', `HOME=${dir}`, 'fish', '--no-config', '-c', fish]);
    assert.deepEqual(
      stdout.split('\n').map(line => line.split('\t')[0]),
      ['quantize', 'q8_0', '--against', ''],
    );
  });
});

test('a bar leaves out what does not fit, the least telling first', () => {
  const p = {
    ...{ what: 'loading', done: 30e6, total: 75e6, bytes: true },
    ...{ layers: 30, layersReady: 11, rate: 20e6 },
  };
  const figures = [/30\.0 of 75\.0 MB/, /3 s left/, /20\.0 MB\/s/, /layer 11\/30/];
  let last = -1;
  for (let columns = 1; columns < 130; columns++) {
    const text = barText(p, columns, false);
    assert.ok(text.length < columns, `${text.length} in ${columns} columns`);
    assert.equal(/ 40 %/.test(text), columns > 5, text);
    const shown = figures.findIndex(figure => !figure.test(text));
    const count = shown < 0 ? figures.length : shown;
    assert.ok(count >= last, text);
    last = count;
  }
  assert.equal(last, figures.length);
  assert.equal(
    barText(p, 80, false),
    'loading [====--------]  40 %  30.0 of 75.0 MB  layer 11/30  20.0 MB/s  3 s left',
  );
  const slow = barText({ ...p, total: 8e9, rate: 1e6 }, 80, false);
  assert.match(slow, /0\.03 of 8\.00 GB.*1\.0 MB\/s {2}3 h left$/);
});

describe('the library', () => {
  test('a signal is heard while a model is written', async () => {
    const controller = new AbortController();
    let bytes = 0;
    setTimeout(() => controller.abort(), 0);
    await assert.rejects(
      quantize(STORY, 'q2_k', data => (bytes += data.length), { signal: controller.signal }),
      { name: 'AbortError' },
    );
    let wide = [];
    await quantize(STORY, 'f16', data => wide.push(data));
    const stop = new AbortController();
    const source = Buffer.concat(wide);
    const begun = () => (bytes ? stop.abort() : setTimeout(begun, 1));
    bytes = 0;
    begun();
    await assert.rejects(
      quantize(source, 'q2_k', data => (bytes += data.length), { signal: stop.signal }),
      { name: 'AbortError' },
    );
    assert.ok(bytes > 0 && bytes < 3e6, `${bytes} bytes were written before it was heard`);
  });
});
