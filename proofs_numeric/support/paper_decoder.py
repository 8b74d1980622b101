"""The decoder of Theorem 5.1 with given constants, and its derivative in every token.

Shorter sequences start later in the same slots, and missing layers are neutral ones: all claims
share one compiled pass, whatever their sizes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.theory.squashing import path_bound
from proofs_numeric.claim import Hypothesis, Suite

U = 2.0**-53
WIDTH = 4


class PaperDecoder(NamedTuple):
    """One head, values that are the residual over beta1, and psi(x) = A x + B sin(C x)."""

    resid: Any  # slots d
    query: Any  # layers d d
    key: Any
    linear: Any  # A
    down: Any  # B
    up: Any  # C
    beta1: Any  # layers; infinite in a neutral layer
    beta2: Any
    beta3: Any
    moves: Any  # 0: attention weights are constants; 1: they depend on the input
    start: Any  # slot of the first token


class Reach(NamedTuple):
    """Derivative of a decoder's last row, and the terms of its bound."""

    norms: np.ndarray  #: operator norm for each token
    jacobian: np.ndarray  #: coordinate token coordinate
    weights: np.ndarray  #: layers slots slots; the slots before the first token see themselves
    dependence: float  #: what the weights' own derivative adds: the largest entry


def sizes(suite: Suite) -> tuple[int, int]:
    """Slots and layers of a suite: the greatest length and depth."""
    return (16, 4) if suite == "quick" else (64, 6)


def draw(
    seed: int,
    *,
    length: int,
    layers: int,
    suite: Suite = "quick",
    logit_scale: float = 1.0,
    linear: bool = False,
    moves: bool = False,
) -> PaperDecoder:
    """A decoder with normal weights and inputs, and divisors around one.

    Args:
      seed: Of the numbers.
      length: Number of tokens, at most the slots of the suite.
      layers: Depth, likewise.
      suite: Which compiled shape it is meant for.
      logit_scale: Factor on the queries.
      linear: Whether psi multiplies by a non-negative number, the equality case.
      moves: Whether attention depends on its input.

    Returns:
      NumPy arrays; layers that are not there are neutral and come last.
    """
    slots, most = sizes(suite)
    random = np.random.default_rng([seed, length, layers])
    there = (np.arange(most) < layers).astype(float)[:, None, None]
    matrices = lambda: random.normal(size=(most, WIDTH, WIDTH)) * WIDTH**-0.5
    positive = lambda *shape: np.exp(0.5 * random.normal(size=shape))
    # Matrices are drawn for the greatest depth, whatever the layers: one compiled shape.
    steep, nothing = logit_scale * WIDTH**-0.5, np.zeros((most, WIDTH, WIDTH))
    multiples = positive(most)[:, None, None] * np.eye(WIDTH)
    return PaperDecoder(
        resid=random.normal(size=(slots, WIDTH)),
        query=steep * matrices(),
        key=matrices(),
        linear=there * (multiples if linear else matrices() / 2),
        down=nothing if linear else there * matrices(),
        up=matrices(),
        beta1=np.where(there[:, 0, 0] > 0, positive(most), np.inf),
        beta2=positive(most),
        beta3=positive(),
        moves=np.float64(moves),
        start=np.int32(slots - length),
    )


def last_row(decoder: PaperDecoder, resid: Float[Array, "slots d"]) -> tuple[Array, Array]:
    """The last representation.

    Args:
      decoder: Its weights.
      resid: In place of its own input.

    Returns:
      One row, and the attention weights, layers first.
    """
    place = jnp.arange(len(resid), dtype=jnp.int32)
    own = place[:, None] == place[None, :]
    # Slots before the first token see themselves, so that no row is masked everywhere.
    seen = ((place[:, None] >= place[None, :]) & (place[None, :] >= decoder.start)) | own

    def layer(resid: Array, each: tuple) -> tuple[Array, Array]:
        query, key, linear, down, up, beta1, beta2 = each
        x = resid / beta1
        logits = (x @ query.T) @ (x @ key.T).T
        weights = jax.nn.softmax(jnp.where(seen, logits, -jnp.inf))
        # With moves = 0 the weights' value stays and their derivative goes.
        constant = jax.lax.stop_gradient(weights)
        mid = resid + (constant + decoder.moves * (weights - constant)) @ x
        inner = mid / beta2
        return mid + inner @ linear.T + jnp.sin(inner @ up.T) @ down.T, constant

    names = ("query", "key", "linear", "down", "up", "beta1", "beta2")
    layers = tuple(getattr(decoder, name) for name in names)
    after, weights = jax.lax.scan(layer, resid, layers)
    return after[-1] / decoder.beta3, weights


@jax.jit
def _jacobians(decoders: PaperDecoder) -> tuple[Array, Array]:
    derive = lambda decoder: jax.jacrev(lambda v: last_row(decoder, v), has_aux=True)(decoder.resid)
    return jax.vmap(derive)(decoders)


BATCH = 24  # instances in one compiled pass, half of them with constant attention weights


def reaches(decoders: Sequence[PaperDecoder]) -> list[Reach]:
    """Derivatives of decoders of one shape, however many, with the terms of their bounds."""
    measured, half = [], BATCH // 2
    for begin in range(0, len(decoders), half):
        some = list(decoders[begin : begin + half])
        filled = some + some[-1:] * (half - len(some))
        # (BATCH, ...): the decoders, then the same with constant attention weights
        constant = [decoder._replace(moves=np.float64(0)) for decoder in filled]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *filled, *constant)
        jacobians, weights = map(np.asarray, _jacobians(stacked))
        for index in range(len(some)):
            jacobian, still = jacobians[index], jacobians[half + index]
            # (d, slots, d) -> (slots, d, d), a matrix a token
            blocks = np.nan_to_num(jacobian.transpose(1, 0, 2), nan=np.inf)
            finite = np.isfinite(blocks).all()  # LAPACK raises for others
            norms = np.linalg.norm(blocks, 2, (-2, -1)) if finite else np.full(len(blocks), np.nan)
            added = float(np.max(np.abs(jacobian - still))) if finite else np.inf
            measured.append(Reach(norms, jacobian, weights[index], added))
    return measured


def sigma(decoder: PaperDecoder) -> np.ndarray:
    """Lipschitz constants of the MLPs, one a layer."""
    norm = lambda matrices: np.linalg.norm(matrices, 2, (-2, -1))
    return norm(decoder.linear) + norm(decoder.down) * norm(decoder.up)


def bound(decoder: PaperDecoder, reach: Reach) -> np.ndarray:
    """The library's bound with the constants of the proof, for the weights of a reach.

    Returns:
      One number per slot; zero before the first token.
    """
    divisors = (decoder.beta1, decoder.beta2, np.asarray(decoder.beta3))
    return np.asarray(path_bound(reach.weights, *divisors, sigma(decoder)))


def quotients(norms: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Derivatives over their bounds, where a weight that underflows makes both zero.

    Args:
      norms: Non-negative.
      bounds: Likewise.

    Returns:
      The quotients; zero for zero over zero.
    """
    nothing = np.where(norms > 0, np.inf, 0.0)
    return np.divide(norms, bounds, out=nothing, where=~(bounds == 0))


def relative_roundoff(decoder: PaperDecoder) -> float:
    """Bound on the rounding error between a norm and its bound, as a share of the bound.

    In each layer a sum over the slots and four over the width. Absolute values of matrices have
    norms larger by a root of the width, the MLP's twice, but for those of multiples of one.
    """
    slots, layers = len(decoder.resid), len(decoder.beta1)
    wider = 1.0 if not np.any(decoder.down) else float(WIDTH) ** layers
    return 2 * layers * (slots + 4 * WIDTH + 16) * U * wider


def hypotheses(reach: Reach) -> tuple[Hypothesis, ...]:
    """Hypotheses of Theorem 5.1, as measured, beside constant norms, which are built in."""
    sums = np.abs(np.sum(np.nan_to_num(reach.weights), axis=-1) - 1)
    return (
        Hypothesis(
            name="derivative of the attention weights",
            distance=reach.dependence,
        ),
        Hypothesis(
            name="rows of sum one",
            distance=float(np.max(sums)),
            allowed=4 * reach.weights.shape[-1] * U,
        ),
    )
