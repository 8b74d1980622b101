"""A small decoder in ball arithmetic, with its derivative by hand; it shares no code with JAX's.

Axes: ``j`` query, ``i`` and ``k`` keys, ``h`` head, ``s`` head width, ``a`` out, ``b`` and ``d``
in, both of the model's width.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from flint import arb

from glassesjax.model import GatedMlp, IdentityMlp, LinearMlp, ZeroMlp
from glassesjax.model.config import (
    Alibi,
    Causal,
    ConstantNorm,
    ConstantTemperature,
    DecoderConfig,
    NoNorm,
    NoPositions,
    RMSNorm,
)
from proofs_numeric.support.balls import Balls, enclose, gelu_taylor, softmax


class BallLayer(NamedTuple):
    """Weights of one layer, exact."""

    query: Balls  # heads s d
    key: Balls  # heads s d
    moved: Balls  # heads a d: output times value matrix
    up: Balls  # f d
    down: Balls  # a f
    gain1: Balls  # d
    gain2: Balls  # d


class LayerBalls(NamedTuple):
    """Intermediate values of one layer for one sequence, as balls."""

    resid: Balls  # j d: v
    x: Balls  # j d: norm1(v)
    query: Balls  # heads j s
    key: Balls  # heads k s
    logits: Balls  # heads j k: also those that the mask hides
    weights: Balls  # heads j k: zero where hidden
    moved: Balls  # heads k a: W x_k
    mean: Balls  # heads j a: u_j, the weighted mean of these
    resid_mid: Balls  # j d: z
    resid_out: Balls  # j d


@dataclasses.dataclass(frozen=True, kw_only=True)
class BallDecoder:
    """Settings of the library's decoder, and its weights in balls."""

    config: DecoderConfig
    layers: tuple[BallLayer, ...]
    gain: Balls  # d: of the last norm

    def __post_init__(self) -> None:
        config = self.config
        switches = config.block, config.norm_place, config.qk_norm, config.residual_weight
        plain = switches == ("sequential", "before", "none", None)
        bare = not (config.qkv_bias or config.bias) and config.attn_softcap is None
        ungrouped = config.kv_heads == config.num_heads
        known = (
            isinstance(config.positions, NoPositions | Alibi)
            and isinstance(config.mask, Causal)
            and isinstance(config.norm, NoNorm | ConstantNorm | RMSNorm)
            and isinstance(config.temperature, ConstantTemperature)
            and not isinstance(config.mlp, GatedMlp)
        )
        if not (plain and bare and ungrouped and known):
            expected = "Expected a causal, sequential decoder without biases, soft caps or groups"
            known = "positions, norm, temperature and MLP"
            raise ValueError(f"{expected}, with {known} that balls support, got {config}.")

    @classmethod
    def drawn(cls, config: DecoderConfig, seed: int) -> "BallDecoder":
        """A generic decoder: float64 weights, of variance one over their input's width."""
        rng = np.random.default_rng(seed)
        dim, heads, width = config.model_dim, config.num_heads, config.value_dim
        draw = lambda *shape: rng.normal(size=shape) / np.sqrt(shape[-1])
        layers = []
        for _ in range(config.num_layers):
            weights = {
                "query": draw(heads, config.key_dim, dim),
                "key": draw(heads, config.key_dim, dim),
                "value": draw(heads, width, dim),
                "output": draw(heads, dim, width),
                "up": draw(config.mlp_dim, dim),
                "down": draw(dim, dim if isinstance(config.mlp, LinearMlp) else config.mlp_dim),
            }
            if config.values == "identity":  # each head reads and writes its own slice
                weights["value"] = np.eye(dim).reshape(heads, width, dim)
                weights["output"] = weights["value"].transpose(0, 2, 1)
            gains = (1 + rng.normal(size=dim) / 8, 1 + rng.normal(size=dim) / 8)
            layers.append(layer_balls(weights, *gains, config))
        return cls(config=config, layers=tuple(layers), gain=gain_balls(np.ones(dim), config))

    def run(self, resid: Balls) -> tuple[Balls, list[LayerBalls]]:
        """Last representations of a residual stream, and the layers' intermediate values."""
        distance = np.abs(np.subtract.outer(np.arange(len(resid)), np.arange(len(resid))))
        penalty = enclose(self.slopes)[:, None, None] * enclose(distance)[None]  # h j k
        traces = []
        for layer in self.layers:
            x = self.normalize(resid, layer.gain1)
            query = np.einsum("jd,hsd->hjs", x, layer.query)
            key = np.einsum("kd,hsd->hks", x, layer.key)
            moved = np.einsum("kd,had->hka", x, layer.moved)
            products = np.einsum("hjs,hks->hjk", query, key)
            logits = products * arb(self.config.scale) - penalty
            # Hidden weights are exact zeros, with no logit of minus infinity.
            weights = np.full(logits.shape, arb(0), dtype=object)
            for j in range(len(x)):
                weights[:, j, : j + 1] = softmax(logits[:, j, : j + 1])
            mean = np.einsum("hjk,hka->hja", weights, moved)
            mid = resid + np.sum(mean, axis=0)  # heads are added up
            inner = self.normalize(mid, layer.gain2)
            out = mid + np.stack([self._mlp(layer, row)[0] for row in inner])
            traces.append(LayerBalls(resid, x, query, key, logits, weights, moved, mean, mid, out))
            resid = out
        return self.normalize(resid, self.gain), traces

    @property
    def slopes(self) -> tuple[float, ...]:
        """ALiBi's slope of each head; zeros where there is none."""
        positions, heads = self.config.positions, self.config.num_heads
        if not isinstance(positions, Alibi):
            return (0.0,) * heads
        if isinstance(positions.slopes, tuple):
            return positions.slopes
        # By the reference rule the heads beyond a power of two lie between those of the ladder.
        ladder = heads
        if positions.slopes == "reference":
            ladder = max(2**k for k in range(heads.bit_length()) if 2**k <= heads)
        beyond = (2.0 ** (-8 * (h + 0.5) / ladder) for h in range(heads - ladder))
        return (*(2.0 ** (-8 * (h + 1) / ladder) for h in range(ladder)), *beyond)

    def size(self, row: Balls) -> arb:
        """The divisor of a norm."""
        match self.config.norm:
            case ConstantNorm(beta=beta):
                return arb(beta)
            case RMSNorm(eps=eps):
                return (np.sum(row * row) / len(row) + arb(eps)).sqrt()
        return arb(1)

    def normalize(self, rows: Balls, gain: Balls) -> Balls:
        """The rows after a norm of a given gain."""
        return np.stack([gain * row / self.size(row) for row in rows])

    def norm_jacobian(self, row: Balls, gain: Balls) -> Balls:
        """Derivative of a normalized row in the row: diag(g) (I - x x^T / (d r^2)) / r."""
        size, dim = self.size(row), len(row)
        bracket = enclose(np.eye(dim))
        if isinstance(self.config.norm, RMSNorm):
            bracket = bracket - row[:, None] * row[None, :] / (dim * size * size)
        return gain[:, None] * bracket / size

    def _mlp(self, layer: BallLayer, row: Balls) -> tuple[Balls, Balls]:
        """The MLP's value at one row, and its derivative there: [coordinate, coordinate]."""
        match self.config.mlp:
            case ZeroMlp():
                matrix = enclose(np.zeros((len(row), len(row))))
            case IdentityMlp(sigma=sigma):
                matrix = enclose(np.eye(len(row))) * arb(sigma)
            case LinearMlp():
                matrix = layer.down
            case mlp:
                kind: Any = mlp.kind
                taylor = [gelu_taylor(ball, kind) for ball in layer.up @ row]
                value, slope = (np.array(each) for each in zip(*taylor, strict=True))
                return layer.down @ value, layer.down @ (slope[:, None] * layer.up)
        return matrix @ row, matrix

    def block_jacobian(self, index: int, trace: LayerBalls, *, frozen: bool) -> Balls:
        """Derivative of each row after a layer in each row before it.

        Args:
          index: Which layer.
          trace: Its intermediate values.
          frozen: Whether the attention weights are constants of the derivative.

        Returns:
          Blocks by [row after, coordinate, row before, coordinate].
        """
        layer = self.layers[index]
        one, identity = enclose(np.eye(len(trace.x))), enclose(np.eye(trace.x.shape[1]))
        in_x = np.einsum("hji,hab->jaib", trace.weights, layer.moved)
        if not frozen:
            # Softmax: a weight's derivative in its logit moves the mean by alpha (W x_k - u_j).
            scale = arb(self.config.scale)
            from_mean = trace.moved[:, None] - trace.mean[:, :, None]  # h j k a
            pulled = trace.weights[..., None] * from_mean * scale
            # Each row enters the logits as a key; the query's own row as a query, too.
            by_key = np.einsum("hjs,hsb->hjb", trace.query, layer.key)
            by_query = np.einsum("hks,hsb->hkb", trace.key, layer.query)
            in_x = in_x + np.einsum("hjia,hjb->jaib", pulled, by_key)
            own = np.einsum("hjka,hkb->jab", pulled, by_query)
            in_x = in_x + np.einsum("ji,jab->jaib", one, own)
        norms1 = np.stack([self.norm_jacobian(row, layer.gain1) for row in trace.resid])
        mid = np.einsum("jaib,ibd->jaid", in_x, norms1)
        mid = mid + np.einsum("ji,ad->jaid", one, identity)
        inner = self.normalize(trace.resid_mid, layer.gain2)
        slopes = [self._mlp(layer, row)[1] for row in inner]
        norms2 = [self.norm_jacobian(row, layer.gain2) for row in trace.resid_mid]
        # j a b: the MLP works on each row by itself
        after = np.stack([identity + s @ n for s, n in zip(slopes, norms2, strict=True)])
        return np.einsum("jab,jbid->jaid", after, mid)

    def jacobian(self, traces: list[LayerBalls], *, frozen: bool = False) -> Balls:
        """Derivative of the last representation in each row of the residual stream.

        Args:
          traces: The layers' intermediate values.
          frozen: Whether the attention weights are constants, as Theorem 5.1 presumes.

        Returns:
          One matrix for each row: [coordinate, row, coordinate].
        """
        last = traces[-1].resid_out[-1]
        rows, dim = traces[0].resid.shape
        through = np.full((dim, rows, dim), arb(0), dtype=object)
        through[:, -1] = self.norm_jacobian(last, self.gain)
        for index in reversed(range(len(traces))):  # from the output: one row, not all of them
            block = self.block_jacobian(index, traces[index], frozen=frozen)
            through = np.einsum("ajb,jbid->aid", through, block)
        return through


def gain_balls(values: np.ndarray, config: DecoderConfig) -> Balls:
    """Gains, of the norm that has them; the others leave them out."""
    if not isinstance(config.norm, RMSNorm):
        return enclose(np.ones(config.model_dim))
    return enclose(values) + arb(config.norm.offset)


def layer_balls(
    weights: dict[str, np.ndarray], gain1: np.ndarray, gain2: np.ndarray, config: DecoderConfig
) -> BallLayer:
    """One layer's weights in balls.

    Args:
      weights: query, key and value by [head, out, in], output by [head, out, in], up and down.
      gain1: Of the norm before attention, without its offset.
      gain2: Of the norm before the MLP.
      config: Configuration with the kind of norm.

    Returns:
      The same weights as exact balls.
    """
    value, output = enclose(weights["value"]), enclose(weights["output"])
    return BallLayer(
        query=enclose(weights["query"]),
        key=enclose(weights["key"]),
        moved=np.einsum("has,hsd->had", output, value),
        up=enclose(weights["up"]),
        down=enclose(weights["down"]),
        gain1=gain_balls(gain1, config),
        gain2=gain_balls(gain2, config),
    )
