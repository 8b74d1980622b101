"""Whether a damaged model that opens is the model that was damaged: its logits and its tokens."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from glassesjax import open_model
from glassesjax.errors import BadInput
from glassesjax.model import flat_parameters
from glassesjax.model.language import LanguageModel

DIFFERS = 9  # exit status of a damaged model that opens as another one
PROMPT = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)
TEXTS = (
    "the word 111 of 1,111",
    "  two  spaces, na\u00efve caf\u00e9s; \u6f22\u5b57 \u2603",
    "def f(x):\n\treturn {1: 'a', 22: [x]}\n\n\n",
    "<bos>the<tool>word</s>",
)


class Damage(NamedTuple):
    """A change of a file, and what it may change."""

    text: str
    """What was changed, to be read."""
    may_change: Collection[str] = ()
    """``logits`` where only numbers of a tensor were changed, ``tokens`` where only a token's text
    or score, or a merge was: known from the place of the change, not from its result."""


def compare(damaged: Path, original: Path, damage: Damage) -> None:
    """Opens a damaged model, and the original where that opens; exits where they differ.

    Args:
      damaged: Its path.
      original: That of the model before it was damaged.
      damage: What was changed.

    Raises:
      BadInput: The damaged model is refused.
    """
    model, other = open_model(str(damaged)), open_model(str(original))
    parts = [] if "logits" in damage.may_change else _other_logits(model, other)
    parts += [] if "tokens" in damage.may_change else _other_tokens(model, other)
    if parts:
        print(f"another function: {', '.join(parts)}")
        sys.exit(DIFFERS)


def _other_logits(model: LanguageModel, other: LanguageModel) -> list[str]:
    weights, wanted = (flat_parameters(each.decoder) for each in (model, other))
    same = weights.keys() == wanted.keys() and all(
        np.array_equal(weights[name], wanted[name]) for name in wanted
    )
    if same and model.config == other.config:  # the same function without computing it
        return []
    logits = jax.jit(lambda decoder: decoder.logits(decoder(jnp.asarray(PROMPT, jnp.int32))[0]))
    one, two = (np.asarray(logits(each.decoder)) for each in (model, other))
    if one.shape == two.shape and np.array_equal(one, two):
        return []
    changed = [name for name in wanted if not np.array_equal(weights.get(name), wanted[name])]
    fields = [
        name for name, value in vars(other.config).items() if vars(model.config)[name] != value
    ]
    return [f"logits ({', '.join([*fields, *changed])})"]


def _other_tokens(model: LanguageModel, other: LanguageModel) -> list[str]:
    parts = []
    for text in TEXTS:
        got, wanted = (_tokens(each, text) for each in (model, other))
        if got is not None and got != wanted:
            parts.append(f"tokens of {text!r}: {got} for {wanted}")
    return parts


def _tokens(model: LanguageModel, text: str) -> tuple[int, ...] | None:
    """Tokens of a text; None where it is refused, in a plain line."""
    try:
        return model.tokenizer.encode(text)
    except BadInput as error:
        if "\n" in str(error):
            raise RuntimeError("a refusal of several lines") from error
        return None
