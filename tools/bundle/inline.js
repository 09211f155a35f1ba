// The whole package in one module, artefacts and workers within.
import worker from 'embedded:worker';
import * as chat from '../../glue/model/chat.js';
import * as engine from '../../glue/model/engine.js';
import { here } from '../../glue/model/here.js';
import { parts } from '../../glue/model/parts.js';
import { newScript } from './places_inline.js';

export * from '../../glue/model/open.js';

here.engine = () => engine;
parts.chat = () => chat;
parts.newWorker = () => newScript(worker, 'hyperion-engine');
