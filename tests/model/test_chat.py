"""A conversation as the model's template writes it; the template is a program of strangers."""

import pytest

from glassesjax.errors import BadInput
from glassesjax.model.pretrained import open_model, toy_model
from glassesjax.model.tokenizer import chat_text

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


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (None, "this one has none"),
        ("{% for %}", "it fails"),
        ("{{ raise_exception('only one system message') }}", "only one system message"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.clear() }}", "it fails"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{{ 1 // 0 }}", "it fails"),
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
