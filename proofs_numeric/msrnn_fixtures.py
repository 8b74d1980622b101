"""Decisions that can be followed by hand: four policies on one stream, and Figure 2."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax.cache import KVCache, policy
from glassesjax.cache.slots import EMPTY, forget, write
from glassesjax.cache.spacing import compress_gap
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.decoders import U

# Weight of token j at step t before it is shared out among the tokens that are held.
STREAM = ((1,), (1, 4), (1, 5, 2), (1, 4, 2, 3), (3, 1, 2, 4, 3), (9, 9, 3, 1, 2, 5))
KEPT = {"window": (3, 4, 5), "window+1": (0, 4, 5), "h2o@2": (1, 4, 5), "tova": (2, 4, 5)}
MASSES = (2.4544, 0.4176, 0.2941)  # of H2O's three, to the four places that are printed
# Figure 2 of the paper: the head mean of each step over the tokens held, and who is dropped.
FIGURE = (
    (0.2, 0.1, 0.1, 0.2, 0.4),
    (0.2, 0.05, 0.1, 0.1, 0.2, 0.35),
    (0.15, 0.15, 0.1, 0.05, 0.25, 0.3),
    (0.15, 0.15, 0.1, 0.15, 0.2, 0.25),
    (0.2, 0.15, 0.15, 0.1, 0.15, 0.25),
)
DROPPED = (EMPTY, 1, 4, 3, 6)
GAPS = {10: 10.0, 11: 0.8746, 100: 1.5272, 4096: 2.1184}


@functools.partial(jax.jit, static_argnames=("name", "slots"))
def _follow(
    weights: Float[Array, "steps steps"], name: str, slots: int
) -> tuple[KVCache, Int[Array, " steps"]]:
    """The cache and the victims, given each step's weights by position."""
    places = slots + 1
    blank = jnp.zeros((1, places, 1), weights.dtype)
    held = jnp.full((1, places), EMPTY, jnp.int32)
    start = KVCache(blank, blank, held, jnp.zeros((1, places), weights.dtype))

    def step(cache: KVCache, row: tuple[Array, Array]) -> tuple[KVCache, Array]:
        now, weight = row
        new = jnp.ones((1, 1), weight.dtype)
        cache = write(cache, new, new, now)
        here = jnp.where(cache.position == EMPTY, 0, weight[cache.position])
        here = here / jnp.sum(here)
        cache, gone = forget(cache, here, now, policy(name), jnp.asarray(True))
        return cache, gone[0]

    steps = jnp.arange(len(weights), dtype=jnp.int32)
    return jax.lax.scan(step, start, (steps, weights))


def _square(rows: Sequence[Sequence[float]]) -> np.ndarray:
    return np.stack([np.pad(np.asarray(row, float), (0, len(rows) - len(row))) for row in rows])


def _equal(setting: str, wrong: int, mixed: float = 0.0) -> Measurement:
    return Measurement(
        setting=setting,
        measured=float(wrong),
        bound=0.0,
        hypotheses=(Hypothesis(name="attention of other tokens", distance=mixed),),
    )


def _stream() -> Iterator[Measurement]:
    for name, kept in KEPT.items():
        cache, _ = _follow(_square(STREAM), name, 3)
        position, mass = np.asarray(cache.position[0]), np.asarray(cache.mass[0])
        found = sorted(position[position != EMPTY].tolist())
        yield _equal(f"stream, {name} keeps {kept}", len(set(kept) ^ set(found)))
        if name == "h2o@2":
            for token, expected in zip(kept, MASSES, strict=True):
                yield Measurement.equality(
                    setting=f"stream, h2o@2, mass of token {token}",
                    found=float(mass[position == token][0]),
                    expected=expected,
                    roundoff=0.5e-4,
                    hypotheses=(Hypothesis(name="attention of other tokens", distance=0.0),),
                )


def _figure(rolled: int) -> Measurement:
    """Figure 2 gives weights over the tokens that are held, so they are put where these stand."""
    by_position, held = np.zeros((9, 9)), list(range(4))
    for step, row in enumerate(FIGURE, start=4):
        held.append(step)
        by_position[step, held] = np.roll(row, rolled)
        if (gone := DROPPED[step - 4]) != EMPTY:
            held.remove(gone)
    for step in range(4):
        by_position[step, : step + 1] = 1
    _, victims = _follow(by_position, "tova", 5)
    wrong = np.sum(np.asarray(victims)[4:] != np.asarray(DROPPED))
    return _equal(f"Figure 2, weights moved by {rolled}", int(wrong), float(rolled))


def _measure(suite: Suite) -> Iterator[Measurement]:
    yield from _stream()
    yield _figure(0)
    found = np.asarray(compress_gap(jnp.asarray([float(gap) for gap in GAPS])))
    for (gap, expected), got in zip(GAPS.items(), found.tolist(), strict=True):
        exact = gap <= 10
        yield Measurement.equality(
            setting=f"a gap of {gap}",
            found=got,
            expected=expected,
            roundoff=16 * U if exact else 0.5e-4,
        )


def _counter_case() -> Iterator[Measurement]:
    yield _figure(1)


CLAIM = Claim(
    name="msrnn_fixtures",
    title="Decisions by hand",
    source="arXiv 2401.06104v2, Figure 2 and the policies' definitions",
    statement=r"\mathrm{kept}(\mathrm{ours}) = \mathrm{kept}(\mathrm{by\ hand})",
    assumes=("each token's weight is its own",),
    note="Counts of wrong tokens; masses and gaps to the four places that were worked out.",
    measure=_measure,
    counter_case=_counter_case,
)
