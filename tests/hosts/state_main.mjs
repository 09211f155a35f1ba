// Run by workerd: goes on with an answer for some tokens, from the state that the request brings to
// the one that the response takes along. The model stays between requests, a session does not.
import { open } from './glue/model/index.js';
import wasm from './hyperion.wasm';
import story from './story.gguf';

let model; // survives requests of this isolate

export default {
  async fetch(request) {
    try {
      model ??= await open(story, { wasm, artefact: 'simd', memory: '32MB' });
      const most = Number(new URL(request.url).searchParams.get('tokens'));
      const session = await model.restore(new Uint8Array(await request.arrayBuffer()));
      let text = '';
      let made = 0;
      for await (const piece of session.resume({ maxTokens: most + 1 })) {
        text += piece.text;
        if (++made === most) break;
      }
      const state = await session.save();
      await session.close();
      return new Response(state, { headers: { 'X-Text': encodeURIComponent(text) } });
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
