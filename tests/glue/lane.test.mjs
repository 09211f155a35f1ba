// Lanes in JavaScript: the same bytes as C's, two threads, full and damaged lanes, a worker that
// dies, and the channel with and without shared memory.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  LaneConsumer,
  LaneProducer,
  Verdict,
  crc32c,
  createLane,
  describeLane,
  evict,
} from '../../glue/core/lane.js';
import { open } from 'hyperion-runtime';

const root = new URL('../../', import.meta.url);

/** @param {LaneProducer} producer */
function send(producer, type, bytes) {
  const room = producer.begin(bytes);
  assert.ok(room);
  for (let i = 0; i < bytes; i++) room[i] = type + i;
  producer.send(type, bytes);
}
const payloadIsRight = capsule =>
  capsule.payload.every((byte, i) => byte === ((capsule.type + i) & 255));

test('crc32c', () => {
  assert.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(0)), 0);
});

test('the layout is C’s: the same course of events gives the same bytes (tests/test_lane.c)', () => {
  const buffer = createLane({ capacity: 256, slots: 16, shared: false });
  const producer = new LaneProducer(buffer, 7);
  const consumer = new LaneConsumer(buffer, 9);
  const sendTimeless = (type, bytes) => {
    send(producer, type, bytes);
    producer.int32.fill(0, (producer.grant >> 2) + 4, (producer.grant >> 2) + 6);
  };
  [20, 0, 37].forEach((bytes, i) => sendTimeless(i + 1, bytes));
  consumer.accept(consumer.receive());
  consumer.accept(consumer.receive(), Verdict.SKIPPED);
  sendTimeless(4, 40);
  consumer.accept(consumer.receive());
  sendTimeless(5, 60);
  assert.equal(producer.begin(90), null);
  producer.drop();
  assert.equal(consumer.receive().type, 4);
  assert.deepEqual(producer.feedback(), { sequence: 0, verdict: Verdict.ACCEPTED });
  assert.deepEqual(
    new Uint8Array(buffer),
    new Uint8Array(readFileSync(new URL('tests/golden/lane.bin', root))),
  );
});

test('every mix of sizes, through the wrap', () => {
  const buffer = createLane({ capacity: 1024, slots: 16 });
  const producer = new LaneProducer(buffer, 1);
  const consumer = new LaneConsumer(buffer, 2);
  let state = 1;
  const random = n => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % n;
  let sent = 0;
  let received = 0;
  let refused = 0;
  for (let step = 0; step < 50000; step++) {
    if (random(2)) {
      const bytes = random(300);
      const room = producer.begin(bytes);
      if (!room) {
        refused++;
        continue;
      }
      for (let i = 0; i < bytes; i++) room[i] = sent + i;
      producer.send(sent++, bytes);
    } else {
      const capsule = consumer.receive();
      assert.equal(capsule === null, sent === received);
      if (!capsule) continue;
      assert.equal(capsule.type, received++);
      assert.ok(payloadIsRight(capsule));
      consumer.accept(capsule);
    }
  }
  assert.ok(refused > 1000);
  const stats = describeLane(buffer);
  assert.deepEqual(
    [stats.sent, stats.received, stats.corrupted, stats.lost],
    [sent, received, 0, 0],
  );
  assert.throws(() => producer.begin(1000), /more than this lane ever holds/);
  assert.throws(() => new LaneProducer(buffer, 3), /another holds this end/);
  assert.throws(() => new LaneProducer(new ArrayBuffer(4096), 3), /no lane/);
});

test('a damaged capsule is counted, told and skipped', () => {
  const buffer = createLane({ capacity: 1024, slots: 16 });
  const producer = new LaneProducer(buffer, 1);
  const consumer = new LaneConsumer(buffer, 2);
  send(producer, 1, 100);
  producer.bytes[producer.grant + 50] ^= 4;
  send(producer, 2, 100);
  assert.equal(consumer.receive().type, 2);
  assert.equal(describeLane(buffer).corrupted, 1);
  assert.deepEqual(producer.feedback(), { sequence: 0, verdict: Verdict.CORRUPTED });
});

const WORKER = `
  import { parentPort, workerData } from 'node:worker_threads';
  const { LaneConsumer, LaneProducer } = await import(workerData.module);
  const { lane, count, mode } = workerData;
  if (mode === 'consume') {
    const consumer = new LaneConsumer(lane, 5);
    let next = 0, wrong = 0;
    while (consumer.wait()) for (let c; (c = consumer.receive()); consumer.accept(c)) if (c.type !== next++ || !c.payload.every(b => b === (c.type & 255))) wrong++;
    parentPort.postMessage({ next, wrong });
  } else if (mode === 'die') { // with one capsule in its hand
    const consumer = new LaneConsumer(lane, 5);
    consumer.accept(consumer.receive());
    consumer.receive();
    parentPort.postMessage('holding');
    setInterval(() => {}, 1000);
  } else { // dies before it sends what it began
    const producer = new LaneProducer(lane, 6);
    producer.begin(40).fill(1);
    producer.send(1, 40);
    producer.begin(40).fill(2);
    parentPort.postMessage('holding');
    setInterval(() => {}, 1000);
  }`;
const start = data =>
  new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`), {
    workerData: { module: new URL('glue/core/lane.js', root).href, ...data },
  });

test('two threads: every capsule once, in order and whole, with waiting on both sides', async () => {
  const lane = createLane({ capacity: 4096, slots: 64 });
  const worker = start({ lane, mode: 'consume' });
  const answer = once(worker, 'message');
  const producer = new LaneProducer(lane, 1);
  for (let i = 0; i < 20000; i++) {
    producer.beginBlocking(i % 200).fill(i);
    producer.send(i, i % 200);
    if (i % 5000 === 0) await new Promise(resolve => setTimeout(resolve, 5));
  }
  producer.close();
  assert.deepEqual((await answer)[0], { next: 20000, wrong: 0 });
});

test('a worker killed with a capsule in its hand: the lane goes on, and the loss is counted', async () => {
  const lane = createLane({ capacity: 4096, slots: 64 });
  const producer = new LaneProducer(lane, 1);
  for (let i = 0; i < 4; i++) send(producer, i, 50);
  const worker = start({ lane, mode: 'die' });
  await once(worker, 'message');
  await worker.terminate();
  assert.throws(() => new LaneConsumer(lane, 8), /evict it/);
  evict(lane, 5);
  const consumer = new LaneConsumer(lane, 8);
  assert.deepEqual([consumer.receive().type, describeLane(lane).lost], [2, 1]);
});

test('a worker killed before it sends: what it began is lost, counted, and in nobody’s way', async () => {
  const lane = createLane({ capacity: 4096, slots: 64 });
  const worker = start({ lane, mode: 'produce' });
  await once(worker, 'message');
  await worker.terminate();
  evict(lane, 6);
  const producer = new LaneProducer(lane, 7);
  send(producer, 9, 20);
  const consumer = new LaneConsumer(lane, 8);
  const first = consumer.receive();
  assert.deepEqual([first.type, first.payload.length], [1, 40]);
  consumer.accept(first);
  assert.deepEqual([consumer.receive().type, describeLane(lane).lost], [9, 1]);
});

describe('the engine’s worker speaks over it', () => {
  const story = new URL('models/story.gguf', root);
  const tell = async model => {
    let text = '';
    for await (const piece of model.generate('Once upon a time', { temperature: 0, maxTokens: 40 }))
      text += piece.text;
    return text;
  };
  test('tokens, progress, results larger than a capsule; and the same by postMessage where memory can not be shared', async () => {
    const progress = [];
    const model = await open(story, { worker: true, onProgress: p => progress.push(p) });
    const text = await tell(model);
    const { lanes } = await model.stats();
    assert.equal(lanes.length, 1);
    assert.ok(progress.length > 3 && lanes[0].sent > 40 + progress.length, JSON.stringify(lanes));
    assert.deepEqual([lanes[0].corrupted, lanes[0].dropped, lanes[0].lost], [0, 0, 0]);
    const rows = [];
    await model.score(await model.tokenize('Once upon a time there was a bird'), (position, row) =>
      rows.push(row[5]),
    );
    const vector = await model.embed('a bird');
    const big = 'a word and '.repeat(90000);
    // a megabyte each way
    assert.equal(await model.detokenize(await model.tokenize(big, { addSpecial: false })), big);
    await model.close();
    globalThis.crossOriginIsolated = false;
    try {
      const other = await open(story, { worker: true });
      assert.equal(await tell(other), text);
      assert.deepEqual((await other.stats()).lanes, []);
      const again = [];
      await other.score(
        await other.tokenize('Once upon a time there was a bird'),
        (position, row) => again.push(row[5]),
      );
      assert.deepEqual(again, rows);
      assert.deepEqual(await other.embed('a bird'), vector);
      await other.close();
    } finally {
      delete globalThis.crossOriginIsolated;
    }
  });
});
