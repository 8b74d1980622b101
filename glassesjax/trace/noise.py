"""Rounding noise in the difference of two representations, and whether it is detectable."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glassesjax.borders import border
from glassesjax.precision import FloatFormat, euclidean_norm
from glassesjax.precision.bits import times_power
from glassesjax.precision.norms import relative_size

DEVIATIONS = 3  # standard deviations of the noise that a detectable projection exceeds


class PairedNoise(NamedTuple):
    """Rounding error of the difference of two representations, for each pair."""

    l1: Float[Array, " pairs"]
    """L1 norm of the error, in units of the representation; likewise the next two."""
    l2: Float[Array, " pairs"]
    linf: Float[Array, " pairs"]
    relative_l1: Float[Array, " pairs"]
    """``l1`` over the L1 norm of the first representation in reference precision: 0 for an error of
    zero of a row of zeros, infinite for another error of such a row."""
    ulp: Float[Array, " pairs"]
    """Largest error of a coordinate, in the format's spacing at the larger of its two values."""
    cosine: Float[Array, " pairs"]
    """Cosine between computed and true difference; NaN where one of them is zero."""
    chance: Float[Array, " pairs"]
    """Root mean square cosine of the other pairs' errors with this true difference, at least one
    over the root of the width: the value of a difference of pure noise. For a single pair it is
    that floor, without a measured error: it assumes isotropic noise."""
    projection: Float[Array, " pairs"]
    """The computed difference along the true one, in units of the true one: 1 without noise."""
    projection_noise: Float[Array, " pairs"]
    """Standard deviation of that number from noise: the error's norm times ``chance``."""
    detectable: Bool[Array, " pairs"]
    """Whether ``projection`` exceeds three times ``projection_noise``."""


@border()
def paired_noise(
    first: Float[Array, "pairs model_dim"],
    second: Float[Array, "pairs model_dim"],
    own_first: Float[Array, "pairs model_dim"],
    own_second: Float[Array, "pairs model_dim"],
    storage: FloatFormat,
) -> PairedNoise:
    r"""Rounding error of a difference, and the projection that remains of the true difference.

    With D the difference in reference precision and d the one that the arithmetic under test
    computes, the error is e = d - D. Errors of the two prompts partly cancel in it, so it is more
    relevant than the error of one pass; and a difference far smaller than the error is detectable
    along its direction, where only a share of the error lies:

    .. math:: \frac{\langle d, D \rangle}{\lVert D \rVert^2}
        > 3 \, \frac{\lVert e \rVert \, c}{\lVert D \rVert}, \qquad
        c^2 = \max \Bigl( \frac1m, \operatorname{mean}_{k} \cos^2(e_k, D) \Bigr)

    over the errors e_k of the other pairs, with m the width. With a single pair there are none, and
    c is the floor 1 / sqrt(m): an assumption of isotropic noise and no measurement; noise that
    correlates with D is then counted as a difference. Detectable does not mean that the model's
    logits depend on it: it means that the arithmetic has not erased it.

    Args:
      first: Representations of the shorter prompts in reference precision.
      second: Those of the longer ones.
      own_first: The shorter prompts' in the arithmetic under test, in the dtype of ``first``.
      own_second: The longer prompts' likewise.
      storage: The format whose spacing is the unit of ``ulp``.

    Returns:
      One number a pair and field. NaN where a representation is NaN: never detectable.
    """
    with jax.debug_nans(False):  # NaN is the direction of a row of zeros
        true, computed = second - first, own_second - own_first
        error = computed - true
        size, error_size = euclidean_norm(true), euclidean_norm(error)
        l1, larger = jnp.sum(jnp.abs(error), axis=-1), jnp.maximum(jnp.abs(first), jnp.abs(second))
        # Cosine of each pair's error (row) with each true difference (column): (pairs, pairs).
        cosines = jnp.matmul(_unit(error), _unit(true).T, precision="highest")
        # A pair's own error correlates with its difference, which is what the test looks for.
        others = ~jnp.eye(len(true), dtype=bool) & jnp.isfinite(cosines)
        count = jnp.sum(others, axis=0).astype(true.dtype)
        squares = jnp.sum(jnp.where(others, cosines**2, 0), axis=0) / jnp.maximum(count, 1)
        chance = jnp.sqrt(jnp.maximum(squares, 1 / true.shape[-1]))
        projection = jnp.sum(computed * _unit(true), axis=-1) / size
        projection_noise = error_size * chance / size
        return PairedNoise(
            l1=l1,
            l2=error_size,
            linf=jnp.max(jnp.abs(error), axis=-1),
            relative_l1=relative_size(l1, jnp.sum(jnp.abs(first), axis=-1)),
            ulp=jnp.max(times_power(jnp.abs(error), -storage.ulp_exponent(larger)), axis=-1),
            cosine=jnp.sum(_unit(computed) * _unit(true), axis=-1),
            chance=chance,
            projection=projection,
            projection_noise=projection_noise,
            detectable=projection > DEVIATIONS * projection_noise,
        )


def _unit(rows: Float[Array, "pairs model_dim"]) -> Float[Array, "pairs model_dim"]:
    """Rows of norm one; NaN where a row is zero."""
    return rows / euclidean_norm(rows)[:, None]
