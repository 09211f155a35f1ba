// Chat templates are programs of strangers: they run under limits of steps, text, depth and time.
import { HyperionError } from '../core/errors.js';
import { cancelled } from '../core/signal.js';
import { Environment, Interpreter, parse, tokenize } from '../generated/jinja.js';

/** @typedef {{type: 'text', text: string}} Part */
/**
 * @typedef {{role: string, content?: string | Part[] | null, [more: string]: unknown}} Message with
 *   whatever else the template reads of it, as `tool_calls`
 */
/** @typedef {any} Value of a template, as the Jinja engine has them */
/** @typedef {any} Scope of names: the Jinja engine's Environment */
/** @typedef {any} Node of a template's syntax tree */

// What a template may take. Limits of steps and text grow with the conversation, which is the
// caller's own.
const SOURCE_MOST = 1 << 20; // characters of the template
const BLANKS_MOST = 2e8; // the engine's search for tags takes the square of each run of blanks
const STEPS_MOST = 1e6; // a step: a node evaluated, about 100 bytes made, 64 characters read
const STEPS_PER_ITEM = 1000; // real templates take 10 to 100 for each text of a message
const STEPS_PER_CHARACTER = 1;
const TEXT_MOST = 16e6; // characters of all texts made, those in between included
const TEXT_PER_CHARACTER = 16;
const DEPTH_MOST = 256; // nodes within nodes; a host's stack holds several times as many
const MS_MOST = 5000; // the last resort on a slow machine: steps bound the work
const STEPS_BETWEEN_LOOKS = 256; // at the clock and the signal
const BUILT_INS = 16; // steps: a value's methods are made when one of them is asked for
const PASS = 12; // steps: a pass of a loop makes a scope, and nine values that speak of it
const MESSAGE_MOST = 1000; // characters of a template's own error
// Filters and methods that take no longer for a longer value.
const AT_ONCE = new Set(['safe', 'list', 'first', 'last', 'length', 'default', 'get']);

/** A limit was reached. */
class Stopped extends Error {}

/** The caller wants it no more. */
class Aborted extends Error {}

/** @param {AbortSignal} [signal] */
function throwIfAborted(signal) {
  if (signal?.aborted) throw new Aborted();
}

// The engine keeps the classes of its values to itself.
const samples = new Environment();
const ArrayValue = samples.set('list', []).constructor;
const FunctionValue = samples.lookupVariable('namespace').constructor;

/** Stands in a syntax tree for an operand that has been evaluated. */
class Known {
  type = 'Known';
  /** @param {Value} value */
  constructor(value) {
    this.known = value;
  }
}

/** @param {[string, Value]} argument */
const knownArgument = ([name, value]) => ({
  type: 'KeywordArgumentExpression',
  key: { value: name },
  value: new Known(value),
});

/** Characters, elements or entries. @param {Value} value */
const extent = ({ value }) => value?.length ?? value?.size ?? 0;
/** @param {Value} value */
const textOf = value => (typeof value?.value === 'string' ? value.value : '');

/**
 * How much the caller hands to a template.
 * @param {unknown} input @returns {{items: number, characters: number}}
 */
function measure(input) {
  if (typeof input === 'string') return { items: 1, characters: input.length };
  const sum = { items: 1, characters: 0 };
  for (const part of input && typeof input === 'object' ? Object.values(input) : []) {
    const { items, characters } = measure(part);
    sum.items += items;
    sum.characters += characters;
  }
  return sum;
}

/** What an element has at the end of a path. @param {Value} element @param {string[]} path */
const at = (element, path) =>
  path.reduce((e, key) => (e?.value instanceof Map ? e.value.get(key) : e?.value?.[key]), element);

/** How often `part` stands in `text`. @param {string} text @param {string} part */
function occurrences(text, part) {
  if (!part) return text.length + 1;
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) count++;
  return count;
}

/**
 * The Jinja engine, which asks before anything that grows or takes long. Operands are evaluated
 * here, looked at, and handed on as known. What it overrides is private to the engine, whose
 * version package.json therefore pins.
 */
class BoundedInterpreter extends /** @type {any} */ (Interpreter) {
  #depth = 0;
  #steps = 0;
  #nextLook = 0;
  #text = 0;
  #deadline = performance.now() + MS_MOST;
  #sizes = new WeakMap(); // nodes of a macro
  #most;
  #signal;

  /**
   * @param {Scope} environment @param {{items: number, characters: number}} given
   * @param {AbortSignal} [signal]
   */
  constructor(environment, given, signal) {
    super(environment);
    this.#signal = signal;
    this.#most = {
      steps: STEPS_MOST + given.items * STEPS_PER_ITEM + given.characters * STEPS_PER_CHARACTER,
      text: TEXT_MOST + given.characters * TEXT_PER_CHARACTER,
    };
  }

  /** @param {number} [count] */
  step(count = 1) {
    this.#steps += count;
    if (this.#steps < this.#nextLook) return;
    const { steps } = this.#most;
    if (this.#steps > steps) throw new Stopped(`it takes more than ${steps} steps`);
    throwIfAborted(this.#signal);
    if (performance.now() > this.#deadline) {
      throw new Stopped(`it takes longer than ${MS_MOST / 1000} seconds`);
    }
    this.#nextLook = Math.min(this.#steps + STEPS_BETWEEN_LOOKS, steps);
  }

  /** Whether so many more characters may be made. @param {number} characters */
  #room(characters) {
    const { text } = this.#most;
    if (this.#text + characters > text) {
      throw new Stopped(`it makes more than ${text} characters`);
    }
  }

  /** Counts what has been made. @param {Value} value */
  #made(value) {
    if (typeof value?.value === 'string') {
      this.#room(value.value.length);
      this.#text += value.value.length;
    } else if (value) this.step(extent(value) / 8);
    return value;
  }

  /**
   * About the length of a value as text; a list that holds another many times makes a long one.
   * @param {Value} value
   * @param {number} [more] characters at each element, and `indent` times its depth
   * @param {number} [indent] @param {number} [depth] @returns {number}
   */
  #printed(value, more = 4, indent = 0, depth = 1) {
    const inner = value?.value;
    if (typeof inner === 'string') return inner.length;
    const parts = Array.isArray(inner) ? inner : inner instanceof Map ? inner.values() : [];
    let sum = 24 + indent * depth; // of numbers as well
    for (const part of parts) {
      this.step();
      sum += more + indent * depth + this.#printed(part, more, indent, depth + 1);
    }
    if (inner instanceof Map) for (const key of inner.keys()) sum += key.length + more;
    return sum;
  }

  /** Looking for a text in another. @param {number} length @param {number} part */
  #search(length, part) {
    this.step((length + part) / 64 + (part > length ? 0 : (length * part) / 4096));
  }

  /**
   * A filter or a method that is about to run.
   * @param {string} name @param {Value} operand
   * @param {Value[]} args @param {Map<string, Value>} named
   */
  #foresee(name, operand, args, named) {
    const text = textOf(operand);
    const count = extent(operand);
    /** @type {Value[]} */
    const elements = Array.isArray(operand.value) ? operand.value : [];
    this.step(BUILT_INS + (AT_ONCE.has(name) ? 0 : count / (text ? 64 : 8)));
    switch (name) {
      case 'tojson':
      case 'string': {
        const separators = named.get('separators')?.value ?? [];
        const more = textOf(separators[0]).length + textOf(separators[1]).length;
        const indent = Math.max(0, Number(named.get('indent')?.value) || 0);
        this.#room(this.#printed(operand, 4 + more, indent));
        break;
      }
      case 'join': {
        const glue = textOf(args[0] ?? named.get('separator')).length;
        if (text) this.step(count / 4); // is taken apart
        this.#room(count * (glue + 1));
        this.#room(elements.reduce((sum, e) => sum + glue + this.#printed(e), 0));
        break;
      }
      case 'indent': {
        const width = Number((args[0] ?? named.get('width'))?.value ?? 4);
        this.#room(count + (occurrences(text, '\n') + 1) * Math.max(0, width));
        break;
      }
      case 'replace':
      case 'split': {
        const [part, by] = args.map(textOf);
        if (name === 'split' && !part) {
          for (const word = /\S+/g; word.test(text);) this.step(4);
          break;
        }
        this.#search(count, part?.length ?? 0);
        const found = occurrences(text, part ?? '');
        this.step(found);
        if (name === 'replace') this.#room(count + found * (by?.length ?? 0));
        break;
      }
      case 'startswith':
      case 'endswith':
        for (const pattern of Array.isArray(args[0]?.value) ? args[0].value : args) {
          this.step(1 + textOf(pattern).length / 64);
        }
        break;
      case 'sort': {
        const path = String((args[2] ?? named.get('attribute'))?.value ?? '').split('.');
        const compared = path[0] ? elements.map(e => at(e, path)) : elements;
        this.#sort(compared, path.length);
        break;
      }
      case 'dictsort':
        this.#sort([...operand.value.values()], 1);
        this.#sort(
          [...operand.value.keys()].map(value => ({ value })),
          1,
        );
        break;
      case 'selectattr':
      case 'rejectattr':
        for (const e of elements) this.step(1 + textOf(at(e, [textOf(args[0])])).length / 64);
        break;
      case 'map':
        this.step(count * (1 + textOf(named.get('attribute')).length / 8));
        break;
      case 'namespace': // a list of pairs, which may be texts of two characters
        for (const e of elements) this.step(1 + textOf(e).length / 4);
        break;
      case 'unique':
      case 'items':
      case 'keys':
        this.step(2 * count);
    }
  }

  /** Comparing texts takes them in lower case. @param {Value[]} compared @param {number} each */
  #sort(compared, each) {
    const longest = compared.reduce((most, e) => Math.max(most, textOf(e).length), 0);
    this.step(compared.length * Math.log2(compared.length + 1) * (each + longest / 16));
  }

  /**
   * A function of the engine that looks ahead, wherever the template may carry it.
   * @param {Value} made @param {string} name @param {Value} [receiver]
   */
  #bounded(made, name, receiver) {
    return new FunctionValue((/** @type {Value[]} */ args, /** @type {Scope} */ scope) => {
      const last = args.at(-1);
      const named = last?.type === 'KeywordArgumentsValue' ? last.value : new Map();
      if (receiver) this.#foresee(name, receiver, args, named);
      else for (const arg of args) this.#foresee(name, arg, [], named);
      const result = made.value(args, scope);
      return AT_ONCE.has(name) ? result : this.#made(result);
    });
  }

  /** @param {Node} node @param {Scope} environment @returns {Value} */
  evaluate(node, environment) {
    if (node instanceof Known) return node.known;
    if (this.#depth === DEPTH_MOST) throw new Stopped(`it nests deeper than ${DEPTH_MOST}`);
    this.step();
    this.#depth++;
    try {
      return super.evaluate(node, environment);
    } finally {
      this.#depth--;
    }
  }

  /** @param {Node[]} statements @param {Scope} environment */
  evaluateBlock(statements, environment) {
    const known = statements.map(statement => {
      const value = this.evaluate(statement, environment);
      this.#room(this.#printed(value));
      return new Known(value);
    });
    return this.#made(super.evaluateBlock(known, environment));
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateFor(node, environment) {
    const select = node.iterable.type === 'SelectExpression' ? node.iterable : null;
    const list = this.evaluate(select ? select.lhs : node.iterable, environment);
    this.step(extent(list) * PASS);
    const iterable = select ? { ...select, lhs: new Known(list) } : new Known(list);
    return super.evaluateFor({ ...node, iterable }, environment);
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateBinaryExpression(node, environment) {
    const { operator } = node;
    if (operator.value === 'and' || operator.value === 'or') {
      return super.evaluateBinaryExpression(node, environment);
    }
    const left = this.evaluate(node.left, environment);
    const right = this.evaluate(node.right, environment);
    const [a, b] = [left.value, right.value];
    switch (operator.value) {
      case '+':
        if (Array.isArray(a) && Array.isArray(b)) break;
      // falls through: everything else becomes text
      case '~':
        this.#room(this.#printed(left) + this.#printed(right));
        break;
      case '==':
      case '!=':
        if (typeof a === 'string' && typeof b === 'string') this.step((a.length + b.length) / 64);
        else if (typeof a !== 'object' || typeof b !== 'object') {
          this.#room(this.#printed(left) + this.#printed(right)); // one of them becomes text
        }
        break;
      case 'in':
      case 'not in':
        if (typeof a === 'string' && typeof b === 'string') this.#search(b.length, a.length);
        else if (Array.isArray(b)) {
          this.step(b.length / 8);
          const length = textOf(left).length;
          if (length) for (const e of b) if (textOf(e).length === length) this.step(length / 64);
        }
    }
    const known = { operator, left: new Known(left), right: new Known(right) };
    return this.#made(super.evaluateBinaryExpression(known, environment));
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateTestExpression(node, environment) {
    const operand = this.evaluate(node.operand, environment);
    this.step(textOf(operand).length / 64);
    return super.evaluateTestExpression({ ...node, operand: new Known(operand) }, environment);
  }

  /**
   * @param {Node[]} args @param {Scope} environment
   * @returns {[Value[], Map<string, Value>]}
   */
  evaluateArguments(args, environment) {
    const [positional, named] = super.evaluateArguments(args, environment);
    this.step(positional.length / 8 + named.size);
    return [positional, named];
  }

  /** @param {Value} operand @param {Node} filter @param {Scope} environment */
  applyFilter(operand, filter, environment) {
    const name = filter.value ?? filter.callee.value;
    const [args, named] = filter.args
      ? this.evaluateArguments(filter.args, environment)
      : [[], new Map()];
    this.#foresee(name, operand, args, named);
    // selectattr and rejectattr want texts as they stand in the template
    const known =
      filter.args && !/^(?:select|reject)attr$/.test(name)
        ? { ...filter, args: [...args.map(a => new Known(a)), ...[...named].map(knownArgument)] }
        : filter;
    const result = super.applyFilter(operand, known, environment);
    return AT_ONCE.has(name) ? result : this.#made(result);
  }

  /** @param {Value} object @param {Node} slice @param {Scope} environment */
  evaluateSliceExpression(object, slice, environment) {
    this.step(extent(object) / (textOf(object) ? 4 : 8)); // a text is taken apart
    return this.#made(super.evaluateSliceExpression(object, slice, environment));
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateMemberExpression(node, environment) {
    const object = this.evaluate(node.object, environment);
    const isName = node.computed && node.property.type !== 'SliceExpression';
    const property = isName ? new Known(this.evaluate(node.property, environment)) : node.property;
    const name = isName ? property.known.value : property.value;
    const fresh = !object._builtins;
    const known = { ...node, object: new Known(object), property };
    const value = super.evaluateMemberExpression(known, environment);
    if (fresh && object._builtins) this.step(BUILT_INS);
    const isMethod = value.type === 'FunctionValue' && object._builtins?.get(name) === value;
    return isMethod ? this.#bounded(value, name, object) : value;
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateIdentifier(node, environment) {
    const value = super.evaluateIdentifier(node, environment);
    const isMaker = node.value === 'namespace' && value.type === 'FunctionValue';
    return isMaker ? this.#bounded(value, 'namespace') : value;
  }

  /**
   * Nodes of a macro, which the engine looks through whenever it is defined.
   * @param {unknown} node @returns {number}
   */
  #size(node) {
    if (!node || typeof node !== 'object') return 0;
    if (this.#sizes.has(node)) return this.#sizes.get(node);
    this.step();
    let size = 1;
    const parts = node instanceof Map ? [...node].flat() : Object.values(node);
    for (const part of parts) size += this.#size(part);
    this.#sizes.set(node, size);
    return size;
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateMacro(node, environment) {
    this.step(this.#size(node));
    return super.evaluateMacro(node, environment);
  }

  /** @param {Node} node @param {Scope} environment */
  evaluateCallStatement(node, environment) {
    this.step(this.#size(node));
    return super.evaluateCallStatement(node, environment);
  }
}

/** Today, as Python's strftime writes it. @param {string} format */
function today(format) {
  const date = new Date();
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const month = (/** @type {'long' | 'short'} */ length) =>
    new Intl.DateTimeFormat(undefined, { month: length }).format(date);
  /** @type {Record<string, string>} */
  const parts = {
    '%Y': String(date.getFullYear()),
    '%m': two(date.getMonth() + 1),
    '%d': two(date.getDate()),
    '%b': month('short'),
    '%B': month('long'),
    '%H': two(date.getHours()),
    '%M': two(date.getMinutes()),
    '%%': '%',
  };
  return format.replace(/%[YmdbBHM%]/g, part => parts[part]);
}

/** What every template may name. @param {BoundedInterpreter} interpreter */
const globals = interpreter => ({
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  raise_exception(/** @type {unknown} */ message) {
    throw new Error(typeof message === 'object' ? '' : String(message));
  },
  range(/** @type {number} */ a, /** @type {number | undefined} */ b, step = 1) {
    if (!step) throw new Error('range() step must not be zero');
    const [start, stop] = b === undefined ? [0, a] : [a, b];
    const count = Math.max(0, Math.ceil((stop - start) / step)) || 0;
    interpreter.step(count);
    return Array.from({ length: count }, (_, i) => start + i * step);
  },
  strftime_now(/** @type {unknown} */ format) {
    interpreter.step(1000); // of which the names of months take the most
    return today(String(format).slice(0, MESSAGE_MOST));
  },
});

/** @param {string} template */
function syntaxTree(template) {
  if (template.length > SOURCE_MOST) {
    throw new Stopped(`it is longer than ${SOURCE_MOST} characters`);
  }
  let blanks = 0;
  for (const [run] of template.matchAll(/\s{100,}/g)) blanks += run.length ** 2;
  if (blanks > BLANKS_MOST) throw new Stopped('it has too many blanks in a row');
  return parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
}

/** V8 and JavaScriptCore throw a RangeError, SpiderMonkey an InternalError. @param {Error} cause */
const outOfStack = ({ name, message }) =>
  /^(?:Range|Internal)Error$/.test(name) && /call stack|recursion/i.test(message);

/** What a message's parts say, in one text. @param {Message} message */
const joined = ({ content }) =>
  Array.isArray(content) ? content.map(part => part.text).join('\n') : content;

/**
 * Renders a conversation with a model's own chat template, under limits: the template comes from
 * whoever made the file. Messages in parts reach it so where it reads parts, else as texts.
 * @param {string | undefined} template
 * @param {Message[]} messages
 * @param {ChatSettings} [options]
 * @returns {string} the text that the model continues
 */
export function renderChat(template, messages, options = {}) {
  if (!template) {
    const message = 'this model has no chat template: use generate with a prompt of your own';
    throw new HyperionError('HYP_E_UNSUPPORTED', message);
  }
  if (options.tools?.length && !/\btools\b/.test(template))
    throw new HyperionError(
      'HYP_E_UNSUPPORTED',
      "this model's chat template knows no tools: describe them in a message",
    );
  if (!messages.some(({ content }) => Array.isArray(content)))
    return render(template, messages, options);
  const texts = messages.map(message => ({ ...message, content: joined(message) }));
  const asTexts = render(template, texts, options);
  try {
    // It reads parts if one part says to it what its text does.
    const one = (/** @type {Message} */ message) => [{ type: 'text', text: joined(message) }];
    const probe = messages.map(message =>
      Array.isArray(message.content) ? { ...message, content: one(message) } : message,
    );
    if (render(template, /** @type {Message[]} */ (probe), options) !== asTexts) return asTexts;
    return render(template, messages, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    return asTexts;
  }
}

/**
 * @typedef {{bosToken?: string, eosToken?: string, variables?: Record<string, unknown>, tools?:
 *   Record<string, unknown>[], signal?: AbortSignal}} ChatSettings
 */

/**
 * @param {string} template @param {Message[]} messages @param {ChatSettings} options
 * @returns {string}
 */
function render(template, messages, options) {
  const { bosToken = '', eosToken = '', variables = {}, tools, signal } = options;
  try {
    throwIfAborted(signal);
    const given = {
      messages,
      add_generation_prompt: true,
      bos_token: bosToken,
      eos_token: eosToken,
      ...(tools?.length && { tools }),
      ...variables,
    };
    const environment = new Environment();
    const interpreter = new BoundedInterpreter(environment, measure(given), signal);
    for (const [name, value] of Object.entries(globals(interpreter))) environment.set(name, value);
    for (const [name, value] of Object.entries(given)) environment.set(name, value);
    return interpreter.run(syntaxTree(template)).value;
  } catch (thrown) {
    if (thrown instanceof Aborted) throw cancelled(signal);
    if (thrown instanceof HyperionError) throw thrown;
    const cause = /** @type {Error} */ (thrown);
    const limit = outOfStack(cause) ? 'it nests too deeply' : cause.message;
    const message =
      cause instanceof Stopped || outOfStack(cause)
        ? `was stopped: ${limit}; use generate with a prompt of your own`
        : `refuses this conversation: ${cause.message.slice(0, MESSAGE_MOST)}`;
    throw new HyperionError('HYP_E_ARGUMENT', `the model's chat template ${message}`, { cause });
  }
}
