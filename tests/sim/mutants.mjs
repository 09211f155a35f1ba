// Faults set on purpose, one at a time, in a copy of the sources: the simulation must find each
// within 2,000 seeds.
// usage: mutants.mjs [NAME…]   only those whose name contains one of these
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SEEDS = 2000;
const root = fileURLToPath(new URL('../..', import.meta.url));
const tree = join(root, 'build/mutants/tree');
const out = join(root, 'build/mutants/build');

/**
 * What is replaced by what, once, in a file. `trap`: it lies in pages that trap; the others are
 * quicker without.
 */
const MUTANTS = [
  // batcher
  {
    name: 'who computes alone leaves its sequence on offer',
    file: 'src/runtime/batcher.c',
    from: '    s->batching = HYP_BATCHING_NONE; // nobody',
    to: '    // nobody',
    and: [
      ['HYP_CHECK(!s->computing, "a sequence is computed twice at once");', '', 'src/nn/forward.c'],
      [
        'HYP_CHECK(o->batching == HYP_BATCHING_BATCHED && o->leader == s, "a session was taken from a batch");',
        '',
        'src/runtime/batcher.c',
      ],
    ],
  },
  {
    name: 'two leaders compute in one buffer',
    file: 'src/runtime/batcher.c',
    from: 'if (m->batching || ',
    to: 'if (',
  },
  {
    name: 'a batched session may go away',
    file: 'src/runtime/batcher.c',
    from: 'while (s->batching == HYP_BATCHING_BATCHED) hyp_event_wait_firm(&s->unbatched);',
    to: 'if (s->batching == HYP_BATCHING_BATCHED) hyp_event_wait_firm(&s->unbatched);',
  },
  {
    name: 'whoever waits for a batch is not woken',
    file: 'src/runtime/batcher.c',
    from: '        hyp_event_signal(&o->unbatched);\n',
    to: '',
  },
  {
    name: 'a leader that was cancelled for another stays cancelled',
    file: 'src/runtime/batcher.c',
    from: '    hyp_task_uncancel();\n    return status == HYP_E_CANCELLED',
    to: '    return status == HYP_E_CANCELLED',
  },
  {
    name: 'a batch mixes up the positions',
    file: 'src/runtime/batcher.c',
    from: 'batch[i]->hidden = 0;',
    to: 'batch[i]->hidden = 0; rows[i].position[0] = batch[0]->sequence.count;',
  },
  // sequences
  {
    name: 'a row is rotated by the position of the one before it',
    file: 'src/nn/forward.c',
    from: '        const hyp_row *row = &w->batch->rows[r];\n        for (uint32_t i = 0, turns = 0',
    to: '        const hyp_row *row = &w->batch->rows[r ? r - 1 : 0];\n        for (uint32_t i = 0, turns = 0',
  },
  {
    name: 'a forked block is written without copying it',
    file: 'src/nn/kv.c',
    from: 'if (old && old->users == 1) continue;',
    to: 'if (old) continue;',
  },
  {
    name: 'a copied block is not given up',
    file: 'src/nn/kv.c',
    from: '            old->users--;\n',
    to: '',
  },
  {
    name: 'what was drafted stays in the sequence',
    file: 'src/runtime/answer.c',
    from: 'hyp_sequence_trim(&s->sequence, s->sequence.count - n); // what is drafted',
    to: '// what is drafted',
  },
  {
    name: 'a value is given the place of one that is still read',
    file: 'src/nn/graph.c',
    from: 'if (l->values[k]->last >= v->first)',
    to: 'if (l->values[k]->last > v->first)',
  },
  {
    name: 'more of a text is shared than is in common',
    file: 'src/nn/prompt_cache.c',
    from: 'while (n < most && text[n] == tokens[n]) n++;',
    to: 'while (n < most && (text[n] == tokens[n] || n > 4)) n++;',
  },
  {
    name: 'a text that is remembered gives back a block too many',
    file: 'src/nn/kv.c',
    from: 'for (uint32_t i = kept; i < hyp_kv_blocks(from->context); i++) free_one(c);',
    to: 'for (uint32_t i = kept ? kept - 1 : 0; i < hyp_kv_blocks(from->context); i++) free_one(c);',
  },
  // states and shifts
  {
    name: 'a state forgets the random numbers',
    file: 'src/runtime/state.c',
    from: '    out->sampler.random[0] = hyp_load_u64(at + 8);\n',
    to: '',
  },
  {
    name: 'a state forgets what is held back',
    file: 'src/runtime/state.c',
    from: 'return hyp_stop_push(&out->stop, (const char *)held->data, held->bytes);',
    to: 'return held ? HYP_OK : HYP_E_NOMEM;',
  },
  {
    name: 'a state forgets what nobody has read',
    file: 'src/runtime/state.c',
    from: 'for (size_t at = s->unread_at; at < s->unread.bytes;) {',
    to: 'for (size_t at = s->unread.bytes; at < s->unread.bytes;) {',
  },
  {
    name: 'a restored session takes its old logits',
    file: 'src/runtime/state.c',
    from: '    s->rows = s->row = s->hidden = 0;\n',
    to: '    s->hidden = 1;\n',
  },
  {
    name: 'a shift keeps what was drafted before it',
    file: 'src/runtime/answer.c',
    from: '    s->rows = s->row = s->hidden = 0;\n    hyp_sampler_forget',
    to: '    hyp_sampler_forget',
  },
  // session
  {
    name: 'a call cancelled before it began ends the session',
    file: 'src/runtime/call.c',
    from: 'if (hyp_event_wait(&s->posted, 0) && !s->busy) return;',
    to: 'if (hyp_event_wait(&s->posted, 0)) return;',
  },
  {
    name: 'the last token of a prompt is taken from the cache',
    file: 'src/runtime/session.c',
    from: 'hyp_sequence_common(&s->sequence, s->history, tokens, count - 1), shared = own;',
    to: 'hyp_sequence_common(&s->sequence, s->history, tokens, count), shared = own;',
  },
  {
    name: 'an answer begins with drafts of the last one',
    file: 'src/runtime/session.c',
    from: '    s->rows = s->row = 0;\n    s->chosen = -1;',
    to: '    s->chosen = -1;',
  },
  {
    name: 'a token is lost when its text finds no memory',
    file: 'src/runtime/answer.c',
    from: 'hyp_status status = s->chosen < 0 ? choose(s) : HYP_OK;',
    to: 'hyp_status status = choose(s);',
  },
  // scheduler
  {
    name: 'who yields is not ready any more',
    file: 'src/fiber/sched.c',
    from: '    make_ready(t, HYP_OK);\n    return suspend(t, HYP_TASK_READY);',
    to: '    return suspend(t, HYP_TASK_READY);',
  },
  {
    name: 'a cancelled task is not woken',
    file: 'src/fiber/sched.c',
    from: 't->state == HYP_TASK_SLEEPING) make_ready(t, HYP_E_CANCELLED)',
    to: 't->state == HYP_TASK_SLEEPING) (void)0',
  },
  // pager
  {
    name: 'a frame is taken while it is filled',
    file: 'src/pager/pager.c',
    from: 'if (g->pins || g->state == FILLING || (g->ahead',
    to: 'if (g->pins || (g->ahead',
    and: [
      [
        'HYP_CHECK(g->pins == 0 && g->state == RESIDENT, "a page is taken away while it is read");',
        '',
        'src/pager/pager.c',
      ],
    ],
  },
  {
    name: 'a fill that failed counts',
    file: 'src/pager/pager.c',
    from: '    if (status) {\n        g->state = ABSENT;\n        give_place(p, index, f);',
    to: '    if (false) {\n        g->state = ABSENT;\n        give_place(p, index, f);',
  },
  {
    name: 'pages that gave way do not come back',
    file: 'src/pager/pager.c',
    from: 'if (__builtin_expect(p->resident < p->resident_most, false)) grow(p);',
    to: '',
  },
  {
    name: 'shrinking takes a page that is being filled',
    file: 'src/pager/pager.c',
    from: '        if (g->pins || g->state == FILLING) break;\n        freed',
    to: '        if (g->pins) break;\n        freed',
  },
  {
    name: 'pages are taken away without asking late workers',
    file: 'src/pager/pager.c',
    from: '    hyp_pool_wait_idle(p->workers);\n',
    to: '',
    and: [
      [
        '        o->compute(job, input',
        '        hyp_port_nap(300000); // off its processor\n        o->compute(job, input',
        'src/pool/pool.c',
      ],
    ],
  },
  // budget
  {
    name: 'frames that trap are still counted when they are given back',
    trap: true,
    file: 'src/pager/pager.c',
    from: '        hyp_budget_give(budget, bytes);\n    }\n    for (uint32_t i = 0; i < p->frame_count && !p->range; i++)',
    to: '    }\n    for (uint32_t i = 0; i < p->frame_count && !p->range; i++)',
  },
  {
    name: 'the limit is a wish',
    file: 'src/mem/budget.c',
    from: 'if (!hyp_reclaim(budget->pagers, lacking)) return false;',
    to: '(void)!hyp_reclaim(budget->pagers, lacking);',
    and: [
      [
        '            if (budget->used_bytes > budget->limit_bytes - whole) return false;\n',
        '',
        'src/mem/budget.c',
      ],
    ],
  },
  // pool
  {
    name: "a late worker's tiles are taken for this loop's",
    file: 'src/pool/pool.c',
    from: '    if (done >> 32 != o->sequence) return 0;\n',
    to: '',
  },
  {
    name: 'a tile that nobody computed is left out',
    file: 'src/pool/pool.c',
    from: 'for (tile = 0; left > 0 && tile < s->tiles; tile++) {\n        if (pool->seen[tile]) continue;',
    to: 'for (tile = 0; left > 0 && tile < s->tiles; tile++) {\n        if (true) continue;',
  },
  // sources
  {
    name: 'two fills share the staging memory',
    file: 'src/nn/weights.c',
    from: 'if ((*staging)->busy) continue;',
    to: '',
  },
  // loading
  {
    name: 'a pass does not wait for a vector',
    file: 'src/nn/load.c',
    from: 'while (v && !v->present && !l->status) {',
    to: 'while (false) {',
  },
  {
    name: 'what a long prompt ends with is left behind',
    file: 'src/nn/forward.c',
    from: 'hyp_hidden(&wide, rows - 1)',
    to: 'hyp_hidden(&wide, 0)',
  },
  {
    name: 'a model is closed before its readers have ended',
    file: 'src/nn/load.c',
    from: 'while (l->active) {\n        if (hyp_task_current()) hyp_event_wait_firm',
    to: 'while (false) {\n        if (hyp_task_current()) hyp_event_wait_firm',
  },
  {
    name: 'a read that was given up is answered',
    file: 'src/gguf/gguf.c',
    from: '    hyp_status status = hyp_source_read(&gguf->sources[tensor->shard], at, dst, count);\n',
    to: '    hyp_status status = hyp_source_read(&gguf->sources[tensor->shard], at, dst, count);\n    if (status == HYP_E_CANCELLED) status = HYP_OK;\n',
  },
];

function run(command, args, options = {}) {
  return spawnSync(command, args, { encoding: 'utf8', cwd: root, maxBuffer: 1 << 26, ...options });
}

function replace(file, from, to) {
  const path = join(tree, file);
  const text = readFileSync(path, 'utf8');
  // However the formatter has laid it out.
  const pattern = [...from.replace(/\s/g, '')].map(c => c.replace(/\W/, '\\$&')).join('\\s*');
  const [found] = new RegExp(pattern).exec(text) ?? [];
  if (found === undefined) throw new Error(`${file} has no '${from}'`);
  writeFileSync(
    path,
    text.replace(found, () => to),
  );
}

rmSync(tree, { recursive: true, force: true });
mkdirSync(tree, { recursive: true });
for (const part of [
  'src',
  'native',
  'wasm',
  'tests',
  'examples',
  'tools/cmake',
  'CMakeLists.txt',
  'CMakePresets.json',
])
  cpSync(join(root, part), join(tree, part), { recursive: true });
replace('CMakeLists.txt', ' -Werror', ''); // a fault may leave something unused
const configured = run('cmake', [
  '-S',
  tree,
  '-B',
  out,
  '-G',
  'Ninja',
  '-DCMAKE_C_COMPILER=clang-19',
  '-DCMAKE_ASM_COMPILER=clang-19',
  '-DCMAKE_BUILD_TYPE=Release',
  '-DCMAKE_C_FLAGS_RELEASE=-O1',
  '-DHYP_CHECKED=ON',
]);
if (configured.status) throw new Error(configured.stderr);

/** Builds the copy and plays; returns the seed that failed and why. */
function play(args, environment) {
  const built = run('cmake', ['--build', out, '-j2', '--target', 'sim']);
  if (built.status) throw new Error(built.stdout);
  const played = run(join(out, 'sim'), args, {
    timeout: 300000,
    env: { ...process.env, ...environment },
  });
  const said = played.stderr ?? '';
  if (played.status === 0) return null;
  const found = /^seed (\d+): (.*)$/m.exec(said);
  if (found)
    return { seed: Number(found[1]), why: found[2], panic: /^hyperion: (.*)$/m.exec(said)?.[1] };
  return { seed: NaN, why: played.signal ? `ended by ${played.signal}` : said.slice(-200) };
}

const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter(({ name }) => !wanted.length || wanted.some(w => name.includes(w)));
let found = 0;
let missed = 0;
if (play(['20', '--jobs', '2'])) throw new Error('the simulation fails without a fault');
for (const { name, file, from, to, and = [], trap } of chosen) {
  const changed = [[from, to, file], ...and];
  const before = changed.map(([, , where]) => [where, readFileSync(join(tree, where))]);
  for (const [a, b, where] of changed) replace(where, a, b);
  const failure = play(
    [String(SEEDS), '--jobs', '2'],
    trap ? { HYP_RESERVE_GB: '1' } : { HYP_NO_TRAP: '1' },
  );
  for (const [where, text] of before.reverse()) writeFileSync(join(tree, where), text);
  if (failure) found++;
  else missed++;
  console.log(
    `${failure ? 'found ' : 'MISSED'} ${name}${failure ? `: seed ${failure.seed}, ${failure.panic ?? failure.why}` : ''}`,
  );
}
console.log(`\n${found} passed, ${missed} failed`);
process.exit(missed ? 1 : 0);
