"""Images of shares: which tokens are cached, or have influence, over two axes."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from glassesjax.report.chart import COLORS
from glassesjax.report.ticks import up

SIDE = 128  # blocks of an image at most, along each axis
SHADES = 16  # more are not distinguishable, and they take room


def opacity_image(
    axes: Axes,
    opacity: np.ndarray,
    extent: tuple[float, float, float, float],
    origin: Literal["upper", "lower"] = "upper",
) -> None:
    """Pixels of one color over the page's ground, which is dark or light.

    Args:
      axes: Where.
      opacity: From 0 to 1, a row a line.
      extent: Left, right, bottom and top edge, in data.
      origin: Where the first line is.
    """
    # (line, column) -> (line, column, rgba); few shades make a shorter PNG in the page
    pixels = np.empty((*opacity.shape, 4))
    pixels[..., :3], pixels[..., 3] = to_rgb(COLORS["h1"]), np.round(opacity * SHADES) / SHADES
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none", origin=origin)


def share_image(axes: Axes, share: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    """The same by the root of a share, so that a few decisions show as well; whole ticks."""
    opacity_image(axes, np.sqrt(np.clip(share, 0, 1)), extent)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))


def eviction_image(axes: Axes, evicted: np.ndarray) -> None:
    """Which share of decisions caches each token after each step: a line a token, a column a step.

    Args:
      axes: Where; the first token is above.
      evicted: For each decision the step after which it evicted each token; the number of tokens
        where it never did.
    """
    # One decision at a time: all at once would be decisions x blocks x tokens numbers.
    share = np.mean([coarse(each[None], SIDE) for each in evicted], axis=0)
    end = evicted.shape[1] - 0.5
    # (step, token) -> (token, step): a line a token
    share_image(axes, share.T, (-0.5, end, end, -0.5))
    axes.set_xlabel("step")
    up(axes, "position of the token")


def coarse(evicted: np.ndarray, most: int) -> np.ndarray:
    """Which share of decisions caches each token after each step, in blocks of both.

    Args:
      evicted: When each decision evicted each token.
      most: Blocks on a side at most.
    """
    length = evicted.shape[1]
    edges = np.linspace(0, length, min(length, most) + 1).astype(int)
    first, end = edges[:-1, None, None], edges[1:, None, None]
    # (blocks, decisions, tokens): steps of a block at which a token is cached, which are those
    # from its own on; then the mean over decisions, (blocks, tokens).
    born = np.arange(length)
    steps = np.clip(np.minimum(evicted, end) - np.maximum(born, first), 0, None).mean(axis=1)
    # (blocks, tokens) -> (blocks, blocks), sums over both; the area makes them shares.
    sizes = np.diff(edges)
    return np.add.reduceat(steps, edges[:-1], axis=1) / np.outer(sizes, sizes)
