"""Follow-up: scalable softmax, with logits times log n, stays sharp where the gap is large."""

from collections.abc import Iterator

import jax
import numpy as np

from glassesjax.theory.sharpness import ssmax_greatest_weight, ssmax_weights
from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite

CLAIM = Claim(
    name="fu_ssmax",
    title="Scalable softmax is sharp where the gap is large",
    kind="follow_up",
    source="after arXiv 2501.19399; closed form and bounds are ours",
    page="sharpness",
    statement=r"\alpha_{\max} = \frac{1}{1 + (n-1) n^{-s g}}, \quad"
    r" 1 - \alpha_{\max} \le n^{1 - s g} \; (s g > 1), \quad"
    r" \alpha_{\max} \le \frac{n^{s g}}{n - 1} \; (s g < 1)",
    assumes=("one logit a gap $g$ above equal others", "a scale $s$, here 0.43 as learned"),
    note="The paper has the map and a learned scale; what follows for one gap is ours.",
)

U = 2.0**-53
SCALE = 0.43  # of scalable softmax, as learned
# What the paper's scale makes of one logit a gap above the others, to three digits.
SSMAX = {2.0: (0.446, 0.276, 0.126, 0.052), 2.5: (0.569, 0.627, 0.738, 0.826)}
SSMAX_LENGTHS = (10, 1_000, 1_000_000, 1_000_000_000)
WIDTH = 512

_greatest = jax.jit(ssmax_greatest_weight, static_argnums=2)
_weights = jax.jit(ssmax_weights, static_argnums=1)


def _form(length: float, gap: float) -> float:
    """The closed form; of one shape, so that it is compiled once."""
    return float(_greatest(np.full(4, length), np.full(4, gap), SCALE)[0])


def _power(gap: float, wanted: float, sign: int) -> Hypothesis:
    over = max(sign * (SCALE * gap - wanted), 0.0)
    name = "s g above" if sign > 0 else "s g below"
    return Hypothesis(name=f"{name} {wanted:g}", distance=over)


def _phase(gap: float, n: float) -> Measurement:
    """Below s g = 1 the weight falls as a power of the length, above it what lacks to one does."""
    power, form = SCALE * gap, _form(n, gap)
    sharp = power > 1
    return Measurement(
        setting=f"{'what lacks to one' if sharp else 'weight'}, {gap=}, {n=:g}",
        measured=1 - form if sharp else form,
        bound=n ** (1 - power) if sharp else n**power / (n - 1),
        # With the odds o = (n - 1) n^-sg below one, o / (1 + o) is at least o / 2.
        floor=0.5 * n ** (1 - power) * (1 - 1 / n) if sharp else 0.0,
        roundoff=16 * U,
        hypotheses=(_power(gap, 1.0, -1 if sharp else 1),),
        size=n,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for gap, values in SSMAX.items():
        for n, value in zip(SSMAX_LENGTHS, values, strict=True):
            yield Measurement.equality(
                setting=f"three digits, {gap=}, {n=}",
                measured=_form(n, gap),
                expected=value,
                roundoff=0.0005,
                size=n,
            )
    # The closed form against the map itself, one row a length; masked tokens fill the rows.
    lengths = (1, 2, 10, WIDTH)
    logits = np.where(np.arange(WIDTH) < np.array(lengths)[:, None], 0.0, -np.inf)
    for gap in (2.0, 2.5, 250.0):
        logits[:, 0] = gap
        greatest = np.asarray(_weights(logits, SCALE))[:, 0].tolist()
        for n, measured in zip(lengths, greatest, strict=True):
            yield Measurement.equality(
                setting=f"by the map, {gap=}, {n=}",
                measured=measured,
                expected=_form(n, gap),
                # A sum of n terms, and exponents of a size s g log n that are rounded.
                roundoff=(2 * n + 32 + 4 * SCALE * gap * np.log(n)) * U,
                size=n,
            )
    for exponent in (1, 3, 6, 9) if suite == "quick" else range(1, 10):
        for gap in (1.0, 2.0, 2.5, 4.0):
            yield _phase(gap, 10.0**exponent)
    yield Measurement.equality(
        setting="at s g = 1 the weight is near one half, n=1e9",
        measured=_form(1e9, 1 / SCALE),
        expected=0.5,
        roundoff=1e-9,  # n / (2 n - 1)
        size=1e9,
    )


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    n = 1e9
    # The bounds for s g = 1.075 and 0.86, compared with the other of the two.
    yield Measurement(
        setting=f"below s g = 1, as if it became sharp, {n=:g}",
        measured=1 - _form(n, 2.0),
        bound=n ** (1 - SCALE * 2.5),
        hypotheses=(_power(2.0, 1.0, -1),),
    )
    yield Measurement(
        setting=f"above s g = 1, as if it dispersed, {n=:g}",
        measured=_form(n, 2.5),
        bound=n ** (SCALE * 2.0) / (n - 1),
        hypotheses=(_power(2.5, 1.0, 1),),
    )
