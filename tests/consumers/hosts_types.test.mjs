// The package in TypeScript, old and current: in strict programs that also check the declarations
// they import, whatever library they are written against. And what publint and attw say of it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PACKAGE, bin, consumer, packed, project, succeed } from './kit.mjs';

// Compiled, not run. What no program may write is marked: the compiler wants an error there.
const MAIN = `
import {
  HyperionError, createEngine, inspect, open,
  type Answer, type ByteSource, type Engine, type EngineOptions, type Facts,
  type GenerateOptions, type Message, type Model, type OpenOptions, type Piece, type Session,
  type Source, type Stats, type Usage,
} from '${PACKAGE}';
import * as slim from '${PACKAGE}/slim';
import { Core } from '${PACKAGE}/core';
import { LaneConsumer, LaneProducer } from '${PACKAGE}/lane';
import '${PACKAGE}/worker';
import wasm from '${PACKAGE}/hyperion.wasm';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Got<F extends (...args: any[]) => Promise<any>> = Awaited<ReturnType<F>>;
export const gives: [
  Same<Got<typeof open>, Model>,
  Same<Got<typeof createEngine>, Engine>,
  Same<Got<Engine['open']>, Model>,
  Same<Got<Model['session']>, Session>,
  Same<Got<Session['fork']>, Session>,
  Same<Got<typeof slim.open>, Model>,
] = [true, true, true, true, true, true];

class Assistant {
  model: Model | null = null;
  async ask(question: string): Promise<string> {
    this.model ??= await open('model.gguf', { memory: '1GB', worker: true });
    const messages: Message[] = [{ role: 'user', content: question }];
    const options: GenerateOptions = { temperature: 0.7, maxTokens: 64, stop: ['.'], purpose: 'batch' };
    const answer: Answer = this.model.chat(messages, options);
    let text = '';
    for await (const piece of answer) {
      const { finish, token, usage }: Piece = piece;
      text += piece.text;
      if (finish === 'length' && token > 0) console_(usage?.answerTokens);
    }
    const usage: Usage | null = answer.usage;
    console_(usage?.promptTokensPerSecond);
    return text;
  }
}
declare function console_(value: unknown): void;

export async function everything(source: Source, own: ByteSource, options: OpenOptions): Promise<Stats> {
  const engine: Engine = await createEngine({ memory: '2GB', wasm } satisfies EngineOptions);
  const [one, two] = await Promise.all([engine.open(source), engine.open(own, { context: 512 })]);
  const alone: Model = await open([own, own], options);
  const session: Session = await two.session({ context: 128 });
  const tokens: number[] = await one.tokenize('Hello');
  const { text, usage } = await one.complete(tokens, { onPiece: piece => console_(piece.text) });
  const reply = await one.chatComplete([{ role: 'user', content: text }], { maxTokens: 3 });
  const vectors: Float32Array[] = await one.embed([text, reply.text]);
  const vector: Float32Array = await one.embed(text);
  console_([usage.answerTokens, vectors, vector]);
  const messages: Message[] = [{ role: 'user', content: 'Hello' }];
  const asked = { model: 'story', messages };
  const completion = await one.openai.chat.completions.create({ ...asked, max_tokens: 3 });
  console_(completion.choices[0]?.message.content);
  for await (const chunk of await one.openai.chat.completions.create({ ...asked, stream: true }))
    console_(chunk.choices[0]?.delta.content);
  await one.score(tokens, (position, values) => console_(values[position]));
  const facts: Facts = alone.facts;
  console_([facts.architecture, await inspect(own), await session.stats(), new Assistant()]);
  try {
    await engine.close();
  } catch (error) {
    if (error instanceof HyperionError) console_(error.code satisfies string);
  }
  // @ts-expect-error
  await open('model.gguf', { contxt: 512 });
  // @ts-expect-error
  one.generate('Once', { temperature: 'hot' });
  // @ts-expect-error
  await open(5);
  console_([Core, LaneConsumer, LaneProducer]);
  return one.stats();
}
`;
const WEB = `
import { open, type Model } from '${PACKAGE}';
export async function page(file: Blob, stream: ReadableStream<Uint8Array>, signal: AbortSignal) {
  const models: Model[] = [await open(file), await open(stream), await open(new URL('file:///m.gguf'))];
  const fetched = await open(await fetch('/m.gguf'), { signal });
  for await (const { text } of fetched.generate('Once', { signal })) models[0]?.tokenize(text, { signal });
  // @ts-expect-error
  await open('m.gguf', { signal: new AbortController() });
}
`;
const USING = `
import { createEngine, open } from '${PACKAGE}';
await using engine = await createEngine();
await using model = await engine.open('m.gguf');
await using session = await model.session();
await using other = await open('m.gguf');
export const facts = [other.facts, await session.tokens()];
`;
const REQUIRES = `
import { createEngine, open } from '${PACKAGE}';
import hyperion = require('${PACKAGE}');
export async function main(): Promise<hyperion.Model> {
  const engine: hyperion.Engine = await createEngine();
  await engine.close();
  return open('m.gguf');
}
`;

const MODULES = {
  NodeNext: { module: 'NodeNext', moduleResolution: 'NodeNext' },
  Bundler: { module: 'ESNext', moduleResolution: 'Bundler' },
};
const LIBRARIES = {
  'with DOM': { lib: ['ES2022', 'DOM'], files: ['main.ts', 'web.ts'] },
  'with WebWorker': { lib: ['ES2022', 'WebWorker'], files: ['main.ts', 'web.ts'] },
  'without DOM': { lib: ['ES2022'], files: ['main.ts'] },
  'with types of Node': { lib: ['ES2022'], types: ['node'], files: ['main.ts', 'web.ts'] },
  'with await using': { lib: ['ESNext'], files: ['main.ts', 'using.ts'], current: true },
  'of CommonJS': { lib: ['ES2022'], files: ['requires.cts'], only: 'NodeNext' },
};
const COMPILERS = {
  5.1: { typescript: '5.1.6', '@types/node': '20.19.43' },
  '7.0': { typescript: '7.0.2', '@types/node': '24.19.2' },
};

for (const [version, dependencies] of Object.entries(COMPILERS))
  for (const [modules, settings] of Object.entries(MODULES))
    for (const [title, { lib, types = [], files, current, only }] of Object.entries(LIBRARIES)) {
      if ((current && version === '5.1') || (only && only !== modules)) continue;
      consumer(`TypeScript ${version}, ${modules}, ${title}`, async () => {
        const config = `tsconfig.${modules}.${title.replaceAll(' ', '-')}.json`;
        const compilerOptions = {
          ...settings,
          target: 'ES2022',
          lib,
          types,
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          skipLibCheck: false,
          noEmit: true,
        };
        const folder = await project(
          `types-${version}`,
          {
            'main.ts': MAIN,
            'web.ts': WEB,
            'using.ts': USING,
            'requires.cts': REQUIRES,
            [config]: JSON.stringify({ compilerOptions, files }),
          },
          dependencies,
        );
        await succeed(folder, bin(folder, 'tsc'), ['-p', config]);
      });
    }

const CHECKERS = { publint: '0.3.25', '@arethetypeswrong/cli': '0.18.5' };

consumer('publint finds nothing', async () => {
  const folder = await project('checkers', {}, CHECKERS);
  const own = join(folder, 'node_modules', PACKAGE);
  const { stdout } = await succeed(folder, bin(folder, 'publint'), [
    'run',
    own,
    '--strict',
    '--pack',
    'false',
  ]);
  assert.match(stdout, /All good/);
});

/** The package's paths, but for what is no module. */
const paths = async folder =>
  Object.keys(
    JSON.parse(await readFile(join(folder, 'node_modules', PACKAGE, 'package.json'))).exports,
  ).filter(path => !/\.(gguf|json)$/.test(path));
// What `require` finds. The rest are parts of the glue for ES modules, and files for bundlers.
const REQUIRED = ['.', './slim'];

for (const [profile, chosen] of [
  // Node 10 knows no `exports`, and so no path but the package's own name.
  ['node16', path => REQUIRED.includes(path)],
  ['esm-only', path => !REQUIRED.includes(path)],
])
  consumer(`attw finds nothing, ${profile}`, async () => {
    const folder = await project('checkers', {}, CHECKERS);
    const { stdout } = await succeed(folder, bin(folder, 'attw'), [
      await packed(),
      ...['--profile', profile, '--no-emoji', '--no-color'],
      '--entrypoints',
      ...(await paths(folder)).filter(chosen),
    ]);
    assert.match(stdout, /OK/);
  });
