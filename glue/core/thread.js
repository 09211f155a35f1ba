// The script of a worker thread.
import { obey, starter } from './help.js';

if (starter.web) {
  starter.web.onmessage = (/** @type {MessageEvent} */ event) => obey(event.data);
  starter.web.postMessage('loaded');
} else starter.node?.once('message', obey);
