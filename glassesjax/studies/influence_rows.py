"""Rows of the influence study: what was measured at each layer and token, beside its bounds."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from glassesjax.model.pretrained import LanguageModel
from glassesjax.records import Value
from glassesjax.trace.influence import Influence
from glassesjax.trace.rollout import Rollout

# In decades: both sides of a comparison are sums of many float32 numbers, relative error some 1e-4.
ROUNDING = 1e-4


class Subject(NamedTuple):
    """A model and the prompt that it reads."""

    model: LanguageModel
    tokens: tuple[int, ...]


class Bounds(NamedTuple):
    """What stands beside each measured norm; of bounds, the natural logarithms."""

    pi: np.ndarray  # layers+1 seq
    shares: np.ndarray  # layers
    printed: np.ndarray  # layers+1 seq
    repaired: np.ndarray  # layers+1 seq


def log_bound(bound: Rollout) -> np.ndarray:
    """Natural logarithm of the bound for each layer and token; -inf where it is zero."""
    with np.errstate(divide="ignore"):
        profile = np.log(np.asarray(bound.profile, np.float64))
    return profile + np.asarray(bound.log_gains, np.float64)[:, None]


class _Measured(NamedTuple):
    """The derivatives' norms, each beside what is certain of the operator norm."""

    found: Influence
    width: int

    def row(self, at: tuple[int, int]) -> dict[str, Value]:
        """The measured fields of one layer and token."""
        frobenius, spectral, error = self._numbers(at)
        return {"frobenius": frobenius, "standard_error": error, "spectral": spectral}

    def least(self, at: tuple[int, int]) -> float:
        """A lower end of the operator norm: itself, or what its Frobenius norm leaves it at least.

        A matrix of rank r has an operator norm of its Frobenius norm over the root of r or more;
        of an estimate, three standard errors are taken off first.
        """
        frobenius, spectral, error = self._numbers(at)
        if spectral is not None:
            return spectral
        return max(frobenius - 3 * (error or 0.0), 0.0) / math.sqrt(self.width)

    def _numbers(self, at: tuple[int, int]) -> tuple[float, float | None, float | None]:
        number = lambda values: None if values is None else float(values[at])
        spectral = number(self.found.spectral)
        known = spectral is not None and not math.isnan(spectral)  # NaN where not asked for
        error = number(self.found.standard_error)
        return float(self.found.frobenius[at]), spectral if known else None, error


def influence_rows(
    subject: Subject, found: Influence, bounds: Bounds
) -> Iterator[dict[str, Value]]:
    """Layer by layer, token by token; the last row of a kind closes it."""
    text = [subject.model.tokenizer.token_text(token) for token in subject.tokens]
    measured = _Measured(found, subject.model.decoder.config.model_dim)
    for layer, position in np.ndindex(bounds.printed.shape):
        at = (layer, position)
        least = measured.least(at)
        log_least = math.log(least) if least > 0 else -math.inf if least == 0 else math.nan
        yield {
            "layer": layer,
            "position": position,
            "token": subject.tokens[position],
            "token_text": text[position],
            **measured.row(at),
            "at_least": least,
            "pi": float(bounds.pi[at]),
            "share": float(bounds.shares[layer]) if layer < len(bounds.shares) else None,
            **_against("printed", log_least, float(bounds.printed[at])),
            **_against("repaired", log_least, float(bounds.repaired[at])),
        }


def _against(name: str, log_least: float, log_bound: float) -> dict[str, Value]:
    """A bound, and by how much what was measured exceeds it; both zero is within."""
    both_zero = log_least == log_bound == -math.inf
    over = 0.0 if both_zero else (log_least - log_bound) / math.log(10)
    # A NaN compares as exceeded: it is never a silent pass.
    within = over <= ROUNDING
    verdict = "within" if within else "exceeded"
    return {f"log10_{name}": log_bound / math.log(10), f"log10_over_{name}": over, name: verdict}
