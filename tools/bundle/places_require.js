// In place of glue/core/places.js, as seen from dist/.
export const artefactAt = file => new URL(`./${file}`, import.meta.url);
export const newThread = () => new Worker(new URL('../glue/core/thread.js', import.meta.url));
