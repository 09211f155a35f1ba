// Keeps chunks in a cache, and is killed by its own hand at the file operation of that number, a
// write in its middle. usage: killed_store.mjs FOLDER HEAD SEED NUMBER
import fs, { writeSync } from 'node:fs';
import { openStore } from '../../glue/source/store/index.js';

const [folder, head, seed, number] = process.argv
  .slice(2)
  .map((arg, i) => (i ? JSON.parse(arg) : arg));
let left = number;
const die = () => process.kill(process.pid, 'SIGKILL');
const due = () => --left === 0;

for (const name of ['mkdir', 'rename', 'rm', 'stat', 'readFile', 'utimes', 'readdir']) {
  const own = fs.promises[name];
  fs.promises[name] = async (...args) => {
    if (due()) die();
    return own(...args);
  };
}
const { open } = fs.promises;
fs.promises.open = async (...args) => {
  if (due()) die();
  const file = await open(...args);
  const { writeFile, datasync, close } = file;
  file.writeFile = async bytes => {
    if (due()) {
      writeSync(file.fd, bytes, 0, Math.floor(bytes.length / 2));
      die();
    }
    return writeFile.call(file, bytes);
  };
  file.datasync = async () => (due() ? die() : datasync.call(file));
  file.close = async () => (due() ? die() : close.call(file));
  return file;
};

/** The chunk of that index; as the test knows it. */
const chunk = index => {
  const { size, chunkBytes } = head;
  const bytes = new Uint8Array(Math.min(chunkBytes, size - index * chunkBytes));
  return bytes.fill(seed + index);
};

const store = await openStore({ folder }, head);
const missing = Array.from({ length: Math.ceil(head.size / head.chunkBytes) }, (_, i) => i).filter(
  index => !store.has(index),
);
for (let i = 0; i < missing.length; i += 3)
  await Promise.all(
    missing.slice(i, i + 3).map(async index => {
      await store.put(index, chunk(index));
      // what is in the journal is kept from now on
      if (store.has(index) && !store.error) writeSync(1, `${index}\n`);
    }),
  );
await store.close();
if (store.error) throw store.error;
writeSync(1, `done ${number - left}\n`);
