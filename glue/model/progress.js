// How far a model's loading is, as `onProgress` is told.

/**
 * @typedef {object} LoadProgress
 * @property {number} loaded bytes of the weights so far
 * @property {number} total in all
 * @property {number} layers of the model
 * @property {number} layersReady whose weights are there
 * @property {number} bytesPerSecond of late
 * @property {number | null} secondsLeft at that rate; null: not known yet
 */

const WINDOW_MS = 4000; // that the rate is of
const SAMPLE_MS = 250;

/**
 * `onProgress` as the core calls it.
 * @param {((progress: LoadProgress) => unknown) | null | undefined} onProgress
 * @returns {(loaded: number, total: number, layers: number, layersReady: number) => unknown}
 */
export function loadProgress(onProgress) {
  /** @type {[at: number, loaded: number][]} */
  const samples = [[performance.now(), 0]];
  return (loaded, total, layers, layersReady) => {
    if (!onProgress) return undefined;
    const now = performance.now();
    if (now - samples[samples.length - 1][0] >= SAMPLE_MS) samples.push([now, loaded]);
    while (samples.length > 2 && now - samples[1][0] > WINDOW_MS) samples.shift();
    const [began, before] = samples[0];
    const bytesPerSecond = now > began ? ((loaded - before) * 1000) / (now - began) : 0;
    const secondsLeft = bytesPerSecond > 0 ? (total - loaded) / bytesPerSecond : null;
    return onProgress({ loaded, total, layers, layersReady, bytesPerSecond, secondsLeft });
  };
}
