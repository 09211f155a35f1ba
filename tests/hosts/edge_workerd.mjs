// Run by workerd: the handler over a model that comes by parts from a service.
import { createHandler } from './glue/edge/index.js';
import wasm from './hyperion.wasm';

const model = env => ({ service: env.MODELS, url: 'http://models/story.gguf' });
const handler = createHandler({ wasm, model, memory: '32MB', window: '512KB' });
const small = createHandler({ wasm, model, memory: '600KB', base: '/small' });
const slices = createHandler({ wasm, model, memory: '32MB', sliceTokens: 5, base: '/slices' });
const bases = { small, slices };

export default {
  fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (pathname === '/ping') return new Response('pong');
    return (bases[pathname.split('/')[1]] ?? handler)(request, env, context);
  },
};
