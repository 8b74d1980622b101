"""Figures of the generate page: which tokens the layers cache after each position that is read."""

import functools
from collections.abc import Callable

import numpy as np

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.maps import eviction_image
from glassesjax.studies.generate.summary import GenerateSummary
from glassesjax.studies.generate.texts import Text, Texts

STEPS = 256  # of the slider at most


def evictions(text: Text) -> np.ndarray:
    """After which position the first layer evicts each token that is read, and the last one.

    Returns:
      Two lines; the number of tokens where none does.
    """
    # The last token was chosen and not read: it has no retention.
    known = [row.retention for row in text.rows if row.retention]
    every = [(each.first_evicted_at, each.last_evicted_at) for each in known]
    # (tokens, 2) -> (2, tokens)
    return np.array([[len(known) if at is None else at for at in pair] for pair in every]).T


def steps_shown(summary: GenerateSummary) -> list[int]:
    """Positions of the slider, up to the last that is read; of very many some, evenly spread."""
    last = summary.last_position
    return sorted({round(at) for at in np.linspace(0, last, min(last + 1, STEPS))})


@charted
def evictions_chart(text: Text, steps: list[int]) -> Chart:
    """Which tokens of a text all layers, some or none cache after each position.

    Args:
      text: Under the policy.
      steps: Of the slider.
    """
    chart, evicted = Chart(350, 330), evictions(text)
    axes = chart.panel(44, 24, 298, 258)
    eviction_image(axes, evicted)
    axes.set_xlabel("last position read")
    # Between the last token of the prompt and the first of the answer.
    axes.axvline(len(text.prompt) - 0.5, color=COLORS["ink"], linewidth=1, linestyle=":")
    # The slider has one range for all texts; in a shorter one it stops at the last position.
    chart.cursor(axes, [min(step, evicted.shape[1] - 1) for step in steps])
    return chart


def figures_of(texts: Texts, summary: GenerateSummary) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      ``evicted-N`` for each text; none where nothing is evicted.
    """
    if not summary.evicted:
        return {}
    steps, policy = steps_shown(summary), summary.own.policy
    return {
        f"evicted-{at + 1}": functools.partial(evictions_chart, texts(policy, at), steps)
        for at in range(texts.count)
    }
