// Hyperion where there are no workers, and nothing is loaded later: a service worker. The same as
// index.js, with all of it loaded at once.
import * as sha256 from '../generated/sha256.js';
import { late as hashes } from '../source/hash.js';
import { late as caches } from '../source/store/cache.js';
import * as store from '../source/store/index.js';
import * as chat from './chat.js';
import * as engine from './engine.js';
import { here } from './here.js';
import { parts } from './parts.js';

export * from './index.js';

parts.chat = () => chat;
here.engine = () => engine;
hashes.sha256 = () => sha256;
caches.store = async () => store;
