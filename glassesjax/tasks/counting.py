"""Tasks whose answer is a count, in decimal digits."""

import jax.numpy as jnp
from jaxtyping import Array

from glassesjax import draws
from glassesjax.tasks.drawing import chance, nothing, number
from glassesjax.tasks.task import COMMON, NONE, Parts
from glassesjax.tasks.vocabularies import SUMS, WORDED, WORDS

_ZERO, _ONE = COMMON.index("0"), COMMON.index("1")
SHARE_OF_ONES = 0.7  # as in the paper
SHARE_OF_WORD = 0.3  # ours: the paper does not specify how its sentence is made


def _counted(item: Array, length: Array, adds: Array, most: int, question: Array) -> Parts:
    """The answer is the sum of ``adds`` over the item."""
    # Tokens beyond the length are random as well, and count nothing.
    index = jnp.arange(len(item), dtype=jnp.int32)
    running = jnp.cumsum(jnp.where(index < length, adds, 0), dtype=jnp.int32)
    answer, answered = number(running[-1], most, COMMON)
    return Parts(
        item=item,
        length=length,
        question=question,
        answer=answer,
        answered=answered,
        source=jnp.full(len(answer), NONE, jnp.int32),
        running=running,
    )


def ones(key: Array, length: Array, size: int) -> Parts:
    """The number of ones in a run of them."""
    item = jnp.full(size, _ONE, jnp.int32)
    return _counted(item, length, jnp.ones_like(item), size, nothing())


def mixed(key: Array, length: Array, size: int) -> Parts:
    """The number of ones among zeros."""
    adds = chance(key, SHARE_OF_ONES, size).astype(jnp.int32)
    return _counted(_ZERO + adds, length, adds, size, nothing())


def total(key: Array, length: Array, size: int) -> Parts:
    """The sum of ones that are joined by plus signs."""
    index = jnp.arange(2 * size - 1, dtype=jnp.int32)
    # Ones at even places, plus signs between them: 2 n - 1 tokens for n ones.
    adds = 1 - index % 2
    item = jnp.where(adds == 1, _ONE, SUMS.index("+")).astype(jnp.int32)
    return _counted(item, 2 * length - 1, adds, size, nothing())


def word(key: Array, length: Array, size: int) -> Parts:
    """The number of occurrences of the queried word among other words."""
    which, where, others = draws.split(key, 3)
    target = draws.integers(which, (), 0, len(WORDS))
    adds = chance(where, SHARE_OF_WORD, size).astype(jnp.int32)
    steps = draws.integers(others, (size,), 1, len(WORDS))
    # Another word, each with the same probability.
    word = jnp.where(adds == 1, target, (target + steps) % len(WORDS))
    first = WORDED.index(WORDS[0])
    return _counted(first + word, length, adds, size, (first + target)[None])
