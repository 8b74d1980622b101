"""Validates token numbers where they enter the library."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from glassesjax.borders import require


def checked_tokens(tokens: Any, vocab_size: int) -> Any:  # noqa: ANN401  (arrays or lists)
    """Validates token numbers; returns them.

    Traced tokens have no values and are accepted: the embedding of one outside the table is then a
    row of NaN.

    Args:
      tokens: An array of integers or a sequence of them; an array on a device is copied to the
        host, so call this once and not in a loop.
      vocab_size: Number of tokens.

    Returns:
      The same; a NumPy array of 64-bit integers as int32, to which JAX would truncate it.

    Raises:
      ValueError: One is negative or too large, or they are no integers: booleans are not accepted.
    """
    try:
        values = np.asarray(tokens)
    except jax.errors.TracerArrayConversionError:
        return tokens
    expected = f"Expected token numbers from 0 to {vocab_size - 1}"
    # NumPy converts True among integers to 1, so sequences are searched; an array has a dtype.
    truth = _first_truth(tokens) if isinstance(tokens, Sequence) else None
    if truth is not None or (values.size and values.dtype.kind not in "iu"):
        got = repr(truth) if truth is not None else f"values of type {values.dtype}"
        raise ValueError(f"{expected}, got {got}: give integers.")
    wrong = (values < 0) | (values >= vocab_size)
    if np.any(wrong):
        index = int(np.flatnonzero(wrong)[0])
        got = f"{int(values.ravel()[index])} at index {index}"
        raise ValueError(f"{expected}, got {got}: use the model's tokenizer.")
    # Values are in range, so the narrowing is exact.
    if isinstance(tokens, np.ndarray) and tokens.dtype.itemsize > 4:
        return tokens.astype(np.int32)
    return tokens


def check_prompts(prompts: Sequence[Any]) -> None:
    """Validates prompts: each is one-dimensional, of one token or more.

    Args:
      prompts: Token numbers, whose values are not checked.

    Raises:
      BadInput: There is none, or one is empty or has more than one axis.
    """
    require(len(prompts) > 0, "one prompt or more", "none", "give some")
    for prompt in prompts:
        try:
            shape = np.shape(prompt)
        except ValueError:  # not of lists of different lengths
            shape = ()
        got = f"one of shape {shape}" if shape else "one that is no sequence of numbers"
        line = len(shape) == 1 and shape[0] > 0
        require(line, "prompts of one token or more", got, "give each as one sequence")


def _first_truth(tokens: Sequence) -> Any:  # noqa: ANN401  (a truth value of any library)
    """The first boolean in nested lists, or None."""
    for token in tokens:
        if isinstance(token, bool | np.bool_) or getattr(token, "dtype", None) == np.bool_:
            return token
        inner = _first_truth(token) if isinstance(token, list | tuple) else None
        if inner is not None:
            return inner
    return None
