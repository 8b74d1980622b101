"""Figures of the influence study: rows in, matplotlib figures out, nothing shown."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from glassesjax.report.canvas import COLORS, INK, STRIP, WIDTH, margins, styled
from glassesjax.report.markup import visible
from glassesjax.report.numbers import power_of
from glassesjax.studies.influence.profiles import MEASURES, Profiles
from glassesjax.studies.influence.sentences import ATTENTION

KIND_COLORS = {"true": COLORS["f32"], "frozen": COLORS["bf16"]}
PI, REPAIRED = COLORS["f16"], COLORS["e4m3fn"]
MEASURE_COLORS = {"frobenius": COLORS["f32"], "along": COLORS["bf16"], "scaled": COLORS["e4m3fn"]}
LABELED = 80  # tokens that a figure's width has room to name
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # decades between two names of an axis
LETTERS = 10  # of a token's name
FAINT = 0.02  # of all shares are drawn alike, so that the fewest do not set the scale


@styled
def profile_figure(profiles: Profiles) -> Figure:
    """Shares at the embedding, and how far the bounds lie above the norms, token by token.

    Args:
      profiles: Of the passage that is drawn.

    Returns:
      Two panels over the same positions, shares beside the rollout and norms beside the bounds.
    """
    named = profiles.length <= LABELED
    figure = Figure(figsize=(WIDTH, 5.4 if named else 5.0))
    edges = margins(figure, bottom=0.8 if named else 0.5, right=1.6) | {"hspace": 0.2}
    shares, norms = figure.subplots(2, 1, sharex=True, gridspec_kw=edges)
    _share_panel(shares, profiles)
    _norm_panel(norms, profiles)
    _position_axis(norms, profiles)
    for axes in (shares, norms):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _share_panel(axes: Axes, profiles: Profiles) -> None:
    kind = profiles.kinds[0]
    axes.set_title(f"Share of the squares at the embedding, {ATTENTION[kind]}")
    drawn = [_line(axes, profiles(kind, "rollout")[0], PI)]
    drawn[0].set(linestyle="--", label="rollout π")
    for name in profiles.measures:
        # Of a square, twice the error of its root.
        shares, error = profiles.shares(kind, name)[0], 2 * profiles.relative_errors(kind, name)[0]
        line = _line(axes, shares, MEASURE_COLORS[name])
        line.set_label(MEASURES[name])
        _band(axes, shares * (1 - error), shares * (1 + error), MEASURE_COLORS[name])
        drawn.append(line)
    _log_axis(axes, [np.asarray(line.get_ydata(), np.float64) for line in drawn])


def _norm_panel(axes: Axes, profiles: Profiles) -> None:
    axes.set_title("Norm of the derivative at the embedding, and its bounds")
    first, drawn = profiles.kinds[0], []
    for bound, ink, style in (("repaired", REPAIRED, "-"), ("printed", INK, "-.")):
        line = _line(axes, 10.0 ** np.minimum(profiles(first, f"log10_{bound}")[0], 300), ink)
        line.set(linestyle=style, label=f"{bound} bound")
        drawn.append(line)
    for kind in profiles.kinds:
        line = _line(axes, profiles.norms(kind)[0], KIND_COLORS[kind])
        line.set_label(ATTENTION[kind])
        low, high = (profiles(kind, name)[0] for name in ("at_least", "at_most"))
        _band(axes, low, high, KIND_COLORS[kind])
        drawn.append(line)
    _log_axis(axes, [np.asarray(line.get_ydata(), np.float64) for line in drawn])


def _line(axes: Axes, values: np.ndarray, ink: str) -> Line2D:
    """A line that breaks where there is no logarithm, with marks where there is room."""
    marker = "o" if len(values) <= LABELED else ""
    known = np.where(values > 0, values, math.nan)
    (line,) = axes.plot(known, color=ink, linewidth=1.4, marker=marker, markersize=2.6)
    return line


def _band(axes: Axes, low: np.ndarray, high: np.ndarray, ink: str) -> None:
    low = np.where(low > 0, low, np.where(high > 0, np.finfo(np.float64).tiny, math.nan))
    axes.fill_between(np.arange(len(low)), low, high, color=ink, alpha=0.2, linewidth=0)


def _log_axis(axes: Axes, lines: Sequence[np.ndarray]) -> None:
    """A logarithmic axis that holds all lines and names a handful of decades."""
    every = np.concatenate(lines)
    logs = np.log10(every[np.isfinite(every) & (every > 0)])
    low, high = (float(logs.min()), float(logs.max())) if len(logs) else (0.0, 0.0)
    low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    step = next(step for step in STEPS if 6 * step >= high - low)
    decades = range(math.ceil(low / step) * step, high + 1, step)
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in decades]))
    axes.yaxis.set_major_formatter(FixedFormatter([power_of(10, e) for e in decades]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=STRIP, linewidth=0.8)
    axes.set_axisbelow(True)


def _position_axis(axes: Axes, profiles: Profiles) -> None:
    axes.set_xlim(-0.7, profiles.length - 0.3)
    if profiles.length > LABELED:
        axes.set_xlabel("position")
        return
    axes.xaxis.set_major_locator(FixedLocator(range(profiles.length)))
    names = [_name(text) for text in profiles.tokens]
    axes.set_xticklabels(names, rotation=90, fontsize=6.5, parse_math=False)


def _name(text: str) -> str:
    """A token as a tick: what the drawing library has no letter for is a box."""
    plain = visible(text)
    known = "".join(c if ord(c) < 0x250 or c in "␣⏎⇥␍" else "□" for c in plain)
    return known if len(known) <= LETTERS else f"{known[: LETTERS - 1]}…"


@styled
def layers_figure(profiles: Profiles) -> Figure:
    """Each layer's shares of squares over the positions, a map for each convention.

    Args:
      profiles: Of the passage that is drawn.

    Returns:
      Maps with one logarithmic scale, of the first kind of attention, whose every row adds up to
      one; gray where there is no influence at all.
    """
    kind = profiles.kinds[0]
    maps = {name: profiles.shares(kind, name) for name in profiles.measures}
    figure = Figure(figsize=(WIDTH, min(1.5 + 0.16 * profiles.shape[0], 4.6)))
    count = len(maps)
    edges = margins(figure, left=0.55, bottom=0.5, right=0.6)
    edges |= {"wspace": 0.12, "width_ratios": [1.0] * count + [0.03]}
    *panels, bar = figure.subplots(1, count + 1, gridspec_kw=edges)
    norm = _scale(list(maps.values()))
    for axes, (name, shares) in zip(panels, maps.items(), strict=True):
        _map(axes, shares, norm)
        axes.set_title(MEASURES[name])
    panels[0].set_ylabel("residual stream entering layer")
    _bar(bar, norm)
    return figure


def _scale(maps: Sequence[np.ndarray]) -> LogNorm:
    every = np.concatenate([shares.ravel() for shares in maps])
    positive = every[every > 0]
    low = float(np.quantile(positive, FAINT)) if len(positive) else 0.1
    return LogNorm(10.0 ** min(math.floor(math.log10(low)), -1), 1.0)


def _map(axes: Axes, shares: np.ndarray, norm: LogNorm) -> None:
    axes.set_facecolor(STRIP)
    seen = np.ma.masked_where(~(shares > 0), shares)
    axes.imshow(
        seen, norm=norm, cmap="cividis", aspect="auto", origin="lower", interpolation="none"
    )
    axes.set_xlabel("position")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _bar(axes: Axes, norm: LogNorm) -> None:
    """The scale of the colors, drawn as an image; a color bar would be hundreds of paths."""
    low, high = (round(math.log10(edge or 1)) for edge in (norm.vmin, norm.vmax))
    ramp = np.logspace(low, high, 128)[:, None]
    axes.imshow(
        ramp,
        norm=norm,
        cmap="cividis",
        aspect="auto",
        origin="lower",
        interpolation="none",
        extent=(0, 1, low, high),
    )
    axes.yaxis.tick_right()
    axes.set_xticks([])
    axes.yaxis.set_major_locator(FixedLocator(range(low, high + 1)))
    axes.yaxis.set_major_formatter(FixedFormatter([power_of(10, e) for e in range(low, high + 1)]))
