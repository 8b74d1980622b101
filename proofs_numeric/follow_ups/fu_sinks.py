"""Several heads and sinks: the multi-head path sum, and absorption that a sink speeds up."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.masked_rollouts import sink_rollout
from glassesjax.theory.sinks import mean_first_weight, sink_rate
from glassesjax.theory.squashing import multi_head_path_bound
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.closed_forms import product
from proofs_numeric.support.absorbing import uniform
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_sinks",
    title="Several heads: the path sum over all of them; sinks speed up absorption",
    source="after arXiv 2504.02732; the constant is ours",
    page="sinks",
    kind="follow_up",
    statement=r"\left\lVert \frac{\partial v_n^{(L)}}{\partial v_i^{(0)}} \right\rVert \le"
    r" C^L \left[ \prod_\ell \left( \sum_h \alpha^{(\ell, h)} + I \right) \right]_{n,i}, \quad"
    r" C = \max_\ell (1 + \sigma_\ell) \max(1, \max_h \lVert W_h \rVert)",
    assumes=("attention weights that do not depend on the values", "norms that are constants"),
    norm="2",
    climbs="L",
)

U = 2.0**-53
LAYERS, HEADS, N, D = 3, 2, 6, 4
STEEP = 2.0  # of the counter-case's logits


class _Model(NamedTuple):
    """Layers z = v + sum_h a^h W_h v, then z + A z + B sin(z); norms are in the matrices."""

    logits: Any  # layers heads n n
    steep: Any  # layers, of the logits' part that depends on the values; zero in the claim
    moved: Any  # layers heads d d, the W
    linear: Any  # layers d d, A
    waves: Any  # layers d d, B


def _last(
    model: _Model, resid: Float[Array, "n d"]
) -> tuple[Float[Array, " d"], Float[Array, "layers heads n n"]]:
    """The last row after all layers, and the attention weights."""
    seen = jnp.tri(N, dtype=bool)[None]

    def layer(resid: Array, each: _Model) -> tuple[Array, Array]:
        logits = each.logits + each.steep * (resid @ resid.T)[None]
        weights = jax.nn.softmax(jnp.where(seen, logits, -jnp.inf))
        # (heads, n, n), (heads, d, d), (n, d) -> (n, d): heads are added up
        mid = resid + jnp.einsum("hts,hcd,sd->tc", weights, each.moved, resid)
        return mid + mid @ each.linear.T + jnp.sin(mid) @ each.waves.T, weights

    after, weights = jax.lax.scan(layer, resid, model)
    return after[-1], weights


def _inputs() -> Float[Array, "n d"]:
    return jnp.sin(jnp.arange(float(N * D))).reshape(N, D)


@jax.jit
def _both(models: _Model) -> tuple[Array, Array]:
    """Derivatives of the last row, and the weights."""

    def one(model: _Model) -> tuple[Array, Array]:
        return jax.jacrev(lambda resid: _last(model, resid), has_aux=True)(_inputs())

    return jax.vmap(one)(models)


def _stacked(*models: _Model) -> _Model:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *models)


def _constant(model: _Model, norm: Callable[[Array], Array]) -> Float[Array, ""]:
    """C_max by some norm of matrices: the largest (1 + sigma) max(1, w) of a layer."""
    most = jnp.maximum(1, jnp.max(norm(model.moved), axis=1))  # (layers, heads) -> (layers,)
    return jnp.max((1 + norm(model.linear) + norm(model.waves)) * most)


def _against(setting: str, model: _Model, measured: tuple, *, dropped: float = 1.0) -> Measurement:
    """The token closest to the bound; ``dropped`` is a factor on the bound's weights."""
    jacobian, weights = (np.asarray(each) for each in measured)
    # (d, n, d) -> (n, d, d), a matrix a token
    norms = np.linalg.norm(jacobian.transpose(1, 0, 2), 2, (-2, -1))
    size = lambda matrices: np.linalg.norm(matrices, 2, (-2, -1))
    constant = np.asarray(_constant(model, size))
    bounds = np.asarray(multi_head_path_bound(dropped * weights, constant))
    token = int(np.argmax(norms / bounds))
    aligned = not np.any(model.waves)
    wider = 1.0 if aligned else float(D) ** (2 * LAYERS)  # norms of absolute values
    # The weights of the free logits alone, in NumPy.
    logits = np.where(np.tri(N, dtype=bool), np.asarray(model.logits), -np.inf)
    grown = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    free = grown / np.sum(grown, axis=-1, keepdims=True)
    return Measurement(
        setting=setting,
        measured=float(norms[token]),
        bound=float(bounds[token]),
        floor=float(bounds[token]) if aligned else 0.0,
        roundoff=4 * LAYERS * (HEADS * N + 4 * D) * U * wider * float(bounds[token]),
        hypotheses=(
            Hypothesis(
                name="attention of rows whose sum is not one",
                distance=float(np.max(np.abs(np.sum(dropped * weights, axis=-1) - 1))),
                allowed=4 * N * U,
            ),
            Hypothesis(
                name="part of the weights that the values make",
                distance=float(np.max(np.abs(weights - free))),
                allowed=4 * (N + 4) * U,
            ),
        ),
        size=LAYERS,
    )


def _drawn(seed: int, scale: float) -> _Model:
    random = np.random.default_rng(seed)
    matrices = lambda *shape: random.normal(size=(*shape, D, D)) * D**-0.5
    logits = scale * random.normal(size=(LAYERS, HEADS, N, N))
    steep = np.zeros(LAYERS)
    return _Model(logits, steep, matrices(LAYERS, HEADS), matrices(LAYERS) / 2, matrices(LAYERS))


def _aligned(scale: float) -> _Model:
    """All matrices multiples of one, the same in each layer: the bound is attained."""
    eye, drawn = np.eye(D), _drawn(9, scale)
    moved, linear = np.broadcast_to(eye, drawn.moved.shape), np.stack([eye / 2] * LAYERS)
    return drawn._replace(moved=moved.copy(), linear=linear, waves=np.zeros_like(drawn.waves))


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    scales = (0.0, 1.0, 6.0, 700.0)
    models = [_drawn(seed, scale) for seed, scale in enumerate(scales)] + [_aligned(1.0)]
    jacobians, weights = _both(_stacked(*models))
    names = [f"random matrices, logits of {scale:g}" for scale in scales] + ["multiples of one"]
    for name, model, *measured in zip(names, models, jacobians, weights, strict=True):
        yield _against(name, model, tuple(measured))
    for sink in (Fraction(0), Fraction(1, 2), Fraction(9, 10)):
        for n, layers in ((2, 4), (12, 8), (32, 8)):
            # The product of layers against the sum in rationals.
            exact = float(1 - sink_rollout(n, layers, sink)[0])
            row = product(_with_sink(n, float(sink)), [Fraction(1, 2)] * layers)
            yield Measurement.equality(
                setting=f"1 - pi_1 with a sink of {sink}, {n=}, L={layers}",
                measured=float(np.sum(row[1:])),
                expected=exact,
                # Weights 1 - s are rounded at the size of one, in each layer.
                roundoff=4 * layers * (n + 8) * U * exact,
                size=layers,
            )
    yield from _rates()


def _with_sink(n: int, sink: float) -> np.ndarray:
    weights = (1 - sink) * uniform(n)
    weights[:, 0] += sink
    return weights


def _rates() -> Iterator[Measurement]:
    """One head with a sink of 0.9 and one without: mean first weights, and half of the heads."""
    n = 32
    heads = jnp.asarray([[_with_sink(n, 0.9), _with_sink(n, 0.0)]])
    # The mean over rows of s + (1 - s) / i.
    harmonic = float(sum(Fraction(1, i) for i in range(1, n + 1))) / n
    measured = np.asarray(mean_first_weight(heads))[0]
    for name, value, expected in zip(
        ("0.9", "0"), measured, (0.9 + 0.1 * harmonic, harmonic), strict=True
    ):
        yield Measurement.equality(
            setting=f"mean first weight with a sink of {name}, {n=}",
            measured=float(value),
            expected=expected,
            roundoff=2 * n * U,
        )
    yield Measurement.equality(
        setting="rate of sinks above 0.8",
        measured=float(sink_rate(mean_first_weight(heads))),
        expected=0.5,
        roundoff=0.0,
    )


def _ratio(model: _Model) -> Float[Array, ""]:
    """Of the first token; Frobenius norms in place of operator norms, from the right sides."""
    model = model._replace(steep=jnp.zeros(LAYERS))
    # Forward, by one token: half as much to compile as a derivative by all.
    inputs = _inputs()
    run = lambda row: _last(model, inputs.at[0].set(row))
    jacobian, weights = jax.jacfwd(run, has_aux=True)(inputs[0])
    measured = jnp.linalg.norm(jacobian) * D**-0.5
    size = lambda matrices: jnp.sqrt(jnp.sum(matrices**2, axis=(-2, -1)) + 1e-12) * D**-0.5
    return measured / multi_head_path_bound(weights, _constant(model, size))[0]


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 60 if suite == "quick" else 1000
    starts = _stacked(*(_drawn(seed, 1.0) for seed in range(4)))
    model = jax.tree.map(np.asarray, ascend(_ratio, starts, steps=steps).instance)
    measured = _both(_stacked(*[model] * 5))  # five, as the ladder's shape
    yield _against(
        f"4 starts, {steps} steps over logits and matrices",
        model,
        tuple(each[0] for each in measured),
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Half the weights, as of a mean over heads in place of their sum; attention as it is."""
    model, true = _aligned(1.0), _aligned(0.0)
    true = true._replace(steep=np.array([STEEP, 0.0, 0.0]))
    measured = _both(_stacked(model, *[true] * 4))
    half, moving = (tuple(each[index] for each in measured) for index in (0, 1))
    yield _against("multiples of one, half the weights", model, half, dropped=0.5)
    yield _against("multiples of one, true attention", true, moving)
