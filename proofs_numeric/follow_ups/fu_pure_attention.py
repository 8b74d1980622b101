"""Rank collapse of pure attention: the tokens' diameter after each layer, against a bound."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.rank import doubly_exponential_bound, pure_attention_bound, token_diameter
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.support.adversary import ascend

CLAIM = Claim(
    name="fu_pure_attention",
    title="Attention alone brings all tokens together, doubly exponentially with depth",
    source="after arXiv 2103.03404; in the diameter, with constants of our own",
    page="rank",
    kind="follow_up",
    statement=r"\mathrm{diam}(X') \le \mathrm{diam}(X) \sum_h \lVert W_h \rVert \tanh"
    r" \frac{\lVert Q_h \rVert \, \mathrm{diam}(X)^2}{4 \sqrt{d}}, \quad"
    r" \mathrm{diam}(X_L) \le \left( \frac{s H}{4 \sqrt{d}} \right)^{(3^L - 1) / 2}"
    r" \mathrm{diam}(X)^{3^L}",
    assumes=(
        "each row sees all tokens, and positions add nothing to the logits",
        "no residual connection, no MLP",
    ),
    norm="2",
    climbs="L",
    note="$s$ is the largest $\\lVert Q_h \\rVert \\lVert W_h \\rVert$ of $H$ heads. Tokens in two"
    " places attain the first bound in every layer; the paper's theorem is in another norm.",
)

U = 2.0**-53
N, D, HEADS, LAYERS, KEY_DIM = 6, 3, 2, 3, 4
AT_ONCE = 8  # models, so that all are of one shape
HIDDEN = -1e9  # a masked logit, of weight zero


class _Model(NamedTuple):
    """Layers x' = kept x + sum_h softmax((x Q_h + b_h) x^T / 2 + places) x W_h."""

    tokens: Any  # n d
    query_key: Any  # layers heads d d, the Q
    bias: Any  # layers heads d, the b
    value: Any  # layers heads d d, the W
    places: Any  # n n, what positions and masks add to the logits; zero in the claim
    kept: Any  # of the residual stream; zero in the claim


class _Numbers(NamedTuple):
    """Of each model, after each layer."""

    diameter: Float[Array, " layers"]
    sharp: Float[Array, " layers"]  # bound
    power: Float[Array, " layers"]  # bound
    roundoff: Float[Array, " layers"]


def _after(model: _Model) -> Float[Array, "layers n d"]:
    """The tokens after each layer."""

    def layer(x: Array, each: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query_key, bias, value = each
        # (n, d) -> (heads, n, d) -> (heads, n, n) -> (n, d): heads are added up
        queries = jnp.einsum("td,hdc->htc", x, query_key) + bias[:, None, :]
        logits = jnp.einsum("htc,sc->hts", queries, x) / KEY_DIM**0.5 + model.places[None]
        moved = jnp.einsum("hts,sd,hdc->tc", jax.nn.softmax(logits), x, value)
        after = model.kept * x + moved
        return after, after

    return jax.lax.scan(layer, model.tokens, (model.query_key, model.bias, model.value))[1]


def _spectral(matrices: Float[Array, "layers heads d d"]) -> Float[Array, "layers heads"]:
    return jnp.linalg.svd(matrices, compute_uv=False)[..., 0]


@jax.jit
def _measured(models: _Model) -> _Numbers:
    def one(model: _Model) -> _Numbers:
        after, start = _after(model), token_diameter(model.tokens)
        steep, moved = _spectral(model.query_key), _spectral(model.value)
        strength = jnp.max(steep * moved)
        power = [
            doubly_exponential_bound(start, strength, HEADS, KEY_DIM, layers)
            for layers in range(1, LAYERS + 1)
        ]
        # Weights of n tokens and products of d terms, at the size of the largest coordinate; what
        # a layer is off by is stretched by those after it.
        # (layers, heads) -> (layers,)
        stretch = jnp.cumprod(1 + jnp.sum(moved, axis=1) * (1 + jnp.max(steep) * start**2))
        size = jnp.maximum(jnp.max(jnp.abs(after)), jnp.max(jnp.abs(model.tokens)))
        return _Numbers(
            diameter=token_diameter(after),
            sharp=pure_attention_bound(start, steep, moved, KEY_DIM),
            power=jnp.stack(power),
            roundoff=16 * (N + 4 * D) * U * size * stretch,
        )

    return jax.vmap(one)(models)


def _against(models: dict[str, _Model], layers: int = LAYERS) -> Iterator[Measurement]:
    padded = [*models.values(), *[next(iter(models.values()))] * (AT_ONCE - len(models))]
    # (models, layers) in each of the numbers
    numbers = _measured(jax.tree.map(lambda *leaves: np.stack(leaves), *padded))
    for at, (name, model) in enumerate(models.items()):
        places = float(np.max(np.abs(model.places)))
        hypotheses = (
            Hypothesis(name="what masks and positions add to the logits", distance=places),
            Hypothesis(name="residual connection", distance=abs(float(model.kept))),
        )
        for layer in range(layers):
            diameter, sharp, power, roundoff = (float(each[at, layer]) for each in numbers)
            more = {"hypotheses": hypotheses, "size": layer + 1}
            yield Measurement(
                setting=f"diameter, {name}, L={layer + 1}",
                measured=diameter,
                bound=sharp,
                # Tokens in two places attain the bound in every layer.
                floor=sharp if name.startswith("two places") else 0.0,
                roundoff=roundoff,
                **more,
            )
            yield Measurement(
                setting=f"the bound against the power, {name}, L={layer + 1}",
                measured=sharp,
                bound=power,
                # A cube in each layer multiplies a relative error by three.
                roundoff=32 * 3 ** (layer + 1) * U * power,
                **more,
            )


def _drawn(seed: int, scale: float) -> _Model:
    """Random tokens of a size, random maps of norms around two."""
    random = np.random.default_rng(seed)
    matrices = lambda: random.normal(size=(LAYERS, HEADS, D, D)) / D**0.5
    return _Model(
        tokens=scale * random.normal(size=(N, D)),
        query_key=2 * matrices(),
        bias=random.normal(size=(LAYERS, HEADS, D)),
        value=matrices(),
        places=np.zeros((N, N)),
        kept=np.zeros(()),
    )


def _two_places(diameter: float) -> _Model:
    """Half of the tokens at either end of a segment, multiples of the identity: attained."""
    tokens = np.zeros((N, D))
    tokens[:, 0] = diameter / 2 * np.where(np.arange(N) < N // 2, 1.0, -1.0)
    eye = np.broadcast_to(np.eye(D), (LAYERS, HEADS, D, D))
    zeros = {"bias": np.zeros((LAYERS, HEADS, D)), "places": np.zeros((N, N)), "kept": np.zeros(())}
    return _Model(tokens=tokens, query_key=2 * eye, value=eye / 2, **zeros)


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    yield from _against(
        {f"random tokens of size {s:g}": _drawn(i, s) for i, s in enumerate((0.0, 0.03, 0.3, 3.0))}
        | {f"two places, {apart:g} apart": _two_places(apart) for apart in (0.1, 1.0, 3.0, 40.0)}
    )
    for seed in range(10, 10 if suite == "quick" else 60):
        yield from _against({f"random tokens, {seed=}": _drawn(seed, 0.5)})


def _ratio(free: tuple[Array, Array, Array, Array]) -> Float[Array, ""]:
    """One layer's diameter over its bound."""
    tokens, *maps = free
    query_key, bias, value = (leaf[None] for leaf in maps)  # of a single layer
    model = _Model(tokens, query_key, bias, value, jnp.zeros((N, N)), jnp.zeros(()))
    steep, moved = _spectral(query_key), _spectral(value)
    bound = pure_attention_bound(_apart(tokens), steep, moved, KEY_DIM)[0]
    return _apart(_after(model)[0]) / bound


def _apart(tokens: Float[Array, "n d"]) -> Float[Array, ""]:
    """The diameter, with a derivative also where a token meets itself."""
    apart = jnp.sum(jnp.square(tokens[:, None] - tokens[None]), axis=-1)
    return jnp.sqrt(jnp.max(apart))


@CLAIM.part("adversary")
def _adversary(suite: Suite) -> Iterator[Measurement]:
    steps = 80 if suite == "quick" else 2000
    drawn = [_drawn(seed, 0.5) for seed in range(4)]
    # One layer is varied: the bound of several is that of one, time and again.
    firsts = [(each.tokens, each.query_key[0], each.bias[0], each.value[0]) for each in drawn]
    starts = tuple(np.stack(leaves) for leaves in zip(*firsts, strict=True))
    tokens, *maps = map(np.asarray, ascend(_ratio, starts, steps=steps).instance)
    query_key, bias, value = (np.stack([leaf] * LAYERS) for leaf in maps)
    worst = drawn[0]._replace(tokens=tokens, query_key=query_key, bias=bias, value=value)
    yield from _against({f"4 starts, {steps} steps over one layer": worst}, layers=1)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """A causal mask, a penalty on distance, a residual connection: each keeps tokens apart."""
    near = _two_places(0.1)
    place = np.arange(N)
    ahead = np.where(place[None, :] > place[:, None], HIDDEN, 0.0)
    distance = -0.5 * np.abs(place[:, None] - place[None, :])
    cases = {
        "a causal mask": near._replace(places=ahead),
        "a penalty on distance": near._replace(places=distance),
        "a residual connection": near._replace(kept=np.ones(())),
    }
    for measurement in _against(cases, layers=1):
        if measurement.setting.startswith("diameter"):
            yield measurement


@CLAIM.part("certified")
def _certify() -> list[Measurement]:
    from proofs_numeric.support import follow_up_enclosures  # needs python-flint

    return follow_up_enclosures.pure_attention()
