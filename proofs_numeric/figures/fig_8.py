"""Figure 8: the last row's step under sinusoidal positions, against what is read off the plot."""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from proofs_numeric.claim import Claim, Hypothesis, Measurement, Suite
from proofs_numeric.paper.thm_4_2_exact import weights_of

CLAIM = Claim(
    name="fig_8",
    title="The last row's step with sinusoidal positions",
    source="arXiv 2406.04267v2, Figure 8 (Appendix C.3)",
    kind="figure",
    statement=r"\left| \, \lVert z^*_{n+1} - z_n \rVert_\infty - \delta_\mathrm{paper} \right|"
    r" \le 0.05 \, \delta_\mathrm{paper} + 3 s, \quad"
    r" \frac{\delta_\mathrm{paper}}{1.6} \le \lVert z^*_{n+1} - z_n \rVert_\infty"
    r" \le 1.6 \, \delta_\mathrm{paper}",
    assumes=(
        "normal queries, keys and values of variance $1/d$, $d = 64$",
        "positions added to queries and keys only, logits over $\\sqrt{d}$, no residual",
        "the largest coordinate",
    ),
    norm="inf",
    note="The recipe is inferred; ours is the mean over 24 seeds. Reproduced, within the error of"
    " reading (5 %) and three standard errors s of our mean, is n = 100 only. Elsewhere only the"
    " order is claimed: our values are 15 to 20 % above the paper's at n = 5 and 10, 10 to 14 %"
    " below at 500, 20 % below at 1000 and 5000, a third below at 10 000: the slope differs.",
)


DIM, BASE, SEEDS = 64, 10_000.0, 24
# Values read off a plot.
READING = 0.05
# Standard errors of our mean. Nothing is allowed for the paper's own draws, of which it states
# no number: where its value lies outside, the figure does not count as reproduced.
ERRORS = 3
# All that is claimed elsewhere: the same order, within this factor.
FACTOR = 1.6
REPRODUCED = (100,)
PAPER = {5: 0.065, 10: 0.047, 100: 0.018, 500: 0.0076, 1000: 0.0058, 5000: 0.0024, 10_000: 0.0019}

Draw = Callable[[int, np.random.Generator], float]


def angles(length: int) -> np.ndarray:
    """Angle of each position and frequency.

    Args:
      length: Number of positions, from 0.

    Returns:
      One row a position.
    """
    return np.arange(length)[:, None] * BASE ** (-2 * np.arange(DIM // 2) / DIM)


def sines(length: int) -> np.ndarray:
    """Sinusoidal positions, of norm root d / 2.

    Args:
      length: Number of positions.

    Returns:
      One vector a position.
    """
    turned = angles(length)
    # (length, DIM / 2) twice -> (length, DIM): the sine and cosine of a frequency are neighbors.
    return np.stack([np.sin(turned), np.cos(turned)], axis=-1).reshape(length, DIM)


def step_between(
    keys: np.ndarray, values: np.ndarray, queries: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """Attention output of row n + 1 minus that of row n.

    Args:
      keys: The n + 1 keys, scaled.
      values: Likewise.
      queries: The two queries.
      bias: What is added to the logits of row n + 1; row n has the same at equal distance.

    Returns:
      The difference of the two outputs.
    """
    logits = keys @ queries.T  # (n + 1, 2), a column for each query
    row, longer = weights_of(logits[:-1, 0] + bias[1:]), weights_of(logits[:, 1] + bias)
    return longer @ values - row @ values[:-1]


def compared(
    name: str,
    n: int,
    paper: float,
    draw: Draw,
    *hypotheses: Hypothesis,
    seeds: int = SEEDS,
    reproduced: bool,
) -> Measurement:
    """Our mean over seeds beside the paper's value, as a reproduction or in its order only.

    Args:
      name: What the curve is.
      n: Tokens before the repetition.
      paper: The value read off.
      draw: One instance, from n and a generator.
      *hypotheses: What the recipe presumes.
      seeds: Number of instances.
      reproduced: Whether it is claimed to be the paper's number, or of its order.

    Returns:
      An equality up to the error of reading and that of our mean; or a bracket by a factor.
    """
    measured = [draw(n, np.random.default_rng([n, seed])) for seed in range(seeds)]
    allowed = READING * paper + ERRORS * float(np.std(measured, ddof=1)) / seeds**0.5
    # Elsewhere the order alone is claimed, which our mean's spread does not widen.
    ends = (paper - allowed, paper + allowed) if reproduced else (paper / FACTOR, FACTOR * paper)
    kind = "reproduced" if reproduced else f"same order, within a factor {FACTOR}"
    return Measurement(
        setting=f"{kind}: {name}, {n=}, {seeds} seeds, paper {paper}",
        size=n,
        measured=float(np.mean(measured)),
        bound=ends[1],
        floor=ends[0],
        hypotheses=hypotheses,
    )


def _drawn(n: int, random: np.random.Generator, size: float) -> tuple[np.ndarray, ...]:
    """Query, keys and values; normal, the values of this standard deviation times root 1 / d."""
    query, keys, values = (random.normal(size=shape) for shape in (DIM, (n, DIM), (n, DIM)))
    return query, keys, size * values


def _largest(n: int, random: np.random.Generator, size: float = 1.0) -> float:
    """Largest coordinate of the step; all of variance 1 / d where the size is one."""
    query, keys, values = _drawn(n, random, size)
    # (n, d) -> (n + 1, d), the last token twice.
    repeated = lambda rows: np.concatenate([rows, rows[-1:]]) / np.sqrt(DIM)
    positions = sines(n + 1)
    queries = query / np.sqrt(DIM) + positions[-2:]  # one query at the last two positions: (2, d)
    # Values have no positions; the logits' root d goes to the keys.
    keys = (repeated(keys) + positions) / np.sqrt(DIM)
    step = step_between(keys, repeated(values), queries, np.zeros(n + 1))
    return float(np.max(np.abs(step)))


def _variance(n: int, size: float = 1.0) -> Hypothesis:
    """Of the first seed's values, times d; of n d normal numbers it is off by root 2 / (n d)."""
    values = _drawn(n, np.random.default_rng([n, 0]), size)[2]
    return Hypothesis(
        name="variance of the values times d, from one",
        distance=abs(float(np.var(values)) - 1),
        allowed=4 * (2 / (n * DIM)) ** 0.5,
    )


@CLAIM.part("ladder")
def _measure(suite: Suite) -> Iterator[Measurement]:
    for n, paper in PAPER.items():
        if n <= 1000 or suite == "full":
            near = n in REPRODUCED
            yield compared("sinusoidal", n, paper, _largest, _variance(n), reproduced=near)


@CLAIM.part("counter_case")
def _counter_case() -> Iterator[Measurement]:
    """Values of variance one in place of 1 / d."""
    large = functools.partial(_largest, size=DIM**0.5)
    for n in (100, 1000):
        other, near = _variance(n, DIM**0.5), n in REPRODUCED
        yield compared("values of variance 1", n, PAPER[n], large, other, reproduced=near)
