// Every benchmark by its name. `npm test` runs each of them quickly.
export const BENCHES = {
  decode: './speed.mjs',
  prefill: './speed.mjs',
  context: './context.mjs',
  threads: './threads.mjs',
  batch: './batch.mjs',
  sparse: './sparse.mjs',
  quantizers: './quantizers.mjs',
  fiber: './fiber.mjs',
  pager: './pager.mjs',
  budget: './budget.mjs',
  alloc: './alloc.mjs',
  bus: './bus.mjs',
  package: './package.mjs',
  edge: './edge.mjs',
  ttft: './ttft.mjs',
};
/** What they build natively. */
export const PROGRAMS = [
  'alloc',
  'batch',
  'bus',
  'context',
  'dram',
  'fiber',
  'paged',
  'pager',
  'sparse',
].map(name => `bench_${name}`);
