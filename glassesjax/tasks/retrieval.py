"""Tasks whose answer hangs on one item among many: where attention must stay sharp."""

import jax.numpy as jnp
from jaxtyping import Array

from glassesjax import draws
from glassesjax.tasks.task import COMMON, Parts, Task, nothing

_ZERO = COMMON.index("0")
KEYS = tuple("abcdefghijklmnop")
_KEYED = (*COMMON, *KEYS)
PRIORITIES, CLASSES = 8, 8
_ITEMS = (*COMMON, *(f"p{p}c{c}" for p in range(PRIORITIES) for c in range(CLASSES)))


def _recall(key: Array, length: Array, size: int) -> Parts:
    which, place, others, values = draws.split(key, 4)
    asked = draws.integers(which, (), 0, len(KEYS))
    at = draws.integers(place, (), 0, length)
    # The asked key stands in one place only, so that one answer is right at every length.
    steps = draws.integers(others, (size,), 1, len(KEYS))
    here = jnp.arange(size, dtype=jnp.int32) == at
    keys = _KEYED.index(KEYS[0]) + jnp.where(here, asked, (asked + steps) % len(KEYS))
    value = _ZERO + draws.integers(values, (size,), 0, 10)
    return Parts(
        item=jnp.stack([keys, value], axis=1).reshape(-1),
        length=2 * length,
        question=(_KEYED.index(KEYS[0]) + asked)[None],
        answer=value[at][None],
        answered=jnp.asarray(1, jnp.int32),
        source=(2 * at + 1)[None],
    )


def _largest(key: Array, length: Array, size: int) -> Parts:
    best, place, others, classes = draws.split(key, 4)
    at = draws.integers(place, (), 0, length)
    top = draws.integers(best, (), 1, PRIORITIES)
    here = jnp.arange(size, dtype=jnp.int32) == at
    priority = jnp.where(here, top, draws.integers(others, (size,), 0, top))
    kind = draws.integers(classes, (size,), 0, CLASSES)
    return Parts(
        item=_ITEMS.index("p0c0") + priority * CLASSES + kind,
        length=length,
        question=nothing(),
        answer=(_ZERO + kind[at])[None],
        answered=jnp.asarray(1, jnp.int32),
        source=at[None],
    )


RETRIEVAL = (
    Task(
        name="recall",
        title="Key and value",
        meaning="Pairs of a key and a digit, and a key that stands in one pair only; the answer is"
        " its digit. The length counts the pairs.",
        draw=_recall,
        symbols=_KEYED,
    ),
    Task(
        name="max_retrieval",
        title="The class of the largest",
        meaning="Tokens of a priority and a class each, one priority larger than all others; the"
        " answer is the class of that token.",
        draw=_largest,
        symbols=_ITEMS,
    ),
)
