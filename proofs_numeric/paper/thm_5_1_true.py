"""Theorem 5.1 repaired: true attention, true norms, heads and positions, at the point of a pass."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.model import (
    Alibi,
    Decoder,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    NoNorm,
    NoPositions,
    RMSNorm,
    Rotary,
    ZeroMlp,
)
from glassesjax.theory.blocks import repaired_bound
from glassesjax.trace.rollout import block_stack
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import decoders
from proofs_numeric.support.adversary import ascend
from proofs_numeric.support.paper_decoder import quotients

CLAIM = Claim(
    name="thm_5_1_true",
    title="Over-squashing with true attention: the repaired bound",
    source="arXiv 2406.04267v2, Theorem 5.1, repaired",
    statement=r"\left\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \right\rVert \le"
    r" \frac{1}{\beta_{3,n}} \left[ B^{(L-1)} \cdots B^{(0)} \right]_{n,i}",
    assumes=("finite numbers; divisors and slopes at the point of the pass",),
    norm="2",
    climbs="scale of queries and values",
    note="B has, beside the paper's terms, one for each key's part in a logit and one, on the"
    " diagonal, for the query's: a covariance of values and keys.",
)

U = 2.0**-53
LENGTH, WIDTH, HEAD = 6, 8, 4
BATCH = 8
SCALES = (0.3, 1.0, 3.0, 6.0, 20.0)
CONFIG = DecoderConfig(
    vocab_size=LENGTH,  # one row for each token: the table is the input
    num_layers=2,
    num_heads=2,
    model_dim=WIDTH,
    norm=RMSNorm(),
    mlp=DenseMlp(dim=8),
    positions=Rotary(base=10.0),
)
# One coordinate, no norm, no MLP: two tokens by hand.
SCALAR = DecoderConfig(vocab_size=2, num_layers=1, model_dim=1, norm=NoNorm(), mlp=ZeroMlp())


def _one(decoder: Decoder, kept: Float[Array, ""]) -> tuple[Array, Array, Array]:
    """The derivative of the last row, the bound, sizes of its terms, and the part left out."""
    tokens = jnp.arange(decoder.config.vocab_size, dtype=jnp.int32)
    stack = block_stack(decoder, tokens)
    size = lambda *arrays: jnp.prod(jnp.stack([jnp.max(jnp.abs(array)) for array in arrays]))
    heads, constants = stack.heads, stack.constants
    steep = size(heads.queries, heads.keys)
    cancelled = size(heads.values, constants.output_factor, heads.keys, constants.query_factor)
    # Only the counter-case leaves a part out: elsewhere all of the query's factor is kept.
    reduced = constants._replace(query_factor=kept * constants.query_factor)
    left_out = jnp.max(jnp.abs(constants.query_factor - reduced.query_factor))
    bound = repaired_bound(stack._replace(constants=reduced))
    last = lambda resid: decoder.represent(resid)[0][-1]
    jacobian = jax.jacrev(last)(decoder.enter(tokens))  # (seq, d) -> (out, seq, d)
    return jacobian, bound, jnp.stack([steep, cancelled * jnp.max(constants.norm1_slope), left_out])


@jax.jit
def _all(stacked: Decoder, kept: Float[Array, " batch"]) -> tuple[Array, Array, Array]:
    return jax.vmap(_one)(stacked, kept)


@dataclasses.dataclass(frozen=True)
class _Closest:
    """The token whose derivative comes closest to the bound on it."""

    norm: float
    bound: float
    roundoff: float
    hypothesis: Hypothesis  # weights and inputs that are finite: the cause, not the result
    left_out: float  # largest entry of the query's factor that the bound leaves out

    def measurement(self, setting: str, **more: object) -> Measurement:
        return Measurement(
            setting=setting,
            measured=self.norm,
            bound=self.bound,
            roundoff=self.roundoff,
            **{"hypotheses": (self.hypothesis,), **more},  # pyrefly: ignore[bad-argument-type]
        )


def _run(made: Sequence[Decoder], kept: float = 1.0, *, token: int | None = None) -> list[_Closest]:
    """Instances of one configuration, at most a batch of them."""
    # (...) -> (BATCH, ...), filled up with the last, so that there is one shape to compile.
    filled = [*made, *[made[-1]] * (BATCH - len(made))]
    stacked = jax.tree.map(lambda *weights: np.stack(weights), *filled)
    results = map(np.asarray, _all(stacked, np.full(BATCH, kept)))
    closest = []
    for decoder, (jacobian, bounds, terms) in zip(made, zip(*results, strict=True), strict=False):
        blocks = jacobian.transpose(1, 0, 2)  # (out, seq, d) -> (seq, out, d)
        finite = np.isfinite(blocks).all()  # LAPACK raises for others
        norms = np.linalg.norm(blocks, 2, (-2, -1)) if finite else np.full(len(blocks), np.nan)
        at = int(np.argmax(quotients(norms, bounds))) if token is None else token
        # A layer's sums over tokens, width and MLP. An error of a logit is one of a weight; terms
        # of the queries' part cancel, which are as large as all their factors.
        width = decoder.config.model_dim
        steps = decoder.config.num_layers * (2 * len(bounds) * width + 8 * width + 64)
        size = 1 + width * terms[0] + width**3 * terms[1]
        broken = sum(int(np.sum(~np.isfinite(leaf))) for leaf in jax.tree.leaves(decoder))
        name = "weights and inputs that are not finite"
        closest.append(
            _Closest(
                norm=float(norms[at]),
                bound=float(bounds[at]),
                roundoff=4 * steps * U * float(size) * float(bounds[at]),
                hypothesis=Hypothesis(name=name, distance=float(broken)),
                left_out=float(terms[2]),
            )
        )
    return closest


def _name(path: tuple) -> str:
    return str(path[-2])[1:]  # the parameter's; its array is the last part of the path


def _scaled(decoder: Decoder, scale: float) -> Decoder:
    """Steeper logits by larger queries, larger values: both by the same factor."""
    factor = lambda path: scale if _name(path) in ("query", "value") else 1.0
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * factor(path), decoder)


def _replaced(decoder: Decoder, **arrays: np.ndarray) -> Decoder:
    """The same decoder with other arrays."""
    pick = lambda path, leaf: arrays.get(_name(path), leaf)
    return jax.tree_util.tree_map_with_path(pick, decoder)


def _aligned() -> Decoder:
    """Equal logits, both heads the same projection on four coordinates: the bound is attained."""
    layers, projection = CONFIG.num_layers, np.eye(HEAD, WIDTH)
    first = np.arange(layers)[:, None, None] == 0  # the others add nothing
    # (layers, out, in): two heads of HEAD coordinates are WIDTH in all, and there is no MLP.
    both = np.concatenate([projection, projection])
    return _replaced(
        decoders.draw(CONFIG, 1),
        query=np.zeros((layers, WIDTH, WIDTH)),
        value=np.where(first, 1.5 * both, 0.0),
        output=np.where(first, both.T, 0.0),
        down=np.zeros((layers, WIDTH, CONFIG.mlp_dim)),
    )


def _scalar(first: float, second: float) -> Decoder:
    """Two tokens of width one, all matrices one."""
    one = dict.fromkeys(("query", "key", "value", "output"), np.ones((1, 1, 1)))
    return _replaced(decoders.draw(SCALAR, 0), table=np.array([[first], [second]]), **one)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    gated, full = GatedMlp(dim=8), suite == "full"
    switch = lambda **switches: dataclasses.replace(CONFIG, **switches)
    configs = {
        "RMSNorm, gelu, rotary, 2 heads": CONFIG,
        "LayerNorm, swiglu, ALiBi": switch(norm=LayerNorm(), mlp=gated, positions=Alibi()),
        "RMSNorm, swiglu, no positions, one head": switch(
            num_heads=1, mlp=gated, positions=NoPositions()
        ),
        "LayerNorm, gelu, rotary, grouped heads, 4 layers": switch(
            num_layers=4, norm=LayerNorm(), num_heads=4, num_kv_heads=2
        ),
    }
    for name, config in list(configs.items())[: None if full else 1]:
        made = [_scaled(decoders.draw(config, seed), scale) for seed, scale in enumerate(SCALES)]
        for scale, measured in zip(SCALES, _run(made), strict=True):
            yield measured.measurement(f"{name}, {scale=}", size=scale)
    plain = decoders.draw(CONFIG, 2)
    broken = _replaced(plain, table=np.full((LENGTH, WIDTH), np.nan))
    [measured] = _run([broken])
    yield measured.measurement("inputs that are not numbers")
    # The projections of the norms take two of the four directions; two are left.
    for token in (0, LENGTH - 1):
        [measured] = _run([_aligned()], token=token)
        yield measured.measurement(f"equal logits, aligned heads, {token=}", floor=measured.bound)
    if full:
        # Two tokens 2 and 1/2, by hand: both terms of the first one's bound have one sign.
        [measured] = _run([_scalar(2.0, 0.5)], token=0)
        weight = 1 / (1 + np.exp(0.25 - 1.0))
        exact = weight * (1 + (1 - weight) * (2.0 - 0.5) * 0.5)
        yield measured.measurement("width one, two tokens, the first", floor=exact)


def _moved(decoder: Decoder, random: np.random.Generator, step: float) -> Decoder:
    return jax.tree.map(lambda leaf: leaf + step * random.normal(size=leaf.shape), decoder)


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    """Random steps that are kept where they come closer; in the full suite ascent by gradients."""
    random, rounds = np.random.default_rng(3), 40 if suite == "quick" else 120
    best = _moved(_aligned(), random, 0.05)
    [worst] = _run([best])
    for number in range(rounds):
        step = 0.05 * 0.8 ** (number / rounds * 20)  # at the end about a hundredth of it
        tried = [_moved(best, random, step) for _ in range(BATCH)]
        for decoder, measured in zip(tried, _run(tried), strict=True):
            if measured.norm / measured.bound > worst.norm / worst.bound:
                best, worst = decoder, measured
    yield worst.measurement(f"{rounds} rounds of {BATCH} random steps near equality, no gradients")
    if suite == "full":  # two passes to compile
        starts = [_moved(_scalar(1.0, 1.0), random, 1.0) for _ in range(8)]
        stacked = jax.tree.map(lambda *weights: np.stack(weights), *starts)
        [measured] = _run([ascend(_ratio, stacked, steps=300).instance], token=0)
        yield measured.measurement("gradients, width one, 8 starts, 300 steps over all")


def _ratio(decoder: Decoder) -> Float[Array, ""]:
    """Of the first token of width one."""
    jacobian, bound, _ = _one(decoder, jnp.ones(()))
    return jnp.abs(jacobian[0, 0, 0]) / bound[0]


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Without the covariance of the query's own part; and divisors and slopes of another input."""
    made = [_scaled(decoders.draw(CONFIG, seed), 6.0) for seed in range(BATCH)]
    cases = _run(made, 0.0, token=LENGTH - 1)
    measured = max(cases, key=lambda measured: measured.norm / measured.bound)
    left_out = Hypothesis(name="query's factor that is left out", distance=measured.left_out)
    yield measured.measurement(
        "scale 6, the last token, no term of its query", hypotheses=(left_out,)
    )
    here = decoders.draw(CONFIG, 1)
    table = np.asarray(here.embed.table[...])
    passed, other = _run([here, _replaced(here, table=10 * table)], token=0)
    apart = float(np.max(np.abs(10 * table - table)))
    far = Hypothesis(name="distance of the bound's inputs from the pass's", distance=apart)
    yield dataclasses.replace(passed, bound=other.bound).measurement(
        "the first token, divisors of inputs ten times as large",
        hypotheses=(passed.hypothesis, far),
    )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import squashing_enclosures  # needs python-flint

    return squashing_enclosures.thm_5_1_true()
