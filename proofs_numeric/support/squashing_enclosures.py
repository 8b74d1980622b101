"""Certified instances on Theorem 5.1: exact Jacobians of small decoders against path sums.

The norm of a derivative is an upper end where a bound is checked, and a lower end where a printed
bound is refuted; the bounds are the opposite ends.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from flint import arb

from glassesjax.model import Mlp
from glassesjax.model.config import (
    Alibi,
    ConstantNorm,
    DecoderConfig,
    DenseMlp,
    IdentityMlp,
    LinearMlp,
    NoPositions,
    ZeroMlp,
)
from proofs_numeric.claim import Hypothesis, Measurement
from proofs_numeric.support.ball_decoder import BallDecoder, LayerBalls
from proofs_numeric.support.balls import (
    Balls,
    enclose,
    gelu_lipschitz,
    greatest,
    in_balls,
    least,
    lower,
    operator_norm,
    spread,
    upper,
    vector_norm,
)
from proofs_numeric.support.enclosures import IDENTITY, certified, finite, identity, stochastic

# How far below a true derivative a printed bound has to be, to be called false.
MARGIN = 2.0**-20


@dataclasses.dataclass(frozen=True)
class _Pass:
    """A pass and its derivative in each input row; 2-norms."""

    decoder: BallDecoder
    traces: list[LayerBalls]
    jacobian: Balls  # coordinate row coordinate
    frozen: Balls  # the same with constant weights

    @classmethod
    def of(cls, decoder: BallDecoder, length: int, *, freeze: bool = False) -> "_Pass":
        rng = np.random.default_rng(length)
        _, traces = decoder.run(enclose(rng.normal(size=(length, decoder.config.model_dim))))
        frozen = decoder.jacobian(traces, frozen=True)
        return cls(decoder, traces, frozen if freeze else decoder.jacobian(traces), frozen)

    @property
    def sensitivity(self) -> Balls:
        """Norm of the derivative in each row."""
        # (d, n, d) -> (n, d, d), a matrix a row
        return np.array([operator_norm(block, 2) for block in self.jacobian.transpose(1, 0, 2)])

    @property
    def sizes(self) -> Balls:
        """Divisors of all norms in all rows."""
        rows = [row for t in self.traces for row in (*t.resid, *t.resid_mid, *t.resid_out)]
        return np.array([self.decoder.size(row) for row in rows])

    @property
    def beta(self) -> arb:
        """Divisor of the norms, if it is a constant."""
        return self.betas[0, 0]

    @property
    def betas(self) -> Balls:
        """Divisors of the norms before attention: layers, rows."""
        return np.array([[self.decoder.size(row) for row in t.resid] for t in self.traces])

    def sigma(self, index: int) -> arb:
        """Lipschitz constant of a layer's MLP."""
        layer, mlp = self.decoder.layers[index], self.decoder.config.mlp
        match mlp:
            case ZeroMlp():
                return arb(0)
            case IdentityMlp(sigma=sigma):
                return abs(arb(sigma))
            case LinearMlp():
                return operator_norm(layer.down, 2)
            case DenseMlp(activation="gelu" | "gelu_exact" as activation):
                sizes = operator_norm(layer.up, 2) * operator_norm(layer.down, 2)
                return gelu_lipschitz(activation) * sizes
        raise ValueError(f"Expected an MLP with a Lipschitz constant, got {mlp}.")

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """Those of Theorem 5.1."""
        varied = upper(spread(self.sizes))
        weights = np.concatenate([t.weights for t in self.traces])
        return (
            Hypothesis(name="constant norms", distance=varied),
            Hypothesis(
                name="what the weights' own derivative adds",
                distance=self.dependence,
                allowed=IDENTITY,
            ),
            stochastic(weights),
            finite(np.ravel(self.jacobian), "finite derivative"),
        )

    @property
    def dependence(self) -> float:
        """What the weights' own derivative adds at most: the upper end of the largest entry."""
        return upper(greatest(np.abs(self.jacobian - self.frozen)))


def _path_sum(passed: _Pass, take: arb, keep: arb) -> Balls:
    """Last row of the product of (take weights + keep I), the last layer leftmost."""
    row = enclose(np.eye(len(passed.traces[0].resid))[-1])
    for measured in reversed(passed.traces):  # row times matrix, not a product of matrices
        row = take * (row @ measured.weights[0]) + keep * row
    return row


def _path_bound(passed: _Pass) -> Balls:
    """The bound with the constants of the proof."""
    beta = passed.beta
    constant = 1 / beta
    for index in range(len(passed.traces)):
        constant *= 1 + passed.sigma(index) / beta
    return constant * _path_sum(passed, 1 / beta, arb(1))


def _config(mlp: Mlp, *, layers: int, beta: float, attn_scale: float = 0.5) -> DecoderConfig:
    """The paper's model: one head, no value or output matrix, norms that divide by a constant."""
    return DecoderConfig(
        vocab_size=2,
        num_layers=layers,
        model_dim=4,
        values="identity",
        norm=ConstantNorm(beta=beta),
        mlp=mlp,
        attn_scale=attn_scale,
    )


@in_balls
def thm_5_1() -> Iterator[Measurement]:
    """The proof's bound at each token: constant weights, and weights independent of values."""
    for mlp, layers in (
        (DenseMlp(dim=8), 1),
        (DenseMlp(activation="gelu_exact", dim=8), 2),
        (LinearMlp(), 3),
    ):
        config = _config(mlp, layers=layers, beta=1.5, attn_scale=2.0)
        passed = _Pass.of(BallDecoder.drawn(config, seed=layers), 5, freeze=True)
        yield from _below(f"{mlp.kind}, {layers=}, held fixed", passed, _path_bound(passed))
    config = _config(IdentityMlp(sigma=0.75), layers=3, beta=1.5, attn_scale=2.0)
    passed = _Pass.of(BallDecoder.drawn(config, seed=3), 5, freeze=True)
    more = {"hypotheses": passed.hypotheses, "size": 5}
    for token, bound in enumerate(_path_bound(passed)):
        apart = np.sum(np.abs(passed.jacobian[:, token] - bound * enclose(np.eye(4))))
        yield identity(f"MLP 0.75 times the identity, an equality, {token=}", apart, **more)
    # Queries of zero leave ALiBi alone to make the weights: they do not depend on the values.
    config = _config(DenseMlp(dim=8), layers=2, beta=1.5)
    tilted = dataclasses.replace(config, positions=Alibi(slopes=(0.5,)))
    decoder = BallDecoder.drawn(tilted, seed=2)
    blind = tuple(layer._replace(query=layer.query * 0) for layer in decoder.layers)
    passed = _Pass.of(dataclasses.replace(decoder, layers=blind), 5)
    yield from _below("gelu, layers=2, queries of zero", passed, _path_bound(passed))


def _below(setting: str, passed: _Pass, bound: Balls) -> Iterator[Measurement]:
    more = {"hypotheses": passed.hypotheses, "size": len(bound), "norm": "2"}
    for token, (left, right) in enumerate(zip(passed.sensitivity, bound, strict=True)):
        yield certified(f"{setting}, {token=}", left, right, **more)


def _block_bound(passed: _Pass, index: int) -> Balls:
    """Norms of one layer's derivative, row by row, for attention that depends on the values.

    Row j, column i is at most 1 + sigma / beta2 times

        alpha_ji (|W| + |W x_i - u_j| |W_K^T q_j| scale) / beta1, summed over the heads,

    and on the diagonal one and |Cov_j W_Q| scale / beta1 are added.
    """
    decoder, measured, layer = passed.decoder, passed.traces[index], passed.decoder.layers[index]
    scale = abs(arb(decoder.config.scale))
    slopes = 1 / (passed.betas[index] / greatest(np.abs(layer.gain1)))  # of norm1 at each row
    bounds = np.full((len(slopes), len(slopes)), arb(0), dtype=object)
    for head, moved in enumerate(layer.moved):
        width = operator_norm(moved, 2)
        for j, mean in enumerate(measured.mean[head]):
            steep = vector_norm(measured.query[head, j] @ layer.key[head], 2) * scale
            weights, from_mean = measured.weights[head, j], measured.moved[head] - mean
            for i in range(j + 1):
                reach = width + vector_norm(from_mean[i], 2) * steep
                bounds[j, i] += slopes[i] * weights[i] * reach
            # (a, k) (k, s) -> (a, s): of the moved rows and the keys, by the weights
            covariance = (weights[:, None] * from_mean).T @ measured.key[head]
            bounds[j, j] += slopes[j] * operator_norm(covariance @ layer.query[head], 2) * scale
    bounds = bounds + enclose(np.eye(len(slopes)))
    sizes = np.array([decoder.size(row) for row in measured.resid_mid])
    after = 1 + passed.sigma(index) * greatest(np.abs(layer.gain2)) / sizes
    return after[:, None] * bounds


@in_balls
def thm_5_1_true() -> Iterator[Measurement]:
    """The repaired block bound: the full derivative of a decoder with heads and true norms."""
    for layers in (1, 2):
        for scale in (0.5, 4.0):
            config = DecoderConfig(
                vocab_size=2,
                num_layers=layers,
                num_heads=2,
                model_dim=4,
                mlp=DenseMlp(dim=8),
                attn_scale=scale,
                positions=NoPositions() if layers == 1 else Alibi(slopes=(0.5, 0.125)),
            )
            passed = _Pass.of(BallDecoder.drawn(config, seed=layers), 4)
            yield from _repaired(f"{layers=}, {scale=}", passed)
    config = _config(ZeroMlp(), layers=1, beta=1.5, attn_scale=2.0**-6)
    config = dataclasses.replace(config, values="projected")
    passed = _Pass.of(BallDecoder.drawn(config, seed=5), 4)
    yield from _repaired("nearly uniform attention, no MLP", passed)


def _repaired(setting: str, passed: _Pass) -> Iterator[Measurement]:
    last = passed.traces[-1].resid_out[-1]
    row = enclose(np.eye(len(passed.traces[0].resid))[-1])
    # The last norm's derivative is at most its gain over its divisor.
    row = row * greatest(np.abs(passed.decoder.gain)) / passed.decoder.size(last)
    for index in reversed(range(len(passed.traces))):
        row = row @ _block_bound(passed, index)
    smallest = lower(least(passed.sizes))
    more = {
        "hypotheses": (
            Hypothesis(name="divisors that are not positive", distance=float(not smallest > 0)),
            finite(np.ravel(passed.jacobian), "finite derivative"),
            stochastic(np.concatenate([t.weights for t in passed.traces])),
        ),
        "size": len(row),
        "norm": "2",
    }
    for token, (left, right) in enumerate(zip(passed.sensitivity, row, strict=True)):
        yield certified(f"{setting}, {token=}", left, right, **more)


def _refuted(setting: str, passed: _Pass, printed: Balls, **more: object) -> Iterator[Measurement]:
    """That the printed bound is clearly below the derivative."""
    for token, (left, right) in enumerate(zip(printed, passed.sensitivity, strict=True)):
        right = right * (1 - MARGIN)
        yield certified(f"{setting}, {token=}", left, right, size=len(printed), norm="2", **more)


@in_balls
def err_e07() -> Iterator[Measurement]:
    """Theorem B.5's prefactor sigma^L: without an MLP it is zero, and the derivative is not."""
    for mlp in (ZeroMlp(), IdentityMlp(sigma=0.5)):
        passed = _Pass.of(
            BallDecoder.drawn(_config(mlp, layers=2, beta=1.0), seed=7), 5, freeze=True
        )
        # As printed: the product of sigmas, and a sum of weights plus the identity over beta.
        sigmas = passed.sigma(0) * passed.sigma(1)
        printed = sigmas * _path_sum(passed, 1 / passed.beta, 1 / passed.beta)
        yield from _refuted(f"MLP {mlp.kind}", passed, printed, hypotheses=passed.hypotheses)


@in_balls
def err_e10() -> Iterator[Measurement]:
    """The proof's own bound with attention that depends on the values: below the derivative."""
    for layers, attn_scale in ((1, 3.0), (2, 6.0)):
        config = _config(ZeroMlp(), layers=layers, beta=1.0, attn_scale=attn_scale)
        passed = _Pass.of(BallDecoder.drawn(config, seed=3), 5)
        constant, _, *others = passed.hypotheses
        added = lower(greatest(np.abs(passed.jacobian - passed.frozen)))
        still = max(0.0, MARGIN - added)  # turned round: the weights must move
        moves = Hypothesis(name="what the weights' derivative adds, below 2^-20", distance=still)
        more = {"hypotheses": (constant, moves, *others)}
        measured = _refuted(f"{layers=}, {attn_scale=}", passed, _path_bound(passed), **more)
        # One token is enough to refute a bound; the clearest.
        yield max(measured, key=lambda each: each.bound / each.measured)
