"""Erratum: the last display of Proposition B.9 has the query of a zero where a one attends."""

from collections.abc import Iterator
from fractions import Fraction

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="err_e20",
    title="The printed representation of a one is not that of a one",
    source="arXiv 2406.04267v2, Proposition B.9, its last display",
    kind="erratum",
    statement=r"\frac{n_1}{n_0 + n_1} - \frac{n_1}{3 n_0 + n_1}"
    r" \le |z_1^{\mathrm{printed}} - z_1|",
    assumes=("the query of a zero, as printed",),
    note="For values 0 and 1 and a zero that attends to zeros with three times the weight: an"
    " equality, in exact fractions. The statement itself, that ratios decide, is not touched.",
)

# exp k(q_a, k_b), chosen rational; a zero attends to zeros three times as strongly.
GROWN = ((Fraction(3), Fraction(1)), (Fraction(1), Fraction(1)))
VALUES = (Fraction(0), Fraction(1))


def _attended(counts: tuple[int, int], query: int) -> Fraction:
    """Attention and residual of a one, computed with the query of the given type; exact."""
    shares = [count * grown for count, grown in zip(counts, GROWN[query], strict=True)]
    mixed = sum(share * value for share, value in zip(shares, VALUES, strict=True))
    return Fraction(mixed) / sum(shares) + VALUES[1]


def _off(counts: tuple[int, int], query: int) -> Measurement:
    zeros, ones = counts
    # By a sum over the tokens one by one, a one attending; its own value is the residual.
    types = [0] * zeros + [1] * ones
    total = sum((GROWN[1][kind] for kind in types), Fraction(0))
    true = sum((GROWN[1][kind] / total * VALUES[kind] for kind in types), Fraction(0)) + VALUES[1]
    measured, printed = _attended(counts, query), _attended(counts, 0)
    # n1 / (n0 + n1) - n1 / (3 n0 + n1)
    apart = Fraction(2 * zeros * ones, (zeros + ones) * (3 * zeros + ones))
    return Measurement.equality(
        setting=f"{zeros} zeros, {ones} ones, the query of a {'one' if query else 'zero'}",
        measured=float(abs(measured - true)),
        expected=float(apart),
        roundoff=0.0,  # exact fractions
        size=zeros + ones,
        hypotheses=(
            Hypothesis(name="the printed display", distance=float(abs(measured - printed))),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for times in (1, 10) if suite == "quick" else (1, 10, 100, 1000):
        yield from (_off((times * zeros, times), 0) for zeros in (1, 2))


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """With the query of a one the display is the attention of a one."""
    yield _off((1, 1), 1)
