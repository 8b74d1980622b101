"""Factors of the attention logits, row by row: from how many keys a row sees, or how flat it is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glassesjax.errors import BadInput
from glassesjax.model.config import AdaptiveTemperature, ScalableSoftmax, Temperature

# Highest power first; after the listing beside Figure 5 of arXiv 2410.01104.
TEMPERATURE_FIT = (-0.037, 0.481, -2.3, 4.917, -1.791)
LEAST_ENTROPY = 0.5  # nats; rows below it are sharp already


def tempered(
    temperature: Temperature,
    sharpness: Float[Array, " heads"] | None,
    logits: Float[Array, "heads query key"],
    seen: Bool[Array, "#heads query key"],
) -> Float[Array, "heads query key"]:
    r"""Attention logits times the factor of their row.

    .. math:: s_h \log n_j, \qquad \beta(H_j) \qquad \text{or} \qquad 1

    for scalable softmax, adaptive temperature and constant temperature; n_j is how many keys row j
    sees, H_j the entropy of its softmax. The factor comes last: on logits that were scaled and
    soft-capped, less ALiBi's penalty, which it therefore multiplies as well. A row of one key has
    the factor zero under scalable softmax, and the weight one whatever its logit is.

    Source: definitions after arXiv 2501.19399 and arXiv 2410.01104.
    Differs: n counts the keys that the mask shows and a bounded state retains, not all keys.

    Args:
      temperature: The decoder's switch.
      sharpness: The s of each head; only scalable softmax has one.
      logits: Of all pairs, finite where seen.
      seen: Which keys each row sees.

    Returns:
      Logits for the softmax; those of unseen pairs mean nothing.

    Raises:
      BadInput: Scalable softmax without its numbers.
    """
    match temperature:
        case ScalableSoftmax():
            if sharpness is None:
                raise BadInput("Expected scalable softmax's s of each head, got none: pass it.")
            # (heads, query, 1): one factor a row, the same for all its keys
            return logits * length_factors(sharpness, seen, logits.dtype)
        case AdaptiveTemperature():
            return logits * entropy_factors(logits, seen)
    return logits


def length_factors(
    sharpness: Float[Array, " heads"], seen: Bool[Array, "#heads query key"], dtype: jnp.dtype
) -> Float[Array, "heads query 1"]:
    r"""Scalable softmax: s log n of each row.

    Source: a definition after arXiv 2501.19399.
    Differs: n counts the keys that the row sees.

    Args:
      sharpness: The s of each head.
      seen: Which keys each row sees.
      dtype: Type of the result.

    Returns:
      One factor for each head and row; zero for a single key.
    """
    # (#heads, query, key) -> (#heads, query, 1); counted in integers, exact at any length
    count = jnp.sum(seen, axis=-1, keepdims=True, dtype=jnp.int32)
    # A row that sees nothing only fills an array: it must not be minus infinity times zero.
    # (heads) -> (heads, 1, 1)
    return sharpness.astype(dtype)[:, None, None] * jnp.log(jnp.maximum(count, 1).astype(dtype))


def entropy_factors(
    logits: Float[Array, "heads query key"], seen: Bool[Array, "#heads query key"]
) -> Float[Array, "heads query 1"]:
    """Adaptive temperature: the factor of each row, by the entropy of its softmax over seen keys.

    Derivatives flow through it: the factor is a function of the logits as any other.

    Source: a definition after arXiv 2410.01104, adaptive temperature.
    Differs: the entropy is exact at weights of zero.

    Args:
      logits: Of all pairs.
      seen: Which keys each row sees.

    Returns:
      One factor for each head and row, from 1 to 2.421.
    """
    # Sums are over keys, which keep an axis of one; the shift cancels and has no derivative.
    highest = jnp.max(jnp.where(seen, logits, -jnp.inf), axis=-1, keepdims=True)
    # Zero before exp where unseen: infinite there, the gradient would be 0 times inf, NaN.
    below = jnp.where(seen, logits - jax.lax.stop_gradient(highest), 0)
    powers = jnp.where(seen, jnp.exp(below), 0)
    total = jnp.sum(powers, axis=-1, keepdims=True)
    # Two terms of one sign, so nothing cancels; no logarithm of a weight, so that the derivative
    # is finite where weights underflow.
    entropy = jnp.log(total) - jnp.sum(powers * below, axis=-1, keepdims=True) / total
    return factor_of_entropy(entropy)


def factor_of_entropy(entropy: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The polynomial of adaptive temperature where it exceeds one; see ``theory.sharpness``.

    Source: a definition after arXiv 2410.01104, Figure 5 and the listing beside it.

    Args:
      entropy: In nats.

    Returns:
      The factor, from 1 to 2.421.
    """
    fit = jnp.zeros_like(entropy)  # by Horner's rule
    for coefficient in TEMPERATURE_FIT:
        fit = fit * entropy + coefficient
    return jnp.where(entropy <= LEAST_ENTROPY, 1, jnp.maximum(fit, 1))
