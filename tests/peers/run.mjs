// Makes the oracles' answers anew and compares them with the committed ones. usage: run.mjs
// [--write]   --write: replace them
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const mode = process.argv.includes('--write') ? [] : ['--check'];
let failed = 0;
const scripts = ['tokenizers.mjs', 'oracle.mjs'];
for (const script of scripts) {
  console.log(`== ${script}`);
  if (
    spawnSync(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), ...mode], {
      stdio: 'inherit',
    }).status !== 0
  )
    failed++;
}
console.log(`\n${scripts.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
