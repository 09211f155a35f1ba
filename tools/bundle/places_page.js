// In place of glue/core/places.js: artefacts lie beside the one script that there is.
export const ENGINE = 'hyperion-engine';
export const THREAD = 'hyperion-thread';

export const artefactAt = file => new URL(`./${file}`, import.meta.url);
export const newSelf = name => new Worker(import.meta.url, { type: 'module', name });
export const newThread = () => newSelf(THREAD);
