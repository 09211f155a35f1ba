// Scripts by which shells complete commands, options and their values, as native/cli/completion.c
// makes them.
import { ARGUMENTS, SCRIPTS, VERBS } from '../generated/commands.js';
import { options, takesOption, takesValue } from './table.js';

/** @typedef {import('./table.js').Option} Option */
/** @typedef {import('./table.js').Verb} Verb */

const known = options.filter(option => VERBS.some(verb => takesOption(verb, option)));
const takesFile = (/** @type {Option} */ { type }) => type === 'file';
const lines = (/** @type {string[]} */ list) => list.map(line => `${line}\n`).join('');

/** Its names, as they are given. @param {Option} option */
const spellings = ({ letter, name }) => [...(letter ? [`-${letter}`] : []), `--${name}`];

/** @param {Option[]} list */
const pattern = list => list.flatMap(spellings).join(' | ');

/**
 * What may stand for an argument: its choices, none for any text; undefined for a file.
 * @param {string} word
 * @returns {string[] | undefined}
 */
const choicesOf = word => (Object.hasOwn(ARGUMENTS, word) ? ARGUMENTS[word] : undefined);

const ofVerb = (/** @type {Verb} */ verb) => options.filter(option => takesOption(verb, option));

const matches = (/** @type {string[]} */ words) =>
  `COMPREPLY=($(compgen -W '${words.join(' ')}' -- "$word"))`;

/** @param {Verb} verb */
const bashArguments = ({ name, arguments: words }) =>
  words.flatMap((word, position) => {
    const choices = choicesOf(word);
    if (choices && !choices.length) return [];
    const act = choices ? matches(choices) : 'compopt -o default 2>/dev/null';
    return [`        ${name}:${position}) ${act} ;;`];
  });

/** @type {Record<string, Record<string, () => string>>} */
const HOLES = {
  bash: {
    choices: () =>
      lines(
        known
          .filter(({ choices }) => choices.length)
          .map(
            ({ name, choices }) => `    --${name})\n        ${matches(choices)}\n        return ;;`,
          ),
      ),
    files: () => pattern(known.filter(takesFile)),
    values: () => pattern(known.filter(takesValue)),
    verbs: () => VERBS.map(({ name }) => name).join(' '),
    options: () =>
      lines(
        VERBS.map(verb => `        ${verb.name}) ${matches(ofVerb(verb).flatMap(spellings))} ;;`),
      ),
    arguments: () => lines(VERBS.flatMap(bashArguments)),
  },
  zsh: {
    verbs: () => lines(VERBS.map(({ name, help }) => `        '${name}:${help}'`)),
    options: () => lines(VERBS.map(zshVerb)),
  },
  fish: {
    verbs: () =>
      lines(
        VERBS.map(
          ({ name, help }) =>
            `complete -c hyperion -n __fish_use_subcommand -a ${name} -d '${help}'`,
        ),
      ),
    options: () => lines(VERBS.flatMap(fishVerb)),
  },
};

/** @param {string[] | undefined} choices as choicesOf gives them */
const zshAction = choices =>
  choices === undefined ? '_files' : choices.length ? `(${choices.join(' ')})` : '';

/** @param {Option} option */
function zshOption(option) {
  const { type, letter, name, help, choices, metavar } = option;
  const value = takesValue(option);
  const names = letter
    ? `'(-${letter} --${name})'{-${letter}${value ? '+' : ''},--${name}${value ? '=' : ''}}'`
    : `'${type === 'texts' ? '*' : ''}--${name}${value ? '=' : ''}`;
  const action = choices.length
    ? zshAction(choices)
    : zshAction(takesFile(option) ? undefined : []);
  const what = value ? `:${choices.length ? name : metavar}:${action}` : '';
  return `            ${names}[${help.replaceAll("'", "'\\''")}]${what}' \\`;
}

/** @param {Verb} verb */
function zshVerb(verb) {
  const words = verb.arguments.map(
    (word, i) => `            '${i + 1}:${word}:${zshAction(choicesOf(word))}' \\`,
  );
  return [
    `    ${verb.name})`,
    '        _arguments -s \\',
    ...ofVerb(verb).map(zshOption),
    ...words,
    '            && return ;;',
  ].join('\n');
}

/** @param {Verb} verb @returns {string[]} */
function fishVerb(verb) {
  const begin = `complete -c hyperion -n '__fish_seen_subcommand_from ${verb.name}'`;
  const choices = verb.arguments.map(choicesOf);
  return [
    ...choices.filter(list => list?.length).map(list => `${begin} -a '${list?.join(' ')}'`),
    ...(choices.includes(undefined) ? [`${begin} -F`] : []),
    ...ofVerb(verb).map(option => {
      const { letter, name, help } = option;
      const values = option.choices.length
        ? ` -x -a '${option.choices.join(' ')}'`
        : takesFile(option)
          ? ' -r -F'
          : takesValue(option)
            ? ' -x'
            : '';
      return `${begin}${letter && ` -s ${letter}`} -l ${name}${values} -d '${help.replaceAll("'", "\\'")}'`;
    }),
  ];
}

/** @param {string} shell @returns {string | undefined} undefined: there is no such shell */
export const completionScript = shell =>
  Object.hasOwn(SCRIPTS, shell)
    ? SCRIPTS[shell].replace(/@([a-z]+)@/g, (_, hole) => HOLES[shell][hole]())
    : undefined;
