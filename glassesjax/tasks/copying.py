"""Tasks whose answer stands in what was read: one token of it, or all."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from glassesjax import draws
from glassesjax.errors import BadInput
from glassesjax.tasks.task import COMMON, EOS, NONE, Parts, Task, chance, digits_of, nothing

_ZERO, _ONE, _END = COMMON.index("0"), COMMON.index("1"), COMMON.index(EOS)
POSITION_DIGITS = 5  # of a position that is asked for, zeros in front
HINT, NO_HINT = "!", "~"
_HINTED = (*COMMON, HINT, NO_HINT)
HINTED_ZEROS, UNHINTED_ZEROS = 0.5, 0.1  # how often the last token is a zero, with a hint or not


def _one(item: Array, length: Array, place: Array, question: Array | None = None) -> Parts:
    """The answer is the token of one place."""
    return Parts(
        item=item,
        length=length,
        question=nothing() if question is None else question,
        answer=item[place][None],
        answered=jnp.asarray(1, jnp.int32),
        source=place[None],
    )


def _bits(key: Array, size: int) -> Int[Array, " size"]:
    return _ZERO + chance(key, 0.5, size).astype(jnp.int32)


def _first(key: Array, length: Array, size: int) -> Parts:
    return _one(_bits(key, size), length, jnp.zeros_like(length))


def _last(key: Array, length: Array, size: int) -> Parts:
    return _one(_bits(key, size), length, length - 1)


def _only_zero(key: Array, length: Array, size: int) -> Parts:
    place = jnp.where(chance(key, 0.5, 1)[0], length - 1, 0)
    item = jnp.where(jnp.arange(size, dtype=jnp.int32) == place, _ZERO, _ONE)
    return _one(item, length, length - 1)


def _at(key: Array, length: Array, size: int) -> Parts:
    bits, place = draws.split(key)
    at = draws.integers(place, (), 0, length)
    if size > 10**POSITION_DIGITS:
        raise BadInput(f"Wanted lengths up to {10**POSITION_DIGITS} for copy_at; found {size}.")
    digits, count = digits_of(at, POSITION_DIGITS)
    # As many digits at every length, or a longer item would be asked about in another way.
    question = _ZERO + jnp.roll(digits, POSITION_DIGITS - count)
    return _one(_bits(bits, size), length, at, question)


def _string(key: Array, length: Array, size: int) -> Parts:
    item = _ZERO + draws.integers(key, (size,), 0, 10)
    place = jnp.arange(size + 1, dtype=jnp.int32)
    return Parts(
        item=item,
        length=length,
        question=nothing(),
        answer=jnp.where(place < length, jnp.append(item, _END), _END),
        answered=length + 1,
        source=jnp.where(place < length, place, NONE),
    )


def _alternating(key: Array, length: Array, size: int) -> Parts:
    begin = chance(key, 0.5, 1)[0].astype(jnp.int32)
    return _one(_ZERO + (begin + jnp.arange(size, dtype=jnp.int32)) % 2, length, length - 1)


def _hinted(key: Array, length: Array, size: int) -> Parts:
    told, ends = draws.split(key)
    [hint], [often] = chance(told, 0.5, 1), chance(ends, HINTED_ZEROS, 1)
    [rarely] = chance(ends, UNHINTED_ZEROS, 1)
    zero = jnp.where(hint, often, rarely)
    ends_here = jnp.arange(size, dtype=jnp.int32) == length - 1
    item = jnp.where(ends_here & zero, _ZERO, _ONE)
    question = jnp.where(hint, _HINTED.index(HINT), _HINTED.index(NO_HINT))
    return _one(item, length, length - 1, question.astype(jnp.int32)[None])


COPYING = (
    Task(
        name="copy_first",
        title="The first token",
        meaning="A string of random zeros and ones; the answer is its first one.",
        draw=_first,
    ),
    Task(
        name="copy_last",
        title="The last token",
        meaning="A string of random zeros and ones; the answer is its last one.",
        draw=_last,
    ),
    Task(
        name="copy_zero",
        title="The only zero",
        meaning="Ones with one zero at either end, 1...10 or 01...1; the answer is the last token.",
        draw=_only_zero,
        least=2,
    ),
    Task(
        name="copy_at",
        title="The token at a position",
        meaning="Random zeros and ones and a position from 0; the answer is what stands there.",
        draw=_at,
    ),
    Task(
        name="copy_string",
        title="The whole string",
        meaning="A string of random digits; the answer is the string, then the end mark.",
        draw=_string,
    ),
    Task(
        name="copy_alternating",
        title="The last of alternating tokens",
        meaning="0101... or 1010...; the answer is the last token.",
        draw=_alternating,
    ),
    Task(
        name="copy_hint",
        title="The last token, with or without a hint",
        meaning="Ones, and at the end a one or a zero; a mark tells whether zeros are likely (half"
        " of the time) or rare (one in ten). The answer is the last token.",
        draw=_hinted,
        symbols=_HINTED,
    ),
)
