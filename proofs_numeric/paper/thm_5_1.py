"""Theorem 5.1: with constant attention weights, no derivative exceeds the proof's path sum."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.model import (
    ConstantNorm,
    Decoder,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    LayerNorm,
    RMSNorm,
)
from glassesjax.theory.squashing import path_bound
from glassesjax.trace.rollout import printed_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support import decoders, paper_decoder
from proofs_numeric.support.adversary import ascend
from proofs_numeric.support.paper_decoder import PaperDecoder, Reach, quotients

CLAIM = Claim(
    name="thm_5_1",
    title="Over-squashing: with attention held fixed the derivative is within the path sum",
    source="arXiv 2406.04267v2, Theorem 5.1, with the constants of its proof (B.5)",
    statement=r"\left\lVert \frac{\partial y_n}{\partial v_i^{(0)}} \right\rVert \le"
    r" \frac{1}{\beta_3} \prod_\ell \left(1 + \frac{\sigma}{\beta_2^{(\ell)}}\right)"
    r" \left[ \prod_\ell \left( \frac{\Lambda^{(\ell)}}{\beta_1^{(\ell)}} + I \right)"
    r" \right]_{n,i}",
    assumes=(
        "norms that divide by constants, or by no less than the divisor at the point",
        "attention weights that do not depend on the values",
        "MLPs with a bounded derivative",
    ),
    norm="2",
    note="Of each instance the token with the largest quotient. Equality for linear MLPs.",
)

U = 2.0**-53
LENGTH = 8
SCALES = (0.3, 1.0, 6.0, 20.0)
CONFIG = DecoderConfig(
    vocab_size=LENGTH,  # one row for each token: the table is the input
    num_layers=2,
    model_dim=4,
    values="identity",
    norm=RMSNorm(),
    mlp=DenseMlp(dim=8),
)


def _numbers(leaves: Iterable[np.ndarray]) -> Hypothesis:
    """Hypothesis of finite weights and inputs, not of finite results."""
    broken = sum(int(np.sum(~np.isfinite(leaf))) for leaf in leaves)
    return Hypothesis(name="weights and inputs that are not finite", distance=float(broken))


def _hypotheses(decoder: PaperDecoder, reach: Reach) -> tuple[Hypothesis, ...]:
    """Hypotheses; a NaN derivative does not count as attention weights that depend on inputs."""
    constant, *others = paper_decoder.hypotheses(reach)
    if not np.isfinite(reach.jacobian).all():
        constant = dataclasses.replace(constant, distance=0.0)
    # A neutral layer's divisor is infinite, on purpose.
    given = decoder._replace(beta1=np.where(np.isinf(decoder.beta1), 1.0, decoder.beta1))
    return (constant, *others, _numbers(map(np.asarray, given)))


def against(setting: str, decoder: PaperDecoder, reach: Reach, **more: object) -> Measurement:
    """The token whose derivative comes closest to its bound, or exceeds it most.

    Args:
      setting: What fixes the instance.
      decoder: One of the paper.
      reach: Its derivative.
      **more: Further fields of the measurement.

    Returns:
      The instance of the theorem.
    """
    # (slots): those before the first token are no tokens.
    bounds, first = paper_decoder.bound(decoder, reach), int(decoder.start)
    token = first + int(np.argmax(quotients(reach.norms, bounds)[first:]))
    return Measurement(
        setting=setting,
        measured=float(reach.norms[token]),
        bound=float(bounds[token]),
        roundoff=paper_decoder.relative_roundoff(decoder) * float(bounds[token]),
        hypotheses=_hypotheses(decoder, reach),
        size=len(reach.norms) - first,
        **more,  # pyrefly: ignore[bad-argument-type]
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    slots, most = paper_decoder.sizes(suite)
    lengths = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= slots]
    cases, settings = [], []
    for number, length in enumerate(lengths):
        for layers in sorted({1, 1 + number % most, most}):
            for linear, scale in ((True, 1.0), (False, 1.0), (False, 700.0)):
                options = {"length": length, "layers": layers, "linear": linear}
                cases.append(paper_decoder.draw(0, logit_scale=scale, suite=suite, **options))
                settings.append((linear, f"n={length}, {layers=}, logits times {scale:g}"))
    # (slots, d), transposed so that a condition on slots broadcasts.
    broken = cases[-1]._replace(resid=np.where(np.arange(slots) < 3, np.nan, cases[-1].resid.T).T)
    measured = paper_decoder.reaches([*cases, broken])
    for (linear, setting), case, reach in zip(settings, cases, measured[:-1], strict=True):
        if not linear:
            yield against(f"psi with sines, {setting}", case, reach)
            continue
        # Linear MLPs: the derivative is the bound times the identity; the token farthest off.
        bounds, first = paper_decoder.bound(case, reach), int(case.start)
        token = first + int(np.argmax(np.abs(quotients(reach.norms, bounds) - 1)[first:]))
        yield Measurement.equality(
            setting=f"psi = sigma times the identity, {setting}",
            measured=float(reach.norms[token]),
            expected=float(bounds[token]),
            roundoff=paper_decoder.relative_roundoff(case) * float(bounds[token]),
            hypotheses=_hypotheses(case, reach),
            size=len(reach.norms) - first,
        )
    yield against("inputs that are not numbers", broken, measured[-1])
    yield from _library(suite)


def _library(suite: Suite) -> Iterator[Measurement]:
    """The library's decoder with its switch, divisors measured at the point."""
    switch = lambda **switches: dataclasses.replace(CONFIG, **switches)
    heads = {"num_heads": 2, "values": "projected"}
    configs = [
        CONFIG,
        switch(norm=ConstantNorm(beta=1.5)),
        switch(norm=LayerNorm(), mlp=GatedMlp(dim=8), **heads),
        switch(num_layers=4, norm=RMSNorm(eps=0.1), **heads),
    ]
    for config in configs[:1] if suite == "quick" else configs:
        made = [decoders.draw(config, seed, scale) for seed, scale in enumerate(SCALES)]
        for scale, decoder, (norms, bounds) in zip(SCALES, made, _measured(made), strict=True):
            setting = (
                f"Decoder, {type(config.norm).__name__}, {config.num_layers} layers,"
                f" {config.num_heads} heads, {config.mlp.kind}, {scale=}"
            )
            yield _closest(setting, decoder, norms, bounds)


@jax.jit
def _with_fixed_attention(stacked: Decoder) -> tuple[Array, Array, Array]:
    """Derivatives of the last row, and the library's bound as its scale and profile."""
    tokens = jnp.arange(LENGTH, dtype=jnp.int32)

    def one(decoder: Decoder) -> tuple[Array, Array, Array]:
        last = lambda resid: decoder.represent(resid, freeze_attention=True)[0][-1]
        rolled = printed_bound(decoder, tokens, rows=LENGTH)
        return jax.jacrev(last)(decoder.enter(tokens)), rolled.log_gain, rolled.profile[0]

    return jax.vmap(one)(stacked)


def _measured(made: Sequence[Decoder]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Norms and bounds of as many decoders as there are scales."""
    stacked = jax.tree.map(lambda *weights: np.stack(weights), *made)
    results = map(np.asarray, _with_fixed_attention(stacked))
    for jacobian, log_gain, profile in zip(*results, strict=True):
        blocks = jacobian.transpose(1, 0, 2)  # (out, seq, d) -> (seq, out, d)
        finite = np.isfinite(blocks).all()  # LAPACK raises for others
        norms = np.linalg.norm(blocks, 2, (-2, -1)) if finite else np.full(len(blocks), np.nan)
        yield norms, np.exp(log_gain) * profile


def _closest(
    setting: str, decoder: Decoder, norms: np.ndarray, bounds: np.ndarray, *other: Hypothesis
) -> Measurement:
    """The token whose derivative comes closest to the bound, or is NaN."""
    config, token = decoder.config, int(np.argmax(quotients(norms, bounds)))
    # As in paper_decoder.relative_roundoff, with an MLP twice as wide and a norm a layer.
    steps = 2 * config.num_layers * (LENGTH + 8 * config.model_dim + 32)
    return Measurement(
        setting=setting,
        measured=float(norms[token]),
        bound=float(bounds[token]),
        roundoff=steps * U * config.model_dim**config.num_layers * float(bounds[token]),
        hypotheses=(_numbers(map(np.asarray, jax.tree.leaves(decoder))), *other),
        size=LENGTH,
    )


def _instance(free: tuple[Array, ...]) -> PaperDecoder:
    """All slots and layers of the quick suite; inputs, weights and divisors are free."""
    # logs is (2, layers), so that divisors stay positive; the others are as in the decoder.
    resid, query, key, linear, down, up, logs = free
    beta1, beta2 = jnp.exp(logs[0]), jnp.exp(logs[1])
    constants = (beta1, beta2, jnp.ones(()), jnp.zeros(()), jnp.zeros((), jnp.int32))
    return PaperDecoder(resid, query, key, linear, down, up, *constants)


def _ratio(free: tuple[Array, ...]) -> Float[Array, ""]:
    """Of the first token; Frobenius norms, which are the operator norms of rotations times 2."""
    decoder = _instance(free)
    # Forward, by one token: half as much to compile as a derivative by all.
    run = lambda row: paper_decoder.last_row(decoder, decoder.resid.at[0].set(row))
    jacobian, weights = jax.jacfwd(run, has_aux=True)(decoder.resid[0])  # (d) -> (d, d)
    size = lambda matrices: jnp.sqrt(jnp.sum(matrices**2, axis=(-2, -1)))
    root = paper_decoder.WIDTH**-0.5
    sigma = root * size(decoder.linear) + size(decoder.down) * size(decoder.up)
    bounds = path_bound(weights, decoder.beta1, decoder.beta2, decoder.beta3, sigma)
    return root * size(jacobian) / bounds[0]


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps, starts = (100, 4) if suite == "quick" else (400, 8)
    slots, layers = paper_decoder.sizes("quick")
    random = np.random.default_rng(5)
    matrices = [random.normal(size=(starts, layers, 4, 4)) / 2 for _ in range(5)]
    inputs, logs = random.normal(size=(starts, slots, 4)), random.normal(size=(starts, 2, layers))
    free = ascend(_ratio, (inputs, *matrices, logs), steps=steps).instance
    decoder = jax.tree.map(np.asarray, _instance(free))
    # Measured like any other instance, in operator norms.
    [reach] = paper_decoder.reaches([decoder])
    yield against(f"{starts} starts, {steps} steps over weights, inputs, divisors", decoder, reach)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """True attention, whose own derivative is not in the bound; and divisors of another input."""
    options = {"length": 4, "layers": 2, "logit_scale": 6.0, "moves": True}
    cases = [paper_decoder.draw(seed, **options) for seed in range(8)]
    measured = zip(cases, paper_decoder.reaches(cases), strict=True)
    worst = lambda pair: np.max(quotients(pair[1].norms, paper_decoder.bound(*pair)))
    yield against(
        "attention as it is, logit scale 6, the worst of 8 draws", *max(measured, key=worst)
    )
    here, there = decoders.draw(CONFIG, 1), decoders.draw(CONFIG, 1)
    there.embed.table.set_value(10 * there.embed.table[...])
    # As many as there are scales, so that nothing is compiled anew.
    (norms, _), (_, bounds), *_ = _measured([here, there, here, here])
    apart = float(np.max(np.abs(here.embed.table[...] - there.embed.table[...])))
    far = Hypothesis(name="distance of the divisors' inputs from the pass's", distance=apart)
    yield _closest("RMSNorm, divisors of inputs ten times as large", here, norms, bounds, far)


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import squashing_enclosures  # needs python-flint

    return squashing_enclosures.thm_5_1()
