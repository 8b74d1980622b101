"""Ball arithmetic: numbers with rigorous rounding error bounds, whose comparisons are proofs.

Arrays are NumPy arrays of python-flint's balls, floats are exact, and a comparison is true if it
holds for all points of both balls. It needs the extra ``certified``; no module may import this one
before certified instances are requested.
"""

import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal, ParamSpec, TypeVar, cast

import flint
import numpy as np
from flint import arb

from glassesjax.theory.norms import Norm

Balls = np.ndarray[Any, np.dtype[Any]]

# Bits of a midpoint. Some ten are lost in what is enclosed here; identities are read to 2^-100.
PRECISION = 256

# The precision is one setting for all threads; another's change would widen every ball.
_LOCK = threading.RLock()

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")


def in_balls(generate: Callable[Arguments, Iterator[Item]]) -> Callable[Arguments, list[Item]]:
    """Runs a generator at the working precision, which is restored afterwards.

    Args:
      generate: A generator function that computes with balls.

    Returns:
      A function that returns what it yields, as a list.
    """

    @functools.wraps(generate)
    def listed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> list[Item]:
        with _LOCK, flint.ctx.workprec(PRECISION):
            return list(generate(*args, **kwargs))

    return listed


def enclose(values: Any) -> Balls:  # noqa: ANN401  (whatever NumPy takes for floats)
    """Balls of radius zero around float64 values.

    Args:
      values: Floats, in any shape.

    Returns:
      An array of that shape.
    """
    return elementwise(arb)(np.asarray(values, np.float64).astype(object))


def elementwise(function: Callable[[Any], Any]) -> Callable[[Balls], Balls]:
    """Applies a function to each entry."""
    return cast(Callable[[Balls], Balls], np.frompyfunc(function, 1, 1))


def midpoints(values: Balls) -> np.ndarray:
    """The middles of the balls, rounded to float64."""
    return elementwise(lambda ball: float(ball.mid()))(values).astype(np.float64)


exp = elementwise(lambda ball: ball.exp())


def upper(ball: arb) -> float:
    """Upper bound in float64 of all points of the ball; NaN for an unbounded ball."""
    end = ball.upper()  # of 256 bits: rounding to the nearest float64 may fall below it
    value = float(end)
    while arb(value) < end:
        value = math.nextafter(value, math.inf)
    return value


def lower(ball: arb) -> float:
    """Lower bound in float64 of all points of the ball; NaN for an unbounded ball."""
    return -upper(-ball)


def greatest(values: Balls) -> arb:
    """Enclosure of the maximum. NumPy's maximum would compare overlapping balls."""
    return functools.reduce(lambda a, b: a.max(b), np.ravel(values))


def least(values: Balls) -> arb:
    """Enclosure of the minimum."""
    return functools.reduce(lambda a, b: a.min(b), np.ravel(values))


def spread(values: Balls) -> arb:
    """Enclosure of maximum minus minimum."""
    return greatest(values) - least(values)


def softmax(logits: Balls) -> Balls:
    """Weights along the last axis, with no shift: exponents of balls do not overflow."""
    powers = exp(logits)
    return powers / np.sum(powers, axis=-1, keepdims=True)


def total_variation(p: Balls, q: Balls) -> arb:
    """Sum of the absolute differences of two rows."""
    return np.sum(np.abs(p - q))


def vector_norm(x: Balls, norm: Norm) -> arb:
    """Norm of one vector.

    Args:
      x: One axis.
      norm: 1, 2 or "inf".

    Returns:
      An enclosure.
    """
    if norm == 2:  # a square of a ball around zero would reach below it
        return np.sum(x * x).nonnegative_part().sqrt()
    return np.sum(np.abs(x)) if norm == 1 else greatest(np.abs(x))


def operator_norm(matrix: Balls, norm: Norm) -> arb:
    """Norm of a matrix as a map of column vectors.

    In norms 1 and "inf" it is the largest sum of a column or row. In norm 2 the lower end is the
    stretching of one vector, and the upper end a t with t^2 I - J^T J proved positive definite.

    Args:
      matrix: Rows by columns.
      norm: 1, 2 or "inf".

    Returns:
      An enclosure; unknown for a matrix that is not finite.
    """
    if norm != 2:
        return greatest(np.sum(np.abs(matrix), axis=0 if norm == 1 else 1))
    estimate = midpoints(matrix)
    if not np.all(np.isfinite(estimate)):
        return arb.nan()
    _, sizes, directions = np.linalg.svd(estimate)
    direction = enclose(directions[0])
    stretched = vector_norm(matrix @ direction, 2) / vector_norm(direction, 2)
    # The slacks are far above float64's error in the estimate; wide balls may need the second.
    for slack in (2.0**-40, 2.0**-20):
        bound = arb(sizes[0]) * (1 + slack)
        if is_norm_bound(matrix, bound):
            return stretched.union(bound)
    return stretched.union(vector_norm(np.ravel(matrix), 2))  # Frobenius, always a bound


def is_norm_bound(matrix: Balls, bound: arb) -> bool:
    """Whether the 2-norm of all matrices in the balls is proved to be less than a bound."""
    identity = enclose(np.eye(matrix.shape[1]))
    return is_positive_definite(bound * bound * identity - matrix.T @ matrix)


def is_positive_definite(matrix: Balls) -> bool:
    """Whether Cholesky's elimination in balls finds every pivot certainly positive.

    Args:
      matrix: Encloses symmetric matrices.

    Returns:
      True proves it for every symmetric matrix in the balls; False proves nothing.
    """
    while len(matrix):
        pivot, row = matrix[0, 0], matrix[0, 1:]
        if not pivot > 0:
            return False
        # The Schur complement is as definite as the matrix.
        matrix = matrix[1:, 1:] - row[:, None] * row[None, :] / pivot
    return True


GeluKind = Literal["gelu", "gelu_exact"]


def gelu_taylor(x: arb, kind: GeluKind, terms: int = 2) -> list[arb]:
    """Taylor coefficients of GELU at every point of a ball: value, slope, half the curvature.

    Args:
      x: The point or interval.
      kind: The tanh form or the one by the error function.
      terms: How many coefficients.

    Returns:
      Enclosures.
    """
    point = flint.arb_series([x, 1], prec=terms)
    if kind == "gelu_exact":
        share = ((point * arb(0.5).sqrt()).erf() + 1) / 2
    else:  # (1 + tanh w) / 2 is 1 / (1 + exp(-2 w))
        inner = point + arb(0.044715) * point * point * point
        share = 1 / (1 + (inner * (-2 * (2 / arb.pi()).sqrt())).exp())
    taylor = point * share
    return [taylor[term] for term in range(terms)]


def greatest_gelu_slope() -> arb:
    r"""Lipschitz constant of GELU's tanh form: the maximum of its absolute slope over the line.

    The lower end is the slope at one point. Slopes at x and -x add up to one, so that slopes and
    one minus slopes on the positive half are enough. Sixteen parts of [0, 8] are halved until the
    mean value form of each is under the upper end. With c = sqrt(2 / pi) and b = 0.044715 the
    slope beyond is between 0 and 1 + h(8), where

    .. math:: h(x) = 2 c x (1 + 3 b x^2) e^{-2 c (x + b x^3)}

    falls from 2 on, since there 1/x + 6 b x / (1 + 3 b x^2) <= 3/x < 2 c.

    Returns:
      An enclosure, of width 2^-34.
    """
    attained = gelu_taylor(arb(1.4185), "gelu")[1].lower()  # near the root of the curvature
    limit = attained + arb(2) ** -34
    parts = [(arb(at) / 2, arb(at + 1) / 2) for at in range(16)]
    while parts:
        start, stop = parts.pop()
        middle, part = (start + stop) / 2, start.union(stop)
        # The curvature is twice the third coefficient: it bounds the slope by that in the middle.
        slope = gelu_taylor(middle, "gelu")[1]
        slope += 2 * gelu_taylor(part, "gelu", 3)[2] * (part - middle)
        if not (slope < limit and 1 - slope < limit):
            parts += [(start, middle), (middle, stop)]
    c, b, x = (2 / arb.pi()).sqrt(), arb(0.044715), arb(8)
    beyond = 1 + 2 * c * x * (1 + 3 * b * x * x) * (-2 * c * (x + b * x**3)).exp()
    return attained.union(limit.max(beyond))


def gelu_lipschitz(kind: GeluKind) -> arb:
    """Lipschitz constant of GELU; by the error function it is the slope at sqrt 2, in closed form.

    There the curvature, (2 - x^2) times the normal density, changes sign.

    Args:
      kind: Which form.

    Returns:
      An enclosure.
    """
    if kind == "gelu":
        return greatest_gelu_slope()
    return gelu_taylor(arb(2).sqrt(), kind)[1]
