// Run in every host: opens the story model from servers that do all kinds of things, and tells what
// came of it.

/** As R2 is. @param {Uint8Array} bytes */
const bucketOf = bytes => ({
  get: async (/** @type {string} */ _, /** @type {any} */ { range: { offset, length } }) => ({
    size: bytes.length,
    etag: 'same',
    body: new Response(bytes.slice(offset, offset + length)).body,
  }),
});

/**
 * @param {{origin: string, endpoint: string, token: string}} servers
 * @param {(source: any, options: any) => Promise<any>} open
 * @param {any} options
 * @returns {Promise<Record<string, string>>} by source: the text, or the error
 */
export async function tellAll({ origin, endpoint, token }, open, options) {
  const bytes = new Uint8Array(await (await fetch(`${origin}/fine/story.gguf`)).arrayBuffer());
  /** @type {Record<string, [any, any?]>} */
  const sources = {
    fine: [`${origin}/fine/story.gguf`],
    cut: [`${origin}/cut/story.gguf`],
    limited: [`${origin}/cut/story.gguf`, { memory: '8MB' }],
    whole: [`${origin}/whole/story.gguf`],
    busy: [`${origin}/busy/story.gguf`],
    hidden: [`${origin}/hidden/story.gguf`],
    redirected: [`${origin}/redirected/story.gguf`],
    split: [[new Blob([bytes])]],
    bucket: [{ bucket: bucketOf(bytes), key: 'story.gguf' }],
    hub: ['hf:owner/story:Q4_0', { endpoint, token }],
    slow: [`${origin}/fine/story.gguf`, { limitRate: '20MB' }],
    gated: ['hf:owner/story', { endpoint, fileCache: false }],
    missing: [`${origin}/missing/story.gguf`],
    changing: [`${origin}/changing/story.gguf`],
  };
  if (options.worker === undefined) sources.response = [await fetch(`${origin}/fine/story.gguf`)];
  const storage = globalThis.navigator?.storage;
  if (storage?.getDirectory && typeof document === 'object') {
    const folder = await (
      await storage.getDirectory()
    ).getDirectoryHandle('models', { create: true });
    const handle = await folder.getFileHandle('story.gguf', { create: true });
    const file = await handle.createWritable();
    await file.write(bytes);
    await file.close();
    sources.handle = [handle];
    sources.opfs = ['opfs:models/story.gguf'];
  }
  /** @type {Record<string, string>} */
  const told = {};
  for (const [name, [source, more]] of Object.entries(sources))
    try {
      const model = await open(source, { context: 64, threads: 1, ...options, ...more });
      const { text } = await model.complete('Once upon a time', { temperature: 0, maxTokens: 8 });
      told[name] = text;
      await model.close();
    } catch (error) {
      const { code, message } = /** @type {any} */ (error);
      told[name] = `${code}: ${message}`;
    }
  return told;
}
