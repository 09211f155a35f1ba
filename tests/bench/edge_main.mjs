// Run by workerd for the benchmark `edge`: the handler as an application has it.
import { createHandler } from './glue/edge/index.js';
import wasm from './hyperion.wasm';

const handler = createHandler({
  wasm,
  model: env => ({ service: env.MODELS, url: 'http://models/model.gguf' }),
  memory: '96MB',
});

export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname === '/ping') return new Response('pong');
    return handler(request, env, context);
  },
};
