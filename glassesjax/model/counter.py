"""A decoder with hand-written weights that counts ones: the control of the studies.

Layer 1 attends uniformly to the beginning-of-sequence token and to the ones only: after k ones the
first of them has the weight 1 / (k + 1), which is written to the residual stream as the share.
Layer 2 adds the share to a coordinate that is 0 or 1. The unembedding decodes the nearest count.
"""

import math
from fractions import Fraction
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from glassesjax.errors import BadInput, check_choice
from glassesjax.model.config import DecoderConfig, LinearMlp, NoNorm
from glassesjax.model.decoder import Decoder
from glassesjax.model.weights import build_decoder
from glassesjax.tasks.sequences import BOS, SYMBOLS

Reading = Literal["share", "one_plus_share"]

COUNTED = "1"
# The value to which layer 2 adds the share: it sets the ulp of the sum.
GROUND: dict[Reading, int] = {"share": 0, "one_plus_share": 1}
# Coordinates of the residual stream: a constant, two token indicators, and the computed values.
_CONSTANT, _IGNORED, _BEGINS, _SHARE, _TOTAL = range(5)
_ROOT = 8  # an uncounted token has the logit -64: its weight rounds to zero next to 1
_NO_COUNT = -4  # logit of tokens that are no count; those of counts are above -1


def counter_symbols(most: int) -> tuple[str, ...]:
    """The vocabulary of a counter.

    Args:
      most: The largest count; not negative.

    Returns:
      The symbols that every family of runs is made of, then one for each count from 0.

    Example:
      >>> counter_symbols(2)[-4:]
      ('<bos>', '#0', '#1', '#2')
    """
    return (*SYMBOLS, *(f"#{count}" for count in range(most + 1)))


def counter_line(count: int, reading: Reading) -> tuple[Fraction, Fraction]:
    r"""The logit of a count, linear in the stored total.

    .. math:: \mathrm{score}_c(y) = 2 s_c (y - g) - s_c^2 = (y - g)^2 - (y - g - s_c)^2

    with the share s_c = 1 / (c + 1) and the ground g that it was added to. These are the tangents
    of a parabola: the highest is that of the nearest share.

    Args:
      count: The count c; not negative.
      reading: What the share is added to: 0, or 1.

    Returns:
      Slope and intercept, exactly.

    Raises:
      BadInput: There is no such reading.
    """
    check_choice("reading", reading, get_args(Reading))
    share, ground = Fraction(1, count + 1), GROUND[reading]
    return 2 * share, -(2 * share * ground + share**2)


def largest_counter(reading: Reading, dtype: DTypeLike = jnp.float32) -> int:
    r"""Largest count up to which the highest logit is proven correct, without a rounding plan.

    After c ones the score of c leads by the square of a gap, with n = c + 1 by

    .. math:: \frac{1}{n^2 (n + 1)^2}

    and two scores have, together, the roundings of four weights, two products, two sums and the
    total: below 16 u / n^2 for a share alone, below 16 u / n for one plus a share.

    Args:
      reading: What the share is added to.
      dtype: Type of weights and arithmetic, float32 or float64.

    Returns:
      The count.

    Raises:
      BadInput: There is no such reading.

    Example:
      >>> largest_counter("share"), largest_counter("one_plus_share")
      (1022, 99)
    """
    check_choice("reading", reading, get_args(Reading))
    room = 1 << (jnp.finfo(dtype).nmant + 1 - 4)  # 1 / (16 u)
    if reading == "share":
        return math.isqrt(room) - 2  # (n + 1)^2 is to be at most the room, and n is c + 1
    n = round(room ** (1 / 3))  # above the root, since n (n + 1)^2 exceeds n^3
    while n * (n + 1) ** 2 > room:
        n -= 1
    return n - 1


def counter(most: int, *, reading: Reading = "share", dtype: DTypeLike = jnp.float32) -> Decoder:
    """A decoder of two layers that counts the ones in its input.

    The input is the beginning-of-sequence token, then any tokens; the answer is the token of the
    highest logit after the last of them. Nothing is trained or approximate: every error is due to
    a rounding that can be derived by hand.

    Args:
      most: The largest count in its vocabulary.
      reading: The value that is decoded. ``share``: the share, so that the steps of a format
        become finer with it. ``one_plus_share``: after it was added to a one, whose steps stay.
      dtype: Type of the weights, float32 or float64.

    Returns:
      The decoder, over ``counter_symbols(most)``.

    Raises:
      BadInput: A largest count below 1 or beyond ``largest_counter``, a type that is not at hand,
        or a reading that is none.
    """
    name = jnp.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise BadInput(f"Expected a counter in float32 or float64, got {name}: round by a plan.")
    # Without 64-bit types JAX would make float32 weights of a counter too large for them.
    if name == "float64" and not jax.config.read("jax_enable_x64"):
        raise BadInput("Expected 64-bit types for float64, got them off: set jax_enable_x64.")
    largest = largest_counter(reading, dtype)
    if not 1 <= most <= largest:
        expected = f"Expected a largest count from 1 to {largest}, which {name} distinguishes"
        raise BadInput(f"{expected} by {reading}, got {most}: change it.")
    config = DecoderConfig(
        vocab_size=len(counter_symbols(most)),
        num_layers=2,
        num_heads=1,
        model_dim=5,
        head_dim=1,
        attn_scale=1.0,
        norm=NoNorm(),
        mlp=LinearMlp(),
        tied=False,
    )
    arrays = _weights(counter_symbols(most), reading).items()
    return build_decoder(config, {name: array.astype(dtype) for name, array in arrays})


def _weights(symbols: tuple[str, ...], reading: Reading) -> dict[str, np.ndarray]:
    """All matrices by name; entries that are not set here are zero."""
    table, unembed = np.zeros((2, len(symbols), 5))
    table[:, _CONSTANT] = 1
    table[:, _TOTAL] = GROUND[reading]
    table[:, _IGNORED] = [symbol not in (BOS, COUNTED) for symbol in symbols]
    table[symbols.index(BOS), _BEGINS] = 1
    # Symbols that are no count have a constant logit, the counts behind them a line in the total.
    unembed[: len(SYMBOLS), _CONSTANT] = _NO_COUNT
    lines = [counter_line(count, reading) for count in range(len(symbols) - len(SYMBOLS))]
    unembed[len(SYMBOLS) :, [_TOTAL, _CONSTANT]] = np.array(lines, np.float64)
    # Of layers stacked first, [layers, out, in].
    query, key, value = (np.zeros((2, 1, 5)) for _ in range(3))
    output, down = np.zeros((2, 5, 1)), np.zeros((2, 5, 5))
    # Layer 1: ignored tokens have the logit -_ROOT**2, all others 0; the value is 1 for the first
    # token alone, so that the average is that token's weight.
    query[0, 0, _CONSTANT], key[0, 0, _IGNORED] = _ROOT, -_ROOT
    value[0, 0, _BEGINS] = output[0, _SHARE, 0] = 1
    # Layer 2. Moved, not copied: a remaining share would distinguish rows whose totals are equal.
    down[1, _TOTAL, _SHARE], down[1, _SHARE, _SHARE] = 1, -1
    attention = {"query": query, "key": key, "value": value, "output": output}
    named = {f"blocks.attention.{name}": matrix for name, matrix in attention.items()}
    return named | {"blocks.mlp.down": down, "embed.table": table, "unembed": unembed}
