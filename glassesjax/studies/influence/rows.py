"""Rows of the influence study: norms at each layer and token, with their bounds."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from glassesjax.model.pretrained import LanguageModel
from glassesjax.studies.influence.records import (
    AlongVector,
    BoundFields,
    InfluenceRow,
    Kind,
    Shares,
    Verdict,
)
from glassesjax.trace.influence import Influence
from glassesjax.trace.rollout import Rollout
from glassesjax.trace.shares import squared_shares

# In decades: both sides of a comparison are sums of many float32 numbers, relative error some 1e-4.
ROUNDING = 1e-4


class Passage(NamedTuple):
    """A passage of text and its source."""

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
    """Text that identifies a run's inputs, with fixed names that do not depend on class names."""
    each = (f"Passage(text={p.text!r}, offset={p.offset!r}, tokens={p.tokens!r})" for p in passages)
    return f"({', '.join(each)}{',' if len(passages) == 1 else ''})"


class Compared(NamedTuple):
    """What stands beside each measured norm; natural logarithms of the bounds."""

    pi: np.ndarray  # layers+1 seq
    shares: np.ndarray  # layers
    printed: np.ndarray | None  # layers+1 seq; None where the pass is rounded
    repaired: np.ndarray | None  # likewise


def log_bound(bound: Rollout) -> np.ndarray:
    """Natural logarithm of the bound for each layer and token; -inf where it is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):  # no share of an infinite scale is NaN
        profile = np.log(np.asarray(bound.profile, np.float64))
        return profile + np.asarray(bound.log_gains, np.float64)[..., None]


class _Measured(NamedTuple):
    """The derivatives' norms, each beside what is certain of the operator norm."""

    influence: Influence
    width: int
    spectral: tuple[int, ...]

    def along(self, at: tuple[int, int]) -> AlongVector | None:
        """What is measured along the vector of one token at one layer."""
        along, sizes = self.influence.along, self.influence.input_norm
        if along is None or sizes is None:
            return None
        error = self.influence.along_standard_error
        return AlongVector(
            along=float(along[at]),
            along_standard_error=None if error is None else float(error[at]),
            input_norm=float(sizes[at]),
        )

    def shares(self) -> Callable[[tuple[int, int]], Shares | None]:
        """The shares of one layer and token, where all conventions were measured."""
        along, sizes = self.influence.along, self.influence.input_norm
        if along is None or sizes is None:
            return lambda at: None
        # In reference precision, whatever the format of the derivatives.
        frobenius, along, sizes = (
            np.asarray(norms, np.float64) for norms in (self.influence.frobenius, along, sizes)
        )
        # (layers+1, seq) each, over the tokens of a layer
        plain, lengthwise, scaled = map(squared_shares, (frobenius, along, frobenius * sizes))
        return lambda at: Shares(
            squared_share=float(plain[at]),
            squared_share_along=float(lengthwise[at]),
            squared_share_scaled=float(scaled[at]),
        )

    def ends(self, at: tuple[int, int]) -> tuple[float, float]:
        """Lower and upper end of the operator norm: itself, or bounds by the Frobenius norm.

        A matrix of rank r has an operator norm of its Frobenius norm at most, and of that over the
        root of r at least; an estimate is taken three standard errors lower and higher.
        """
        frobenius, spectral, error = self.numbers(at)
        if spectral is not None:
            return spectral, spectral
        spread = 3 * (error or 0.0)  # NaN stays NaN: the verdict is ``not_finite``
        return max(frobenius - spread, 0.0) / math.sqrt(self.width), frobenius + spread

    def numbers(self, at: tuple[int, int]) -> tuple[float, float | None, float | None]:
        """Frobenius norm, operator norm where it was requested, standard error of an estimate."""
        layer, position = at
        error, spectral = self.influence.standard_error, None
        # By the settings and not by the values, so that a measured NaN stays one.
        if self.influence.spectral is not None and layer in self.spectral:
            spectral = float(self.influence.spectral[self.spectral.index(layer), position])
        return (
            float(self.influence.frobenius[at]),
            spectral,
            None if error is None else float(error[at]),
        )


def influence_rows(
    model: LanguageModel,
    passage: Passage,
    influence: Influence,
    compared: Compared,
    spectral: tuple[int, ...] = (),
    *,
    attention: Kind,
    last_finite: bool,
) -> Iterator[InfluenceRow]:
    """Layer by layer, token by token; the last row of a kind closes it.

    Args:
      model: The model.
      passage: What it read.
      influence: Norms at all layers, operator norms at some.
      compared: Rollout and bounds of the same passage.
      spectral: The layers of the operator norms, in their order.
      attention: Which kind of attention the derivatives are of.
      last_finite: Whether the last representation is finite.
    """
    text = [model.tokenizer.token_text(token) for token in passage.tokens]
    measured = _Measured(influence, model.decoder.config.model_dim, spectral)
    shares = measured.shares()
    # (layers+1, seq), the last axis fastest: the row that closes a kind comes last.
    for layer, position in np.ndindex(compared.pi.shape):
        at = (layer, position)
        frobenius, operator, error = measured.numbers(at)
        ends = least, most = measured.ends(at)
        yield InfluenceRow(
            prompt_tokens=len(passage.tokens),
            last_finite=last_finite,
            attention=attention,
            text=passage.text,
            offset=passage.offset,
            layer=layer,
            position=position,
            token=passage.tokens[position],
            token_text=text[position],
            frobenius=frobenius,
            standard_error=error,
            spectral=operator,
            at_least=least,
            at_most=most,
            along_vector=measured.along(at),
            shares=shares(at),
            rollout=float(compared.pi[at]),
            attention_share=(
                float(compared.shares[layer]) if layer < len(compared.shares) else None
            ),
            bounds=_bounds(ends, compared, at),
            # A bound may overflow without harm.
            finite=last_finite and math.isfinite(frobenius) and math.isfinite(most),
        )


def _bounds(
    ends: tuple[float, float], compared: Compared, at: tuple[int, int]
) -> BoundFields | None:
    """The bounds at one layer and token; None where the pass has none."""
    if compared.printed is None or compared.repaired is None:
        return None
    printed = _against(ends, float(compared.printed[at]))
    repaired = _against(ends, float(compared.repaired[at]))
    return BoundFields(
        log10_printed=printed.log10,
        log10_over_printed=printed.log10_over,
        printed=printed.verdict,
        log10_repaired=repaired.log10,
        log10_over_repaired=repaired.log10_over,
        repaired=repaired.verdict,
    )


class _Against(NamedTuple):
    """A bound, by how much what was measured at least exceeds it, and the verdict."""

    log10: float
    log10_over: float
    verdict: Verdict


def _against(ends: tuple[float, float], log_bound: float) -> _Against:
    log_ends = [math.log(end) if end > 0 else -math.inf if end == 0 else math.nan for end in ends]
    # Decades from the bound up to a norm; none where both are zero, whose difference is NaN.
    least, most = (
        0.0 if log_end == log_bound == -math.inf else (log_end - log_bound) / math.log(10)
        for log_end in log_ends
    )
    verdict: Verdict = "undecided"
    # A comparison with a NaN or an infinite number speaks of no statement.
    if not all(x < math.inf for x in (*log_ends, log_bound)):
        verdict = "not_finite"
    elif most <= ROUNDING:
        verdict = "within"
    elif least > ROUNDING:
        verdict = "exceeded"
    return _Against(log_bound / math.log(10), least, verdict)
