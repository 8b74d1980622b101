"""Shares of squared norms."""

import numpy as np


def squared_shares(norms: np.ndarray) -> np.ndarray:
    """Squared norms divided by their sum over the last axis.

    Squared norms of the parts sum to that of the whole, norms do not.

    Args:
      norms: Non-negative; squared in units of the largest, so that none underflows.

    Returns:
      Shares that sum to one; NaN where all are zero or one is not finite.
    """
    norms = np.asarray(norms, np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0, inf / inf
        squares = np.square(norms / norms.max(axis=-1, keepdims=True))
    return squares / squares.sum(axis=-1, keepdims=True)
