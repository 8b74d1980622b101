"""A conversation as the model's template writes it; the template is a program of strangers."""

import datetime
import time

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from glassesjax.errors import BadInput
from glassesjax.model import chat
from glassesjax.model.chat import chat_text
from glassesjax.model.pretrained import open_model, toy_model

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
USER = {"role": "user", "content": "1 < 2 & {{ x }}"}


def render(template, *messages):
    return chat_text(template, messages, bos="<s>", eos="</s>")


def test_messages_stand_as_they_are_and_the_answer_begins():
    system = {"role": "system", "content": "Be brief."}
    wanted = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 < 2 & {{ x }}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert render(CHATML, system, USER) == wanted


def test_the_names_of_the_special_tokens_are_known():
    assert render("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", USER) == (
        "<s>1 < 2 & {{ x }}</s>"
    )


# What transformers' apply_chat_template writes, by hand.
WRITTEN = {
    # Jinja's own filter would write \u003c for <, and sort the keys.
    "{{ {'z': \"<a & 'b'>\", 'a': 'naïve ☃'} | tojson }}": """{"z": "<a & 'b'>", "a": "naïve ☃"}""",
    "{{ ['é'] | tojson(ensure_ascii=True) }}": '["\\u00e9"]',
    "{{ {'b': 1, 'a': none} | tojson(indent=2) }}": '{\n  "b": 1,\n  "a": null\n}',
    "{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}": '{"a":2,"b":1}',
    "{{ {'b': 1} | tojson(indent=1, separators=[',', '=']) }}": '{\n "b"=1\n}',
    "{{ '<' ~ ([1] | tojson) }}": "<[1]",  # plain text: nothing is escaped beside it either
    "{{ tools is none }} {{ documents is none }}": "True True",
    "{% if tools %}x{% endif %}{% if tools is defined and tools is not none %}y{% endif %}-": "-",
    "{{ add_generation_prompt }}": "True",
    "{{ pad_token }}{{ unk_token is defined }}": "<p>False",
    "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}": "012",
    "{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}": "023",
    "a{% generation %}{{ 1 + 1 }}<b>{% endgeneration %}c": "a2<b>c",
    # Blocks on lines of their own leave no line, as trim_blocks and lstrip_blocks have it.
    "a\n  {% generation %}\nb\n  {%- endgeneration %}\nc": "a\nbc",
    "{% for m in messages %}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}"
    "{% endfor %}": "1user",
    # As in transformers, the block is a scope of its own: what is set in it ends with it.
    "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}": "21",
    "{% set n = namespace(x=1) %}{% generation %}{% set n.x = 2 %}{% endgeneration %}"
    "{{ n.x }}": "2",
}


@pytest.mark.parametrize("template", WRITTEN)
def test_a_template_finds_what_transformers_gives_it(template):
    found = chat_text(template, [USER], bos="<s>", eos=None, names={"pad_token": "<p>"})
    assert found == WRITTEN[template]


def test_a_token_that_the_model_has_not_is_not_defined():
    template = "{{ bos_token is defined }}{{ eos_token is defined }}[{{ eos_token }}]"
    assert chat_text(template, [USER], bos="<s>", eos=None) == "TrueFalse[]"


def test_the_date_is_todays():
    before = datetime.date.today()
    found = render("{{ strftime_now('%d %B %Y') }}", USER)
    assert found in {day.strftime("%d %B %Y") for day in (before, datetime.date.today())}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% generation %}no end", "one that fails"),
        ("{{ nothing | tojson }}", "Undefined is not JSON serializable"),
        ("{% break %}", "one that fails"),
        (None, "got one without"),
        ("{% for %}", "one that fails"),
        ("{{ raise_exception('only one system message') }}", "only one system message"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.clear() }}", "one that fails"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ 1 // 0 }}", "one that fails"),
    ],
)
def test_a_template_that_fails_is_bad_input(template, text):
    with pytest.raises(BadInput, match=text):
        render(template, USER)


def test_a_symbol_is_its_own_bytes():
    tokenizer = toy_model().tokenizer
    assert tokenizer.token_bytes(3) == b"3"


@pytest.mark.slow
@pytest.mark.models
def test_smollm2_reads_chatml_and_its_tokens_are_bytes():
    tokenizer = open_model("smollm2").tokenizer
    tokens = tokenizer.encode_chat([{"role": "user", "content": "Hé 🙂"}])
    text = tokenizer.decode(tokens)
    assert text.endswith("<|im_start|>user\nHé 🙂<|im_end|>\n<|im_start|>assistant\n")
    assert b"".join(map(tokenizer.token_bytes, tokens)).decode() == text
    assert tokenizer.eos in tokens  # the mark that ends a turn
    every = range(49152)
    spelled = b"".join(map(tokenizer.token_bytes, every)).decode("utf-8", "replace")
    assert spelled == tokenizer.decode(every)


# Templates that are programs: what they may do is counted. ----------------------------------------

LONG = """
{%- macro written(content) -%}
    {%- if content is string -%}{{ content }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for part in content -%}{{ part.text }}{%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(searching=true, last=messages|length - 1, system='') -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- set ns.system = messages[0]['content']|trim -%}{%- set turns = messages[1:] -%}
{%- else -%}{%- set turns = messages -%}{%- endif -%}
{{- bos_token ~ '<|start|>system\\n' ~ ns.system ~ '\\nToday: ' ~ '%s-%02d'|format('may', 5) -}}
{%- if tools is not none -%}{{- tools|tojson(indent=4) -}}{%- endif -%}
{%- for message in turns[::-1] -%}
    {%- set index = (turns|length - 1) - loop.index0 -%}
    {%- if ns.searching and message.role == "user" and not (
        message.content.startswith('<tool>') and message.content[-7:] == '</tool>') -%}
        {%- set ns.searching = false -%}{%- set ns.last = index -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Expected user and assistant in turn') -}}
    {%- endif -%}
    {%- set content = written(message.content)|trim -%}
    {%- set thought = '' -%}
    {%- if '</think>' in content -%}
        {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] -%}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {%- if loop.first or loop.previtem.role != message.role -%}
        {{- '\\n<|start|>' + message.role + '\\n' -}}
    {%- endif -%}
    {%- if loop.index0 > ns.last -%}{{- '<think>' + thought + '</think>' -}}{%- endif -%}
    {{- content.replace('<|end|>', '') | replace('\\t', ' ') -}}
    {%- for call in message.tool_calls or [] -%}{{ call|tojson }}{%- endfor -%}
    {{- ['<|end|>', '\\n']|join('') if not loop.last else '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n<|start|>{}\\n'.format('assistant') -}}{%- endif -%}
{{- messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|list|length -}}
"""


def conversation(turns, letters):
    said = "<think>\nwell\n</think>\n" + "a\tb☃ " * (letters // 5)
    pair = [
        {"role": "user", "content": "b " * (letters // 2)},
        {"role": "assistant", "content": said},
    ]
    return [{"role": "system", "content": " Be brief. "}, *pair * (turns // 2), pair[0]]


@pytest.mark.parametrize(("turns", "letters"), [(2, 50), (600, 500), (4, 200_000)], ids=str)
@pytest.mark.parametrize("template", [CHATML, LONG], ids=["short", "long"])
def test_a_long_conversation_is_written_as_jinja_writes_it(template, turns, letters):
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = conversation(turns, letters)
    wanted = plain.from_string(template).render(
        messages=messages, bos_token="<s>", eos_token="</s>", tools=None, add_generation_prompt=True
    )
    assert render(template, *messages) == wanted


def grown(change, start):
    """A template that changes a value sixty times: what doubles is then beyond any memory."""
    return (
        f"{{% set n = namespace(a={start}) %}}{{% for i in range(60) %}}"
        f"{{% set n.a = {change} %}}{{% endfor %}}{{{{ n.a|string|length }}}}"
    )


def often(body):
    return f"{{% for i in range(99999) %}}{body}{{% endfor %}}"


STEPS, ROOM, WIDTH = "steps, got more", "characters and items, got more", "4 digits, got more"
BITS, FAILS = "bits, got more", "one that fails"
BEYOND = {
    "loops in loops": (often(often("")), STEPS),
    "loops of which nothing is left": (
        "{% for i in range(99999) if false %}{% endfor %}",
        STEPS,
    ),
    "output in loops": (often(often("x")), STEPS),
    "a macro that calls itself twice": (
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        STEPS,
    ),
    "a macro that calls itself for ever": (
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        FAILS,
    ),
    "a block that calls itself": ("{% block a %}{{ self.a() }}{% endblock %}", FAILS),
    "a loop that calls itself": (
        "{% for i in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}",
        STEPS,
    ),
    "a long text of a macro": (
        "{% macro f() %}" + "a" * 30000 + "{% endmacro %}" + often("{% set a = f() %}"),
        ROOM,
    ),
    "conditions without a call": (
        often("{% if i > 0 %}" + "{% set a = i and i %}" * 900 + "{% endif %}"),
        STEPS,
    ),
    "a text that is written again and again": (
        "{% set x %}{{ 'a' * 999 }}{% endset %}{% for i in range(9999) %}{{ x }}{% endfor %}",
        ROOM,
    ),
    "texts that double by ~": (grown("n.a ~ n.a", "'x'"), ROOM),
    "texts that double by +": (grown("n.a + n.a", "'x'"), ROOM),
    "texts that double by join": (grown("[n.a, n.a]|join", "'x'"), ROOM),
    "texts that double by replace": (grown("n.a.replace('x', 'xx')", "'x'"), ROOM),
    "texts that double in a block": (
        "{% set n = namespace(a='x') %}"
        + often("{% set b %}{{ n.a }}{{ n.a }}{% endset %}{% set n.a = b %}"),
        ROOM,
    ),
    "lists that double": (grown("n.a + n.a", "[1]"), STEPS),
    "lists of lists": (grown("[n.a, n.a]", "1"), STEPS),
    "tuples of tuples": (grown("(n.a, n.a)", "1"), STEPS),
    "dictionaries of dictionaries": (grown("{1: n.a, 2: n.a}", "1"), STEPS),
    "dictionaries by call": (grown("dict(a=n.a, b=n.a)", "1"), STEPS),
    "a text times": ("{{ 'a' * 10**9 }}", ROOM),
    "times a text": ("{{ 10**9 * 'a' }}", ROOM),
    "a list times": ("{{ [1] * 10**9 }}", ROOM),
    "powers": ("{{ 2**1000000000 }}", BITS),
    "numbers that are squared": (grown("n.a * n.a", "3"), BITS),
    "digits of round": ("{{ 1|round(10**9, 'ceil') }}", "308 digits"),
    "bytes of a number": ("{{ (1).to_bytes(10**10, 'big') }}", ROOM),
    "a width of %": ("{{ '%1000000000d' % 1 }}", WIDTH),
    "a precision of %": ("{{ '%.1000000000f' % 1 }}", WIDTH),
    "a width of % by name": ("{{ '%(a)1000000000d' % {'a': 1} }}", WIDTH),
    "a width of % beside it": ("{{ '%*d' % (10**9, 1) }}", WIDTH),
    "a width of % of safe text": ("{{ ('%1000000000d'|safe) % 1 }}", WIDTH),
    "a width of % of bytes": ("{{ '%1000000000d'.encode() % 1 }}", WIDTH),
    "a width of format of safe text": ("{{ ('{:>999999999}'|safe).format(1) }}", WIDTH),
    "a width of the filter": ("{{ '%1000000000d'|format(1) }}", WIDTH),
    "a width of format": ("{{ '{:>999999999}'.format(1) }}", WIDTH),
    "a width of format beside it": ("{{ '{:{}}'.format(1, 10**9) }}", WIDTH),
    "a width of format as an item": ("{{ '{:>999999999}'['format'](1) }}", WIDTH),
    "a width of format_map": ("{{ '{a:>999999999}'.format_map({'a': 1}) }}", WIDTH),
    "many fields of format": ("{{ ('{0}' * 9999).format('a' * 9999) }}", ROOM),
    "many fields of %": ("{{ ('%(a)s' * 9999) % {'a': 'a' * 9999} }}", ROOM),
    **{
        f"{name} to a width": (f"{{{{ 'a'.{name}(10**9) }}}}", ROOM)
        for name in ("center", "ljust", "rjust", "zfill")
    },
    **{
        name: (f"{{{{ {expression} }}}}", ROOM)
        for name, expression in {
            "center as a filter": "'a'|center(10**9)",
            "ljust of safe text": "('a'|safe).ljust(10**9)",
            "ljust of escaped text": "('a'|e).ljust(10**9)",
            "zfill of safe text": "('a'|safe).zfill(10**9)",
            "tabs of safe text": "('\\t'|safe).expandtabs(10**9)",
            "a method of safe text by a filter": "('a'|safe|attr('center'))(10**9)",
            "a join of safe text": "(('b' * 9999)|safe).join('a' * 9999)",
            "a replacement of safe text": "(('a' * 9999)|safe).replace('a', 'b' * 9999)",
            "a translation of safe text": "(('a' * 9999)|safe).translate({97: 'b' * 9999})",
            "long numbers as text": "([2**2000] * 9999)|string",
            "center of a map": "['a']|map('center', 10**9)|list",
            "an indent": "'a\\nb'|indent(10**9)",
            "an indent of text": "('a\\n' * 9999)|indent('b' * 9999)",
            "tabs": "'\\t'.expandtabs(10**9)",
            "a translation": "('a' * 9999).translate({97: 'b' * 9999})",
            "a replacement": "('a' * 9999).replace('a', 'b' * 9999)",
            "a replacement as a filter": "('a' * 9999)|replace('a', 'b' * 9999)",
            "a join": "('b' * 9999).join('a' * 9999)",
            "a join as a filter": "('a' * 9999)|join('b' * 9999)",
            "a batch": "[1]|batch(10**9, 1)|list",
            "slices": "[1]|slice(10**9)|list",
            "an indent of JSON": "[[1]]|tojson(indent=10**9)",
            "keys of one text": "dict.fromkeys(range(9999), 'a' * 9999)|string",
            "a filter of a block": "1 }}{% filter center(10**9) %}a{% endfilter %}{{ 1",
        }.items()
    },
    "a default of a map": ("{{ range(99999)|map(attribute='z', default='b' * 9999)|join }}", STEPS),
    "lists that are summed": ("{{ range(99999)|batch(1)|sum(start=[]) }}", "sums of numbers"),
    "filters of filters": (
        "{% set n = namespace(g=range(99999)) %}"
        "{% for i in range(90) %}{% set n.g = n.g|select %}{% endfor %}{{ n.g|list|length }}",
        STEPS,
    ),
    "what is left out of ranges": (often("{{ range(99999)|reject|list }}"), STEPS),
    "searches of texts": ("{% set a = 'a' * 200000 %}" + often("{{ 'b' in a }}"), STEPS),
    "searches of lists": ("{% set a = [1] * 9999 %}" + often("{{ 2 in a }}"), STEPS),
    "slices of lists": ("{% set a = [1] * 9999 %}" + often("{% set b = a[:] %}"), STEPS),
    "lists that are compared": ("{% set a = [1] * 9999 %}" + often("{{ a == a[:] }}"), STEPS),
    "keys that are hashed": ("{% set a = (1,) * 9999 %}" + often("{{ {}[(a, a)] }}"), STEPS),
    "arguments of calls": (often("{{ cycler(*range(99999)) }}"), STEPS),
    "marks that are taken out": ("{{ ('<!---->' * 30000)|striptags }}", STEPS),
    "domain names": ("{{ ('ä' * 30000).encode('idna') }}", STEPS),
    "random words": ("{{ lipsum(n=10**6) }}", FAILS),
    "a date of a long format": ("{{ strftime_now('%c' * 999) }}", FAILS),
    "a template of 10^7 letters": ("a" * 10**7, "32768 characters, got 10000000"),
    "nested parentheses": ("{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}", FAILS),
    "nested conditions": ("{% if 1 %}" * 1500 + "{% endif %}" * 1500, FAILS),
    "a number of many digits": ("{{ " + "9" * 9999 + " }}", FAILS),
}


@pytest.mark.parametrize("kind", BEYOND)
def test_a_template_that_goes_too_far_is_refused_in_one_line(kind, monkeypatch):
    template, text = BEYOND[kind]
    if text == STEPS:
        monkeypatch.setattr(chat, "STEPS", 4000)  # run-time checks make each step slow here
    begin = time.process_time()
    with pytest.raises(BadInput, match=text) as error:
        render(template, USER)
    assert time.process_time() - begin < 5
    assert str(error.value).startswith("Expected a chat template")
    assert str(error.value).isprintable()


def test_a_namespace_may_hold_itself():
    assert render("{% set n = namespace() %}{% set n.a = n %}{{ n }}", USER) == "<Namespace>"


def test_what_python_looks_for_in_a_namespace_is_not_the_templates():
    template = "{% set n = namespace(__html__=(' ' * 99999).strip) %}{{ n|e }}"
    assert render(template, USER) == "&lt;Namespace&gt;"


def test_what_a_template_raises_is_escaped_and_short():
    with pytest.raises(BadInput, match=r"\(\\x1b\[2J") as error:
        render("{{ raise_exception('\x1b[2J' ~ '\n' * 9 ~ 'a' * 9999) }}", USER)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500
