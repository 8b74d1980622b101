"""Figures of the influence page: profiles in, charts out."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from glassesjax.report.chart import COLORS, Chart, charted
from glassesjax.report.numbers import percent, power_of, short
from glassesjax.report.tokens import VISIBLE, visible
from glassesjax.studies.influence.profiles import Measure, Profiles
from glassesjax.studies.influence.records import Kind
from glassesjax.studies.influence.summary import FAINT, concentration

ATTENTION: Mapping[Kind, str] = {"true": "true attention", "frozen": "attention held fixed"}
PLACES = 4096  # tokens times layers that a slider goes through; of more, some layers
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # decades between two names of an axis
TOUCHED = 128  # tokens of a fold's figure that can be pointed at; of more, none
MANY = 256  # dots
Dots = list[tuple[float, float]]


def layers_shown(profiles: Profiles) -> list[int]:
    """The layers of the slider, of very many tokens only some, evenly spread."""
    layers, tokens = profiles.shape
    count = min(layers, max(2, PLACES // tokens))
    return sorted({round(at) for at in np.linspace(0, layers - 1, count)})


def faint_share(profiles: Profiles) -> float:
    """The share below which a token has next to no influence."""
    return FAINT / profiles.length


@charted
def influence_chart(profiles: Profiles, *, narrow: bool = False) -> Chart:
    """Share of each token in the influence, at the embedding and where the slider puts it.

    Args:
      profiles: Of the passage that is drawn.
      narrow: Whether it is for a phone.
    """
    chart = Chart(358, 330) if narrow else Chart(740, 340)
    axes = chart.panel(50, 26, chart.width - 58, chart.height - 72)
    kind = profiles.kinds[0]
    scale = _share_axis(axes, profiles)
    every = [_dots(profiles.shares(kind)[layer], scale) for layer in layers_shown(profiles)]
    width = 8 if profiles.length <= 100 else 4
    chart.dots(axes, [rest for _, rest in every], "c6", width - 2)
    chart.dots(axes, [most for most, _ in every], "c2", width)
    shares = profiles.shares(kind)[0]
    if not np.isnan(shares).any() and np.ptp(shares) > 0:
        at = int(np.argmax(shares))
        left = at < profiles.length / 2
        text = _label(profiles.tokens[at], at)
        label = axes.annotate(
            text, (at, shares[at]), (10 if left else -10, 0), textcoords="offset points",
            ha="left" if left else "right", va="center", weight="bold", color=COLORS["c2"],
            parse_math=False,
        )  # fmt: skip
        chart.series("still", label)
    for position, share in enumerate(shares):
        text = f"{visible(profiles.tokens[position])}, position {position}\n{percent(share)}"
        start, stop = (position - 0.5, axes.get_ylim()[0]), (position + 0.5, axes.get_ylim()[1])
        row = f"{text} of the influence"
        chart.mark(axes, start, row, stop=stop, row=str(position))
    axes.set_xlabel("position in the text")
    title = "share of the influence (log scale)"
    axes.set_title(title, fontsize=12.5, color=COLORS["soft"], pad=8)
    return chart


def _touched(profiles: Profiles) -> list[str]:
    return profiles.tokens if profiles.length <= TOUCHED else []


def _label(token: str, position: int) -> str:
    """A token, or its position where matplotlib's font has no letter for it."""
    text = visible(token)
    known = all(ord(c) < 0x250 or c in VISIBLE.values() for c in text)
    return text[:14] if known and text else f"position {position}"


class _Floor:
    """Where shares stand on a logarithmic axis; those that are too small for it, in a strip."""

    def __init__(self, profiles: Profiles) -> None:
        self.low = 10.0 ** math.floor(math.log10(0.02 / profiles.length))

    @property
    def strip(self) -> float:
        return self.low / 3

    def place(self, share: float) -> float:
        return share if share >= self.low else self.strip


def _share_axis(axes: Axes, profiles: Profiles) -> _Floor:
    """Percent on a logarithmic axis, with the strip, an even share, and what is next to none."""
    scale, even = _Floor(profiles), 1 / profiles.length
    axes.set_yscale("log")
    bottom = scale.low / 8
    axes.set_ylim(bottom, 1.5)
    axes.set_xlim(-0.7, profiles.length - 0.3)
    axes.axhspan(bottom, faint_share(profiles), color=COLORS["band"], zorder=0, linewidth=0)
    axes.axhline(even, color=COLORS["ink"], linewidth=1, linestyle=":", zorder=1)
    decades = [10.0**e for e in range(round(math.log10(scale.low)), 1)]
    axes.yaxis.set_major_locator(FixedLocator([scale.strip, *decades]))
    names = ["less", *(f"{100 * decade:g}%" for decade in decades)]
    axes.yaxis.set_major_formatter(FixedFormatter(names))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    return scale


def _dots(shares: np.ndarray, scale: _Floor) -> tuple[Dots, Dots]:
    """Places of the most influential tokens, and of the others; none of what is not finite."""
    if np.isnan(shares).any():
        return [], []
    order = np.argsort(-shares, kind="stable").tolist()
    most = concentration(shares).most
    dots = [(float(at), scale.place(float(shares[at]))) for at in order]
    return dots[:most], dots[most:]


@charted
def share_chart(profiles: Profiles, kind: Kind, measure: Measure) -> Chart:
    """Shares at the embedding in one convention, over the rollout.

    Returns:
      Dots as in the first figure, with one standard error where they are estimated, and a line.
    """
    chart = Chart(350, 216)
    axes = chart.panel(50, 10, 292, 160)
    scale, shares = _share_axis(axes, profiles), profiles.shares(kind, measure)[0]
    rollout = profiles(kind, "rollout")[0]
    places = [scale.place(float(each)) for each in rollout]
    chart.series("rollout", axes.plot(places, color=COLORS["c3"], linewidth=1.2))
    # Of a square, twice the error of its root.
    error = np.nan_to_num(2 * profiles.relative_errors(kind, measure)[0])
    low, high = (
        np.array([scale.place(float(e)) for e in shares * (1 + s * error)]) for s in (-1, 1)
    )
    axes.plot(*_strokes(np.arange(len(shares)), 0.0, low, high), color=COLORS["c6"], linewidth=1)
    most, rest = _dots(shares, scale)
    _draw(axes, rest, "c6")
    _draw(axes, most, "c2")
    for at, (share, token) in enumerate(zip(shares, _touched(profiles), strict=False)):
        text = f"{visible(token)}, position {at}\n{percent(share)}, rollout {percent(rollout[at])}"
        if not np.isnan(share):
            chart.mark(axes, (at, scale.place(float(share))), text, radius=6)
    axes.set_xlabel("position in the text")
    return chart


def _draw(axes: Axes, dots: Dots, color: str) -> None:
    """Dots; of very many one path of short strokes, which takes a quarter of the text."""
    xs, ys = np.array(dots).reshape(-1, 2).T
    if len(dots) > MANY:
        axes.plot(*_strokes(xs, 0.5, ys, ys), color=COLORS[color], linewidth=1.5)
    else:
        axes.plot(xs, ys, "o", c=COLORS[color], ms=5 if len(dots) <= 100 else 3)


def _strokes(
    xs: np.ndarray, half: float, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Separate strokes as one line: around each place, from one height to another."""
    gap = np.full(len(xs), math.nan)
    return np.stack([xs - half, xs + half, gap], 1).ravel(), np.stack([low, high, gap], 1).ravel()


@charted
def norms_chart(profiles: Profiles) -> Chart:
    """Norms of the derivatives at the embedding, and what bounds them.

    Returns:
      A line each; a gap where there is no logarithm.
    """
    chart = Chart(760, 340)
    axes = chart.panel(58, 26, 530, 268)
    first = profiles.kinds[0]
    lines = {
        "repaired bound": (10.0 ** np.minimum(profiles(first, "log10_repaired")[0], 300), "c4"),
        "printed bound": (10.0 ** np.minimum(profiles(first, "log10_printed")[0], 300), "c5"),
    }
    colors = dict(zip(ATTENTION, ("c1", "c2"), strict=True))
    lines |= {ATTENTION[kind]: (profiles.norms(kind)[0], colors[kind]) for kind in profiles.kinds}
    known = {name: np.where(values > 0, values, math.nan) for name, (values, _) in lines.items()}
    _norm_axis(axes, list(known.values()))
    for kind in profiles.kinds:
        low, high = (profiles(kind, name)[0] for name in ("at_least", "at_most"))
        low = np.where(low > 0, low, np.where(high > 0, np.finfo(np.float64).tiny, math.nan))
        ink = COLORS[colors[kind]]
        axes.fill_between(np.arange(len(low)), low, high, color=ink, alpha=0.2, linewidth=0)
    for name, values in known.items():
        dashed = "--" if name.endswith("bound") else "-"
        marker = "o" if profiles.length <= 100 else ""
        ink = COLORS[lines[name][1]]
        axes.plot(values, color=ink, linestyle=dashed, linewidth=1.6, marker=marker, ms=3)
    _names_at_ends(axes, {name: (values, lines[name][1]) for name, values in known.items()})
    for at, token in enumerate(_touched(profiles)):
        texts = [f"{visible(token)}, position {at}"]
        texts += [f"{name} {short(values[at])}" for name, values in known.items() if values[at] > 0]
        ends = axes.get_ylim()
        chart.mark(axes, (at - 0.5, ends[0]), "\n".join(texts), stop=(at + 0.5, ends[1]))
    axes.set_xlabel("position in the text")
    title = "norm of the derivative (log scale)"
    axes.set_title(title, fontsize=12.5, color=COLORS["soft"], pad=8)
    return chart


def _norm_axis(axes: Axes, lines: Sequence[np.ndarray]) -> None:
    """A logarithmic axis that holds all lines and names a handful of decades."""
    every = np.concatenate(lines)
    logs = np.log10(every[np.isfinite(every)])
    low, high = (float(logs.min()), float(logs.max())) if len(logs) else (0.0, 0.0)
    low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
    step = next(step for step in STEPS if 6 * step >= high - low)
    decades = range(math.ceil(low / step) * step, high + 1, step)
    axes.set_yscale("log")
    axes.set_ylim(10.0**low, 10.0**high)
    axes.set_xlim(-0.7, len(lines[0]) - 0.3)
    axes.yaxis.set_major_locator(FixedLocator([10.0**e for e in decades]))
    axes.yaxis.set_major_formatter(FixedFormatter([power_of(10, e) for e in decades]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def _names_at_ends(axes: Axes, lines: Mapping[str, tuple[np.ndarray, str]]) -> None:
    """Names of lines at the right, pushed apart where they would lie on each other."""
    ends = []
    for name, (values, color) in lines.items():
        known = values[~np.isnan(values)]
        if len(known):
            ends.append((float(axes.transData.transform((0, known[-1]))[1]), name, color))
    below, right = math.inf, axes.bbox.x1 + 8
    for at, name, color in sorted(ends, reverse=True):
        below = min(at, below - 16)
        x, y = axes.transAxes.inverted().transform((right, below))
        style = {"va": "center", "color": COLORS[color], "transform": axes.transAxes}
        axes.text(float(x), float(y), name, **style)


@charted
def layers_chart(profiles: Profiles, kind: Kind, measure: Measure) -> Chart:
    """Each layer's shares over the positions, the darker the larger."""
    chart = Chart(350, 236)
    axes = chart.panel(44, 26, 298, 164)
    shares, low = np.nan_to_num(profiles.shares(kind, measure)), faint_share(profiles)
    with np.errstate(divide="ignore"):
        depth = np.clip(1 - np.log(shares) / math.log(low), 0, 1)
    # A color of its own, whose strength is in the alpha: the page's paper is dark or light.
    image = np.broadcast_to(np.array(to_rgba(COLORS["h1"])), (*shares.shape, 4)).copy()
    image[..., 3] = depth
    axes.imshow(image, aspect="auto", origin="lower", interpolation="none")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel("position in the text")
    axes.set_title("layer", fontsize=12.5, color=COLORS["soft"], pad=6)
    return chart


def figures_of(profiles: Profiles) -> dict[str, Callable[[], Chart]]:
    """What draws each figure of a run.

    Returns:
      ``influence``; then, of the folds, ``norms``, ``share-KIND-MEASURE`` and ``layers-MEASURE``.
    """
    kind = profiles.kinds[0]
    figures: dict[str, Callable[[], Chart]] = {
        "influence": functools.partial(influence_chart, profiles),
        "norms": functools.partial(norms_chart, profiles),
    }
    for measure in profiles.measures:
        figures[f"layers-{measure}"] = functools.partial(layers_chart, profiles, kind, measure)
        for each in profiles.kinds:
            draw = functools.partial(share_chart, profiles, each, measure)
            figures[f"share-{each}-{measure}"] = draw
    return figures
