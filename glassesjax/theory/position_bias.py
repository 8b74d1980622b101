"""Attention rollouts without residual connections after many layers, and bounds on them.

The depth counts the attention matrices that are multiplied. The paper writes t for the last one's
index and starts at 0, so that its t is the depth less one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, SHARE, border
from glassesjax.theory.dispersion import Bracket


@border()
def cumulative_rollout(weights: Float[Array, "layers seq seq"]) -> Float[Array, "layers seq seq"]:
    r"""Attention of each layer's rows to the tokens of the input, through all layers below.

    .. math:: P^{(t)} = A^{(t)} \cdots A^{(0)}

    Source: arXiv 2502.01951, Section 3; without residual connections, as in its main results.

    Args:
      weights: One matrix per layer, first layer first; rows have sum one.

    Returns:
      One product per layer.
    """

    # scan over layers: (layers, seq, seq), each the product up to its layer
    def step(product: Array, layer: Array) -> tuple[Array, Array]:
        product = jnp.matmul(layer, product, precision="highest")
        return product, product

    return jax.lax.scan(step, jnp.eye(weights.shape[-1], dtype=weights.dtype), weights)[1]


@border()
def least_visible_weight(
    weights: Float[Array, "*batch seq seq"], visible: Bool[Array, "seq seq"]
) -> Float[Array, "*batch"]:
    r"""Least weight that a row gives to a token it sees: the epsilon of the bounds below.

    .. math:: \epsilon = \min_{i} \min_{j \text{ seen by } i} A_{ij}

    Source: arXiv 2502.01951, assumption A1, of which it is the best constant.

    Args:
      weights: Rows belong to queries.
      visible: True where the row sees the token.

    Returns:
      One number per matrix.
    """
    seen = jnp.broadcast_to(visible, weights.shape)
    return jnp.min(weights, axis=(-2, -1), where=seen, initial=jnp.inf)


@border(depth=NON_NEGATIVE, length=COUNT, least_weight=SHARE)
def causal_rollout_bound(
    depth: int, length: int, least_weight: Float[Array, ""]
) -> Float[Array, " seq"]:
    r"""Upper bound on the rollout's weight on each token, in every row, under a causal mask.

    .. math:: P_{ij} \le (1 - (j - 1) \epsilon)^{L}

    It bounds the weight on all tokens from j on together: at each layer at least (j - 1) epsilon
    goes to the tokens before j and never returns. Equality for i = j, where row j gives epsilon
    to each token before it. Token 1 has the bound 1, and by the others' decay the limit 1.

    Source: arXiv 2502.01951, Theorem 4.1: at most C (1 - (j - 1) epsilon)^t.
    Differs: C = 1 with L = t + 1 matrices; the paper leaves C open, this constant is derived by us.

    Args:
      depth: Number L of attention matrices; they may differ.
      length: Number of tokens.
      least_weight: Lower bound epsilon on each visible weight; at most one over the length.

    Returns:
      One bound per token j.
    """
    # Tokens before each, all of which take at least the least weight.
    before = jnp.arange(length, dtype=least_weight.dtype)
    # A traced exponent: a Python integer would be compiled anew for each depth.
    return (1 - before * least_weight) ** jnp.asarray(depth, before.dtype)


@border(depth=NON_NEGATIVE, length=COUNT, least_weight=SHARE)
def window_rollout_bound(
    depth: int, length: int, window: int, least_weight: Float[Array, ""]
) -> Float[Array, " seq"]:
    r"""Upper bound on the rollout's weight on each token, in every row, under a sliding window.

    .. math:: P_{ij} \le (1 - (j - 1) \epsilon^{m})^{\lfloor L / m \rfloor}, \qquad
       m = \Bigl\lceil \frac{n - 1}{w - 1} \Bigr\rceil

    A product of m matrices is positive on the whole triangle, with entries of at least epsilon^m.

    Source: arXiv 2502.01951, Theorem 4.2, whose exponent is t / (2 m).
    Differs: constant one and exponent floor(L / m), derived by us; from L = m on the floor is at
    least L / (2 m), which gives the paper's exponent.

    Args:
      depth: Number L of attention matrices; they may differ.
      length: Number n of tokens.
      window: Number w of tokens that a row sees, itself included; at least 2.
      least_weight: Lower bound epsilon on each visible weight.

    Returns:
      One bound per token j.

    Raises:
      ValueError: ``window`` is below 2.
    """
    if window < 2:
        raise ValueError(
            f"Expected a window of at least 2, got {window}: it includes the token itself."
        )
    # As many layers as a path needs from the first token to the last, taken together as one.
    steps = max(1, -(-(length - 1) // (window - 1)))
    return causal_rollout_bound(
        depth // steps, length, least_weight ** jnp.asarray(steps, least_weight.dtype)
    )


@border(depth=NON_NEGATIVE, prefix=COUNT, least_weight=SHARE)
def prefix_rollout_bound(
    depth: int, prefix: int, least_weight: Float[Array, ""]
) -> Float[Array, ""]:
    r"""Upper bound on the rollout's weight, in every row, on all tokens after a prefix.

    .. math:: \sum_{j > K} P_{ij} \le (1 - K \epsilon)^{L}

    The prefix's tokens see one another and nothing else; the other tokens see all before them.
    Each single token j after the prefix obeys :func:`causal_rollout_bound` as well.

    Source: arXiv 2502.01951, Theorem 4.3: the weight concentrates on the prefix.
    Differs: the rate and its constant one are derived by us.

    Args:
      depth: Number L of attention matrices; they may differ.
      prefix: Number K of tokens in the prefix.
      least_weight: Lower bound epsilon on each visible weight.

    Returns:
      The bound.
    """
    return (1 - prefix * least_weight) ** jnp.asarray(depth, least_weight.dtype)


@border(length=COUNT, slope=NON_NEGATIVE, logit_range=NON_NEGATIVE)
def decay_weight_bracket(
    length: int, slope: Float[Array, ""], logit_range: Float[Array, ""]
) -> Bracket:
    r"""Bracket of each causal attention weight under a penalty linear in the distance.

    With q = exp(-m), r = i - j, and D the range of the row's logits before the penalty,

    .. math:: \frac{q^r}{q^r + e^{D} Z} \le A_{ij} \le \frac{q^r}{q^r + e^{-D} Z}, \qquad
       Z = \sum_{r' < i,\, r' \ne r} q^{r'}

    Both ends are attained. From them C_min exp(-r m) and C_max exp(-r m) with
    C_min = (1 - q) exp(-D) and C_max = exp(D), for every length.

    Source: arXiv 2502.01951, Lemma 4.4, which leaves C_min and C_max open.
    Differs: sharp for each entry; derived by us.

    Args:
      length: Number of tokens.
      slope: The slope m of the penalty; non-negative.
      logit_range: The range D; non-negative.

    Returns:
      The two ends, matrices of rows i and tokens j; zero above the diagonal.
    """
    positions = jnp.arange(length)
    distance = jnp.maximum(positions[:, None] - positions[None, :], 0)  # query key
    powers = jnp.exp(-slope * jnp.arange(length, dtype=slope.dtype))
    sums = jnp.cumsum(powers) - powers  # of the powers before each; the first is exactly zero
    farther = jnp.exp(-slope) * powers[distance] * jnp.broadcast_to(sums, distance.shape)
    weight, others = powers[distance], sums[distance] + farther
    grown = jnp.minimum(jnp.exp(logit_range), jnp.finfo(slope.dtype).max)  # infinity times zero
    # All other logits at the top of their range, or all at the bottom.
    ends = (weight / (weight + factor * others) for factor in (grown, jnp.exp(-logit_range)))
    return Bracket(*(jnp.tril(end) for end in ends))


@border(depth=COUNT, distance=NON_NEGATIVE, slope=POSITIVE)
def decay_profile(
    depth: int, distance: Float[Array, "*batch"], slope: Float[Array, ""]
) -> Float[Array, "*batch"]:
    r"""Rollout's weight at each distance where the distance alone decides; a distribution.

    .. math:: \binom{L - 1 + x}{x} (1 - q)^L q^x, \qquad q = e^{-m}

    Exact where the context reaches infinitely far to the left: a negative binomial distribution.

    Source: arXiv 2502.01951, Theorem 4.5: of the order of C(t + x, x) exp(-x m).
    Differs: exact, with the factor that makes it a distribution; derived by us.

    Args:
      depth: Number L of attention matrices; at least 1.
      distance: The distance x = i - j; whole, non-negative.
      slope: The slope m of the penalty; positive.

    Returns:
      The weight at the distance.
    """
    # Binomial coefficients as logarithms: they overflow long before the profile vanishes.
    log_gamma = jax.scipy.special.gammaln
    log_paths = log_gamma(depth + distance) - log_gamma(distance + 1)
    log_paths -= log_gamma(jnp.asarray(depth, distance.dtype))
    return jnp.exp(log_paths + depth * jnp.log(-jnp.expm1(-slope)) - slope * distance)


@border(depth=COUNT, distance=NON_NEGATIVE, slope=POSITIVE, logit_range=NON_NEGATIVE)
def decay_rollout_bracket(
    depth: int,
    distance: Float[Array, "*batch"],
    slope: Float[Array, ""],
    logit_range: Float[Array, ""],
) -> Bracket:
    r"""Bracket of the rollout at each distance under a penalty linear in the distance.

    .. math:: C_{\min}^L \binom{L - 1 + x}{x} e^{-x m} \le P_{ij} \le
       C_{\max}^L \binom{L - 1 + x}{x} e^{-x m}

    Source: arXiv 2502.01951, Theorem 4.5, whose constants depend on the depth, too.
    Differs: with C_min = (1 - q) exp(-D) and C_max = exp(D), derived by us.

    Args:
      depth: Number L of attention matrices; at least 1.
      distance: The distance x = i - j; whole, non-negative.
      slope: The slope m of the penalty; positive.
      logit_range: The range D of a row's logits before the penalty; non-negative.

    Returns:
      The two ends; the upper one may exceed one.
    """
    profile = decay_profile(depth, distance, slope)
    least = profile * jnp.exp(-depth * logit_range)
    return Bracket(least, profile * jnp.exp(depth * (logit_range - jnp.log(-jnp.expm1(-slope)))))


@border(depth=COUNT, slope=POSITIVE)
def decay_peak(depth: int, slope: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    r"""Distance at which the rollout's weight is greatest where the distance alone decides.

    .. math:: x^* = \frac{t}{e^m - 1}, \qquad t = L - 1

    Its whole part is the mode of :func:`decay_profile`.

    Source: arXiv 2502.01951, after Theorem 4.5.
    Differs: that the whole part is exactly the mode is derived by us.

    Args:
      depth: Number L of attention matrices; the paper's t is one less.
      slope: The slope m of the penalty; positive.

    Returns:
      The distance, a real number.
    """
    return (depth - 1) / jnp.expm1(slope)


@border(amplitudes=NON_NEGATIVE, frequencies=NON_NEGATIVE)
def rotary_ratio_bracket(
    amplitudes: Float[Array, " pairs"],
    frequencies: Float[Array, " pairs"],
    distances: Float[Array, " distances"],
) -> Bracket:
    r"""Bracket of the weight at a distance over the weight at none, for aligned rotary heads.

    The kernel is the sum of a_f cos(theta_f r): queries and keys are equal in angle, and all keys
    are alike. With S the sum of a_f theta_f^2,

    .. math:: \exp\bigl(-\tfrac12 S r^2\bigr) \le \frac{A_{i,i-r}}{A_{i,i}} \le
       \exp\bigl(-\tfrac{2}{\pi^2} S r^2\bigr)

    while r theta_f is at most pi: 1 - x^2 / 2 and 1 - 2 x^2 / pi^2 enclose the cosine.

    Source: arXiv 2502.01951, Section on rotary positions, whose form is exp(-c r^2 theta_1^2) with
    c left open.
    Differs: a ratio of two weights, with constants derived by us.

    Args:
      amplitudes: Products a_f of the norms of query and key, times the logits' scale; non-negative.
      frequencies: Angles theta_f per step; non-negative.
      distances: The distances r.

    Returns:
      The two ends; NaN where a pair has turned by more than pi.
    """
    squared = jnp.sum(amplitudes * jnp.square(frequencies)) * jnp.square(distances)
    small = distances * jnp.max(frequencies) <= jnp.pi
    ends = (jnp.exp(-c * squared) for c in (1 / 2, 2 / jnp.pi**2))
    return Bracket(*(jnp.where(small, end, jnp.nan) for end in ends))
