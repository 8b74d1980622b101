"""Theorem 4.2 as five inequalities for each layer, and their composition, on small decoders."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.model import (
    Alibi,
    Decoder,
    DecoderConfig,
    LayerNorm,
    Mlp,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.theory.collapse import collapse_certificate, row_change_bound
from glassesjax.theory.collapse_records import CollapseCertificate, Inequality
from glassesjax.theory.norms import Norm, chebyshev_radius_bound, vector_norm
from glassesjax.trace import certificate_rows
from glassesjax.trace.certificate import LayerRows
from proofs_numeric.adversary import ascend
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.decoders import U, draw

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


def _cases(suite: Suite) -> list[tuple[str, DecoderConfig, Norm]]:
    """Decoders and norms; each pair is compiled for itself, so that the quick suite has one."""
    plain, switch = "none and ALiBi", functools.partial(dataclasses.replace, PLAIN)
    if suite == "quick":
        return [(plain, PLAIN, 1)]
    turned = switch(positions=Rotary(), norm=LayerNorm(), mlp=Mlp(kind="linear"))
    sines = switch(positions=Sinusoidal(where="query_key"))
    return [
        *((plain, PLAIN, norm) for norm in (1, 2, "inf")),
        ("rotary, LayerNorm", turned, 1),
        ("sinusoidal on queries and keys", sines, 2),
        ("window 4", switch(mask=Window(width=4)), "inf"),
        ("gated MLP", switch(mlp=Mlp(kind="swiglu")), 1),
    ]


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
    stacked = jax.tree.map(lambda *weights: np.stack(weights), *decoders)
    rows = _rows(stacked, np.asarray(tokens, np.int32), norm)
    both = jax.tree.map(np.asarray, (rows, _certificates(rows, norm)))
    return [jax.tree.map(lambda field, i=i: field[i], both) for i in range(len(decoders))]


def _roundoff(rows: LayerRows) -> float:
    """Two rows; in each layer and head a sum over tokens and three products over four widths.

    A logit passes its own rounding, relative to its size, on to the weights.
    """
    size = max(float(np.max(np.sum(np.abs(rows.resid_out), axis=-1))), 1.0)
    logit = np.max(np.abs(rows.next_logits), where=np.isfinite(rows.next_logits), initial=0.0)
    steps = LENGTH + 1 + 3 * 4 * PLAIN.model_dim
    return 2 * PLAIN.num_layers * PLAIN.num_heads * steps * U * size * (1 + float(logit))


def _hypotheses(found: CollapseCertificate) -> tuple[Hypothesis, ...]:
    measured, allowed = found.layers.hypotheses, 8 * (LENGTH + 8) * U
    worst = lambda field: float(np.max(field))
    return (
        Hypothesis(name="distance of the last two tokens", distance=float(found.layers.error[0])),
        Hypothesis(name="rows sum to one", distance=worst(measured.row_sum_error), allowed=allowed),
        Hypothesis(
            name="weights are the softmax", distance=worst(measured.softmax_error), allowed=allowed
        ),
    )


def _known(bound: Array) -> Hypothesis:
    """Where a constant is not known, or a range of logits not finite, there is no bound."""
    return Hypothesis(
        name="unknown bounds", distance=float(np.sum(~np.isfinite(np.asarray(bound))))
    )


def _worst(inequality: Inequality, roundoff: float) -> tuple[float, float]:
    """The pair, of all layers and heads, that comes closest to its bound, rounding aside."""
    pairs = np.stack(np.broadcast_arrays(*inequality)).reshape(2, -1)
    gap = (pairs[0] - roundoff) / np.where(pairs[1] == 0, np.finfo(float).tiny, pairs[1])
    measured, bound = pairs[:, np.argmax(gap)].tolist()
    return measured, bound


def _instance(
    setting: str, rows: LayerRows, found: CollapseCertificate, norm: Norm
) -> Iterator[Measurement]:
    allowed = _roundoff(rows)
    inequalities = {name: getattr(found.layers, part) for part, name in PARTS.items()}
    for name, inequality in {**inequalities, "composed": found.output}.items():
        measured, bound = _worst(inequality, allowed)
        yield Measurement(
            setting=f"{name}, {setting}",
            measured=measured,
            bound=0.0 if bound <= allowed else bound,  # a ratio of two roundings says nothing
            roundoff=allowed,
            hypotheses=(*_hypotheses(found), _known(inequality.bound)),
            size=LENGTH,
            norm={1: "1", 2: "2", "inf": "inf"}[norm],
        )


def _equal_logits(rows: LayerRows, found: CollapseCertificate) -> Iterator[Measurement]:
    """Where the first head's logits are equal, three of the inequalities are equalities."""
    for part in ("row_change", "by_increments", "self_weight"):
        inequality = getattr(found.layers, part)
        yield Measurement.equality(
            setting=f"{PARTS[part]}, equal logits",
            found=float(inequality.measured[0, 0]),
            expected=float(inequality.bound[0, 0]),
            roundoff=_roundoff(rows),
            hypotheses=_hypotheses(found),
            size=LENGTH,
        )


def _measure(suite: Suite) -> Iterator[Measurement]:
    scales = (0.0, 1.0, 5.0, 20.0, 200.0)
    prompts, names = [VARIED] * len(scales) + [CONSTANT], [f"{scale=}" for scale in scales]
    for title, config, norm in _cases(suite):
        decoders = [draw(config, 7, logit_scale=scale) for scale in (*scales, 1.0)]
        found = _certified(decoders, prompts, norm)
        for name, pair in zip([*names, "one token repeated"], found, strict=True):
            yield from _instance(f"{title}, {name}, {norm=}", *pair, norm)
        if config == PLAIN and norm == 1:
            yield from _equal_logits(*found[0])


def _array_layer(instance: Float[Array, "rows d"]) -> Inequality:
    """One layer of one head from its arrays: any content, any relative position's logit.

    The bound is that of (R1) and (R3) together: no attention weight but the last enters it. The
    instance is one array, for each leaf costs the optimizer a compilation: tokens, the product of
    query and key matrix, values, and logits by distance.
    """
    resid, bilinear, value, position = jnp.split(instance, PLACES)
    tokens = jnp.concatenate([resid, resid[-1:]])
    x = tokens / jnp.sqrt(jnp.mean(tokens**2, axis=-1, keepdims=True) + 1e-5)
    content, points = x @ bilinear @ x[-1], x @ value
    position = position.ravel()[LENGTH::-1]  # first the logit at the greatest distance
    logits, next_logits = content[:-1] + position[1:], content + position
    weights, next_weights = jax.nn.softmax(logits), jax.nn.softmax(next_logits)
    step = next_weights @ points - weights @ points[:-1]  # the residuals cancel
    change = row_change_bound(logits, next_logits, next_weights[-1])
    return Inequality(vector_norm(step, 1), chebyshev_radius_bound(points, 1) * change)


_array_pair = jax.jit(_array_layer)


def _ratio(instance: Float[Array, "rows d"]) -> Float[Array, ""]:
    measured, bound = _array_layer(instance)
    return measured / bound


def _adversary(suite: Suite) -> Iterator[Measurement]:
    starts, steps = (4, 60) if suite == "quick" else (16, 1500)
    shape = (starts, LENGTH + 2 * WIDTH + 3, WIDTH)
    instances = jnp.asarray(np.random.default_rng(4).normal(size=shape))
    worst = ascend(_ratio, instances, steps=steps).instance
    measured, bound = map(float, _array_pair(worst))
    yield Measurement(
        setting=f"R1 with R3, {starts} starts, {steps} steps over inputs and weights",
        measured=measured,
        bound=bound,
        # Sums over tokens and widths; logits stay below ten times the width.
        roundoff=8 * (LENGTH + 4 * WIDTH) * U * (bound + 1) * 10 * WIDTH,
        hypotheses=(
            Hypothesis(
                name="numbers that are not finite",
                distance=float(np.sum(~np.isfinite(np.asarray(worst)))),
            ),
        ),
    )


def _counter_case() -> Iterator[Measurement]:
    """Different last tokens, with a first distance presumed zero; and a radius presumed one."""
    far, wide = draw(PLAIN, 7), draw(PLAIN, 7)
    far.embed.table.set_value(1000 * far.embed.table[...])
    wide.blocks.attention.value.set_value(1000 * wide.blocks.attention.value[...])
    prompts = [(*VARIED[:-1], 2), VARIED]
    # As many as above, so that nothing is compiled anew.
    found = _certified([far, wide] * 3, prompts * 3, 1)
    (_, apart), (rows, large) = found[:2]
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


def _certify() -> list[Measurement]:
    from proofs_numeric import enclosures  # needs python-flint

    return enclosures.thm_4_2()


CLAIM = Claim(
    name="thm_4_2",
    title="Repeating the last token moves its representation less and less",
    source="arXiv 2406.04267v2, Theorem 4.2 (B.3)",
    statement=r"e_{\ell+1} \le (1 + \sigma_\psi \Lambda_2) (e_\ell + \sum_h R_h T_h),"
    r" \quad T_h \le 2 \tanh(\Delta_h / 4) + 2 \alpha_{n+1,n+1},"
    r" \quad \alpha_{n+1,n+1} \le \frac{1}{1 + n e^{-D}}",
    assumes=(
        "the last two tokens are equal in the first layer",
        "a causal mask",
        "an MLP and norms with known Lipschitz constants",
        "for (R4) logits of a finite range $D$ and a known positional step",
    ),
    norm="1",
    note="The theorem says that the distance vanishes; these are inequalities for each n."
    " Of each setting the layer and head that come closest to the bound are listed.",
    measure=_measure,
    counter_case=_counter_case,
    adversary=_adversary,
    certify=_certify,
)
