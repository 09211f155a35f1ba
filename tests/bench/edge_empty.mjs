// Run by workerd for the benchmark `edge`: a worker that has nothing to load.
export default { fetch: () => new Response('pong') };
