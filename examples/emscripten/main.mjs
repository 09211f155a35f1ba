// Runs hello.c, in a page and in Node.
import createHello from './hello.mjs';

const show = text => {
  if (globalThis.document) document.getElementById('story').textContent += text;
  else console.log(text);
};
await createHello({ arguments: ['/model.gguf'], print: show, printErr: show });
