"""Tasks whose answer is copied from the item: one token of it, or all."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from glassesjax import draws
from glassesjax.tasks.drawing import chance, digits_of, nothing
from glassesjax.tasks.task import COMMON, EOS, NONE, Parts
from glassesjax.tasks.vocabularies import HINT, HINTED, NO_HINT, POSITION_DIGITS, check_positions

_ZERO, _ONE, _END = COMMON.index("0"), COMMON.index("1"), COMMON.index(EOS)
HINTED_ZEROS, UNHINTED_ZEROS = 0.5, 0.1  # share of items that end in zero, with a hint or not


def _one(item: Array, length: Array, index: Array, question: Array | None = None) -> Parts:
    """The answer is the token at one index."""
    return Parts(
        item=item,
        length=length,
        question=nothing() if question is None else question,
        answer=item[index][None],
        answered=jnp.asarray(1, jnp.int32),
        source=index[None],
    )


def _bits(key: Array, size: int) -> Int[Array, " size"]:
    return _ZERO + chance(key, 0.5, size).astype(jnp.int32)


def first(key: Array, length: Array, size: int) -> Parts:
    """The first token of random zeros and ones."""
    return _one(_bits(key, size), length, jnp.zeros_like(length))


def last(key: Array, length: Array, size: int) -> Parts:
    """The last token of random zeros and ones."""
    return _one(_bits(key, size), length, length - 1)


def only_zero(key: Array, length: Array, size: int) -> Parts:
    """The last token of ones with a zero at either end."""
    # One draw decides the end: the zero is the first or the last token.
    zero = jnp.where(chance(key, 0.5, 1)[0], length - 1, 0)
    item = jnp.where(jnp.arange(size, dtype=jnp.int32) == zero, _ZERO, _ONE)
    return _one(item, length, length - 1)


def at(key: Array, length: Array, size: int) -> Parts:
    """The token at a position of random zeros and ones."""
    bits, position = draws.split(key)
    at = draws.integers(position, (), 0, length)
    check_positions(size)
    digits, count = digits_of(at, POSITION_DIGITS)
    # The same number of digits at every length, so that questions do not depend on it.
    question = _ZERO + jnp.roll(digits, POSITION_DIGITS - count)
    return _one(_bits(bits, size), length, at, question)


def string(key: Array, length: Array, size: int) -> Parts:
    """All tokens of random digits, and the end mark."""
    item = _ZERO + draws.integers(key, (size,), 0, 10)
    index = jnp.arange(size + 1, dtype=jnp.int32)
    return Parts(
        item=item,
        length=length,
        question=nothing(),
        # Answer and sources have one token more than the item, for the end mark.
        answer=jnp.where(index < length, jnp.append(item, _END), _END),
        answered=length + 1,
        source=jnp.where(index < length, index, NONE),
    )


def alternating(key: Array, length: Array, size: int) -> Parts:
    """The last token of alternating zeros and ones."""
    begin = chance(key, 0.5, 1)[0].astype(jnp.int32)
    return _one(_ZERO + (begin + jnp.arange(size, dtype=jnp.int32)) % 2, length, length - 1)


def hinted(key: Array, length: Array, size: int) -> Parts:
    """The last token of ones and perhaps a final zero, with a hint whether zeros are likely."""
    hints, ends = draws.split(key)
    [hint], [often] = chance(hints, 0.5, 1), chance(ends, HINTED_ZEROS, 1)
    # From one uniform draw, so that a zero that is rare would also be there where it is likely.
    [rarely] = chance(ends, UNHINTED_ZEROS, 1)
    zero = jnp.where(hint, often, rarely)
    ends_here = jnp.arange(size, dtype=jnp.int32) == length - 1
    item = jnp.where(ends_here & zero, _ZERO, _ONE)
    question = jnp.where(hint, HINTED.index(HINT), HINTED.index(NO_HINT))
    return _one(item, length, length - 1, question.astype(jnp.int32)[None])
