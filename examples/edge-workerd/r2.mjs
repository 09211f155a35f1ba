// The same on Cloudflare, by wrangler.toml: the model in a bucket of R2, and answers of more than
// 64 tokens handed on to the next request by a state in KV.
import { createHandler } from 'hyperion-runtime/edge';
import wasm from 'hyperion-runtime/hyperion-relaxed.wasm';

const model = env => ({ bucket: env.MODELS, key: 'model.gguf' });
const states = ({ STATES }) => ({
  get: id => STATES.get(id, 'arrayBuffer'),
  put: (id, bytes, { ttl }) => STATES.put(id, bytes, { expirationTtl: ttl }),
  delete: id => STATES.delete(id),
});

export default { fetch: createHandler({ wasm, model, states, memory: '96MB', sliceTokens: 64 }) };
