// The package in applications that bundlers build: a few lines as a new user writes them, without
// a word of configuration about Hyperion, opened in Chromium.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ISOLATED,
  MODEL,
  OPTIONS,
  PACKAGE,
  PROMPT,
  bin,
  consumer,
  page,
  project,
  succeed,
  writes,
} from './kit.mjs';

const TEMPLATE = '{% for message in messages %}{{ message.content }}{% endfor %}';

/** The story model with a chat template, which repeats what the user says. */
function chatModel() {
  const story = readFileSync(MODEL);
  const key = Buffer.from('tokenizer.chat_template');
  const room = 8 + key.length + 4 + 8; // of the template's row without its text
  const length = Math.ceil((room + TEMPLATE.length + 4) / 32) * 32 - room; // alignment stays
  const text = Buffer.from(`${TEMPLATE}{#${' '.repeat(length - TEMPLATE.length - 4)}#}`);
  const number = (bytes, value) => {
    const out = Buffer.alloc(bytes);
    out.writeUInt32LE(value);
    return out;
  };
  const head = Buffer.from(story.subarray(0, 24)); // magic, version, tensors, rows
  head.writeBigUInt64LE(head.readBigUInt64LE(16) + 1n, 16);
  return Buffer.concat([
    head,
    ...[number(8, key.length), key, number(4, 8), number(8, text.length), text],
    story.subarray(24),
  ]);
}

/** What the user writes. */
const APP = `
import { open } from '${PACKAGE}';

async function main() {
  const model = await open('story.gguf');
  let story = '';
  for await (const { text } of model.generate(${JSON.stringify(PROMPT)}, ${JSON.stringify(OPTIONS)}))
    story += text;
  let reply = '';
  const messages = [{ role: 'user', content: ${JSON.stringify(PROMPT)} }];
  for await (const { text } of model.chat(messages, ${JSON.stringify(OPTIONS)})) reply += text;
  let { threads, artefact } = await model.stats();
  while (threads.count > 1 && !threads.present && !threads.trouble) {
    await new Promise(resolve => setTimeout(resolve, 20));
    ({ threads } = await model.stats());
  }
  await model.close();
  return { story, reply, threads, artefact };
}

main().then(
  result => (globalThis.result = result),
  error => (globalThis.result = { error: String(error.stack ?? error) }),
);
`;
const html = (script = '/main.js', type = 'module') =>
  `<!doctype html><meta charset="utf-8"><title>story</title><script type="${type}" src="${script}"></script>\n`;

/** Opens what a bundler has made, with shared memory and without. */
async function tell(folder, { isolated = [false, true], ...options } = {}) {
  for (const shared of isolated) {
    const headers = { ...options.headers, ...(shared ? ISOLATED : {}) };
    const shown = await page(folder, { ...options, headers });
    try {
      const result = await shown.result();
      const story = await writes();
      assert.deepEqual([result.story, result.reply], [story, story]);
      assert.deepEqual(shown.missing, []);
      assert.deepEqual(shown.problems, []);
      console.log(JSON.stringify(result.threads), result.artefact);
      assert.equal(result.threads.present > 0, shared, JSON.stringify(result.threads));
      assert.match(result.threads.trouble, shared ? /^$/ : /cross-origin isolated/);
    } finally {
      await shown.close();
    }
  }
}

const STORY = chatModel();

for (const [version, exact] of Object.entries({ 6: '6.4.6', 7: '7.3.8', 8: '8.3.8' })) {
  consumer(`Vite ${version}, build`, async () => {
    const folder = await project(
      `vite${version}`,
      { 'index.html': html(), 'main.js': APP, 'public/story.gguf': STORY },
      { vite: exact },
    );
    await succeed(folder, bin(folder, 'vite'), ['build', '--logLevel', 'warn']);
    await tell(join(folder, 'dist'));
  });
}

consumer('webpack 5', async () => {
  const folder = await project(
    'webpack5',
    {
      'src/index.js': APP,
      'dist/index.html': html('main.js', 'text/javascript'),
      'dist/story.gguf': STORY,
    },
    { webpack: '5.112.2', 'webpack-cli': '7.3.1' },
  );
  await succeed(folder, bin(folder, 'webpack'), ['--mode', 'production']);
  await tell(join(folder, 'dist'));
});

consumer('Parcel', async () => {
  const folder = await project(
    'parcel',
    { 'index.html': html('main.js'), 'main.js': APP },
    { parcel: '2.16.4' },
  );
  await succeed(folder, bin(folder, 'parcel'), ['build', 'index.html', '--no-source-maps']);
  const { copyFileSync, writeFileSync } = await import('node:fs');
  writeFileSync(join(folder, 'dist/story.gguf'), STORY);
  await tell(join(folder, 'dist'));
});

/** A page of Next's app router: the same lines, once the page is there. */
const NEXT = {
  'next.config.mjs': "export default { output: 'export' };\n",
  'app/layout.js':
    'export default ({ children }) => <html lang="en"><body>{children}</body></html>;\n',
  'app/main.js': APP.replace(/main\(\)\.then[^]*/, 'export { main };\n'),
  'app/page.js': `'use client';
import { useEffect, useState } from 'react';
import { main } from './main.js';

export default function Page() {
  const [story, show] = useState('');
  useEffect(() => {
    main().then(
      result => (show(result.story), (globalThis.result = result)),
      error => (globalThis.result = { error: String(error.stack ?? error) }),
    );
  }, []);
  return <p>{story}</p>;
}
`,
  'public/story.gguf': STORY,
};

for (const [version, exact] of Object.entries({ 15: '15.5.29', 16: '16.4.6' })) {
  consumer(`Next ${version}`, async () => {
    const folder = await project(`next${version}`, NEXT, {
      next: exact,
      react: '19.3.1',
      'react-dom': '19.3.1',
    });
    const env = { NEXT_TELEMETRY_DISABLED: '1', CI: '1' };
    await succeed(folder, bin(folder, 'next'), ['build'], { env, timeout: 290_000 });
    await tell(join(folder, 'out'));
  });
}

consumer('esbuild', async () => {
  const folder = await project(
    'esbuild',
    { 'main.js': APP, 'dist/index.html': html('main.js'), 'dist/story.gguf': STORY },
    { esbuild: '0.28.2' },
  );
  const args = ['main.js', '--bundle', '--minify', '--outdir=dist', '--format=esm'];
  await succeed(folder, bin(folder, 'esbuild'), args);
  await tell(join(folder, 'dist'));
});

consumer('Rollup', async () => {
  const folder = await project(
    'rollup',
    { 'main.js': APP, 'dist/index.html': html('main.js'), 'dist/story.gguf': STORY },
    { rollup: '4.68.7', '@rollup/plugin-node-resolve': '16.0.3' },
  );
  const args = ['main.js', '--file', 'dist/main.js', '--format', 'es', '--plugin', 'node-resolve'];
  await succeed(folder, bin(folder, 'rollup'), [...args, '--silent']);
  await tell(join(folder, 'dist'));
});
