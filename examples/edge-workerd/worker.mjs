// An edge isolate that answers as OpenAI's servers do. The module comes compiled, as an import; the
// model comes by parts, from whatever is bound as MODELS.
import { createHandler } from 'hyperion-runtime/edge';
import wasm from 'hyperion-runtime/hyperion-relaxed.wasm';

const model = env => ({ service: env.MODELS, url: 'http://models/story.gguf' });

export default { fetch: createHandler({ wasm, model, memory: '96MB', cors: true }) };
