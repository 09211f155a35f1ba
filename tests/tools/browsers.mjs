// The browsers that tests and benchmarks drive, by puppeteer's options for them.
import { execFileSync } from 'node:child_process';

const where = name => execFileSync('which', [name], { encoding: 'utf8' }).trim();

/** Chromium as it runs without a desktop, and without asking anybody for anything. */
export const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

export const BROWSERS = {
  get chromium() {
    const browser = /** @type {const} */ ('chrome');
    return { browser, executablePath: where('chromium'), args: CHROMIUM_FLAGS };
  },
  get firefox() {
    const browser = /** @type {const} */ ('firefox');
    return { browser, executablePath: where('firefox-esr'), args: [] };
  },
};
