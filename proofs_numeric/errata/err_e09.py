"""Erratum: the path sum of Theorem 5.1 has as many inner tokens as layers, one too many."""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

from glassesjax.theory.closed_forms import path_count
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="err_e09",
    title="The path sum of Theorem 5.1 has one inner token too many",
    source="arXiv 2406.04267v2, Theorem 5.1, its display",
    kind="erratum",
    statement=r"1.01 \le \frac{\sum_{k_1 \le \ldots \le k_L} \bar\alpha_{n, k_L}"
    r" \prod_\ell \bar\alpha_{k_\ell, k_{\ell-1}} \bar\alpha_{k_1, 1}}"
    r"{\left[ \prod_\ell ( \Lambda + I ) \right]_{n,1}}",
    assumes=("the display as printed, with $k_1$ to $k_L$ for $L$ layers",),
    climbs="L",
    note="In exact fractions, uniform attention. A path through $L$ layers has $L - 1$ tokens"
    " between its ends; the printed sum is larger, so that it bounds, but not tightly and not as"
    " derived.",
)


def _apart(n: int, layers: int, inner: int) -> Measurement:
    """The display's sum over so many inner tokens, literally, against the product's entry.

    With L inner tokens the display has a factor for the step from k_1 to i, L - 2 between its
    neighbors up to k_{L-1}, and one from k_L to n; nothing joins k_{L-1} to k_L but their order.
    """
    # Uniform attention plus the identity, beta1 one, the same in each layer.
    entry = [[Fraction(int(j <= i), i + 1) + int(i == j) for j in range(n)] for i in range(n)]
    # The proof's repeated chain rule, from the last token to the first.
    row = [Fraction(i == n - 1) for i in range(n)]
    for _ in range(layers):
        row = [sum((row[k] * entry[k][j] for k in range(n)), Fraction(0)) for j in range(n)]
    printed = Fraction(0)
    for tokens in itertools.combinations_with_replacement(range(n), inner):
        steps = [entry[tokens[0]][0]]
        steps += [entry[tokens[k]][tokens[k - 1]] for k in range(1, layers - 1)]
        steps.append(entry[n - 1][tokens[-1]])
        printed += math.prod(steps, start=Fraction(1))
    return Measurement(
        setting=f"uniform attention, {n=}, L={layers}, {inner} inner tokens",
        measured=1.01,  # the display must exceed the product by one percent at least
        bound=float(printed / row[0]),
        size=layers,
        hypotheses=(
            Hypothesis(name="inner tokens beside the printed L", distance=float(layers - inner)),
        ),
    )


def _counts(n: int, layers: int, inner: int) -> Measurement:
    """All entries one: the number of paths, which Figure 1(b) shows for L - 1 inner tokens."""
    # A path never goes back in the text: non-decreasing sequences of tokens.
    ordered = itertools.combinations_with_replacement(range(n), inner)
    return Measurement(
        setting=f"paths of Figure 1(b), {n=}, L={layers}, {inner} inner tokens",
        measured=1.01,
        bound=sum(1 for _ in ordered) / path_count(n, layers)[0],
        size=layers,
        hypotheses=(
            Hypothesis(name="inner tokens beside the printed L", distance=float(layers - inner)),
        ),
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n in (2, 4) if suite == "quick" else (2, 3, 4, 6, 8):
        for layers in (2, 3, 4):
            yield _apart(n, layers, layers)
    yield _counts(5, 3, 3)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """One inner token less: the sum is the product's entry, and the figure's count."""
    for layers in (2, 3, 4):
        yield _apart(4, layers, layers - 1)
    yield _counts(5, 3, 2)
