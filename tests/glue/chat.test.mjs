// Chat templates of the common families, rendered by the Jinja engine; the expected texts are what
// the models were trained on.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { open } from 'hyperion-runtime';
import { renderChat } from '../../glue/model/chat.js';
import { tinyModel } from '../tools/models.mjs';

const CHATML =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const LLAMA3 =
  "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";
const GEMMA =
  "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}";
const PHI3 =
  "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}";
const ZEPHYR =
  "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";
const LLAMA2 =
  "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";

const TALK = [
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello!' },
  { role: 'user', content: 'A story?' },
];
const render = (template, messages = TALK) =>
  renderChat(template, messages, { bosToken: '<s>', eosToken: '</s>' });

test('ChatML', () =>
  assert.equal(
    render(CHATML),
    '<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nA story?<|im_end|>\n<|im_start|>assistant\n',
  ));
test('Llama 3', () =>
  assert.equal(
    render(LLAMA3),
    '<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nA story?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
  ));
test('Gemma', () =>
  assert.equal(
    render(GEMMA),
    '<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\nA story?<end_of_turn>\n<start_of_turn>model\n',
  ));
test('Phi-3', () =>
  assert.equal(
    render(PHI3),
    '<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n<|user|>\nA story?<|end|>\n<|assistant|>\n',
  ));
test('Zephyr (TinyLlama)', () =>
  assert.equal(
    render(ZEPHYR).replace(/\n+/g, '\n'),
    '<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n<|user|>\nA story?</s>\n<|assistant|>\n',
  ));
test('Llama 2', () =>
  assert.equal(
    render(LLAMA2, [{ role: 'system', content: 'Be brief.' }, ...TALK]),
    '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] A story? [/INST]',
  ));

test('a template that refuses says why', () => {
  assert.throws(
    () => render(GEMMA, [{ role: 'system', content: 'x' }]),
    e => e.code === 'HYP_E_ARGUMENT' && /System role not supported/.test(e.message),
  );
  assert.throws(
    () => render(undefined),
    e => e.code === 'HYP_E_UNSUPPORTED',
  );
  assert.throws(
    () => render('{% for %}'),
    e => e.code === 'HYP_E_ARGUMENT',
  );
});

// --- templates are code from strangers ---

const HI = [{ role: 'user', content: 'Hi' }];
const set = (name, count, from = 'abcdefgh') =>
  `{% set ${name} = '${from}' %}${`{% set ${name} = ${name} ~ ${name} %}`.repeat(count)}`;
const list = (element, count) =>
  `{% set ns = namespace(l=[${element}]) %}${'{% set ns.l = ns.l + ns.l %}'.repeat(count)}`;
const DAG = `{% set ns = namespace(l=[1]) %}${'{% set ns.l = [ns.l, ns.l] %}'.repeat(60)}`;
// on a machine that is slow enough
const steps = /was stopped: it takes (more than \d+ steps|longer than)/;
const text = /was stopped: it makes more than \d+ characters/;
const depth = /was stopped: it nests (too deeply|deeper than \d+)/;
const length = /was stopped: it is longer than \d+ characters/;
const blanks = /was stopped: it has too many blanks in a row/;
const refusal = /refuses this conversation/;

// What each does without limits: takes for ever, takes all memory, or both.
const HOSTILE = {
  'a long range in a loop': ['{% for i in range(1000000000) %}{% endfor %}', steps],
  'a long range': ['{{ range(1000000000) | length }}', steps],
  'an endless range': ['{{ range(0, 1 // 0) | length }}', steps],
  'nested loops': [
    '{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}' +
      '{% endfor %}{% endfor %}{% endfor %}',
    steps,
  ],
  'a text doubled': [`${set('x', 60)}{{ x }}`, text],
  'a text doubled by +': ['{% set x = "ab" %}' + '{% set x = x + x %}'.repeat(60), text],
  'a text doubled by a block': [
    '{% set x = "ab" %}' + '{% set x %}{{ x }}{{ x }}{% endset %}'.repeat(60),
    text,
  ],
  'replace as a filter': [`${set('x', 16)}{{ x | replace('', x) }}`, text],
  'replace as a method': [`${set('x', 16)}{{ x.replace('a', x) }}`, text],
  'replace carried off': [
    `${set('x', 16)}{% set f = x.replace %}{% call f('a', x) %}{% endcall %}`,
    text,
  ],
  'join with a long glue': [`${set('x', 16)}{{ range(90000) | join(x) }}`, text],
  'join of a text': [`${set('x', 16)}{{ x | join(x) }}`, text],
  'join of one text many times': [`${set('x', 18)}${list('x', 18)}{{ ns.l | join }}`, text],
  'indent by much': ['{{ "a" | indent(500000000) }}', text],
  'tojson with much indent': ['{{ [] | tojson(indent=500000000) }}', text],
  'tojson with long separators': [
    `${set('x', 18)}{{ range(100) | tojson(separators=(x, x)) }}`,
    text,
  ],
  'a list of lists as JSON': [`${DAG}{{ ns.l | tojson }}`, steps],
  'a list of lists printed': [`${DAG}{{ ns.l }}`, steps],
  'a list of lists compared': [`${DAG}{{ ns.l == 'x' }}`, steps],
  'a list of lists appended': [`${DAG}{{ ns.l ~ 'x' }}`, steps],
  'a list of lists added': [`${DAG}{{ 'x' + ns.l }}`, steps],
  'a list of lists joined': [`${DAG}{{ ns.l | join('x') }}`, steps],
  'a list of lists as an error': [`${DAG}{{ raise_exception(ns.l) }}`, refusal],
  'a namespace within itself': ['{% set n = namespace() %}{% set n.a = n %}{{ n }}', depth],
  'a list doubled': [list('1', 100), steps],
  'a list grown one by one': [
    '{% set ns = namespace(l=[]) %}{% for i in range(50000) %}' +
      '{% set ns.l = ns.l + [i] %}{% endfor %}',
    steps,
  ],
  'sorting a long text many times': [
    `${set('x', 18)}${list('x', 15)}{{ ns.l | sort | length }}`,
    steps,
  ],
  'sorting by an attribute': [
    `${set('x', 18)}${list("{'a': x}", 15)}{{ ns.l | sort(attribute='a') | length }}`,
    steps,
  ],
  'selecting by a test': [
    `${set('x', 18)}${list("{'a': x}", 15)}{{ ns.l | selectattr('a', 'upper') | length }}`,
    steps,
  ],
  'a long text in a list': [`${set('x', 17)}${set('y', 17)}${list('x', 15)}{{ y in ns.l }}`, steps],
  'a long text in a long text': [
    `${set('x', 17, 'aaaaaaaa')}{% set z = 'b' ~ x[:70000] %}{{ z in x }}`,
    steps,
  ],
  'many beginnings': [`${set('x', 18)}${list("x ~ 'b'", 17)}{{ x.startswith(ns.l) }}`, steps],
  splitting: [`${set('x', 18)}{% for i in range(99) %}{{ x.split('a') }}{% endfor %}`, steps],
  'splitting at blanks': [`${set('x', 20, 'a ')}{% set l = x.split() %}`, steps],
  'slicing a text': [
    `${set('x', 18)}{% for i in range(99) %}{% set y = x[::2] %}{% endfor %}`,
    steps,
  ],
  'upper again and again': [
    `${set('x', 18)}{% for i in range(99) %}{% set y = x | upper %}{% endfor %}`,
    text,
  ],
  'texts as pairs': [`${set('x', 19)}{{ namespace([x, x]) }}`, steps],
  'a list spread again and again': [
    '{% macro m() %}{{ varargs | length }}{% endmacro %}' +
      '{% set l = range(90000) %}{% for i in range(9999) %}{{ m(*l) }}{% endfor %}',
    steps,
  ],
  'dates again and again': [
    '{% for i in range(60000) %}{{ strftime_now("%B") }}{% endfor %}',
    steps,
  ],
  'a macro that calls itself': [
    '{% macro m(self) %}{{ self(self) }}{% endmacro %}{{ m(m) }}',
    depth,
  ],
  'a macro that forks': [
    '{% macro m(self, n) %}{% if n %}{{ self(self, n - 1) }}' +
      '{{ self(self, n - 1) }}{% endif %}{% endmacro %}{{ m(m, 22) }}',
    steps,
  ],
  'a long macro defined in a loop': [
    `{% for i in range(20000) %}{% macro m() %}${'{{ 1 }}'.repeat(
      20000,
    )}{% endmacro %}{% endfor %}`,
    steps,
  ],
  brackets: [`{{ ${'['.repeat(500000)} }}`, depth],
  parentheses: [`{{ ${'('.repeat(90000)}1${')'.repeat(90000)} }}`, depth],
  signs: [`{{ ${'- '.repeat(200000)}1 }}`, depth],
  'a long sum': [`{{ 1${' + 1'.repeat(90000)} }}`, depth],
  'a long sum in a macro': [`{% macro m() %}{{ 1${' + 1'.repeat(90000)} }}{% endmacro %}`, depth],
  'conditions in conditions': ['{% if 1 %}'.repeat(40000) + '{% endif %}'.repeat(40000), depth],
  alternatives: [`{% if 0 %}${'{% elif 0 %}'.repeat(40000)}{% endif %}`, depth],
  'a long template': ['a'.repeat(2 ** 20 + 1), length],
  'a long run of blanks': [`a${' '.repeat(2 ** 19)}`, blanks],
};

for (const [name, [template, message]] of Object.entries(HOSTILE)) {
  test(`hostile: ${name}`, () => {
    const before = process.memoryUsage().rss;
    assert.throws(
      () => render(template, HI),
      e => {
        assert.match(e.message, message);
        return e.code === 'HYP_E_ARGUMENT' && e.message.length < 1200;
      },
    );
    assert.ok(process.memoryUsage().rss - before < 600e6, 'memory');
  });
}

test('hostile templates in a model, in the thread and in a worker', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'hyp-chat-'));
  try {
    for (const name of ['a long range in a loop', 'replace as a filter', 'brackets']) {
      const [template, message] = HOSTILE[name];
      const path = tinyModel(join(dir, 'hostile.gguf'), [
        ['tokenizer.chat_template', 'str', template],
      ]);
      for (const worker of [false, true]) {
        const model = await open(path, { worker });
        await assert.rejects(
          async () => {
            for await (const piece of model.chat(HI)) assert.fail(`answered ${piece.text}`);
          },
          e => e.code === 'HYP_E_ARGUMENT' && message.test(e.message),
        );
        assert.ok((await model.tokenize('a')).length > 0); // and goes on
        await model.close();
      }
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('an abort ends a template under way', () => {
  const loop = '{% for a in range(999) %}{% for b in range(999) %}{% endfor %}{% endfor %}';
  let looks = 0;
  const signal = {
    get aborted() {
      return ++looks === 4;
    },
    reason: 'enough',
  };
  assert.throws(
    () => renderChat(loop, HI, { signal }),
    e => e === 'enough',
  );
  assert.equal(looks, 4);
  assert.throws(
    () => renderChat(CHATML, HI, { signal: AbortSignal.abort() }),
    e => e instanceof DOMException && e.name === 'AbortError',
  );
});

test('a template reaches nothing of the host', () => {
  const odd = JSON.parse(
    '{"role": "user", "content": "Hi", "__proto__": {"x": "own"}, "constructor": "mine", "toString": "text"}',
  );
  const asked = [
    'messages.constructor',
    'messages[1].constructor',
    'messages[1].__proto__',
    '"a".constructor',
    '"a"["__proto__"]',
    'range.constructor',
    'range.prototype',
    '{}.hasOwnProperty',
    'namespace().constructor',
    'namespace.apply',
    'none.constructor',
    'true.constructor',
    '(1).constructor',
  ];
  for (const name of asked) assert.equal(render(`{{ ${name} }}`, [odd, ...HI]), '', name);
  assert.equal(
    render(
      '{{ messages[0].constructor }} {{ messages[0].toString }} {{ messages[0].__proto__.x }}',
      [odd],
    ),
    'mine text own',
  );
  assert.equal(
    render(
      '{% set n = namespace() %}{% set n.__proto__ = {"x": 1} %}{% set n.constructor = 2 %}{{ n.constructor }}{{ {"__proto__": 3}["__proto__"] }}',
      HI,
    ),
    '23',
  );
  assert.equal({}.x, undefined);
  assert.equal(
    renderChat('{{ x }}{{ __proto__ }}', HI, { variables: JSON.parse('{"x": 1, "__proto__": 2}') }),
    '12',
  );
});

test('the limits grow with the conversation', () => {
  const quadratic =
    '{% set ns = namespace(l=[]) %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% if messages[::-1] | length > loop.index0 %}{% endif %}{% endfor %}' +
    CHATML;
  const talk = Array.from({ length: 2000 }, (_, i) => ({
    role: i % 2 ? 'assistant' : 'user',
    content: `${i} `.repeat(1000),
  }));
  for (const template of [CHATML, LLAMA3, GEMMA, PHI3, ZEPHYR, quadratic])
    assert.ok(render(template, talk).includes('1998 1998'));
  // 10 MB in one message, handled as templates of thinking models do
  const page = 'word '.repeat(2e6);
  assert.ok(
    render(
      "{% for m in messages %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ '<s>' + m.role + c.strip() + '</s>' }}{{ c | trim | length }}{% endfor %}",
      [{ role: 'user', content: `x</think>${page}` }],
    ).length > 9e6,
  );
});

test('what the engine offers templates is as it was', () => {
  const same = {
    '{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}':
      '01253',
    "{{ 'a b  c'.split() | join('-') }} {{ 'a,b,c'.split(',', 1) | join('-') }}": 'a-b-c a-b,c',
    "{{ 'aXbX'.replace('X', '__') }} {{ 'aXbX' | replace('X', 'y', 1) }}": 'a__b__ aybX',
    "{{ {'b': [1, none], 'a': 'x'} | tojson }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}":
      '{"b": [1, null], "a": "x"} {"a":2,"b":1}',
    "{{ [{'n': 2}, {'n': 1}] | sort(attribute='n') | map(attribute='n') | join(',') }}": '1,2',
    "{{ [{'n': 'x'}, {'n': 'y'}] | selectattr('n', 'equalto', 'y') | map(attribute='n') | list }}":
      '["y"]',
    "{{ {'b': 1, 'a': 2} | dictsort }}{% for k, v in {'z': 1}.items() %}{{ k }}{{ v }}{% endfor %}":
      '[["a", 2], ["b", 1]]z1',
    '{% for x in [1, 2, 3, 4] if x is even %}{{ loop.index }}{{ x }}{% else %}none{% endfor %}':
      '1224',
    '{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}':
      '13',
    "{% macro m(a, b='2') %}{{ a }}{{ b }}{{ caller() if caller else '' }}{% endmacro %}{{ m('1') }}{{ m('1', b='3') }}{% call m('4') %}!{% endcall %}":
      '121342!',
    "{% filter upper %}a{% endfilter %}{{ 'x\ny' | indent(2) }}{{ 'abc'[::-1] }}{{ [1, 2, 3][1:] }}{{ 'b' in 'abc' }}{{ 'a' in ['a'] }}":
      'Ax\n  ycba[2, 3]truetrue',
    "{% set n = namespace(a=1, **{'b': 2}) %}{% set n.a = n.a + n.b %}{{ n.a }}{{ x | default('d') }}{{ 2 ** 3 }}{{ '1' | int + 1 }}{{ 'a' ~ 1 }}":
      '3d82a1',
  };
  for (const [template, expected] of Object.entries(same))
    assert.equal(render(template, HI), expected, template);
  const year = String(new Date().getFullYear());
  assert.equal(render('{{ strftime_now("%Y %%") }}', HI), `${year} %`);
  assert.match(
    render('{{ strftime_now("%d %b %B %H:%M %m") }}', HI),
    /^\d\d \S+ \S+ \d\d:\d\d \d\d$/,
  );
});
