"""A conversation as the model's template writes it; the template is a program of strangers."""

import datetime

import pytest

from glassesjax.errors import BadInput
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
