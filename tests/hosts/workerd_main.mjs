// Run by workerd: the artefact is a compiled module, the model arrives as data; nothing is compiled
// from bytes.
import { open } from './glue/model/index.js';
import wasm from './hyperion.wasm';
import story from './story.gguf';

let model; // survives requests of this isolate

export default {
  async fetch() {
    try {
      model ??= await open(story, { wasm, artefact: 'simd', memory: '32MB' });
      let text = '';
      let tokens = 0;
      for await (const piece of model.generate('Once upon a time', {
        temperature: 0,
        maxTokens: 8,
      }))
        ((text += piece.text), tokens++);
      return Response.json({ text, tokens, ...(await model.stats()) });
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
