// Run by workerd: sources from servers, of which the request's address tells.
import { open } from './glue/model/index.js';
import wasm from './hyperion.wasm';
import { tellAll } from './sources_main.mjs';

export default {
  async fetch(/** @type {Request} */ request) {
    try {
      const servers = JSON.parse(
        /** @type {string} */ (new URL(request.url).searchParams.get('servers')),
      );
      const options = { wasm, artefact: 'simd', memory: '32MB' };
      return Response.json(await tellAll(servers, open, options));
    } catch (error) {
      return new Response(String(/** @type {any} */ (error)?.stack ?? error), { status: 500 });
    }
  },
};
