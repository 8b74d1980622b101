"""Retrieval tasks: the answer depends on one item among many, which needs sharp attention."""

import jax.numpy as jnp
from jaxtyping import Array

from glassesjax import draws
from glassesjax.tasks.drawing import nothing
from glassesjax.tasks.task import COMMON, Parts
from glassesjax.tasks.vocabularies import CLASSES, ITEMS, KEYED, KEYS, PRIORITIES

_ZERO = COMMON.index("0")


def recall(key: Array, length: Array, size: int) -> Parts:
    """The digit of the queried key."""
    which, position, others, values = draws.split(key, 4)
    target = draws.integers(which, (), 0, len(KEYS))
    at = draws.integers(position, (), 0, length)
    # The queried key occurs once, so that the answer is unique at every length.
    steps = draws.integers(others, (size,), 1, len(KEYS))
    here = jnp.arange(size, dtype=jnp.int32) == at
    keys = KEYED.index(KEYS[0]) + jnp.where(here, target, (target + steps) % len(KEYS))
    value = _ZERO + draws.integers(values, (size,), 0, 10)
    return Parts(
        item=jnp.stack([keys, value], axis=1).reshape(
            -1
        ),  # (size, 2) -> (2 * size,): key, value, key, value
        length=2 * length,
        question=(KEYED.index(KEYS[0]) + target)[None],
        answer=value[at][None],
        answered=jnp.asarray(1, jnp.int32),
        source=(2 * at + 1)[None],
    )


def largest(key: Array, length: Array, size: int) -> Parts:
    """The class of the token whose priority is the largest."""
    best, position, others, classes = draws.split(key, 4)
    at = draws.integers(position, (), 0, length)
    top = draws.integers(best, (), 1, PRIORITIES)
    here = jnp.arange(size, dtype=jnp.int32) == at
    # All others are below the largest, so that it is unique.
    priority = jnp.where(here, top, draws.integers(others, (size,), 0, top))
    kind = draws.integers(classes, (size,), 0, CLASSES)
    return Parts(
        item=ITEMS.index("p0c0") + priority * CLASSES + kind,
        length=length,
        question=nothing(),
        answer=(_ZERO + kind[at])[None],
        answered=jnp.asarray(1, jnp.int32),
        source=at[None],
    )
