"""Certified instances of the follow-ups, in ball arithmetic: a polynomial, and attention alone."""

from collections.abc import Iterator

import numpy as np
from flint import arb

from glassesjax.model.temperature import LEAST_ENTROPY, TEMPERATURE_FIT
from proofs_numeric.claim import Measurement
from proofs_numeric.support.balls import (
    Balls,
    elementwise,
    enclose,
    greatest,
    in_balls,
    operator_norm,
    softmax,
    vector_norm,
)
from proofs_numeric.support.enclosures import certified, finite

# Of adaptive temperature's polynomial: no more than GREATEST anywhere, above REACHED at TOP, and
# one or less from the logarithm of FLAT on.
GREATEST, REACHED, TOP, FLAT = 2.4214, 2.421, 4.412, 382


def _shifted(point: arb) -> list[arb]:
    """Coefficients of the polynomial in powers of H less the point, lowest first."""
    coefficients = [arb(value) for value in reversed(TEMPERATURE_FIT)]
    for start in range(len(coefficients) - 1):  # Horner's rule, again and again
        for index in range(len(coefficients) - 2, start - 1, -1):
            coefficients[index] += point * coefficients[index + 1]
    return coefficients


@in_balls
def adaptive_temperature() -> Iterator[Measurement]:
    """The polynomial's maximum, and the end of its domain, beyond which it decreases."""
    last, before, limit = arb(FLAT).log(), arb(FLAT - 1).log(), arb(GREATEST)
    # Parts of the domain are halved until the mean value form of each is below the limit.
    parts, highest = [(arb(LEAST_ENTROPY), last)], arb(0)
    while parts:
        start, end = parts.pop()
        middle = (start + end) / 2
        value, *_ = _shifted(middle)
        _, slope, *_ = _shifted(start.union(end))
        bound = value + abs(slope) * (end - start) / 2
        if bound < limit:
            highest = highest.max(bound)
        else:
            parts += [(start, middle), (middle, end)]
    more = {"hypotheses": (finite(np.array([highest]), "finite bound"),)}
    yield certified("factor below 2.4214 up to the entropy ln 382", highest, limit, **more)
    # Beyond, no coefficient of the expansion is positive: the polynomial falls from one on.
    value, *derivatives = _shifted(last)
    yield certified("factor one at the entropy ln 382", value, arb(1), **more)
    for order, derivative in enumerate(derivatives, 1):
        yield certified(
            f"Taylor coefficient {order} at the entropy ln 382", derivative, arb(0), **more
        )
    yield certified("factor above one at the entropy ln 381", arb(1), _shifted(before)[0], **more)
    yield certified("2.421 is reached", arb(REACHED), _shifted(arb(TOP))[0], **more)


def _diameter(tokens: Balls) -> arb:
    gaps = [vector_norm(a - b, 2) for i, a in enumerate(tokens) for b in tokens[:i]]
    return greatest(np.array(gaps))


@in_balls
def pure_attention() -> Iterator[Measurement]:
    """One layer of two heads on random tokens, and both of its bounds."""
    heads, n, d, key_dim = 2, 4, 3, 4
    for seed, scale in enumerate((0.1, 0.5, 1.0)):
        random = np.random.default_rng(seed)
        tokens = enclose(scale * random.normal(size=(n, d)))
        query_key, value = enclose(random.normal(size=(2, heads, d, d)))
        logits = [tokens @ each @ tokens.T / arb(key_dim).sqrt() for each in query_key]
        # (n, n) (n, d) (d, d) -> (n, d) for each head; the layer adds them up
        moved = [softmax(row) @ tokens @ each for row, each in zip(logits, value, strict=True)]
        before, after = _diameter(tokens), _diameter(sum(moved[1:], moved[0]))
        steep = np.array([operator_norm(each, 2) for each in query_key])
        stretch = np.array([operator_norm(each, 2) for each in value])
        inside = steep * before * before / (4 * arb(key_dim).sqrt())
        sharp = before * np.sum(stretch * elementwise(lambda ball: ball.tanh())(inside))
        power = before**3 * heads * greatest(steep * stretch) / (4 * arb(key_dim).sqrt())
        more = {"hypotheses": (finite(np.array(logits)),), "size": 1, "norm": "2"}
        yield certified(f"diameter, {scale=}", after, sharp, **more)
        yield certified(f"the bound against the power, {scale=}", sharp, power, **more)
