"""Figures of the train study: rows in, matplotlib figures out, nothing shown."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassesjax.report.canvas import (
    INK,
    STRIP,
    WIDTH,
    color,
    length_axis,
    log_values,
    margins,
    styled,
)
from glassesjax.studies.train.cells import Training, answered, losses
from glassesjax.studies.train.records import TrainConstants


@styled
def losses_figure(training: Training) -> Figure:
    """The loss against the step, a line a seed.

    Args:
      training: One.

    Returns:
      One panel, logarithmic.
    """
    figure = Figure(figsize=(WIDTH, 2.6))
    axes = figure.subplots(gridspec_kw=margins(figure, bottom=0.5))
    for steps, values in losses(training).values():
        axes.plot(steps, values, color=INK, linewidth=0.8, alpha=0.7)
    log_values(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("nats a token")
    axes.grid(axis="y", color=STRIP, linewidth=0.8)
    return figure


@styled
def lengths_figure(training: Training) -> Figure:
    """Right answers against the length, a line a format, the range of the seeds around it.

    Args:
      training: One.

    Returns:
      One panel; the lengths of the training are shaded.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots(gridspec_kw=margins(figure, right=0.9, bottom=0.5))
    lengths = set()
    for name, curve in answered(training).items():
        at = [point.length for point in curve]
        lengths |= set(at)
        low, high = ([end(point.answers.exact_match) for point in curve] for end in (min, max))
        axes.fill_between(at, low, high, color=color(name), alpha=0.12, linewidth=0)
        means = [point.answers.mean for point in curve]
        axes.plot(at, means, color=color(name), marker="o", markersize=3.5, label=name)
    shade_training(axes, training.constants)
    length_axis(axes, lengths)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("length of the item")
    axes.set_ylabel("share of right answers")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def shade_training(axes: Axes, training: TrainConstants) -> None:
    """Shades the lengths of a training, on an axis of lengths.

    Args:
      axes: Where; lines and points stay in front.
      training: What was trained.
    """
    axes.axvspan(float(training.shortest), float(training.longest), color=STRIP, zorder=0)
