// The worker: the engine runs in this thread, beside whatever else the worker does.
import { open } from 'hyperion-runtime';

const model = open('/story.gguf', { worker: false });

onmessage = async ({ data: { prompt } }) => {
  for await (const { text, finish } of (await model).generate(prompt))
    postMessage({ text, done: finish !== '' });
};
