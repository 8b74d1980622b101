"""Theorem 4.2 as five inequalities for each layer, and their composition, on small decoders."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.model import (
    Alibi,
    Causal,
    Decoder,
    DecoderConfig,
    GatedMlp,
    LayerNorm,
    LinearMlp,
    MaskByLayer,
    NoPositions,
    PositionsByLayer,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.theory.collapse import collapse_certificate, row_change_bound
from glassesjax.theory.collapse_records import CollapseCertificate, Inequality
from glassesjax.theory.norms import Norm, chebyshev_radius_bound, vector_norm
from glassesjax.trace import certificate_rows
from glassesjax.trace.certificate import LayerRows
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend
from proofs_numeric.support.decoders import U, draw

CLAIM = Claim(
    name="thm_4_2",
    title="Repeating the last token moves its representation less and less",
    source="arXiv 2406.04267v2, Theorem 4.2 (B.3)",
    statement=r"e_{\ell+1} \le (1 + \Lambda_m \sigma_\psi \Lambda_2)"
    r" (e_\ell + \Lambda_a \sum_h R_h T_h),"
    r" \quad T_h \le 2 \tanh(\Delta_h / 4) + 2 \alpha_{n+1,n+1},"
    r" \quad \alpha_{n+1,n+1} \le \frac{1}{1 + n e^{-D}}",
    assumes=(
        "the last two tokens are equal in the first layer",
        "a causal mask",
        "an MLP and norms with known Lipschitz constants between the two rows",
        "for (R4) logits of a finite range $D$ and a known positional step",
    ),
    norm="1",
    note="The theorem says that the distance vanishes; these are inequalities for each n."
    " Of each setting the layer and head that come closest to the bound are listed, the first"
    " layer apart: with equal last tokens (R3) and (R4) are equalities there without positions.",
)

# The first head has no positions, the second ALiBi.
PLAIN = DecoderConfig(
    vocab_size=6,
    num_layers=2,
    num_heads=2,
    model_dim=8,
    embed_scale=8**0.5,
    positions=Alibi(slopes=(0.0, 0.5)),
)
VARIED, CONSTANT = (0, 3, 1, 5, 2, 4, 0, 1, 1), (1,) * 9
LENGTH = len(VARIED) - 1
WIDTH = 4  # of the adversary's layer; three rows of it hold a logit for each distance
PLACES = (LENGTH, LENGTH + WIDTH, LENGTH + 2 * WIDTH)
PARTS = {"mid": "R1", "out": "R2", "row_change": "R3", "by_increments": "R4", "self_weight": "R5"}


@functools.partial(jax.jit, static_argnames="norm")
def _rows(decoders: Decoder, tokens: Array, norm: Norm) -> LayerRows:
    return jax.vmap(functools.partial(certificate_rows, norm=norm))(decoders, tokens)


@functools.partial(jax.jit, static_argnames="norm")
def _certificates(rows: LayerRows, norm: Norm) -> CollapseCertificate:
    return jax.vmap(functools.partial(collapse_certificate, norm=norm))(rows)


def _certified(
    decoders: Sequence[Decoder], tokens: Sequence[Sequence[int]], norm: Norm
) -> list[tuple[LayerRows, CollapseCertificate]]:
    """Rows and certificate of each decoder and prompt, as NumPy arrays."""
    # Leaves (...) -> (decoders, ...), which both programs map over; and one record each again.
    stacked = jax.tree.map(lambda *weights: np.stack(weights), *decoders)
    rows = _rows(stacked, np.asarray(tokens, np.int32), norm)
    both = jax.tree.map(np.asarray, (rows, _certificates(rows, norm)))
    return [jax.tree.map(lambda field, i=i: field[i], both) for i in range(len(decoders))]


def _roundoff(rows: LayerRows) -> float:
    """Two rows; in each layer and head a sum over tokens and three products over four widths.

    A logit passes its own rounding, relative to its size, on to the weights.
    """
    # resid_out (layers, 2, d) -> its largest row in L1; masked logits are infinite, and left out.
    size = max(float(np.max(np.sum(np.abs(rows.resid_out), axis=-1))), 1.0)
    logit = np.max(np.abs(rows.next_logits), where=np.isfinite(rows.next_logits), initial=0.0)
    steps = LENGTH + 1 + 3 * 4 * PLAIN.model_dim
    return 2 * PLAIN.num_layers * PLAIN.num_heads * steps * U * size * (1 + float(logit))


def _hypotheses(certificate: CollapseCertificate) -> tuple[Hypothesis, ...]:
    measured, allowed = certificate.layers.hypotheses, 8 * (LENGTH + 8) * U
    worst = lambda field: float(np.max(field))
    return (
        Hypothesis(
            name="distance of the last two tokens", distance=float(certificate.layers.error[0])
        ),
        Hypothesis(name="rows sum to one", distance=worst(measured.row_sum_error), allowed=allowed),
        Hypothesis(
            name="weights are the softmax", distance=worst(measured.softmax_error), allowed=allowed
        ),
    )


def _equal(name: str, layers: str, config: DecoderConfig, rows: LayerRows) -> bool:
    """Whether the inequality is an equality: worth listing, but no sign of how tight it is.

    Equal logits make (R3) to (R5) one. In the first layer, a head without positions gives both
    rows one query and hence one logit to each token, and (R3) and (R4) are equalities. A token
    that is repeated throughout leaves zero on both sides of the others.
    """
    if name not in ("R3", "R4", "R5"):
        return not np.any(rows.radius > 8 * (LENGTH + 8) * U * np.max(np.abs(rows.resid)))
    # The first head's logits of both rows in every layer: (layers, 2 n + 1).
    first = np.concatenate([rows.logits[:, 0], rows.next_logits[:, 0]], axis=-1)
    finite = bool(np.all(np.isfinite(first)))
    if finite and np.max(np.ptp(first, axis=-1)) <= 64 * U * (1 + np.max(np.abs(first))):
        return True
    slopeless = isinstance(config.positions, Alibi) and isinstance(config.mask, Causal)
    return layers == "layer 1" and slopeless and name != "R5"


def _instance(
    setting: str,
    config: DecoderConfig,
    rows: LayerRows,
    certificate: CollapseCertificate,
    norm: Norm,
) -> Iterator[Measurement]:
    """Of each inequality the pair, of layers and heads, that comes closest to its bound."""
    allowed, parts = _roundoff(rows), {("composed", "all layers"): certificate.output}
    for part, name in PARTS.items():
        measured, bound = getattr(certificate.layers, part)  # (layers, ...)
        parts[name, "layer 1"] = Inequality(measured[:1], bound[:1])
        parts[name, "layers from 2"] = Inequality(measured[1:], bound[1:])
    # Read from the logits, not from the bound.
    span = float(np.max(np.ptp(np.concatenate([rows.logits, rows.next_logits], axis=-1), axis=-1)))
    # Its exponential must be a number.
    increments = (Hypothesis(name="range of the logits", distance=span, allowed=700),)
    known = {"R4": increments}
    for (name, layers), inequality in parts.items():
        # Both sides by layer and head, or of the whole -> (2, pairs)
        pairs = np.stack(np.broadcast_arrays(*inequality)).reshape(2, -1)
        # Rounding aside; one that is not finite comes first.
        gap = (pairs[0] - allowed) / np.where(pairs[1] == 0, np.finfo(float).tiny, pairs[1])
        gap = np.where(np.all(np.isfinite(pairs), axis=0), gap, np.inf)
        measured, bound = pairs[:, np.argmax(gap)].tolist()
        yield Measurement(
            setting=f"{name}, {layers}, {setting}",
            measured=measured,
            bound=bound,
            floor=bound if _equal(name, layers, config, rows) else 0.0,
            roundoff=allowed,
            hypotheses=(*_hypotheses(certificate), *known.get(name, ())),
            size=LENGTH,
            norm={1: "1", 2: "2", "inf": "inf"}[norm],
        )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    switch = functools.partial(dataclasses.replace, PLAIN)
    turned = switch(positions=Rotary(), norm=LayerNorm(), mlp=LinearMlp())
    sines = switch(positions=Sinusoidal(where="query_key"))
    normed = {"qk_norm": "head", "positions": Rotary(), "mlp": GatedMlp()}
    whole = normed | {"qk_norm": "whole"}
    by_layer = {
        "positions": PositionsByLayer(layers=(Rotary(base=10.0), NoPositions())),
        "mask": MaskByLayer(layers=(Causal(), Window(width=4))),
    }
    cases: list[tuple[str, DecoderConfig, Norm]] = [
        ("none and ALiBi", PLAIN, 1),
        ("none and ALiBi", PLAIN, 2),
        ("none and ALiBi", PLAIN, "inf"),
        ("rotary, LayerNorm", turned, 1),
        ("sinusoidal on queries and keys", sines, 2),
        ("window 4", switch(mask=Window(width=4)), "inf"),
        ("gated MLP", switch(mlp=GatedMlp()), 1),
        ("parallel, LayerNorm", switch(block="parallel", norm=LayerNorm(), positions=Rotary()), 1),
        ("weighted residual", switch(residual_weight=0.3, mlp=GatedMlp(activation="gelu")), "inf"),
        ("norms of outputs, queries and keys", switch(norm_place="both", **normed), 2),
        ("norms of outputs and of whole queries", switch(norm_place="after", **whole), 1),
        ("layers that differ", switch(**by_layer), 2),
    ]
    scales = (0.0, 1.0, 5.0, 10.0)  # beyond, rounding exceeds most of what is measured
    prompts, names = [VARIED] * len(scales) + [CONSTANT], [f"{scale=}" for scale in scales]
    # Each decoder and norm is compiled for itself, so that the quick suite has one.
    for title, config, norm in cases[:1] if suite == "quick" else cases:
        decoders = [draw(config, 7, logit_scale=scale) for scale in (*scales, 1.0)]
        measured = _certified(decoders, prompts, norm)
        for name, pair in zip([*names, "one token repeated"], measured, strict=True):
            yield from _instance(f"{title}, {name}, {norm=}", config, *pair, norm)
        if config == PLAIN and norm == 1:
            # Where the first head's logits are equal, three of the inequalities are equalities.
            rows, equal = measured[0]
            for part in ("row_change", "by_increments", "self_weight"):
                inequality = getattr(equal.layers, part)  # (layers, heads)
                yield Measurement.equality(
                    setting=f"{PARTS[part]}, equal logits",
                    measured=float(inequality.measured[0, 0]),
                    expected=float(inequality.bound[0, 0]),
                    roundoff=_roundoff(rows),
                    hypotheses=_hypotheses(equal),
                    size=LENGTH,
                )


def _array_layer(instance: Float[Array, "rows d"]) -> Inequality:
    """One layer of one head from its arrays: any content, any relative position's logit.

    The bound is that of (R1) and (R3) together: no attention weight but the last enters it. The
    instance is one array, for each leaf costs the optimizer a compilation: tokens, the product of
    query and key matrix, values, and logits by distance.
    """
    # (LENGTH, d), (d, d), (d, d) and three rows of logits; the last token is repeated.
    resid, bilinear, value, position = jnp.split(instance, PLACES)
    tokens = jnp.concatenate([resid, resid[-1:]])
    x = tokens / jnp.sqrt(jnp.mean(tokens**2, axis=-1, keepdims=True) + 1e-5)
    content, points = x @ bilinear @ x[-1], x @ value
    position = position.ravel()[LENGTH::-1]  # (3, d) -> (LENGTH + 1), the greatest distance first
    logits, next_logits = content[:-1] + position[1:], content + position
    weights, next_weights = jax.nn.softmax(logits), jax.nn.softmax(next_logits)
    step = next_weights @ points - weights @ points[:-1]  # the residuals cancel
    change = row_change_bound(logits, next_logits, next_weights[-1])
    return Inequality(vector_norm(step, 1), chebyshev_radius_bound(points, 1) * change)


_array_pair = jax.jit(_array_layer)


def _ratio(instance: Float[Array, "rows d"]) -> Float[Array, ""]:
    """Measured over bound; ``ascend`` compiles it once, and differentiates it."""
    measured, bound = _array_layer(instance)
    return measured / bound


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    starts, steps = (4, 60) if suite == "quick" else (16, 1500)
    shape = (starts, LENGTH + 2 * WIDTH + 3, WIDTH)
    instances = jnp.asarray(np.random.default_rng(4).normal(size=shape))
    worst = ascend(_ratio, instances, steps=steps).instance
    broken = float(np.sum(~np.isfinite(np.asarray(worst))))
    measured, bound = map(float, _array_pair(worst))
    yield Measurement(
        setting=f"R1 with R3, {starts} starts, {steps} steps over inputs and weights",
        measured=measured,
        bound=bound,
        # Sums over tokens and widths; logits stay below ten times the width.
        roundoff=8 * (LENGTH + 4 * WIDTH) * U * (bound + 1) * 10 * WIDTH,
        hypotheses=(Hypothesis(name="numbers that are not finite", distance=broken),),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Equal last tokens, a radius, a range of logits, or a norm's slope presumed."""
    far, wide, steep = draw(PLAIN, 7), draw(PLAIN, 7), draw(PLAIN, 7, logit_scale=5.0)
    far.embed.table.set_value(1000 * far.embed.table[...])
    wide.blocks.attention.value.set_value(1000 * wide.blocks.attention.value[...])
    prompts = [(*VARIED[:-1], 2), VARIED, VARIED]
    # As many as above, so that nothing is compiled anew.
    measured = _certified([far, wide, steep, far, wide], [*prompts, *prompts[:2]], 1)
    (_, apart), (rows, large), (steep_rows, own) = measured[:3]
    # The first layer is enough: (layers) -> its error, (layers, heads) -> its sum over heads.
    yield Measurement(
        setting="different last tokens, as if the first distance were zero",
        measured=float(apart.layers.mid.measured[0]),
        bound=float(apart.layers.mid.bound[0] - apart.layers.error[0]),
        hypotheses=_hypotheses(apart),
    )
    yield Measurement(
        setting="values of norm over one, as if the radius were one",
        measured=float(large.layers.mid.measured[0]),
        bound=float(np.sum(large.layers.row_change.measured[0])),
        hypotheses=(
            Hypothesis(name="radius of the values over 1", distance=float(rows.radius[0, 0]) - 1),
        ),
    )
    spread = float(np.max(np.ptp(steep_rows.next_logits, axis=-1)))
    yield Measurement(
        setting="weight on itself, as if the range of the logits were one",
        measured=float(np.max(own.layers.self_weight.measured)),
        bound=1 / (1 + LENGTH * math.exp(-1)),
        hypotheses=(Hypothesis(name="range of the logits over 1", distance=spread - 1),),
    )
    yield _without_output_norms()


def _without_output_norms() -> Measurement:
    """A norm of attention's output, as if its slope were one: the first layer's (R1)."""
    loud = draw(dataclasses.replace(PLAIN, norm_place="after"), 7)
    loud.blocks.norm1_after.gain.set_value(1000 * loud.blocks.norm1_after.gain[...])
    [(rows, found)] = _certified([loud], [VARIED], 1)
    slope = np.asarray(rows.attn_norm_lipschitz)[0]
    return Measurement(
        setting="a norm of attention's output, as if its slope were one",
        measured=float(found.layers.mid.measured[0]),
        bound=float(np.sum(rows.radius[0] * found.layers.row_change.measured[0])),
        hypotheses=(Hypothesis(name="slope of the norm over 1", distance=float(slope) - 1),),
    )


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import enclosures  # needs python-flint

    return enclosures.thm_4_2()
