"""Exact rollouts of attention patterns that can be solved: rationals wherever terms cancel.

Positions run from 0, a rollout is the last row of a product of layers, and a layer's share is that
of attention in the residual stream. Take ``Fraction`` in and get ``Fraction`` out; alternating sums
in floats lose all digits beyond some thirty tokens.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import jax.numpy as jnp
from jaxtyping import Array, Float

HALF = Fraction(1, 2)


def _check(length: int, layers: int = 0) -> None:
    if length < 1 or layers < 0:
        found = f"length={length} and layers={layers}"
        raise ValueError(f"length must be positive and layers non-negative, got {found}.")


def path_count(length: int, layers: int) -> list[int]:
    r"""Number of attention paths from each token to the last one: the path sum of ones.

    .. math:: \binom{n - i + L - 1}{L - 1}

    Source: arXiv 2406.04267v2, Figure 1(b).
    Differs: for any length and depth.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      One count per token, the first token first.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> path_count(length=5, layers=3)
      [15, 10, 6, 3, 1]
    """
    _check(length, layers)
    if layers == 0:
        return [0] * (length - 1) + [1]
    return [math.comb(length - i + layers - 1, layers - 1) for i in range(1, length + 1)]


def _difference(order: int, at: Callable[[int], Fraction]) -> Fraction:
    """The alternating sum of C(order, m) at(m)."""
    terms = ((-1) ** m * math.comb(order, m) * at(m) for m in range(order + 1))
    return sum(terms, Fraction(0))


def cesaro_entry(function: Callable[[Fraction], Fraction], row: int, column: int) -> Fraction:
    r"""Entry of a polynomial of the Cesàro matrix, which is uniform causal attention.

    .. math:: f(M)_{nk} = \binom{n}{k} \sum_{m=0}^{n-k} (-1)^m \binom{n-k}{m}
       f\Bigl(\frac{1}{k + m + 1}\Bigr), \qquad M_{nk} = \frac{1}{n + 1} \quad (k \le n)

    Source: derived; the bound of arXiv 2406.04267v2, Proposition 5.2, is such an entry.

    Args:
      function: The polynomial f, at the eigenvalues 1, 1/2, 1/3 and so on.
      row: Row n, from 0.
      column: Column k, from 0.

    Returns:
      The entry, exact where f is.

    Raises:
      ValueError: An index is negative.

    Example:
      >>> print(cesaro_entry(lambda x: x**2, row=4, column=0))
      137/300
    """
    if row < 0 or column < 0:
        raise ValueError(f"indices run from 0, got row={row} and column={column}.")
    if column > row:
        return Fraction(0)
    alternating = _difference(row - column, lambda m: function(Fraction(1, column + m + 1)))
    return math.comb(row, column) * alternating


def cesaro_moment(order: int, shares: Sequence[Fraction]) -> Fraction:
    r"""Eigenvalue of the layers' product; a moment of a product of random cuts.

    .. math:: \mathrm{E} X^m = \prod_\ell \Bigl(1 - \lambda_\ell + \frac{\lambda_\ell}{m + 1}\Bigr),
       \qquad X = \prod_\ell U_\ell^{B_\ell}

    with U uniform on [0, 1] and B Bernoulli of mean lambda, all independent. The moment of order
    n - 1 is the last token's own share, an atom that no other token near it has.

    Source: derived; the layers are those of arXiv 2406.04267v2, Proposition 5.2.

    Args:
      order: The order m; non-negative.
      shares: Share of attention in each layer, in [0, 1].

    Returns:
      The moment.
    """
    factors = (1 - share + share * Fraction(1, order + 1) for share in shares)
    return math.prod(factors, start=Fraction(1))


def cesaro_rollout(length: int, shares: Sequence[Fraction]) -> list[Fraction]:
    r"""Rollout of uniform causal attention with residuals: last row of the product of layers.

    .. math:: \pi_k = \binom{n-1}{k} \mathrm{E} \bigl[ X^k (1 - X)^{n-1-k} \bigr], \qquad
       \prod_\ell \bigl( (1 - \lambda_\ell) I + \lambda_\ell M \bigr)

    with X as in :func:`cesaro_moment`. The layers commute: their order does not matter.

    Source: derived; arXiv 2406.04267v2, Proposition 5.2, for uniform attention.

    Args:
      length: Number of tokens n; at least 1.
      shares: Share of attention in each layer, in [0, 1].

    Returns:
      A distribution over the tokens, the first token first.

    Raises:
      ValueError: The length is not positive.

    Example:
      >>> print(*cesaro_rollout(5, [Fraction(1, 2)] * 2))
      257/1200 197/1200 167/1200 49/400 9/25
    """
    _check(length)
    moments = [cesaro_moment(m, shares) for m in range(length)]
    last = length - 1
    entry = lambda k: math.comb(last, k) * _difference(last - k, lambda m: moments[k + m])
    return [entry(k) for k in range(length)]


def harmonic(count: int, power: int = 1) -> Fraction:
    r"""Generalized harmonic number.

    .. math:: H^{(p)}_n = \sum_{j=1}^{n} j^{-p}

    Source: classical.

    Args:
      count: Number of terms n; zero gives zero.
      power: The exponent p.

    Returns:
      The sum.
    """
    return sum((Fraction(1, j**power) for j in range(1, count + 1)), Fraction(0))


def cesaro_square(row: int, column: int) -> Fraction:
    r"""Entry of the square of the Cesàro matrix: two layers of uniform attention, no residual.

    .. math:: (M^2)_{nk} = \frac{H_{n+1} - H_k}{n + 1}

    Source: derived; two layers of arXiv 2406.04267v2, Theorem 5.1, with uniform attention.

    Args:
      row: Row n, from 0.
      column: Column k, from 0 to n.

    Returns:
      The entry.
    """
    return (harmonic(row + 1) - harmonic(column)) / (row + 1)


def cesaro_cube_first(row: int) -> Fraction:
    r"""First column of the cube of the Cesàro matrix.

    .. math:: (M^3)_{n0} = \frac{H_{n+1}^2 + H^{(2)}_{n+1}}{2 (n + 1)}

    Source: derived; three layers of arXiv 2406.04267v2, Theorem 5.1, with uniform attention.

    Args:
      row: Row n, from 0.

    Returns:
      The entry.
    """
    return (harmonic(row + 1) ** 2 + harmonic(row + 1, 2)) / (2 * (row + 1))


def uniform_unabsorbed(length: int, layers: int) -> Fraction:
    r"""Share of the last position not at token one: uniform attention with share one half.

    .. math:: 1 - \pi_1 = \sum_{m=1}^{n-1} (-1)^{m+1} \binom{n-1}{m}
       \Bigl(\frac{m + 2}{2 (m + 1)}\Bigr)^L

    Over one denominator, in integers: the terms reach 2^n and cancel to a number below one.

    Source: derived; arXiv 2406.04267v2, Proposition 5.2, for uniform attention.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      The share, exact.

    Raises:
      ValueError: An argument is outside its range.

    Example:
      >>> print(f"{float(uniform_unabsorbed(length=100, layers=32)):.8e}")
      6.56317294e-03
    """
    _check(length, layers)
    last = length - 1
    common = math.lcm(*range(1, length + 1)) ** layers  # that each (m + 1)^L divides
    terms = (
        (-1) ** (m + 1) * math.comb(last, m) * (m + 2) ** layers * (common // (m + 1) ** layers)
        for m in range(1, length)
    )
    return Fraction(sum(terms), 2**layers * common)


def window_two_rollout(length: int, layers: int) -> list[Fraction]:
    r"""Rollout of uniform attention to oneself and the token before, with share one half.

    .. math:: \pi_i = \binom{L}{n-i} \Bigl(\frac14\Bigr)^{n-i} \Bigl(\frac34\Bigr)^{L-n+i}
       \quad (i \ge 2)

    The rest is at the first token. The matrix is not diagonalizable: 3/4 has one eigenvector.

    Source: derived; arXiv 2406.04267v2, Proposition 5.2, for a window of two tokens.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.

    Returns:
      A distribution over the tokens, the first token first.

    Raises:
      ValueError: An argument is outside its range.
    """
    _check(length, layers)
    counts = [math.comb(layers, r) * 3 ** (layers - r) if r <= layers else 0 for r in range(length)]
    later = [Fraction(count, 4**layers) for count in counts[: length - 1]]
    return [1 - sum(later, Fraction(0)), *reversed(later)]


def window_rollout(width: int, shares: Sequence[Fraction]) -> list[Fraction]:
    r"""Rollout of uniform attention in a window, by distance, away from the left edge.

    The convolution, over layers, of the distribution that stays with probability 1 - lambda and
    else takes one of the distances 0 to w - 1.

    Source: derived; arXiv 2406.04267v2, Theorem 5.1, for windows.

    Args:
      width: Tokens w that each token sees, itself included; at least 1.
      shares: Share of attention in each layer, in [0, 1].

    Returns:
      The shares of the distances 0 to L (w - 1) before the last token; longer contexts have zeros
      beyond, and in shorter ones the first token breaks the pattern.

    Raises:
      ValueError: The width is not positive.
    """
    if width < 1:
        raise ValueError(f"width must be positive, got {width}.")
    found = [Fraction(1)]
    for share in shares:
        seen = [share / width + (1 - share if r == 0 else 0) for r in range(width)]
        grown = [Fraction(0)] * (len(found) + width - 1)
        for a, mass in enumerate(found):
            for b, weight in enumerate(seen):
                grown[a + b] += mass * weight
        found = grown
    return found


def alibi_rollout(length: int, layers: int, decay: Fraction) -> list[Fraction]:
    r"""Rollout of attention that decays geometrically with distance, in an infinite context.

    .. math:: \pi(r) = \binom{L - 1 + r}{r} (1 - q)^L q^r, \qquad q = e^{-m}

    This is ALiBi whose queries and keys say nothing, without residuals: negative binomial.

    Source: derived; compare arXiv 2502.01951, Theorem 4.5.
    Differs: exact, where the theorem has orders of magnitude.

    Args:
      length: Number of distances wanted, from 0; at least 1.
      layers: Depth L; non-negative.
      decay: The factor q per token of distance, in [0, 1).

    Returns:
      The shares of the distances 0, 1 and so on before the last token.

    Raises:
      ValueError: An argument is outside its range.
    """
    _check(length, layers)
    _check_decay(decay)
    if layers == 0:
        return [Fraction(1)] + [Fraction(0)] * (length - 1)
    start = (1 - decay) ** layers
    return [math.comb(layers - 1 + r, r) * start * decay**r for r in range(length)]


def alibi_mode(layers: int, decay: Fraction) -> int:
    r"""Distance that :func:`alibi_rollout` gives the most: the depth's own blind spot ends there.

    .. math:: \lfloor (L - 1) q / (1 - q) \rfloor

    Source: derived; arXiv 2502.01951, Theorem 4.5, has L / (e^m - 1) for the maximum's place.
    Differs: exact, and in whole tokens.

    Args:
      layers: Depth L; at least 1.
      decay: The factor q per token of distance, in [0, 1).

    Returns:
      The distance; where the quotient is a whole number above zero, one less is as good.

    Raises:
      ValueError: An argument is outside its range.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}.")
    _check_decay(decay)
    return math.floor((layers - 1) * decay / (1 - decay))


def _check_decay(decay: Fraction) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}.")


def sink_rollout(length: int, layers: int, sink: Fraction) -> list[Fraction]:
    r"""Rollout of uniform attention of which a fixed part goes to the first token; share one half.

    With A = (1 - s) M + s 1 e_1^T and N = n - 1,

    .. math:: \pi_k = \binom{N}{k} \sum_{j=0}^{N-k} (-1)^j \binom{N-k}{j}
       \Bigl(\tfrac12 + \frac{1 - s}{2 (k + j + 1)}\Bigr)^L \quad (k \ge 1)

    The rest is at the first token: sinks speed up absorption.

    Source: derived; a model of the sinks of arXiv 2504.02732.

    Args:
      length: Number of tokens n; at least 1.
      layers: Depth L; non-negative.
      sink: The part s, in [0, 1].

    Returns:
      A distribution over the tokens, the first token first.

    Raises:
      ValueError: An argument is outside its range.
    """
    _check(length, layers)
    if not 0 <= sink <= 1:
        raise ValueError(f"sink must be in [0, 1], got {sink}.")
    mixed = lambda x: (HALF + HALF * (1 - sink) * x) ** layers
    later = [cesaro_entry(mixed, length - 1, k) for k in range(1, length)]
    return [1 - sum(later, Fraction(0)), *later]


def rmsnorm_jacobian_norm(x: Float[Array, "*batch d"], eps: float = 0.0) -> Float[Array, "*batch"]:
    r"""Operator norm of the Jacobian of x / RMS(x), without gains.

    .. math:: \frac{1}{r} \Bigl\lVert I - \frac{x x^\top}{d r^2} \Bigr\rVert = \frac1r, \qquad
       r = \sqrt{\tfrac1d \lVert x \rVert^2 + \varepsilon}

    So 1 / r is the beta of Theorem 5.1 that is right at x, and at most max|g| / r with gains g.

    Source: arXiv 2406.04267v2, Theorem 5.1, where norms divide by constants.
    Differs: a true norm. In one dimension the value is eps / r^3.

    Args:
      x: The vectors, along the last axis.
      eps: Added to the mean square; non-negative.

    Returns:
      One number per vector; infinite where r is zero.
    """
    return _jacobian_norm(jnp.mean(jnp.square(x), axis=-1), eps, x.shape[-1])


def layernorm_jacobian_norm(
    x: Float[Array, "*batch d"], eps: float = 0.0
) -> Float[Array, "*batch"]:
    r"""Operator norm of the Jacobian of (x - mean) / std, without gains.

    .. math:: 1 / \sqrt{\mathrm{var}(x) + \varepsilon}

    Source: arXiv 2406.04267v2, Theorem 5.1, where norms divide by constants.
    Differs: a true norm. In two dimensions the value is eps / r^3, with r that root; in one, zero.

    Args:
      x: The vectors, along the last axis.
      eps: Added to the variance; non-negative.

    Returns:
      One number per vector; infinite where the root is zero.
    """
    variance = jnp.var(x, axis=-1)
    return _jacobian_norm(variance, eps, x.shape[-1] - 1) if x.shape[-1] > 1 else variance


def _jacobian_norm(square: Array, eps: float, free: int) -> Float[Array, "*batch"]:
    """In the one direction along x the norm is nearly constant; all others are just divided."""
    size = jnp.sqrt(square + eps)
    return 1 / size if free > 1 else eps / size**3
