// Run by Deno: the handler, which it serves as it is.
import { createHandler } from '../../glue/edge/index.js';

const model = await Deno.readFile(new URL('../../models/story.gguf', import.meta.url));
const handler = createHandler({ model, memory: '32MB' });
const slices = createHandler({ model, memory: '32MB', sliceTokens: 5, base: '/slices' });
const fetch = request => (request.url.includes('/slices/') ? slices : handler)(request);
const onListen = ({ port }) => console.log(`http://127.0.0.1:${port}`);
Deno.serve({ hostname: '127.0.0.1', port: 0, onListen }, fetch);
