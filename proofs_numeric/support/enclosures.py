"""Certified instances on softmax and on Theorem 4.2: both sides enclosed in ball arithmetic.

The upper end of the left side and the lower end of the right side are reported, so that a verdict
needs no roundoff. Instances are generic: where a statement is an equality, balls cannot decide the
inequality, and the equality itself is checked to 2^-100.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from flint import arb

from glassesjax.model.config import Alibi, DecoderConfig, DenseMlp
from glassesjax.theory.norms import DUAL, Norm
from glassesjax.trace.constants import GELU_EXACT_LIPSCHITZ, GELU_LIPSCHITZ
from proofs_numeric.claim import Hypothesis, Measurement
from proofs_numeric.support.ball_decoder import BallDecoder, LayerBalls
from proofs_numeric.support.balls import (
    Balls,
    enclose,
    exp,
    gelu_lipschitz,
    greatest,
    in_balls,
    lower,
    midpoints,
    operator_norm,
    softmax,
    spread,
    total_variation,
    upper,
    vector_norm,
)

# To how much an identity is read; far below what float64 can tell.
IDENTITY = 2.0**-100


def certified(setting: str, left: arb, right: arb, **more: object) -> Measurement:
    """An inequality of two enclosures.

    Args:
      setting: What fixes the instance.
      left: The smaller side, as claimed.
      right: The larger one.
      **more: Other fields of the measurement.

    Returns:
      A measurement without roundoff: it holds only where the enclosures prove it.
    """
    ends = {"measured": upper(left), "bound": lower(right), "certified": True}
    return Measurement(setting=setting, **ends, **more)  # pyrefly: ignore[bad-argument-type]


def identity(setting: str, difference: arb, **more: object) -> Measurement:
    """An equality: its enclosed difference contains zero and nothing over 2^-100."""
    measured = abs(difference) if difference.contains(0) else arb.pos_inf()
    return certified(setting, measured, arb(IDENTITY), **more)


def finite(values: Balls, name: str = "finite logits") -> Hypothesis:
    """Counts entries that are not proved finite."""
    unknown = sum(not value.is_finite() for value in np.ravel(values))
    return Hypothesis(name=name, distance=float(unknown))


def stochastic(weights: Balls) -> Hypothesis:
    """How far sums over the last axis are from one."""
    distance = greatest(np.abs(np.sum(weights, axis=-1) - 1))
    return Hypothesis(name="weights sum to one", distance=upper(distance), allowed=IDENTITY)


def _pairs(length: int) -> Iterator[tuple[str, Balls, Balls]]:
    """Two rows of logits: a narrow pair, a wide one, and two of which only a few entries differ."""
    rng = np.random.default_rng(length)
    for scale in (1.0, 8.0):
        x, x_star = scale * rng.normal(size=(2, length))
        yield f"{scale=}", enclose(x), enclose(x_star)
    few = np.where(np.arange(length) < 2, 1.0, 0.0)
    yield "two entries differ", enclose(x), enclose(x + few * x_star)


@in_balls
def lem_b1() -> Iterator[Measurement]:
    """The drop of the last weight: the identity, and its bound."""
    for length in (2, 4, 16):  # for n = 1 the bound is an equality
        for scale, logits, _ in list(_pairs(length + 1))[:2]:
            name = f"n={length}, {scale}"
            without = np.delete(logits, -2)
            before, after = softmax(without)[-1], softmax(logits)
            drop, range_ = before * after[-2], spread(logits)  # before - after, in one product
            thinned = (-range_).exp()
            bound = 1 / ((1 + (length - 1) * thinned) * (1 + length * thinned))
            more = {"hypotheses": (finite(logits),), "size": length}
            yield identity(f"identity, {name}", before - after[-1] - drop, **more)
            yield certified(f"bound, {name}", drop, bound, **more)


@in_balls
def lem_b2() -> Iterator[Measurement]:
    """Bounds (a) to (d) on the total variation, and that (c) is at most (d)."""
    for length in (4, 16):
        for name, x, x_star in _pairs(length):
            distance = total_variation(softmax(x), softmax(x_star))
            change = x_star - x
            largest = greatest(np.abs(change))
            growth = spread(np.concatenate([x, x_star])).exp()
            partition = np.sum(exp(x)).max(np.sum(exp(x_star)))
            range_ = spread(change)
            sharp = 2 * (range_ / 4).tanh()
            more = {"hypotheses": (finite(np.r_[x, x_star]),), "size": length}
            for part, left, right in (
                ("a, partition", distance, 2 * np.sum(np.abs(exp(x) - exp(x_star))) / partition),
                ("b, mean", distance, 2 * growth * np.sum(np.abs(change)) / length),
                ("c, range", distance, sharp),
                ("c at most d", sharp, range_ / 2),
                ("d, half range", distance, range_ / 2),
                ("d, maximum", distance, largest),
            ):
                yield certified(f"{part}, n={length}, {name}", left, right, **more)


@in_balls
def prop_b4() -> Iterator[Measurement]:
    """Alternating rows: the distance is 2 tanh(1/2) at every even length."""
    for length in (2, 6, 64):
        x = enclose(np.arange(length) % 2)
        distance = total_variation(softmax(x), softmax(1 - x))
        difference = distance - 2 * (arb(1) / 2).tanh()
        more = {"hypotheses": (finite(x),), "size": length}
        yield identity(f"n={length}", difference, **more)


@in_balls
def dispersion() -> Iterator[Measurement]:
    """Both ends of the bracket of a softmax weight, at the least and the greatest one."""
    for length in (3, 16):
        for name, logits, _ in _pairs(length):
            weights, growth = softmax(logits), spread(logits).exp()
            more = {"hypotheses": (finite(logits),), "size": length}
            bound = 1 / (1 + (length - 1) / growth)
            yield certified(f"upper end, n={length}, {name}", greatest(weights), bound, **more)
            least = -greatest(-weights)
            floor = 1 / (1 + (length - 1) * growth)
            yield certified(f"lower end, n={length}, {name}", floor, least, **more)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows n and n + 1 of one layer, with the quantities of Theorem 4.2 in one norm."""

    decoder: BallDecoder
    index: int
    trace: LayerBalls
    norm: Norm

    def apart(self, rows: Balls) -> arb:
        return vector_norm(rows[-1] - rows[-2], self.norm)

    @property
    def attention(self) -> arb:
        """The sum over heads of R T."""
        return np.sum(self.radii * self.changes)

    @property
    def radii(self) -> Balls:
        """From the midrange, as any center will do; the center is taken to float64, exactly."""
        radii = []
        for points in self.trace.moved:
            values = midpoints(points)
            center = enclose((values.max(axis=0) + values.min(axis=0)) / 2)
            radii.append(greatest(np.array([vector_norm(p - center, self.norm) for p in points])))
        return np.array(radii)

    @property
    def changes(self) -> Balls:
        """T of each head."""
        weights = self.trace.weights
        moved = np.sum(np.abs(weights[:, -1, :-1] - weights[:, -2, :-1]), axis=-1)  # (heads,)
        return moved + self.own

    @property
    def own(self) -> Balls:
        return self.trace.weights[:, -1, -1]

    @property
    def mlp_factor(self) -> arb:
        """1 + sigma Lambda_2."""
        layer = self.decoder.layers[self.index]
        sizes = operator_norm(layer.up, self.norm) * operator_norm(layer.down, self.norm)
        slope = gelu_lipschitz("gelu") * sizes
        return 1 + slope * self.norm_lipschitz(self.trace.resid_mid, layer.gain2)

    def norm_lipschitz(self, rows: Balls, gain: Balls) -> arb:
        """Gain over the least size on the segment of the two rows."""
        start, step = rows[-2], rows[-1] - rows[-2]
        square = np.sum(step * step)
        # The nearest point's share of the way; any where the rows may be equal.
        share = arb(0).union(arb(1))
        if square > 0:
            share = (-np.sum(start * step) / square).max(arb(0)).min(arb(1))
        nearest = start + share * step
        spread_ = arb(1) if self.norm == 2 else (1 + arb(len(start)).sqrt()) / 2
        return spread_ * greatest(np.abs(gain)) / self.decoder.size(nearest)

    def query_lipschitz(self, head: int) -> arb:
        layer = self.decoder.layers[self.index]
        # (keys, s) (s, d) -> (keys, d): gradients of the logits in the normalized query row
        pulled = self.trace.key[head, :-1] @ layer.query[head]
        steepest = greatest(np.array([vector_norm(row, DUAL[self.norm]) for row in pulled]))
        lipschitz = self.norm_lipschitz(self.trace.resid, layer.gain1)
        return abs(arb(self.decoder.config.scale)) * steepest * lipschitz


@in_balls
def thm_4_2() -> Iterator[Measurement]:
    """(R1) to (R5) in each layer of a random decoder, their composition, and GELU's constants."""
    for kind, constant in (("gelu", GELU_LIPSCHITZ), ("gelu_exact", GELU_EXACT_LIPSCHITZ)):
        known = Hypothesis(name="finite constant", distance=0.0 if math.isfinite(constant) else 1.0)
        slope = gelu_lipschitz(kind)
        yield certified(f"greatest slope, {kind}", slope, arb(constant), hypotheses=(known,))
    positions = Alibi(slopes=(0.25, 0.0625))
    sizes = {"vocab_size": 2, "num_heads": 2, "model_dim": 4, "mlp": DenseMlp(dim=8)}
    decoder = BallDecoder.drawn(DecoderConfig(positions=positions, **sizes), seed=42)
    for length in (4, 6):
        resid = np.random.default_rng(length).normal(size=(length, 4))  # and the last row again
        _, traces = decoder.run(enclose(resid[[*range(length), -1]]))
        for norm in (1, 2, "inf"):
            yield from _collapse(decoder, traces, norm, length)


def _collapse(
    decoder: BallDecoder, traces: list[LayerBalls], norm: Norm, length: int
) -> Iterator[Measurement]:
    """(R1) to (R5) of each layer, and their composition."""
    first = traces[0].resid
    repeated = upper(vector_norm(first[-1] - first[-2], norm))
    equal = Hypothesis(name="equal last tokens", distance=repeated)
    composed = arb(0)
    for index, trace in enumerate(traces):
        rows = _Rows(decoder, index, trace, norm)
        more = {
            "hypotheses": (equal, finite(trace.logits), stochastic(trace.weights)),
            "size": length,
            "norm": str(norm),
        }
        where = f"layer={index}, n={length}, {norm=}"
        error = rows.apart(trace.resid)
        reach = error + rows.attention
        yield certified(f"R1, {where}", rows.apart(trace.resid_mid), reach, **more)
        out = rows.apart(trace.resid_out)
        yield certified(f"R2, {where}", out, rows.mlp_factor * reach, **more)
        for head, (change, own) in enumerate(zip(rows.changes, rows.own, strict=True)):
            last, next_ = trace.logits[head, -2, :-1], trace.logits[head, -1]
            range_ = spread(np.r_[last, next_])
            if index:  # of equal rows it is an equality, below
                sharp = 2 * (spread(next_[:-1] - last) / 4).tanh() + 2 * own
                yield certified(f"R3, {head=}, {where}", change, sharp, **more)
            moved = rows.query_lipschitz(head) * error + arb(decoder.slopes[head])
            bound = 2 * range_.exp() * moved + 2 * own
            yield certified(f"R4, {head=}, {where}", change, bound, **more)
            # The row has length + 1 tokens, of which the last is the copy.
            bound = 1 / (1 + length * (-range_).exp())
            yield certified(f"R5, {head=}, {where}", own, bound, **more)
        if not index:  # one shift of all logits and one more entry: T is twice its weight
            for head, apart in enumerate(rows.changes - 2 * rows.own):
                setting = f"R3 of equal rows, an equality, {head=}, n={length}, {norm=}"
                yield identity(setting, apart, **more)
        composed = rows.mlp_factor * (composed + rows.attention)
        yield certified(f"composed, layers={index + 1}, n={length}, {norm=}", out, composed, **more)
