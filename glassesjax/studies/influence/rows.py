"""Rows of the influence study: what was measured at each layer and token, beside its bounds."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from glassesjax.files import Value
from glassesjax.model.pretrained import LanguageModel
from glassesjax.trace.influence import Influence
from glassesjax.trace.rollout import Rollout
from glassesjax.trace.shares import squared_shares

# In decades: both sides of a comparison are sums of many float32 numbers, relative error some 1e-4.
ROUNDING = 1e-4
# The verdict on a comparison with a NaN or an infinite number: it speaks of no statement.
NOT_FINITE = "not_a_number"


class Passage(NamedTuple):
    """What a model reads, and where it is from."""

    text: str
    """As on the command line; ``prompt`` for one that was given, ``digits`` for drawn ones."""
    offset: int
    """Characters of the text, or drawn digits, before it."""
    tokens: tuple[int, ...]


class Subject(NamedTuple):
    """A model and the passages that it reads."""

    model: LanguageModel
    passages: tuple[Passage, ...]


def passages_text(passages: Sequence[Passage]) -> str:
    """What tells runs by what they read: a text of fixed names, whatever classes are called."""
    each = (f"Passage(text={p.text!r}, offset={p.offset!r}, tokens={p.tokens!r})" for p in passages)
    return f"({', '.join(each)}{',' if len(passages) == 1 else ''})"


class Bounds(NamedTuple):
    """What stands beside each measured norm; of bounds, the natural logarithms."""

    pi: np.ndarray  # layers+1 seq
    shares: np.ndarray  # layers
    printed: np.ndarray  # layers+1 seq
    repaired: np.ndarray  # layers+1 seq


def log_bound(bound: Rollout) -> np.ndarray:
    """Natural logarithm of the bound for each layer and token; -inf where it is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):  # no share of an infinite scale is NaN
        profile = np.log(np.asarray(bound.profile, np.float64))
        return profile + np.asarray(bound.log_gains, np.float64)[:, None]


class _Measured(NamedTuple):
    """The derivatives' norms, each beside what is certain of the operator norm."""

    found: Influence
    width: int
    spectral: tuple[int, ...]

    def row(self, at: tuple[int, int]) -> dict[str, Value]:
        """The measured fields of one layer and token."""
        frobenius, spectral, error = self._numbers(at)
        least, most = self.ends(at)
        measured = {"frobenius": frobenius, "standard_error": error, "spectral": spectral}
        names = "along", "along_standard_error", "input_norm"
        rest = {name: _at(_wide(getattr(self.found, name)), at) for name in names}
        return {**measured, "at_least": least, "at_most": most, **rest}

    def shares(self) -> dict[str, np.ndarray]:
        """For each field of shares, those of each layer and token, as far as they were measured."""
        frobenius, along = (_wide(x) for x in (self.found.frobenius, self.found.along))
        sizes = _wide(self.found.input_norm)
        norms = {"": frobenius, "_along": along}
        norms["_scaled"] = None if frobenius is None or sizes is None else frobenius * sizes
        return {
            f"squared_share{name}": squared_shares(each)
            for name, each in norms.items()
            if each is not None
        }

    def ends(self, at: tuple[int, int]) -> tuple[float, float]:
        """What the operator norm is at least and at most: itself, or what its Frobenius norm tells.

        A matrix of rank r has an operator norm of its Frobenius norm at most, and of that over the
        root of r at least; an estimate is taken three standard errors lower and higher.
        """
        frobenius, spectral, error = self._numbers(at)
        if spectral is not None:
            return spectral, spectral
        spread = 3 * (error or 0.0)
        return max(frobenius - spread, 0.0) / math.sqrt(self.width), frobenius + spread

    def _numbers(self, at: tuple[int, int]) -> tuple[float, float | None, float | None]:
        layer, position = at
        error, spectral = self.found.standard_error, None
        # By what was asked for and not by what came out: a NaN that was measured stays one.
        if self.found.spectral is not None and layer in self.spectral:
            spectral = float(self.found.spectral[self.spectral.index(layer), position])
        return (
            float(self.found.frobenius[at]),
            spectral,
            None if error is None else float(error[at]),
        )


def _wide(norms: ArrayLike | None) -> np.ndarray | None:
    return None if norms is None else np.asarray(norms, np.float64)


def _at(norms: np.ndarray | None, at: tuple[int, int]) -> float | None:
    return None if norms is None else float(norms[at])


def influence_rows(
    model: LanguageModel,
    passage: Passage,
    found: Influence,
    bounds: Bounds,
    spectral: tuple[int, ...] = (),
) -> Iterator[dict[str, Value]]:
    """Layer by layer, token by token; the last row of a kind closes it.

    Args:
      model: The model.
      passage: What it read.
      found: Norms at all layers, operator norms at some.
      bounds: What stands beside them.
      spectral: The layers of the operator norms, in their order.
    """
    text = [model.tokenizer.token_text(token) for token in passage.tokens]
    measured = _Measured(found, model.decoder.config.model_dim, spectral)
    shares = measured.shares()
    for layer, position in np.ndindex(bounds.printed.shape):
        at = (layer, position)
        least, most = map(_log, measured.ends(at))
        yield {
            "text": passage.text,
            "offset": passage.offset,
            "layer": layer,
            "position": position,
            "token": passage.tokens[position],
            "token_text": text[position],
            **measured.row(at),
            **{name: float(each[at]) for name, each in shares.items()},
            "pi": float(bounds.pi[at]),
            "share": float(bounds.shares[layer]) if layer < len(bounds.shares) else None,
            **_against("printed", (least, most), float(bounds.printed[at])),
            **_against("repaired", (least, most), float(bounds.repaired[at])),
        }


def _log(norm: float) -> float:
    return math.log(norm) if norm > 0 else -math.inf if norm == 0 else math.nan


def _against(name: str, log_ends: tuple[float, float], log_bound: float) -> dict[str, Value]:
    """A bound, and by how much what was measured at least exceeds it."""
    over = [_decades(end, log_bound) for end in log_ends]
    verdict = _verdict(*over) if all(x < math.inf for x in (*log_ends, log_bound)) else NOT_FINITE
    return {f"log10_{name}": log_bound / math.log(10), f"log10_over_{name}": over[0], name: verdict}


def _decades(log_norm: float, log_bound: float) -> float:
    """From a bound up to a norm; none where both are zero."""
    both_zero = log_norm == log_bound == -math.inf
    return 0.0 if both_zero else (log_norm - log_bound) / math.log(10)


def _verdict(over_least: float, over_most: float) -> str:
    if over_most <= ROUNDING:
        return "within"
    return "exceeded" if over_least > ROUNDING else "undecided"
