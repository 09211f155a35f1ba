// The package for `require`. What its workers run are the package's own scripts.
import * as chat from '../../glue/model/chat.js';
import * as engine from '../../glue/model/engine.js';
import { here } from '../../glue/model/here.js';
import { parts } from '../../glue/model/parts.js';

export * from '../../glue/model/open.js';

here.engine = () => engine;
parts.chat = () => chat;
parts.newWorker = () => new Worker(new URL('../glue/model/worker_chat.js', import.meta.url));
