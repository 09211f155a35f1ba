// Hyperion: quantized language models wherever WebAssembly runs.
import { parts } from './parts.js';

export * from './open.js';

parts.chat ??= () => import('./chat.js');
parts.newWorker = () =>
  new Worker(new URL('./worker_chat.js', import.meta.url), { type: 'module', name: 'hyperion' });
