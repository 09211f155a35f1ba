// These two headers let the page share memory between threads. Without them one thread computes.
const isolated = [
  { key: 'Cross-Origin-Opener-Policy', value: 'same-origin' },
  { key: 'Cross-Origin-Embedder-Policy', value: 'require-corp' },
];

export default {
  headers: async () => [{ source: '/:path*', headers: isolated }],
};
