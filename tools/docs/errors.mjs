// docs/ERRORS.md: each code that an error may have, and what to do. From status.def.
import { textOf } from '../generate/options.mjs';

export const output = 'docs/ERRORS.md';

const TABLE = 'src/hyperion/status.def';

/** @typedef {{code: string, value: number | null, message: string, remedy: string}} Row */

/** The rows of status.def; `value` null: only JavaScript has it. @param {string} table */
export function rowsOf(table) {
  const text = '((?:\\s*"(?:[^"\\\\]|\\\\.)*")+)';
  const row = new RegExp(`^HYP_(HOST_)?STATUS\\((\\w+),(?: (-?\\d+),)?${text},${text}\\)$`, 'gm');
  const found = [...table.matchAll(row)].map(([, , name, value, message, remedy]) => ({
    code: `HYP_${name}`,
    value: value === undefined ? null : Number(value),
    message: textOf(message),
    remedy: textOf(remedy),
  }));
  if (found.length !== table.match(/^HYP_/gm)?.length)
    throw new Error(`${TABLE}: a row of another form`);
  return found;
}

const HEAD = `# Errors

<!-- Made from ${TABLE} by \`npm run docs\`: not to be edited. -->

What fails rejects (or, in a loop over an answer, throws) with a \`HyperionError\`. Its \`message\` says what went wrong and what to do,
its \`code\` is one of those below, and its \`cause\` holds the host's own error where there is one.

\`\`\`js
import { HyperionError, open } from 'hyperion-runtime';

try {
  await open('models/missing.gguf');
} catch (error) {
  if (error instanceof HyperionError) console.log(error.code, error.message);
  else throw error;
}
\`\`\`

An abort is no failure. What you stop with an \`AbortSignal\` rejects with the signal's \`reason\`: when nothing else was given to \`abort()\`, a
\`DOMException\` whose \`name\` is \`AbortError\`, as from \`fetch\`; after \`AbortSignal.timeout(ms)\`, one whose \`name\` is \`TimeoutError\`.
`;

/** @param {{read: (path: string) => string}} repository */
export function generate({ read }) {
  const rows = rowsOf(read(TABLE)).filter(row => row.value !== 0);
  const index = rows.map(
    ({ code, message }) => `| [\`${code}\`](#${code.toLowerCase()}) | ${message} |`,
  );
  const sections = rows.map(({ code, value, message, remedy }) => {
    const inC = value === null ? 'only in JavaScript' : `in C ${value}`;
    return `## ${code}\n*${message}* (${inC})\n\n${remedy}\n`;
  });
  return [HEAD, '| code | |', '|---|---|', ...index, '', ...sections].join('\n');
}
