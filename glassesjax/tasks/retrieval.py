"""Tasks whose answer hangs on one item among many: where attention must stay sharp."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from glassesjax.tasks.task import COMMON, Parts, Task, nothing

_ZERO = COMMON.index("0")
KEYS = tuple("abcdefghijklmnop")
_KEYED = (*COMMON, *KEYS)
PRIORITIES, CLASSES = 8, 8
_ITEMS = (*COMMON, *(f"p{p}c{c}" for p in range(PRIORITIES) for c in range(CLASSES)))


def _recall(key: Array, length: Array, size: int) -> Parts:
    which, place, others, values = jax.random.split(key, 4)
    asked = jax.random.randint(which, (), 0, len(KEYS), jnp.int32)
    at = jax.random.randint(place, (), 0, length, jnp.int32)
    # The asked key stands in one place only, so that one answer is right at every length.
    steps = jax.random.randint(others, (size,), 1, len(KEYS), jnp.int32)
    here = jnp.arange(size, dtype=jnp.int32) == at
    keys = _KEYED.index(KEYS[0]) + jnp.where(here, asked, (asked + steps) % len(KEYS))
    value = _ZERO + jax.random.randint(values, (size,), 0, 10, jnp.int32)
    return Parts(
        item=jnp.stack([keys, value], axis=1).reshape(-1),
        length=2 * length,
        question=(_KEYED.index(KEYS[0]) + asked)[None],
        answer=value[at][None],
        answered=jnp.asarray(1, jnp.int32),
        source=(2 * at + 1)[None],
    )


def _largest(key: Array, length: Array, size: int) -> Parts:
    best, place, others, classes = jax.random.split(key, 4)
    at = jax.random.randint(place, (), 0, length, jnp.int32)
    top = jax.random.randint(best, (), 1, PRIORITIES, jnp.int32)
    here = jnp.arange(size, dtype=jnp.int32) == at
    priority = jnp.where(here, top, jax.random.randint(others, (size,), 0, top, jnp.int32))
    kind = jax.random.randint(classes, (size,), 0, CLASSES, jnp.int32)
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
