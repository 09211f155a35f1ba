// Hyperion without chat templates: everything else, for pages that count their bytes.
import { parts } from './parts.js';

export * from './open.js';

// Where index.js is loaded, too, its worker does both.
parts.newWorker ??= () =>
  new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'hyperion' });
