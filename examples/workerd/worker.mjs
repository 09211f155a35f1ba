// An edge isolate that answers with a story. It may compile nothing from bytes: the module comes
// compiled, as an import, and so does the model, as data.
import { open } from 'hyperion-runtime';
import wasm from 'hyperion-runtime/hyperion.wasm';
import story from 'hyperion-runtime/models/story.gguf';

let model; // stays for the next requests of this isolate

export default {
  async fetch(request) {
    model ??= open(story, { wasm, memory: '32MB' });
    const prompt = new URL(request.url).searchParams.get('prompt') ?? 'Once upon a time';
    const { text } = await (
      await model
    ).complete(prompt, { maxTokens: 64, signal: request.signal });
    return new Response(text, { headers: { 'content-type': 'text/plain;charset=utf-8' } });
  },
};
