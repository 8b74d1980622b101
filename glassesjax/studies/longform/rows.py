"""Measures of long texts without a judge, and their rows."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from glassesjax.cache import POLICIES, Policy, Unrolled, prefill
from glassesjax.cache.losses import token_losses
from glassesjax.model.pretrained import LanguageModel
from glassesjax.studies.longform.records import FullModelLoss, LongformRow

GRAMS = (1, 2, 3, 4)


class Cell(NamedTuple):
    """One way to write."""

    name: str
    """As on the command line."""
    policy: Policy
    slots: int


class Subject(NamedTuple):
    """A model, the prompt that it continues, and how."""

    model: LanguageModel
    prompt: tuple[int, ...]
    ends: frozenset[int]
    """Tokens that end a text."""
    cells: tuple[Cell, ...]
    """``full`` first: the others are compared with what it wrote."""


def distinct_share(tokens: Sequence[int], size: int) -> float:
    r"""Share of distinct n-grams (distinct-n).

    .. math:: \frac{|\{(x_i, \ldots, x_{i+n-1})\}|}{N - n + 1}

    Args:
      tokens: Of a text.
      size: n, at least 1.

    Returns:
      From near 0 to 1; not a number where the text is shorter than n.
    """
    count = len(tokens) - size + 1
    if count < 1:
        return float("nan")
    return len({tuple(tokens[start : start + size]) for start in range(count)}) / count


def repetition(tokens: Sequence[int], size: int = GRAMS[-1]) -> float:
    """The share of n-grams that occurred earlier in the text: one minus the share of distinct ones.

    Returns:
      From 0 to near 1; not a number where the text is shorter than n.
    """
    return 1.0 - distinct_share(tokens, size)


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How far two texts agree.

    Returns:
      How many tokens are the same before the first that differs.
    """
    # Where none differs, the shorter is a prefix of the longer.
    both = enumerate(zip(first, second, strict=False))
    return next((at for at, (a, b) in both if a != b), min(len(first), len(second)))


def full_loss(
    model: Unrolled, prompt: Sequence[int], text: Sequence[int], *, room: int, chunk: int = 256
) -> float:
    r"""Mean loss of a text under the model with the full cache.

    .. math:: -\frac1m \sum_{i \le m} \ln p(x_i \mid \text{prompt}, x_{<i})

    Args:
      model: The decoder, unrolled.
      prompt: What stood before it, not empty.
      text: Its tokens.
      room: Slots of the state, at least as many as there are tokens; the same for all texts, so
        that one compiled layer serves them.
      chunk: Tokens that are read together.

    Returns:
      Nats a token; not a number for an empty text.
    """
    if not text:
        return float("nan")
    tokens = np.asarray([*prompt, *text], np.int32)
    losses = []
    # Nothing is dropped: read in parallel it is the same as token by token.
    rule = POLICIES["full"]
    # The target of position t is token t + 1; the last position has none, and its loss is dropped.
    targets = np.append(tokens[1:], 0)
    for part in prefill(model, tokens, rule, slots=room, mode="chunked", chunk=chunk):
        # (part, model_dim) -> (chunk, model_dim): one compiled shape for all lengths.
        size = len(part.y)
        y = jnp.pad(part.y, ((0, chunk - size), (0, 0)))
        # Padded rows are scored like others, and cut off.
        here, targets = targets[:chunk], targets[chunk:]
        filled = jnp.asarray(np.pad(here, (0, chunk - size)))
        losses.append(np.asarray(token_losses(model.outer, y, filled), np.float64)[:size])
    # The last token of the prompt scores the first one of the text.
    return float(np.concatenate(losses)[len(prompt) - 1 : -1].mean())


def text_row(
    subject: Subject,
    cell: Cell,
    written: Sequence[int],
    full: Sequence[int],
    loss: float,
    *,
    sample: int,
    size: int,
) -> LongformRow:
    """The row of one text.

    Args:
      subject: The model and its prompt.
      cell: How it was written.
      written: Its tokens, with the one that ends it, if any.
      full: Those of the same number with all tokens kept.
      loss: Nats a token under the full model, over ``written``.
      sample: Number of the text.
      size: Bytes of its state.
    """
    # Shares of n-grams and the text are without the end token; the loss and the common prefix have
    # it, since the model chose to end there.
    ended = bool(written) and written[-1] in subject.ends
    tokens = list(written[:-1] if ended else written)
    tokenizer = subject.model.tokenizer
    # Joined before decoding: a character may span several tokens.
    data = b"".join(tokenizer.token_bytes(token) for token in tokens)
    shares = [distinct_share(tokens, n) if len(tokens) >= n else None for n in GRAMS]
    return LongformRow(
        policy=cell.name,
        slots=cell.slots,
        bytes=size,
        sample=sample,
        length=len(tokens),
        ended=ended,
        distinct_1=shares[0],
        distinct_2=shares[1],
        distinct_3=shares[2],
        distinct_4=shares[3],
        repetition=repetition(tokens) if len(tokens) >= GRAMS[-1] else None,
        # Exponential by NumPy: beyond float64 it is infinite, where math.exp raises an error.
        loss=FullModelLoss(
            full_nll=loss, finite=math.isfinite(loss), full_perplexity=float(np.exp(loss))
        )
        if written
        else None,
        common_prefix=common_prefix(written, full),
        text=data.decode("utf-8", errors="replace"),
    )
