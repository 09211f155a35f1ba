// The page: it asks the worker, and shows what comes.
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
const write = document.getElementById('write');
const story = document.getElementById('story');

write.onclick = () => {
  write.disabled = true;
  story.textContent = 'Once upon a time';
  worker.postMessage({ prompt: story.textContent });
};
worker.onmessage = ({ data: { text, done } }) => {
  story.textContent += text;
  write.disabled = !done;
};
