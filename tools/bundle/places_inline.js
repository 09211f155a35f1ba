// In place of glue/core/places.js: all is within this script. Its workers are given what they need.
import withThreads from 'embedded:hyperion-mt.wasm';
import simd from 'embedded:hyperion.wasm';
import thread from 'embedded:thread';
import { newWorkerOf, unpacked } from './embedded.js';

const artefacts = { 'hyperion-mt.wasm': withThreads, 'hyperion.wasm': simd };

export const artefactAt = file => unpacked(artefacts, file);
export const newThread = () => newWorkerOf(thread, 'hyperion-thread');
export const newScript = (text, name) =>
  newWorkerOf(text, name, { hyperion: { artefacts, thread } });
