// Integrity and cache below the readers: manifests, verifiers, the journal and the store, over real
// folders and over places that fail.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { sha256 as bundled } from '../../glue/generated/sha256.js';
import { hasher, hex, late, sha256 } from '../../glue/source/hash.js';
import { manifestText, readManifest } from '../../glue/source/manifest.js';
import { WrongBytes } from '../../glue/source/source.js';
import { directory } from '../../glue/source/store/directory.js';
import { ModelCache } from '../../glue/source/store/cache.js';
import { findCached, openStore } from '../../glue/source/store/index.js';
import { cacheOf } from '../../glue/source/store/option.js';
import { chunkLine, headLine, readJournal } from '../../glue/source/store/journal.js';
import { FileStore, files, removeFile } from '../../glue/source/store/store.js';
import {
  cipherOf,
  fileKey,
  sealedStore,
  verifierOf,
  wholeCheck,
} from '../../glue/source/verify.js';

const KIB = 1024;
const sha = bytes => createHash('sha256').update(bytes).digest('hex');
const root = fs.mkdtempSync(join(tmpdir(), 'hyperion-cache-'));
after(() => fs.rmSync(root, { recursive: true }));
let folders = 0;
const newFolder = () => join(root, String(folders++));

/** Numbers that a seed gives. */
function drawn(seed) {
  let state = seed >>> 0 || 1;
  return below => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** A file of some chunks, no two alike. */
function file(chunks = 5, chunkBytes = KIB, tail = 100) {
  const bytes = randomBytes((chunks - 1) * chunkBytes + tail);
  const parts = Array.from(
    { length: chunks },
    (_, i) => new Uint8Array(bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes)),
  );
  const head = { name: 'hf:a/b/c.gguf', version: 'v1', size: bytes.length, chunkBytes };
  return { bytes, parts, head };
}

const manifestFor = ({ bytes, parts, head }, more = {}) => ({
  format: 'hyperion-manifest',
  version: 1,
  name: 'c.gguf',
  size: head.size,
  chunkBytes: head.chunkBytes,
  sha256: sha(bytes),
  ...more,
  chunks: parts.map(sha),
});

/** The same, encrypted. */
async function sealedFor({ parts, head }, key, salt = hex(randomBytes(32))) {
  const own = await fileKey(key, salt);
  const m = { name: 'c.gguf', size: head.size, chunkBytes: head.chunkBytes };
  const sealed = [];
  for (const [index, part] of parts.entries())
    sealed.push(new Uint8Array(await crypto.subtle.encrypt(cipherOf(m, index), own, part)));
  const encryption = { cipher: 'AES-256-GCM', salt, keyId: 'mine' };
  const bytes = Buffer.concat(sealed);
  return { sealed, manifest: manifestFor({ bytes, parts: sealed, head }, { encryption }) };
}

describe('hashes', () => {
  test('are those of node:crypto, whole and in pieces', async () => {
    for (const length of [0, 1, 55, 56, 63, 64, 65, 1000, 100000]) {
      const bytes = randomBytes(length);
      const state = await hasher();
      const own = bundled.create();
      for (let at = 0; at < length; at += 37) {
        state.update(bytes.subarray(at, at + 37));
        own.update(bytes.subarray(at, at + 37));
      }
      const want = sha(bytes);
      assert.deepEqual([await sha256(bytes), state.hex(), hex(own.digest())], [want, want, want]);
    }
    await import('hyperion-runtime'); // which brings it
    assert.equal((await late.sha256()).sha256, bundled);
  });
});

describe('manifests', () => {
  const good = manifestFor(file());
  const refused = (text, why) =>
    assert.throws(
      () => readManifest(text, 'x.json'),
      error => error.code === 'HYP_E_FORMAT' && why.test(error.message),
      String(text).slice(0, 200),
    );

  test('are read as they are written, encrypted too', async () => {
    assert.deepEqual(readManifest(manifestText(good), 'x'), good);
    assert.deepEqual(readManifest(good, 'x'), good);
    const { manifest } = await sealedFor(file(), randomBytes(32));
    assert.deepEqual(readManifest(manifestText(manifest), 'x'), manifest);
  });

  test('are refused when they are anything else', () => {
    for (const [change, why] of [
      [{ format: 'other' }, /format/],
      [{ version: 2 }, /newer Hyperion/],
      [{ version: '1' }, /version/],
      [{ name: '' }, /name/],
      [{ name: 'x'.repeat(1025) }, /name/],
      [{ size: 0 }, /size/],
      [{ size: -1 }, /size/],
      [{ size: NaN }, /size/],
      [{ size: 1.5 }, /size/],
      [{ size: Infinity }, /size/],
      [{ size: 2 ** 53 }, /size/],
      [{ size: '4196' }, /size/],
      [{ size: good.size + KIB }, /chunks/],
      [{ chunkBytes: 0 }, /chunkBytes/],
      [{ chunkBytes: 2 ** 27 }, /chunkBytes/],
      [{ chunkBytes: 2 * KIB }, /chunks/],
      [{ sha256: 'x' }, /sha256/],
      [{ sha256: good.sha256.toUpperCase() }, /sha256/],
      [{ chunks: [] }, /chunks/],
      [{ chunks: { length: 5 } }, /chunks/],
      [{ chunks: [...good.chunks.slice(1), 7] }, /chunk 4/],
      [{ chunks: [...good.chunks, good.sha256] }, /chunks/],
      [{ more: 1 }, /'more'/],
      [{ encryption: null }, /encryption/],
      [{ encryption: {} }, /cipher/],
      [{ encryption: { cipher: 'AES-128-CTR', salt: good.sha256 } }, /cipher/],
      [{ encryption: { cipher: 'AES-256-GCM', salt: 'short' } }, /salt/],
      [{ encryption: { cipher: 'AES-256-GCM', salt: good.sha256, keyId: 5 } }, /keyId/],
      [{ encryption: { cipher: 'AES-256-GCM', salt: good.sha256, iv: 5 } }, /iv/],
    ]) {
      refused({ ...good, ...change }, why);
      refused(JSON.stringify({ ...good, ...change }), why);
    }
    for (const text of ['', 'null', '[]', '7', '"x"', '{', '{}', '\0', '[['.repeat(200000)])
      refused(text, /no manifest/);
    refused(`{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, /'a'/);
    refused(manifestText(good).replace('{', '{"size": 1,'), /twice/);
    refused(manifestText(good).replace('{', '{"\\u0073ize": 1,'), /twice/);
    refused(' '.repeat(2 ** 25), /longer/);
    assert.ok(readManifest(manifestText({ ...good, name: 'a "b": \\"c\\": d' }), 'x'));
  });

  test('whatever is changed in one, it is refused or says the same', () => {
    const text = manifestText(good);
    const draw = drawn(20);
    let refusals = 0;
    for (let i = 0; i < 4000; i++) {
      const bytes = Buffer.from(text);
      for (let n = 1 + draw(3); n > 0; n--) {
        const at = draw(bytes.length);
        if (draw(3)) bytes[at] = draw(256);
        else bytes.copyWithin(at, draw(bytes.length), draw(bytes.length));
      }
      const cut = draw(4) ? bytes : bytes.subarray(0, draw(bytes.length));
      let read;
      try {
        read = readManifest(cut.toString(), 'x');
      } catch (error) {
        assert.equal(error.code, 'HYP_E_FORMAT', error);
        refusals++;
        continue;
      }
      assert.equal(Math.ceil(read.size / read.chunkBytes), read.chunks.length);
      for (const hash of [read.sha256, ...read.chunks]) assert.match(hash, /^[0-9a-f]{64}$/);
    }
    assert.ok(refusals > 2000, `${refusals}`);
  });
});

describe('verifiers', () => {
  const wrong = (promise, why) =>
    assert.rejects(promise, error => error instanceof WrongBytes && why.test(error.message));

  test('let through what the manifest says, and nothing else', async () => {
    const { parts, ...rest } = file();
    const verifier = await verifierOf(manifestFor({ parts, ...rest }), 'the model');
    assert.deepEqual([verifier.size, verifier.chunkBytes], [rest.bytes.length, KIB]);
    assert.deepEqual(verifier.place(4), { offset: 4 * KIB, count: 100 });
    for (const [index, part] of parts.entries())
      assert.equal(await verifier.check(index, part), part);
    const flipped = parts[2].slice();
    flipped[1000] ^= 1;
    await wrong(verifier.check(2, flipped), /the model/);
    await wrong(verifier.check(1, parts[2]), /hash/);
    await wrong(verifier.check(4, parts[4].subarray(1)), /99 bytes instead of 100/);
    await assert.rejects(verifierOf(manifestFor(file()), 'x', randomBytes(32)), /not encrypted/);
  });

  test('encrypted chunks: swapped, cut, of another file or by another key', async () => {
    const key = randomBytes(32);
    const one = file();
    const { sealed, manifest } = await sealedFor(one, key);
    const verifier = await verifierOf(manifest, 'the model', key);
    assert.equal(verifier.transportSize, one.bytes.length + 5 * 16);
    for (const [index, part] of one.parts.entries()) {
      const { offset, count } = verifier.place(index);
      const given = new Uint8Array(Buffer.concat(sealed).subarray(offset, offset + count));
      assert.deepEqual(await verifier.check(index, given), part);
    }
    // The manifest is not secret: whoever can write it can give every chunk a hash that fits.
    const forged = async (chunks, change = {}, given = key) => {
      const list = { ...manifest, ...change, chunks: chunks.map(sha) };
      return verifierOf(list, 'the model', given);
    };
    const swapped = [...sealed];
    [swapped[0], swapped[1]] = [swapped[1], swapped[0]];
    const inOther = await forged(swapped);
    for (const index of [0, 1]) await wrong(inOther.check(index, swapped[index]), /decrypted/);
    assert.deepEqual(await inOther.check(2, swapped[2]), one.parts[2]);
    // of fewer chunks
    const short = { size: 4 * KIB, chunks: manifest.chunks.slice(0, 4) };
    await wrong((await forged(sealed.slice(0, 4), short)).check(0, sealed[0]), /decrypted/);
    // a tag or a bit of the text
    for (const at of [0, 500, KIB, KIB + 15]) {
      const bent = sealed[3].slice();
      bent[at] ^= 0x80;
      await wrong((await forged(sealed.with(3, bent))).check(3, bent), /decrypted/);
    }
    // of another file by the same key, and another key
    const other = await sealedFor(one, key);
    await wrong((await forged(other.sealed)).check(0, other.sealed[0]), /decrypted/);
    await wrong((await forged(sealed, { name: 'd.gguf' })).check(0, sealed[0]), /decrypted/);
    const lost = await forged(sealed, {}, randomBytes(32));
    await wrong(lost.check(0, sealed[0]), /key 'mine' is not the right one/);
    await assert.rejects(verifierOf(manifest, 'the model'), /give its key 'mine'/);
    for (const odd of [randomBytes(16), 'secret', {}, null])
      await assert.rejects(
        verifierOf(manifest, 'x', odd),
        error => error.code === 'HYP_E_ARGUMENT',
      );
    // a key that can not be read out
    const hidden = await crypto.subtle.importKey('raw', key, 'HKDF', false, ['deriveKey']);
    const by = await verifierOf(manifest, 'the model', hidden);
    assert.deepEqual(await by.check(4, sealed[4]), one.parts[4]);
  });

  test('a key and a nonce are never used twice: each file has a key of its own', async () => {
    const key = randomBytes(32);
    const one = file(2);
    const [a, b] = [await sealedFor(one, key), await sealedFor(one, key)];
    assert.notEqual(a.manifest.encryption.salt, b.manifest.encryption.salt);
    const ivs = Array.from({ length: 300 }, (_, i) => hex(cipherOf(one.head, i).iv));
    assert.equal(new Set(ivs).size, 300);
    assert.notDeepEqual(a.sealed, b.sealed);
  });

  test('the whole is held against its hash in whichever order its chunks come', async () => {
    const { parts, bytes, head } = file(9);
    for (const order of [
      [0, 1, 2, 3, 4, 5, 6, 7, 8],
      [8, 7, 6, 5, 4, 3, 2, 1, 0],
      [4, 0, 1, 1, 8, 2, 3, 7, 5, 6, 6],
    ]) {
      const store = await openStore({ folder: newFolder() }, head);
      const told = { name: 'x', size: bytes.length, store, window: 3 * KIB };
      const watch = wholeCheck({ ...told, sha256: sha(bytes) });
      for (const index of order) {
        await store.put(index, parts[index]);
        await watch(index, parts[index]);
      }
      assert.equal(store.whole, sha(bytes));
      const other = wholeCheck({ ...told, sha256: sha('other') });
      let said;
      for (const index of order) await other(index, parts[index])?.catch(error => (said = error));
      assert.ok(said instanceof WrongBytes && /SHA-256/.test(said.message), said);
      assert.equal(store.present(), 0);
    }
  });
});

describe('the journal', () => {
  const { head } = file();
  const hashes = Array.from({ length: 5 }, (_, i) => sha(String(i)));
  const line = i => chunkLine(i, hashes[i]);

  test('is read as it is written, in whichever order', () => {
    const text = `${headLine(head)}${line(3)}pin\n${line(0)}\n${chunkLine(3, '-')}whole ${hashes[0]}\n`;
    const read = readJournal(text);
    assert.deepEqual(read.head, head);
    assert.deepEqual([...read.chunks], [[0, hashes[0]]]);
    assert.deepEqual([read.pinned, read.torn, read.whole], [true, false, hashes[0]]);
    const again = `${text}unpin\n${headLine({ ...head, size: 7 })}${line(4)}`;
    assert.deepEqual(readJournal(again).head, head);
    assert.equal(readJournal(again).pinned, false);
    assert.equal(readJournal(again).chunks.size, 2);
  });

  test('what broke off is passed over, at whichever byte', () => {
    const text = `${headLine(head)}${line(0)}${line(1)}${line(2)}`;
    const ends = [...text.matchAll(/\n/g)].map(({ index }) => index);
    for (let bytes = 0; bytes <= text.length; bytes++) {
      const { head: read, chunks, torn } = readJournal(text.slice(0, bytes));
      const lines = ends.filter(end => end < bytes).length;
      assert.equal(Boolean(read), lines > 0);
      assert.equal(chunks.size, Math.max(0, lines - 1));
      assert.equal(torn, bytes > 0 && text[bytes - 1] !== '\n');
    }
  });

  test('any bytes are a journal, or none; nothing is out of its range', () => {
    const draw = drawn(4);
    const text = `${headLine(head)}${[0, 1, 2, 3, 4].map(line).join('')}pin\nwhole ${hashes[1]}\n`;
    let sound = 0;
    for (let i = 0; i < 4000; i++) {
      const bytes = Buffer.from(text);
      for (let n = draw(6); n > 0; n--) bytes[draw(bytes.length)] = draw(256);
      if (!draw(5)) bytes.copyWithin(draw(bytes.length), draw(bytes.length));
      const read = readJournal(new TextDecoder().decode(bytes));
      if (!read.head) continue;
      sound++;
      const { size, chunkBytes } = read.head;
      assert.ok(Number.isSafeInteger(size) && size > 0 && chunkBytes > 0);
      for (const [index, hash] of read.chunks)
        assert.ok(index < Math.ceil(size / chunkBytes) && /^[0-9a-f]{64}$/.test(hash));
    }
    assert.ok(sound > 1000);
    for (const odd of [
      { size: 1e300 },
      { chunkBytes: 0 },
      { size: 2 ** 45, chunkBytes: 1 },
      { name: 7 },
    ])
      assert.equal(readJournal(headLine({ ...head, ...odd })).head, null);
  });
});

describe('the store', () => {
  const fill = async (store, parts, which = parts.keys()) => {
    for (const index of which) await store.put(index, parts[index]);
  };
  const open = (folder, head, more) => openStore({ folder, ...more }, head);
  const chunkFiles = folder =>
    fs
      .readdirSync(join(folder, 'v1/chunks'), { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath ?? entry.path, entry.name));

  test('gives back what it was given, also to the next process', async () => {
    const folder = newFolder();
    const { head, parts } = file();
    const store = await open(folder, head);
    await fill(store, parts, [3, 1]);
    assert.deepEqual([store.present(), store.has(3), store.has(0)], [2, true, false]);
    assert.equal(await store.get(0), null);
    await store.close();
    const again = await open(folder, head);
    assert.deepEqual(await again.get(3), parts[3]);
    assert.equal((await findCached({ folder }, head.name)).complete, false);
    await fill(again, parts);
    await again.close();
    const found = await findCached({ folder }, head.name);
    assert.deepEqual([found.complete, found.head], [true, head]);
    assert.equal(await findCached({ folder }, 'other'), null);
    assert.equal(await openStore({ folder }, { ...head, version: '' }), null, 'no version');
    assert.equal(await openStore(false, head), null);
  });

  test('a damaged, cut or lost chunk is absent, and can be put anew', async () => {
    const folder = newFolder();
    const { head, parts } = file();
    const store = await open(folder, head);
    await fill(store, parts);
    await store.close();
    const at = index => join(folder, 'v1/chunks', sha(parts[index]).slice(0, 2), sha(parts[index]));
    const bent = Buffer.from(parts[0]);
    bent[5] ^= 1;
    fs.writeFileSync(at(0), bent);
    fs.truncateSync(at(1), 10);
    fs.rmSync(at(2));
    const found = await new ModelCache(folder).verify(head.name);
    assert.deepEqual([found[0].damaged, found[0].missing], [[0, 1], [2]]);
    fs.writeFileSync(at(3), 'x');
    const again = await open(folder, head);
    assert.equal(again.present(), 2);
    assert.equal(await again.get(3), null);
    assert.equal(again.present(), 1);
    await fill(again, parts);
    for (const [index, part] of parts.entries()) assert.deepEqual(await again.get(index), part);
    await again.close();
    assert.deepEqual((await new ModelCache(folder).verify())[0].damaged, []);
    assert.equal((await open(folder, head)).present(), 5);
  });

  test('a torn journal loses no more than its last line', async () => {
    const folder = newFolder();
    const { head, parts } = file();
    const store = await open(folder, head);
    await fill(store, parts, [0, 1, 2]);
    await store.close();
    const [id] = fs.readdirSync(join(folder, 'v1/files'));
    const path = join(folder, 'v1/files', id);
    const whole = fs.readFileSync(path);
    for (let cut = 1; cut < 140; cut += 9) {
      fs.writeFileSync(path, whole.subarray(0, whole.length - cut));
      const again = await open(folder, head);
      const lost = cut <= 67 ? 1 : cut <= 134 ? 2 : 3;
      assert.equal(again.present(), 3 - lost, `${cut}`);
      await fill(again, parts, [3, 4]);
      await again.close();
      // a line without its end is whole once the next one begins
      const found = 5 - lost + (cut % 67 === 1 ? 1 : 0);
      assert.equal((await open(folder, head)).present(), found, `${cut}, and two more`);
    }
    fs.writeFileSync(path, whole.subarray(0, 20)); // within the head
    const again = await open(folder, head);
    await fill(again, parts);
    await again.close();
    assert.equal((await open(folder, head)).present(), 5);
  });

  test('another size or version is another file; its chunks are taken where hashes are known', async () => {
    const folder = newFolder();
    const { head, parts, bytes } = file();
    const store = await open(folder, head);
    await fill(store, parts);
    await store.close();
    const sized = await open(folder, { ...head, size: head.size + 1 });
    assert.equal(sized.present(), 0);
    const hashes = parts.map(sha);
    const next = await openStore({ folder }, { ...head, version: 'v2' }, { hashes });
    assert.equal(next.present(), 5);
    assert.deepEqual(Buffer.concat(await Promise.all(hashes.map((_, i) => next.get(i)))), bytes);
    await next.close();
    const left = await new ModelCache(folder).list();
    assert.deepEqual(
      left.map(({ version }) => version),
      ['v2'],
      'the older version has gone',
    );
    assert.deepEqual(await next.get(2), parts[2], 'and took no chunk with it');
  });

  test('limit: whole files give way, the one that was used longest ago first; pinned ones stay', async () => {
    const folder = newFolder();
    const all = Array.from({ length: 4 }, (_, i) => {
      const one = file(4, KIB, KIB);
      one.head.name = `file ${i}`;
      return one;
    });
    const aged = async days => {
      const [{ id }] = await files(directory(folder));
      const then = Date.now() / 1000 - days * 86400;
      fs.utimesSync(join(folder, 'v1/files', id), then, then);
    };
    for (const [i, { head, parts }] of all.slice(0, 3).entries()) {
      const store = await open(folder, head, { limit: 12 * KIB, pin: i === 0 });
      await fill(store, parts);
      await store.close();
      await aged(5 - i);
    }
    const names = async () => (await new ModelCache(folder).list()).map(({ name }) => name).sort();
    assert.deepEqual(await names(), ['file 0', 'file 1', 'file 2']);
    const store = await open(folder, all[3].head, { limit: 12 * KIB });
    await fill(store, all[3].parts);
    await store.close();
    assert.deepEqual(await names(), ['file 0', 'file 2', 'file 3']);
    assert.ok((await new ModelCache(folder).usage()).bytes <= 12 * KIB);
    // one that is too large for all is not kept, and takes nothing away but what is not pinned
    const large = file(20, KIB, KIB);
    large.head.name = 'large';
    const none = await open(folder, large.head, { limit: 12 * KIB });
    await fill(none, large.parts);
    assert.equal(none.present(), 0);
    await none.close();
    await new ModelCache(folder).pin('file 0', false);
    assert.equal(
      (await new ModelCache(folder).list()).find(f => f.name === 'file 0').pinned,
      false,
    );
  });

  test('remove takes what no other file needs, and sweeps what is a day old', async () => {
    const folder = newFolder();
    const one = file();
    const two = file();
    two.head.name = 'two';
    two.parts[0] = one.parts[0];
    for (const { head, parts } of [one, two]) {
      const store = await open(folder, head);
      await fill(store, parts);
      await store.close();
    }
    assert.equal(chunkFiles(folder).length, 9);
    const orphan = join(folder, 'v1/chunks/ab', sha('orphan'));
    const fresh = join(folder, 'v1/chunks/ab', sha('fresh'));
    const stale = join(folder, 'v1/temporary/1-2-3');
    fs.mkdirSync(join(folder, 'v1/chunks/ab'), { recursive: true });
    for (const path of [orphan, fresh, stale]) fs.writeFileSync(path, 'x');
    const then = Date.now() / 1000 - 2 * 86400;
    for (const path of [orphan, stale]) fs.utimesSync(path, then, then);
    const cache = new ModelCache(folder);
    assert.equal(await cache.remove(one.head.name), 3 * KIB + 100);
    assert.ok(!fs.existsSync(orphan) && !fs.existsSync(stale) && fs.existsSync(fresh));
    assert.deepEqual((await cache.verify('two'))[0].damaged, []);
    assert.equal((await cache.verify('two'))[0].chunks, 5);
    await assert.rejects(cache.remove('two!'), /has no file 'two!'/);
    await cache.remove('two');
    assert.deepEqual(chunkFiles(folder), [fresh]);
  });

  test('an encrypted file stays encrypted in the cache', async () => {
    const folder = newFolder();
    const key = randomBytes(32);
    const one = file();
    const { sealed, manifest } = await sealedFor(one, key);
    const verifier = await verifierOf(manifest, 'secret', key);
    const more = { manifest: verifier.text, hashes: verifier.hashes };
    const newStore = async () =>
      sealedStore(await openStore({ folder }, verifier.head, more), verifier);
    const store = await newStore();
    for (const [index, part] of sealed.entries())
      await store.put(index, await verifier.check(index, part));
    assert.deepEqual(await store.get(3), one.parts[3]);
    await store.close();
    for (const path of chunkFiles(folder))
      for (const part of one.parts)
        assert.ok(!fs.readFileSync(path).includes(part.subarray(0, 32)), 'plain bytes on the disk');
    const again = await newStore();
    assert.deepEqual(await again.get(4), one.parts[4]);
    const found = await findCached({ folder }, 'secret');
    assert.deepEqual(readManifest(found.manifest, 'x'), manifest);
    assert.equal((await new ModelCache(folder).list())[0].encrypted, true);
  });

  // ---- places that fail

  /** A place that does what `rule` lets it. */
  const failing = (folder, rule) => {
    const place = directory(folder);
    const wrapped = { where: folder };
    for (const name of ['read', 'size', 'write', 'append', 'remove', 'touch', 'list'])
      wrapped[name] = async (...args) => {
        const error = rule(name, ...args);
        if (error) throw Object.assign(new Error(`${name} refused`), error);
        return place[name](...args);
      };
    return wrapped;
  };

  test('whatever a place refuses, the store rejects nothing and gives no wrong byte', async () => {
    for (const only of [undefined, 'read', 'size', 'write', 'append', 'remove', 'touch', 'list'])
      for (let seed = 1; seed <= 12; seed++) {
        const draw = drawn(seed);
        const folder = newFolder();
        const rule = name =>
          (!only || name === only) && draw(4) === 0 && { code: draw(2) ? 'EIO' : 'ENOSPC' };
        const { head, parts } = file();
        for (let round = 0; round < 3; round++) {
          const store = await FileStore.open(failing(folder, rule), head);
          if (!store) continue;
          await Promise.all(parts.map((part, index) => store.put(index, part)));
          for (const [index, part] of parts.entries()) {
            const got = await store.get(index);
            if (got) assert.deepEqual(got, part);
          }
          await store.close();
        }
        const store = await open(folder, head); // now all is well
        await fill(store, parts);
        for (const [index, part] of parts.entries()) assert.deepEqual(await store.get(index), part);
        await store.close();
        assert.equal((await open(folder, head)).present(), 5);
      }
  });

  test('a full disk: files that nobody uses give way, then nothing more is kept', async () => {
    const folder = newFolder();
    const old = file();
    old.head.name = 'old';
    const store = await open(folder, old.head);
    await fill(store, old.parts);
    await store.close();
    const then = Date.now() / 1000 - 86400;
    for (const { id } of await files(directory(folder)))
      fs.utimesSync(join(folder, 'v1/files', id), then, then);
    const used = () => chunkFiles(folder).length;
    const quota = most => name =>
      name === 'write' && used() >= most && { name: 'QuotaExceededError' };
    const { head, parts } = file();
    const tight = await FileStore.open(failing(folder, quota(5)), head);
    await fill(tight, parts);
    await tight.close();
    assert.deepEqual([tight.error, tight.present()], [undefined, 5]);
    assert.deepEqual(
      (await new ModelCache(folder).list()).map(({ name }) => name),
      [head.name],
    );
    const other = file();
    other.head.name = 'other';
    const full = await FileStore.open(failing(folder, quota(7)), other.head);
    await fill(full, other.parts);
    await full.close();
    assert.equal(full.error.name, 'QuotaExceededError');
    assert.deepEqual([await full.get(1), await full.get(4)], [other.parts[1], null]);
    assert.equal((await open(folder, head)).present(), 5, 'what was used a moment ago stays');
  });

  test('evicted while it is open: what is read is fetched again, and kept again', async () => {
    const folder = newFolder();
    const { head, parts } = file();
    const store = await open(folder, head);
    await fill(store, parts, [0, 1, 2]);
    fs.rmSync(join(folder, 'v1'), { recursive: true });
    assert.equal(await store.get(0), null);
    await fill(store, parts, [0, 3, 4]);
    await store.close();
    const again = await open(folder, head);
    for (const index of [0, 3, 4]) assert.deepEqual(await again.get(index), parts[index]);
    const place = directory(folder);
    const all = await files(place);
    await removeFile(place, all[0], all);
    await fill(again, parts);
    await again.close();
    assert.equal((await open(folder, head)).present(), 5);
    // where a folder should be is a file
    const blocked = newFolder();
    fs.writeFileSync(blocked, '');
    assert.equal(await open(blocked, head), null);
    assert.equal(await findCached({ folder: blocked }, head.name), null);
  });

  test('two at once: neither disturbs the other', async () => {
    const folder = newFolder();
    const { head, parts } = file(40);
    const stores = await Promise.all([1, 2, 3].map(() => open(folder, head)));
    await Promise.all(
      stores.map(async (store, n) => {
        const draw = drawn(n + 1);
        const order = parts.map((_, i) => [draw(1000), i]).sort((a, b) => a[0] - b[0]);
        await fill(
          store,
          parts,
          order.map(([, i]) => i),
        );
        await store.close();
      }),
    );
    const [found] = await new ModelCache(folder).verify();
    assert.deepEqual([found.chunks, found.damaged, found.missing], [40, [], []]);
    assert.deepEqual(fs.readdirSync(join(folder, 'v1/temporary')), []);
  });
});

test('the option: what it may be', () => {
  assert.deepEqual(cacheOf({ limit: '4GB' }), { folder: undefined, limit: 4e9, pin: false });
  assert.deepEqual(cacheOf({ limit: 5, folder: 'x', pin: true }), {
    folder: 'x',
    limit: 5,
    pin: true,
  });
  assert.deepEqual([cacheOf(undefined), cacheOf(false), cacheOf(null)], [null, null, null]);
  for (const odd of [
    '',
    7,
    { limit: '4 apples' },
    { limit: -1 },
    { limits: 4 },
    { folder: '' },
    { folder: 4 },
  ])
    assert.throws(
      () => cacheOf(odd),
      error => error.code === 'HYP_E_ARGUMENT',
      String(odd),
    );
});
