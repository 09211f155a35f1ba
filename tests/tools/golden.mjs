// The oracle's answers as committed: what another engine says of each test model. Little-endian:
// "HGLD", u32 positions, u32 top; int32 tokens[positions]; then per position `top` times (int32
// token, float32 log-probability), best first.
import { readFileSync, writeFileSync } from 'node:fs';

export const POSITIONS = 64;
export const TOP = 20;

/**
 * How far a log-probability may be from the oracle's, in nats: what 8-bit activations do. The
 * formats of super-blocks ("wide") differ more because llama.cpp gives 256 activations one scale
 * where each 32 have their own here. tests/test_oracle.c says the same.
 * @param {string} name of a model, with its type
 */
export const boundOf = name =>
  name.includes('wide')
    ? 0.09
    : name.includes('blocks')
      ? 0.03
      : name.includes('q4_')
        ? 0.04
        : 0.02;

export function writeGolden(path, tokens, rows) {
  const out = new DataView(new ArrayBuffer(12 + tokens.length * 4 + rows.length * TOP * 8));
  [0x444c4748, tokens.length, TOP].forEach((v, i) => out.setUint32(4 * i, v, true));
  tokens.forEach((t, i) => out.setInt32(12 + 4 * i, t, true));
  rows.forEach((row, p) =>
    row.forEach(([token, value], i) => {
      const at = 12 + tokens.length * 4 + (p * TOP + i) * 8;
      out.setInt32(at, token, true);
      out.setFloat32(at + 4, value, true);
    }),
  );
  writeFileSync(path, new Uint8Array(out.buffer));
}

export function readGolden(path) {
  const bytes = readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const positions = view.getUint32(4, true);
  const tokens = Array.from({ length: positions }, (_, i) => view.getInt32(12 + 4 * i, true));
  const rows = Array.from({ length: positions }, (_, p) =>
    Array.from({ length: TOP }, (_, i) => {
      const at = 12 + positions * 4 + (p * TOP + i) * 8;
      return [view.getInt32(at, true), view.getFloat32(at + 4, true)];
    }),
  );
  return { tokens, rows };
}
