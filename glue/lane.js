/** @typedef {{name: string}} LaneStats */
export {};
