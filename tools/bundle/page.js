// The whole package in one script, which also is what its workers run: whoever starts one gives it
// a name to know that by.
import * as chat from '../../glue/model/chat.js';
import * as engine from '../../glue/model/engine.js';
import { here } from '../../glue/model/here.js';
import { parts } from '../../glue/model/parts.js';
import { ENGINE, THREAD, newSelf } from './places_page.js';

export * from '../../glue/model/open.js';

here.engine = () => engine;
parts.chat = () => chat;
parts.newWorker = () => newSelf(ENGINE);

const inWorker = typeof document === 'undefined' && typeof globalThis.postMessage === 'function';
if (inWorker && globalThis.name === ENGINE) import('../../glue/model/worker_chat.js');
if (inWorker && globalThis.name === THREAD) import('../../glue/core/thread.js');
