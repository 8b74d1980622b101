"""What the rows of a recall run say in plain sentences, and never more than they show."""

import math

from glassesjax.report.numbers import percent
from glassesjax.report.orders import basis, told_apart
from glassesjax.studies.recall.summary import CellSummary, OrderSummary, RecallSummary


def headline(summary: RecallSummary) -> str:
    """The run in a line, its numbers first.

    Args:
      summary: Of the run.

    Returns:
      Exact answers, by task, policy and size.
    """
    panels = [
        f"{panel.name}: "
        + ", ".join(f"{cell.name} {cell.hits} of {cell.questions}" for cell in panel.cells)
        for panel in summary.panels
    ]
    return "; ".join(
        [*summary.passes.phrases("questions"), f"exact answers in {panels[0]}", *panels[1:]]
    )


def recall_headlines(summary: RecallSummary) -> list[str]:
    """A sentence on each cell, and one on which policies are told apart.

    Args:
      summary: Of the run.

    Returns:
      Plain text, task by task.
    """
    sentences = summary.passes.sentences("questions")
    for panel in summary.panels:
        lines = [*map(_cell, panel.cells), *map(_order, panel.orders)]
        sentences += [f"{panel.name}: {line}" for line in lines]
    return sentences


def share(cell: CellSummary) -> str:
    """How many answers are exact, with its interval.

    Args:
      cell: Some answers.

    Returns:
      Counts and percents.
    """
    return f"{cell.hits} of {cell.questions} ({percent(cell.low)} to {percent(cell.high)})"


def _cell(cell: CellSummary) -> str:
    if cell.not_finite:
        return f"{cell.name}: not finite, in {cell.not_finite} of {cell.questions} questions."
    text = f"{cell.name}: {share(cell)} answers exact, F1 {cell.f1:.2f},"
    text += f" {_nats(cell.nats)} nats a token of the expected answer"
    if cell.more_than_full is None:
        return f"{text}."
    more = _more(cell.more_than_full)
    return f"{text}, {more} full; {percent(cell.retained)} of the line is held."


def _more(gap: float) -> str:
    if math.isnan(gap):
        return "not comparable with"
    return f"{_nats(abs(gap))} {'more' if gap >= 0 else 'less'} than"


def _nats(value: float) -> str:
    return "no number of" if math.isnan(value) else f"{value:.2f}"


def _order(order: OrderSummary) -> str:
    listed = ", ".join(f"{policy} {nats:.2f}" for policy, nats in order.nats.items())
    text = f"with {order.slots} slots, nats a token ({order.questions} questions): {listed}"
    apart = told_apart(list(order.nats), order.gap)
    return f"{text}; of these, {apart} ({basis(order.passages, 'passages')})."
