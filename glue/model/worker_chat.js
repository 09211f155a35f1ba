// The engine's worker, with chat templates.
import * as chat from './chat.js';
import { parts } from './parts.js';
import './worker.js';

parts.chat = () => chat;
