"""Evictions worked out by hand: streams, heads, ties, lifetimes, and Figure 2."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glassesjax import draws
from glassesjax.cache import KVCache, policy, state_bytes
from glassesjax.cache.attend import attend
from glassesjax.cache.position_ids import compress_gap
from glassesjax.cache.retention import cached_to_end, lifetimes
from glassesjax.cache.slots import EMPTY, evict, write
from glassesjax.model import DecoderConfig, NoPositions
from glassesjax.model.attention import Attention
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.decoders import U

CLAIM = Claim(
    name="msrnn_fixtures",
    title="Decisions by hand",
    source="arXiv 2401.06104v2, Figure 2 and the policies' definitions",
    statement=r"\mathrm{kept}(\mathrm{ours}) = \mathrm{kept}(\mathrm{by\ hand})",
    assumes=("the weights are those of the figure",),
    note="Counts of wrong tokens; masses and gaps to the four places that were worked out.",
)

# Weight of token j at step t before it is distributed over the cached tokens.
STREAM = ((1,), (1, 4), (1, 5, 2), (1, 4, 2, 3), (3, 1, 2, 4, 3), (9, 9, 3, 1, 2, 5))
KEPT = {"window": (3, 4, 5), "window+1": (0, 4, 5), "h2o@2": (1, 4, 5), "tova": (2, 4, 5)}
MASSES = (2.4544, 0.4176, 0.2941)  # of H2O's three, to the four places that are printed
# Figure 2 of the paper: the head mean of each step over the cached tokens, and the evicted ones.
FIGURE = (
    (0.2, 0.1, 0.1, 0.2, 0.4),
    (0.2, 0.05, 0.1, 0.1, 0.2, 0.35),
    (0.15, 0.15, 0.1, 0.05, 0.25, 0.3),
    (0.15, 0.15, 0.1, 0.15, 0.2, 0.25),
    (0.2, 0.15, 0.15, 0.1, 0.15, 0.25),
)
DROPPED = (EMPTY, 1, 4, 3, 6)
HEADS = ((0.7, 0.2, 0.1), (0.1, 0.3, 0.6))  # of two heads over three tokens
LOGITS = ((10.0, 0.0, 9.0), (0.0, 1.0, 0.0))  # the mean names token 1, that of the softmax 2
LIVES = (4, 4, 3)  # steps of the tokens 0, 1 and 3 of the stream, under TOVA
LLAMA = DecoderConfig(vocab_size=32000, num_layers=32, num_heads=32, model_dim=4096)
GAPS = {10: 10.0, 11: 0.8746, 100: 1.5272, 4096: 2.1184}


@functools.partial(jax.jit, static_argnames=("name", "slots"))
def _follow(
    weights: Float[Array, "steps steps"], name: str, slots: int
) -> tuple[KVCache, Int[Array, " steps"]]:
    """The cache and the evicted tokens, given each step's weights by position."""
    places = slots + 1  # the newest token is written before one is evicted
    blank = jnp.zeros((1, places, 1), weights.dtype)
    cached = jnp.full((1, places), EMPTY, jnp.int32)
    start = KVCache(blank, blank, cached, jnp.zeros((1, places), weights.dtype))

    def step(cache: KVCache, row: tuple[Array, Array]) -> tuple[KVCache, Array]:
        now, weight = row
        new = jnp.ones((1, 1), weight.dtype)
        cache = write(cache, new, new, now)
        here = jnp.where(cache.position == EMPTY, 0, weight[cache.position])  # (1, places)
        here = here / jnp.sum(here)
        cache, gone = evict(cache, here, now, policy(name), jnp.asarray(True))
        return cache, gone[0]

    steps = jnp.arange(len(weights), dtype=jnp.int32)
    return jax.lax.scan(step, start, (steps, weights))


def _square(rows: Sequence[Sequence[float]]) -> np.ndarray:
    # The rows of a triangle, filled with zeros to (steps, steps).
    return np.stack([np.pad(np.asarray(row, float), (0, len(rows) - len(row))) for row in rows])


def _equal(setting: str, wrong: float, *hypotheses: Hypothesis) -> Measurement:
    return Measurement(setting=setting, measured=float(wrong), bound=0.0, hypotheses=hypotheses)


@functools.partial(jax.jit, static_argnames="name")
def _decide(
    cached: Int[Array, "groups places"], weight: Float[Array, "groups places"], name: str
) -> tuple[KVCache, Int[Array, " groups"]]:
    """One decision at step 2 among three tokens, of which a state of two keeps two."""
    blank = jnp.zeros((len(cached), 3, 1), weight.dtype)
    cache = KVCache(blank, blank, cached, jnp.zeros_like(weight))
    return evict(cache, weight, jnp.asarray(2, jnp.int32), policy(name), jnp.asarray(True))


def _evicted(
    weight: np.ndarray, cached: Sequence[int] = (0, 1, 2), name: str = "tova"
) -> list[int]:
    places = np.broadcast_to(np.asarray(cached, np.int32), weight.shape)
    return np.asarray(_decide(places, weight, name)[1]).tolist()


@jax.jit
def _weights(logits: Float[Array, "heads places"]) -> Float[Array, "one places"]:
    """The head mean that the cache's own attention makes of given logits."""
    config = DecoderConfig(
        vocab_size=2,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        model_dim=4,
        positions=NoPositions(),
    )
    query = jnp.eye(2, dtype=logits.dtype)[None] / config.scale  # one row of two heads
    cached, now = jnp.arange(3, dtype=jnp.int32)[None], jnp.full(1, 2, jnp.int32)
    attention = Attention(config, key=draws.root_key(0), dtype=logits.dtype)  # no weight is read
    # Keys are the logits, (heads, places) -> (1 group, places, 2): each query reads one of them.
    _, weights = attend(attention, query, logits.T[None], logits.T[None], cached, now)
    return jnp.mean(weights[:, 0], axis=0)[None]  # (heads, 1, places) -> (1, places)


def _decisions() -> Iterator[Measurement]:
    """Single decisions: of one layer or of each head, at ties, and against the newest token."""
    weight = np.asarray(HEADS)
    mean = np.mean(weight, axis=0, keepdims=True)
    yield _equal("two heads, one decision: token 1", _evicted(mean) != [1])
    yield _equal("two heads, a decision each: tokens 2, 0", _evicted(weight) != [2, 0])
    # The mean is over probabilities; that over logits would name token 1.
    weight = np.asarray(_weights(np.asarray(LOGITS)))
    yield _equal("softmax before the mean over heads: token 2", _evicted(weight) != [2])
    for cached in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        wrong = _evicted(np.full((1, 3), 1 / 3), cached) != [0]
        yield _equal(f"a tie, positions {cached} in their places: the smallest", wrong)
    same = _evicted(np.asarray([[0.4, 0.3, 0.3]])) != [1]
    yield _equal("a tie of the last two: the smaller position", same)
    # The newest token is a candidate: if it is evicted, the state is unchanged.
    before = np.asarray([[0, 1, EMPTY]])
    cache, gone = _decide(np.asarray([[0, 1, 2]], np.int32), np.asarray([[0.5, 0.4, 0.1]]), "tova")
    wrong = int(gone[0] != 2) + int(np.sum(np.asarray(cache.position) != before))
    yield _equal("a token that is dropped at once leaves the state", wrong)


def _lives() -> Iterator[Measurement]:
    """Which token stays in one slot, and for how many steps tokens stay in three."""
    # The token with the larger of two weights stays, the older or the newer.
    weights = _square(((1,), (2, 1), (3, 0, 1), (2, 0, 0, 5)))
    cache, gone = _follow(weights, "tova", 1)
    wrong = np.asarray(gone).tolist() != [EMPTY, 1, 2, 0] or int(np.max(cache.position)) != 3
    yield _equal("one slot drops 1, 2, 0 and keeps 3", wrong)
    # A lifetime counts the steps from a token's own to the one that evicts it, both included.
    _, gone = _follow(_square(STREAM), "tova", 3)
    steps = np.full((1, len(STREAM)), len(STREAM), np.int32)  # (groups, tokens)
    for step, evicted in enumerate(np.asarray(gone).tolist()):
        if evicted != EMPTY:
            steps[0, evicted] = step
    ended = lifetimes(steps)[~cached_to_end(steps)].tolist()
    yield _equal(f"stream, tova, lifetimes {LIVES}", tuple(ended) != LIVES)


def _figure(rolled: int) -> Measurement:
    """Figure 2: weights over the cached tokens, placed at their positions."""
    by_position, cached, moved = np.zeros((9, 9)), list(range(4)), 0.0
    for step, row in enumerate(FIGURE, start=4):
        cached.append(step)
        by_position[step, cached] = np.roll(row, rolled)
        moved = max(moved, float(np.max(np.abs(by_position[step, cached] - row))))
        if (dropped := DROPPED[step - 4]) != EMPTY:
            cached.remove(dropped)
    for step in range(4):  # the figure begins with four cached tokens: nothing is evicted before
        by_position[step, : step + 1] = 1
    _, gone = _follow(by_position, "tova", 5)
    wrong = np.sum(np.asarray(gone)[4:] != np.asarray(DROPPED))
    hypothesis = Hypothesis(name="difference from the weights of the figure", distance=moved)
    return _equal(f"Figure 2, weights moved by {rolled}", int(wrong), hypothesis)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for name, kept in KEPT.items():
        cache, _ = _follow(_square(STREAM), name, 3)
        position, mass = np.asarray(cache.position[0]), np.asarray(cache.mass[0])
        measured = sorted(position[position != EMPTY].tolist())
        yield _equal(f"stream, {name} keeps {kept}", len(set(kept) ^ set(measured)))
        if name == "h2o@2":
            for token, expected in zip(kept, MASSES, strict=True):
                yield Measurement.equality(
                    setting=f"stream, h2o@2, mass of token {token}",
                    measured=float(mass[position == token][0]),
                    expected=expected,
                    roundoff=0.5e-4,
                )
    yield _figure(0)
    yield from _decisions()
    yield from _lives()
    # LLaMA-2-7B's shape in 16 bits; a capacity of 511 tokens takes 512 slots.
    beside = 32 * 512 * (4 + 4)  # a position and a mass for each place of a layer
    yield Measurement.equality(
        setting="LLaMA-2-7B, keys and values of 512 tokens, bytes",
        measured=float(state_bytes(LLAMA, policy("tova"), 511, jnp.bfloat16) - beside),
        expected=float(2 * 32 * 512 * 4096 * 2),  # 0.268 GB
        roundoff=0.0,
    )
    measured = np.asarray(compress_gap(jnp.asarray([float(gap) for gap in GAPS])))
    for (gap, expected), got in zip(GAPS.items(), measured.tolist(), strict=True):
        yield Measurement.equality(
            setting=f"a gap of {gap}",
            measured=got,
            expected=expected,
            roundoff=16 * U if gap <= 10 else 0.5e-4,  # short gaps stay; others to four places
        )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    yield _figure(1)
