// Lanes: two pinned threads against Boost.Lockfree and ConcurrencyKit; two Node workers against
// postMessage. Every payload is verified.
import { join } from 'node:path';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import { LaneConsumer, LaneProducer, createLane, pause } from '../../glue/core/lane.js';
import { build, json, median, medians, quick, root } from './tools.mjs';

const COUNT = quick ? 192000 : 8000000;
const MESSAGES = quick ? 5000 : 200000;

if (!isMainThread && workerData?.bus) {
  const { lane, port, role, grant } = workerData;
  parentPort.once('message', () => {
    const start = performance.now();
    if (role === 'produce') {
      const producer = new LaneProducer(lane, 1);
      const { float64 } = producer;
      if (grant === 8)
        for (let i = 0; i < COUNT; i++) {
          let at;
          while ((at = producer.reserve(8)) < 0) (producer.flush(), pause());
          float64[at >> 3] = i;
          producer.commit(8);
        }
      else
        for (let i = 0; i < COUNT;) {
          let at;
          while ((at = producer.reserve(grant)) < 0) (producer.flush(), pause());
          for (const end = i + (grant >> 3); i < end; at += 8) float64[at >> 3] = i++;
          producer.commit(grant);
        }
      producer.flush();
    } else if (role === 'consume') {
      const consumer = new LaneConsumer(lane, 2);
      const { float64 } = consumer;
      for (let i = 0; i < COUNT;) {
        const bytes = consumer.read();
        if (!bytes) {
          pause();
          continue;
        }
        for (let at = consumer.at >> 3, end = at + (bytes >> 3); at < end; at++)
          if (float64[at] !== i++) throw new Error('a payload is wrong');
        consumer.release(bytes);
      }
    } else if (role === 'post') {
      for (let i = 0; i < MESSAGES; i++) port.postMessage(i);
      return;
    } else {
      let next = 0;
      port.on('message', value => {
        if (value !== next++) throw new Error('a payload is wrong');
        if (next === MESSAGES) parentPort.postMessage(performance.now() - start);
      });
      return;
    }
    parentPort.postMessage(performance.now() - start);
  });
  parentPort.postMessage('ready');
}

/** Milliseconds until the receiving worker has verified all. */
async function pair(roles, data, transfer = [[], []]) {
  const workers = roles.map(
    (role, i) =>
      new Worker(fileURLToPath(import.meta.url), {
        workerData: { bus: true, role, ...data[i] },
        transferList: transfer[i],
      }),
  );
  await Promise.all(
    workers.map(
      w => new Promise((resolve, reject) => w.once('message', resolve).once('error', reject)),
    ),
  );
  const done = new Promise((resolve, reject) => {
    workers[1].once('message', resolve);
    for (const w of workers) w.once('error', reject);
  });
  for (const w of [...workers].reverse()) w.postMessage('go');
  const ms = await done;
  await Promise.all(workers.map(w => w.terminate()));
  return ms;
}

export async function run({ rounds, say }) {
  build('native', 'bench_bus');
  const native = [];
  const node = []; // a grant for each message
  const granted = []; // a grant for 64 of them
  const posted = [];
  for (let round = 0; round < rounds; round++) {
    native.push(await json(join(root, 'build/native/bench_bus')));
    for (const [list, grant] of [
      [node, 8],
      [granted, 512],
    ]) {
      const lane = createLane({ capacity: 65536 });
      list.push(COUNT / 1000 / (await pair(['produce', 'consume'], [{ lane, grant }, { lane }])));
    }
    const { port1, port2 } = new MessageChannel();
    posted.push(
      MESSAGES /
        1000 /
        (await pair(['post', 'listen'], [{ port: port1 }, { port: port2 }], [[port1], [port2]])),
    );
    const r = native.at(-1);
    if (!quick && !(r.throughput_vs_boost && r.throughput_vs_ck))
      throw new Error('Boost.Lockfree or ck is not there: install libboost-dev and libck-dev');
    say(
      `round ${round + 1}: 8 B, million messages a second: lane ${r.lane_8b_m_per_s}, Boost ${r.boost_8b_m_per_s}, ck ${r.ck_8b_m_per_s}; round trip ${r.lane_roundtrip_ns} and ${r.boost_roundtrip_ns} ns; Node: lane ${node.at(-1).toFixed(1)}, postMessage ${posted.at(-1).toFixed(2)}`,
    );
  }
  const all = medians(native);
  const ratios = {};
  for (const key of Object.keys(all))
    if (key.includes('_vs_')) ((ratios[key] = all[key]), delete all[key]);
  ratios.node_vs_postmessage = median(node.map((n, i) => n / posted[i]));
  ratios.node_vs_native = median(node.map((n, i) => n / native[i].lane_8b_m_per_s));
  ratios.node_grants_of_64_vs_native = median(granted.map((n, i) => n / native[i].lane_8b_m_per_s));
  return {
    figures: {
      rounds,
      ...all,
      submit_ns_8b: 1000 / all.lane_8b_m_per_s,
      node_lane_8b_m_per_s: median(node),
      node_lane_8b_grants_of_64_m_per_s: median(granted),
      node_postmessage_m_per_s: median(posted),
    },
    ratios,
  };
}
