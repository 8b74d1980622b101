"""Norms as shares of their squares."""

import numpy as np


def squared_shares(norms: np.ndarray) -> np.ndarray:
    """Squares of norms as shares of their sum over the last axis.

    Squares of the norms of parts add up to that of the whole, norms do not.

    Args:
      norms: Non-negative; squared in units of the largest, so that none underflows.

    Returns:
      Shares that sum to one; NaN where all are zero or one is not finite.
    """
    norms = np.asarray(norms, np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0, inf / inf
        squares = np.square(norms / norms.max(axis=-1, keepdims=True))
    return squares / squares.sum(axis=-1, keepdims=True)
