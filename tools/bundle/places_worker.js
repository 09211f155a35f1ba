// In place of glue/core/places.js, in a worker of places_inline.js: what that has given.
import { newWorkerOf, unpacked } from './embedded.js';

export const artefactAt = file => unpacked(self.hyperion.artefacts, file);
export const newThread = () => newWorkerOf(self.hyperion.thread, 'hyperion-thread');
