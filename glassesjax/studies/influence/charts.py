"""Figures of the influence page: profiles in, charts out."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS, Chart, Number, charted
from glassesjax.report.labels import End, names_at_ends
from glassesjax.report.maps import opacity_image
from glassesjax.report.numbers import number, percent
from glassesjax.report.ticks import Limits, log_axis, set_ticks, up
from glassesjax.report.tokens import VISIBLE, visible
from glassesjax.studies.influence.profiles import Measure, Profiles
from glassesjax.studies.influence.records import Kind
from glassesjax.studies.influence.summary import FAINT, concentration

ATTENTION: Mapping[Kind, str] = {"true": "true attention", "frozen": "attention held fixed"}
PLACES = 3072  # tokens times layers that a slider goes through; of more, some layers
TOUCHED = 128  # places of a figure that can be pointed at; of more tokens neighbors share one
MANY = 256  # tokens that have a place of their own in the folds' figures
Dots = list[tuple[float, float]]


def layers_shown(profiles: Profiles) -> list[int]:
    """The layers of the slider, of very many tokens only some, evenly spread."""
    layers, tokens = profiles.shape
    count = min(layers, max(2, PLACES // tokens))
    return sorted({round(at) for at in np.linspace(0, layers - 1, count)})


def faint_share(profiles: Profiles) -> float:
    """The share below which a token has next to no influence."""
    return FAINT / profiles.length


class _Shares(NamedTuple):
    """A vertical axis of shares."""

    low: float
    """The least that has a place of its own on a logarithmic axis; 0 on a linear one."""

    def place(self, share: np.ndarray) -> np.ndarray:
        """Vertical coordinates of shares; those that are too small for the axis in a strip."""
        return np.where(share < self.low, self.low / 3, share)

    def apply(self, axes: Axes, profiles: Profiles) -> None:
        """Sets both axes, and draws an even share and what is next to none."""
        if self.low:
            decades = [10.0**e for e in range(round(math.log10(self.low)), 1)]
            axes.set(yscale="log", ylim=(self.low / 8, 1.5))
            names = {self.low / 3: "less", **{each: f"{100 * each:g}%" for each in decades}}
        else:
            axes.set_ylim(-0.03, 1.04)
            names = {each / 4: f"{25 * each}%" for each in range(5)}
        set_ticks(axes.yaxis, names)
        bottom, even = axes.get_ylim()[0], 1 / profiles.length
        axes.axhspan(bottom, FAINT * even, color=COLORS["band"], zorder=0, linewidth=0)
        axes.axhline(even, color=COLORS["ink"], linewidth=1, linestyle=":", zorder=1)
        _positions(axes, profiles)

    @classmethod
    def log(cls, profiles: Profiles) -> "_Shares":
        """With room for a fiftieth of an even share."""
        return cls(10.0 ** math.floor(math.log10(0.02 / profiles.length)))


def _positions(axes: Axes, profiles: Profiles) -> None:
    axes.set_xlim(-0.7, profiles.length - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel("position in the text")


@charted
def influence_chart(profiles: Profiles, *, narrow: bool = False, linear: bool = False) -> Chart:
    """Share of each token in the influence, at the embedding and where the slider puts it.

    Args:
      profiles: Of the passage that is drawn.
      narrow: Whether it is for a phone.
      linear: Whether the scale is.
    """
    chart = Chart(358, 330) if narrow else Chart(740, 340)
    axes = chart.panel(50, 26, chart.width - 58, chart.height - 72)
    scale = _Shares(0) if linear else _Shares.log(profiles)
    scale.apply(axes, profiles)
    shares, length = profiles.shares(profiles.kinds[0])[0], profiles.length
    width, count = 8 if length <= 100 else 4, concentration(shares).most
    most, rest = _dots(shares, scale)
    parts = (rest, "c6", width - 2, f"{count} {length}"), (most, "c2", width, f"0 {count}")
    for dots, color, size, part in parts:
        if not linear:  # which nothing shows but the script, and that draws them
            chart.series("still", _draw(axes, dots, color, size))
        style = f"stroke:var(--{color});stroke-width:{size}"
        chart.drawn(axes, style, low=scale.low, shape="dots", part=part)
    if most and np.ptp(shares) > 0:
        (at, place), text = most[0], visible(profiles.tokens[int(most[0][0])])
        left = at < length / 2
        # Its position where matplotlib's font has no letter for it.
        known = text and all(ord(c) < 0x250 or c in VISIBLE.values() for c in text)
        label = axes.annotate(
            text[:14] if known else f"position {at:.0f}", (at, place), (10 if left else -10, 0),
            textcoords="offset points", ha="left" if left else "right", va="center",
            weight="bold", color=COLORS["c2"], parse_math=False,
        )  # fmt: skip
        chart.series("still", label)
    starts = _starts(length, TOUCHED if length <= TOUCHED else TOUCHED // 2).tolist()
    low, high = axes.get_ylim()
    for start, stop in itertools.pairwise([*starts, length]):
        places = {"start": (start - 0.5, low), "stop": (stop - 0.5, high)}
        chart.mark(axes, text=f"{start} {stop}", row=str(start), **places)
    up(axes, "share of the influence" + ("" if linear else " (log scale)"))
    return chart


def _dots(shares: np.ndarray, scale: _Shares) -> tuple[Dots, Dots]:
    """Places of the most influential tokens, and of the others; none of what is not finite."""
    if np.isnan(shares).any():
        return [], []
    # Stable: of equal shares the earlier token is first.
    order = np.argsort(-shares, kind="stable").tolist()
    most = concentration(shares).most
    places = scale.place(shares).tolist()
    dots = [(float(at), places[at]) for at in order]
    return dots[:most], dots[most:]


def _draw(axes: Axes, dots: Dots, color: str, size: Number) -> list[Line2D]:
    """Dots as one path of short round strokes, which takes a quarter of the text of markers."""
    xs, ys = np.array(dots).reshape(-1, 2).T  # (dots, 2) -> (dots,) twice; of none as well
    return axes.plot(*_strokes(xs, ys, ys), color=COLORS[color], linewidth=size)


def _touched(profiles: Profiles) -> list[str]:
    """Tokens of a fold's figure that can be pointed at; of very many, none."""
    return profiles.tokens if profiles.length <= TOUCHED else []


@charted
def share_chart(profiles: Profiles, kind: Kind, measure: Measure) -> Chart:
    """Shares at the embedding in one convention, over the rollout.

    Returns:
      Dots as in the first figure, with one standard error where they are estimated, and a line; of
      very many tokens, the span of neighbors instead of their dots and errors.
    """
    chart = Chart(350, 216)
    axes = chart.panel(50, 10, 292, 160)
    scale = _Shares.log(profiles)
    shares = profiles.shares(kind, measure)[0]  # (layers+1, seq) -> (seq,) at the embedding
    scale.apply(axes, profiles)
    rollout = profiles(kind, "rollout")[0]
    starts = _starts(profiles.length, MANY)
    chart.series("rollout", axes.plot(starts, scale.place(_most(rollout)), c=COLORS["c3"], lw=1.2))
    # Of a square, twice the error of its root.
    error = np.nan_to_num(2 * profiles.relative_errors(kind, measure)[0])
    low, high = (scale.place(shares * (1 + sign * error)) for sign in (-1, 1))
    most, rest = _dots(shares, scale)
    if profiles.length > MANY:
        low, high, rest = -_most(-scale.place(shares)), scale.place(_most(shares)), []
    axes.plot(*_strokes(starts, low, high), color=COLORS["c6"], linewidth=1)
    size = 5 if profiles.length <= 100 else 3
    _draw(axes, rest, "c6", size)
    _draw(axes, most, "c2", size)
    places = scale.place(shares)
    for at, (share, token) in enumerate(zip(shares, _touched(profiles), strict=False)):
        text = f"{visible(token)}, position {at}\n{percent(share)}, rollout {percent(rollout[at])}"
        if not np.isnan(share):
            chart.mark(axes, (at, float(places[at])), text, radius=6)
    return chart


def _strokes(xs: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Separate upright strokes as one line; one without a height is a dot."""
    gap = np.full(len(xs), math.nan)  # a line breaks at NaN
    return np.stack([xs, xs + 1e-3, gap], 1).ravel(), np.stack([low, high, gap], 1).ravel()


def _starts(length: int, most: int) -> np.ndarray:
    """Where blocks of neighbors start, no more than these; each token by itself where they fit."""
    return np.linspace(0, length, min(length, most) + 1).astype(int)[:-1]


def _most(values: np.ndarray) -> np.ndarray:
    """The largest of neighbors in ``MANY`` blocks, which are more than a figure has pixels for."""
    return np.maximum.reduceat(values, _starts(values.shape[-1], MANY), axis=-1)


@charted
def norms_chart(profiles: Profiles) -> Chart:
    """Norms of the derivatives at the embedding, and what bounds them, if anything does.

    Returns:
      A line each; a gap where there is no logarithm.
    """
    chart = Chart(760, 340)
    axes = chart.panel(58, 26, 530, 268)
    first = profiles.kinds[0]
    lines = {
        f"{bound} bound": (10.0 ** np.minimum(profiles(first, f"log10_{bound}")[0], 300), color)
        for bound, color in (("repaired", "c4"), ("printed", "c5"))
        if bound in profiles.bounds
    }
    colors = dict(zip(ATTENTION, ("c1", "c2"), strict=True))
    lines |= {ATTENTION[kind]: (profiles.norms(kind)[0], colors[kind]) for kind in profiles.kinds}
    known = {name: np.where(values > 0, values, math.nan) for name, (values, _) in lines.items()}
    log_axis(axes, "y", Limits.spanning(np.concatenate([*known.values()])), most=7)
    _positions(axes, profiles)
    starts = _starts(profiles.length, MANY)
    for kind in profiles.kinds:
        low, high = (profiles(kind, name)[0] for name in ("at_least", "at_most"))
        # A lower end of zero has no logarithm: the band reaches below the axis.
        low = np.where(low > 0, low, np.where(high > 0, np.finfo(np.float64).tiny, math.nan))
        ends, ink = (-_most(-low), _most(high)), COLORS[colors[kind]]
        axes.fill_between(starts, *ends, color=ink, alpha=0.2, linewidth=0)
    ends = []
    for name, values in known.items():
        color, there = lines[name][1], values[~np.isnan(values)]
        style = {"marker": "o" if profiles.length <= 100 else "", "ms": 3, "linewidth": 1.6}
        axes.plot(
            starts, _most(values), "--" if name.endswith("bound") else "-", c=COLORS[color], **style
        )
        ends.append(End(there[-1] if len(there) else math.nan, name, "", color))
    names_at_ends(chart, axes, ends)
    bottom, top = axes.get_ylim()
    for at, token in enumerate(_touched(profiles)):
        texts = [f"{visible(token)}, position {at}"]
        here = {name: values[at] for name, values in known.items() if values[at] > 0}
        texts += [f"{name} {number(value)}" for name, value in here.items()]
        chart.mark(axes, (at - 0.5, bottom), "\n".join(texts), stop=(at + 0.5, top))
    up(axes, "norm of the derivative (log scale)")
    return chart


@charted
def layers_chart(profiles: Profiles, kind: Kind, measure: Measure) -> Chart:
    """Each layer's shares over the positions, the darker the larger."""
    chart = Chart(350, 236)
    axes = chart.panel(44, 26, 298, 164)
    # (layers+1, seq) -> (layers+1, blocks)
    shares, low = _most(np.nan_to_num(profiles.shares(kind, measure))), faint_share(profiles)
    with np.errstate(divide="ignore"):
        depth = np.clip(1 - np.log(shares) / math.log(low), 0, 1)
    extent = (-0.5, profiles.length - 0.5, -0.5, len(depth) - 0.5)
    opacity_image(axes, depth, extent, "lower")
    _positions(axes, profiles)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    up(axes, "layer")
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
