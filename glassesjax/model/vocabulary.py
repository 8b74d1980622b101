"""Whether token numbers are some, asked once where they come in."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from glassesjax.borders import require

Tokens = Int[Array, "..."] | Int[np.ndarray, "..."] | Sequence[int]


def checked_tokens(tokens: Any, vocab_size: int) -> Any:  # noqa: ANN401  (any kind of Tokens)
    """Token numbers as they came, where all are in the vocabulary.

    Tokens of a function that is being traced have no values yet and pass: the embedding then has a
    row of NaN for what has no row in the table.

    Args:
      tokens: An array of integers or a sequence of them; an array on a device is copied to the
        host, so ask once and not in a loop.
      vocab_size: Number of tokens.

    Returns:
      The same; an array of 64-bit integers in NumPy as int32, which it would be wrapped to.

    Raises:
      ValueError: One is negative or too large, or they are no integers: truth values are none.
    """
    try:
        values = np.asarray(tokens)
    except jax.errors.TracerArrayConversionError:
        return tokens
    wanted = f"Expected token numbers from 0 to {vocab_size - 1}"
    truth = _first_truth(tokens) if isinstance(tokens, Sequence) else None
    if truth is not None or (values.size and values.dtype.kind not in "iu"):
        found = repr(truth) if truth is not None else f"values of type {values.dtype}"
        raise ValueError(f"{wanted}, got {found}: give integers.")
    wrong = (values < 0) | (values >= vocab_size)
    if np.any(wrong):
        place = int(np.flatnonzero(wrong)[0])
        found = f"{int(values.ravel()[place])} at place {place}"
        raise ValueError(f"{wanted}, got {found}: use the model's own tokenizer.")
    if isinstance(tokens, np.ndarray) and tokens.dtype.itemsize > 4:
        return tokens.astype(np.int32)
    return tokens


def check_prompts(prompts: Sequence[Any]) -> None:
    """Refuses what is no prompt: each is one line of one token or more.

    Args:
      prompts: Of token numbers, whose values are not looked at.

    Raises:
      BadInput: There is none, or one is empty or has more than one axis.
    """
    require(len(prompts) > 0, "one prompt or more", "none", "give some")
    for prompt in prompts:
        try:
            shape = np.shape(prompt)
        except ValueError:  # not of lists of different lengths
            shape = ()
        found = f"one of shape {shape}" if shape else "one that is no line of numbers"
        line = len(shape) == 1 and shape[0] > 0
        require(line, "prompts of one token or more", found, "give each as one line")


def _first_truth(tokens: Sequence) -> Any:  # noqa: ANN401  (a truth value of any library)
    """The first truth value in nested lists, or None: beside integers NumPy takes it for one."""
    for token in tokens:
        if isinstance(token, bool | np.bool_) or getattr(token, "dtype", None) == np.bool_:
            return token
        inner = _first_truth(token) if isinstance(token, list | tuple) else None
        if inner is not None:
            return inner
    return None
