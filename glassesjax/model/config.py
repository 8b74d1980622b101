"""Settings of a decoder: each switch is a small frozen value that chooses one short function."""

import dataclasses
import itertools
import math
from typing import ClassVar, Literal

from glassesjax.arrays import Array, DType
from glassesjax.borders import COUNT, NON_NEGATIVE, POSITIVE, SHARE, check_fields
from glassesjax.errors import BadInput

TRIED = 8  # positions at which a mask is tried


def _require(holds: bool, wanted: str, found: str) -> None:
    if not holds:
        raise ValueError(f"{wanted}, got {found}.")


class Positions:
    """Positions of a decoder: a frozen dataclass that overrides what it does.

    One of your own needs one class. Instruments call the methods that they need, and raise an error
    by name for a class that turns or biases without them (``rotation``, ``linear_bias``).
    """

    @property
    def table_rows(self) -> int:
        """How many positions have a trained vector, which is added to the embedding."""
        return 0

    def in_layer(self, layer: Array | None) -> "Positions":
        """The positions of one layer, by its number; itself where all layers have the same."""
        return self

    def check(self, config: "DecoderConfig") -> None:
        """Raises ValueError where the sizes of a decoder do not fit."""

    def embed(self, position: Array, dim: int, dtype: DType) -> Array | None:
        """What is added to the embedding: a vector of width ``dim`` for each position, or None."""

    def turn(self, x: Array, position: Array) -> Array:
        """Queries or keys [seq, heads, head_dim] with their positions in them."""
        return x

    def bias(self, num_heads: int, query: Array, key: Array, dtype: DType) -> Array | None:
        """What is added to the logits of pairs of positions, [heads, query, key], or None.

        Query positions come as [#heads, query, 1], those of keys as [#heads, 1, key].
        """

    def rotation(self, length: int, head_dim: int, dtype: DType) -> Array:
        """The derivative of ``turn``, transposed: a matrix for each position, or one for all."""
        import jax.numpy as jnp

        self._require(type(self).turn is Positions.turn, "rotation")
        return jnp.eye(head_dim, dtype=dtype)[None]  # (1, head_dim, head_dim): of all positions

    def linear_bias(self, num_heads: int, dtype: DType) -> Array:
        """What each head subtracts from a logit for each token of distance, [heads]."""
        import jax.numpy as jnp

        self._require(type(self).bias is Positions.bias, "linear_bias")
        return jnp.zeros(num_heads, dtype)

    def _require(self, absent: bool, method: str) -> None:
        if not absent:
            wanted = f"Expected positions with a method {method}, which this instrument needs"
            raise BadInput(f"{wanted}, got {type(self).__name__}: give it one.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPositions(Positions):
    """No positional information beside the mask."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sinusoidal(Positions):
    """Sines and cosines of the position, added to the embedding or to queries and keys."""

    base: float = 10_000.0
    """Longest wavelength over 2 pi; positive."""
    where: Literal["embedding", "query_key"] = "embedding"
    """Added once to the embedding, or in each layer to every head's query and key."""

    def __post_init__(self) -> None:
        check_fields(self, "Sinusoidal", base=POSITIVE)

    def check(self, config: "DecoderConfig") -> None:
        # A sine and a cosine of each frequency.
        name = "model_dim" if self.where == "embedding" else "head_dim"
        width = config.model_dim if self.where == "embedding" else config.key_dim
        _require(width % 2 == 0, f"Sinusoidal needs an even {name}", f"{width}")

    def embed(self, position: Array, dim: int, dtype: DType) -> Array | None:
        from glassesjax.model.positions import sinusoidal

        return sinusoidal(position, dim, self.base, dtype) if self.where == "embedding" else None

    def turn(self, x: Array, position: Array) -> Array:
        from glassesjax.model.positions import sinusoidal

        if self.where == "embedding":
            return x
        # (seq, head_dim) -> (seq, 1, head_dim): the same in all heads
        return x + sinusoidal(position, x.shape[-1], self.base, x.dtype)[:, None, :]

    def rotation(self, length: int, head_dim: int, dtype: DType) -> Array:
        import jax.numpy as jnp

        return jnp.eye(head_dim, dtype=dtype)[None]  # a translation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned(Positions):
    """A trained vector for each position, added to the embedding."""

    max_length: int = 1024
    """Number of positions that have a vector."""

    def __post_init__(self) -> None:
        check_fields(self, "Learned", max_length=COUNT)

    @property
    def table_rows(self) -> int:
        return self.max_length


LEAST_DIVISOR = 2.0**-32  # angles of all int32 positions are finite in float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary(Positions):
    """Rotation of query and key pairs by an angle proportional to the position (RoPE)."""

    base: float = 10_000.0
    """Base of the geometric ladder of wavelengths; positive."""
    fraction: float = 1.0
    """Share of the head's coordinates that rotate, the highest frequencies first; in [0, 1]."""
    scale: float = 1.0
    """Positions are divided by this (linear interpolation of positions)."""
    style: Literal["half", "interleaved"] = "half"
    """Which coordinates form a pair: i with i + rotated / 2, or 2 i with 2 i + 1."""
    partial: Literal["head", "spectrum"] = "head"
    """What a fraction below 1 leaves out: the head's last coordinates (as GPT-NeoX), with a full
    ladder on the rest; or the lowest frequencies of the full ladder (p-RoPE)."""
    divisors: tuple[float, ...] = ()
    """By what each frequency is divided, highest first, beside ``scale``: one number for each pair
    that rotates (Llama 3, YaRN, LongRoPE: ``model.rope_scaling``); empty for one in all."""
    attention_factor: float = 1.0
    """Factor on the rotated coordinates of queries and keys (YaRN, LongRoPE). Where all rotate,
    its square in ``attn_scale`` is the same and keeps the rotation orthogonal."""

    def __post_init__(self) -> None:
        positive = dict.fromkeys(("base", "scale", "divisors", "attention_factor"), POSITIVE)
        check_fields(self, "Rotary", fraction=SHARE, **positive)
        smallest = min((self.base, self.scale, *self.divisors))
        wanted = "Rotary needs base, scale and divisors from 2^-32, so that angles are finite"
        _require(smallest >= LEAST_DIVISOR, wanted, f"{smallest}")

    def check(self, config: "DecoderConfig") -> None:
        wanted = "Rotary needs an even number of rotated coordinates"
        rotated = self.rotated_dim(config.key_dim)
        _require(rotated % 2 == 0, wanted, f"{rotated}")
        # p-RoPE pairs all coordinates of the head, whatever the fraction.
        whole = self.partial == "head" or config.key_dim % 2 == 0
        _require(whole, "p-RoPE needs an even head_dim", f"{config.key_dim}")
        given = len(self.divisors) or rotated // 2
        wanted = "Rotary.divisors needs one number for each pair that rotates"
        _require(given == rotated // 2, wanted, f"{given} for {rotated // 2} pairs")

    def turn(self, x: Array, position: Array) -> Array:
        from glassesjax.model.positions import rotate

        return rotate(x, position, self)

    def rotation(self, length: int, head_dim: int, dtype: DType) -> Array:
        import jax.numpy as jnp

        # Each basis vector as a head of its own, (length, head_dim, head_dim): ``turn`` is linear,
        # so the turned rows are the columns of the rotation, its transpose.
        basis = jnp.broadcast_to(jnp.eye(head_dim, dtype=dtype), (length, head_dim, head_dim))
        return self.turn(basis, jnp.arange(length, dtype=jnp.int32))

    def rotated_dim(self, head_dim: int) -> int:
        """Number of a head's coordinates that turn.

        Args:
          head_dim: Width of the head; positive.

        Returns:
          The whole number nearest to the fraction times the width.
        """
        # Cutting off would lose one where the product is just below it, as for 30 / 44.
        return round(self.fraction * head_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alibi(Positions):
    """A penalty on the attention logit, linear in the distance, with one slope per head."""

    slopes: tuple[float, ...] | Literal["reference", "geometric"] = "reference"
    """One slope per head, non-negative; or by a rule. ``geometric``: 2^(-8 (h + 1) / heads).
    ``reference``: the same for heads a power of two; else the ladder of the power below, then
    every other slope of the one above (Press et al., arXiv 2108.12409, their published code)."""

    def __post_init__(self) -> None:
        check_fields(self, "Alibi", slopes=NON_NEGATIVE)

    def check(self, config: "DecoderConfig") -> None:
        given = config.num_heads if isinstance(self.slopes, str) else len(self.slopes)
        wanted = "Alibi.slopes needs one slope per head"
        _require(given == config.num_heads, wanted, f"{given} for num_heads={config.num_heads}")

    def bias(self, num_heads: int, query: Array, key: Array, dtype: DType) -> Array | None:
        distance = abs(query - key).astype(dtype)
        # (heads) -> (heads, 1, 1), against (#heads, query, key)
        return -self.linear_bias(num_heads, dtype)[:, None, None] * distance

    def linear_bias(self, num_heads: int, dtype: DType) -> Array:
        from glassesjax.model.positions import alibi_slopes

        return alibi_slopes(self, num_heads, dtype)


class Mask:
    """Which tokens a token sees: a frozen dataclass with ``sees`` and ``receptive_field``."""

    causal: ClassVar[bool] = False
    """Whether no token sees a later one, so that prompts share the rows of their prefixes."""

    def in_layer(self, layer: Array | None) -> "Mask":
        """The mask of one layer, by its number; itself where all layers have the same."""
        return self

    def sees(self, query: Array | int, key: Array | int) -> Array | bool:
        """Whether a query at a position sees a key at another of the same prompt; they broadcast.

        Every token sees itself. Works on whole numbers, too: ``causal`` is tried on some.
        """
        raise self._lacks("sees")

    def receptive_field(self, position: Array, length: int) -> tuple[Array, Array]:
        """First and last position that each of a prompt of some length sees, inclusive."""
        raise self._lacks("receptive_field")

    def check(self, config: "DecoderConfig") -> None:
        """Raises ValueError where ``sees`` contradicts ``causal`` at the first positions."""
        # On Python integers, so that no array is made before JAX is needed.
        few = range(TRIED)
        for query, key in itertools.product(few, few):
            sees = bool(self.sees(query, key))
            later = self.causal and key > query
            if (sees and later) or not (sees or key != query):
                wanted = "a causal mask to hide later tokens" if later else "a token to see itself"
                _require(False, f"Expected {wanted}", f"{self} at positions {query} and {key}")

    def _lacks(self, method: str) -> BadInput:
        wanted = f"Expected a mask with a method {method}, which this instrument needs"
        return BadInput(f"{wanted}, got {type(self).__name__}: give it one.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Causal(Mask):
    """Each token sees itself and all tokens before it."""

    causal: ClassVar[bool] = True

    def sees(self, query: Array | int, key: Array | int) -> Array | bool:
        return key <= query

    def receptive_field(self, position: Array, length: int) -> tuple[Array, Array]:
        return 0 * position, position  # a zero for each position, in its type


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bidirectional(Mask):
    """Each token sees all tokens (Proposition 6.1 needs it)."""

    def sees(self, query: Array | int, key: Array | int) -> Array | bool:
        return (key <= query) | (key > query)  # true, in the shape that they broadcast to

    def receptive_field(self, position: Array, length: int) -> tuple[Array, Array]:
        return 0 * position, 0 * position + length - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(Mask):
    """Each token sees itself and the ``width - 1`` tokens before it."""

    width: int

    def __post_init__(self) -> None:
        check_fields(self, "Window", width=COUNT)

    causal: ClassVar[bool] = True

    def sees(self, query: Array | int, key: Array | int) -> Array | bool:
        return (key <= query) & (query - key < self.width)

    def receptive_field(self, position: Array, length: int) -> tuple[Array, Array]:
        # A width over the length may not fit into the positions' int32.
        return (position - min(self.width, length) + 1).clip(0), position


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prefix(Mask):
    """Causal, but the first ``length`` tokens are seen by all, themselves included."""

    length: int

    def __post_init__(self) -> None:
        check_fields(self, "Prefix", length=NON_NEGATIVE)

    def sees(self, query: Array | int, key: Array | int) -> Array | bool:
        return (key <= query) | (key < self.length)

    def receptive_field(self, position: Array, length: int) -> tuple[Array, Array]:
        # Tokens of the prefix see its end; as for a window, a length may be beyond int32.
        return 0 * position, position.clip(min(self.length, length) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoNorm:
    """The identity."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantNorm:
    """Division by a constant, the hypothesis of Theorem 5.1."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "ConstantNorm", beta=POSITIVE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RMSNorm:
    """Division by the root mean square, then a trained gain."""

    eps: float = 1e-5
    """Added to the mean square."""
    offset: float = 0.0
    """Added to the gain: 1 for families that store the gain's distance from one (Gemma)."""

    def __post_init__(self) -> None:
        check_fields(self, "RMSNorm", eps=NON_NEGATIVE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """Mean removed, division by the standard deviation, then a trained gain and bias."""

    eps: float = 1e-5
    """Added to the variance, which is computed in two passes."""

    def __post_init__(self) -> None:
        check_fields(self, "LayerNorm", eps=NON_NEGATIVE)


# A closed set: the instruments have a derivative and a bound for each, and match on the class.
Norm = NoNorm | ConstantNorm | RMSNorm | LayerNorm


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroMlp:
    """Zero: attention alone."""

    kind: ClassVar[str] = "zero"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdentityMlp:
    """A multiple of the input, the simplest map that Theorem 5.1 allows."""

    kind: ClassVar[str] = "identity"
    sigma: float = 1.0
    """The factor; its size is the Lipschitz constant."""

    def __post_init__(self) -> None:
        check_fields(self, "IdentityMlp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearMlp:
    """One matrix."""

    kind: ClassVar[str] = "linear"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseMlp:
    """Two matrices with an activation between them."""

    activation: Literal["gelu", "gelu_exact", "relu"] = "gelu"
    """GELU in its tanh form, or by the error function; or ReLU."""
    dim: int = 0
    """Hidden width; zero means four times the model's width."""

    def __post_init__(self) -> None:
        check_fields(self, "DenseMlp", dim=NON_NEGATIVE)

    @property
    def kind(self) -> str:
        """Its short name."""
        return self.activation


@dataclasses.dataclass(frozen=True, kw_only=True)
class GatedMlp:
    """Three matrices: one product goes through an activation and multiplies the other."""

    activation: Literal["silu", "gelu"] = "silu"
    """SiLU (SwiGLU), or GELU in its tanh form (GeGLU)."""
    dim: int = 0
    """Hidden width; zero means four times the model's width."""

    def __post_init__(self) -> None:
        check_fields(self, "GatedMlp", dim=NON_NEGATIVE)

    @property
    def kind(self) -> str:
        """Its short name."""
        return "swiglu" if self.activation == "silu" else "geglu"


Mlp = ZeroMlp | IdentityMlp | LinearMlp | DenseMlp | GatedMlp
"""The map psi after attention."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstantTemperature:
    """Logits go into the softmax as they are, whatever the length."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalableSoftmax:
    """Logits times ``s log n``: n keys are seen by the row, s is trained for each head."""

    start: float = 0.43
    """Where s starts in every head; about what the paper's trained models have."""

    def __post_init__(self) -> None:
        check_fields(self, "ScalableSoftmax")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveTemperature:
    """Logits times a polynomial of their softmax's entropy, at least one: flat rows get sharper."""


Temperature = ConstantTemperature | ScalableSoftmax | AdaptiveTemperature


_SIZES = ("vocab_size", "num_layers", "num_heads", "model_dim", "num_kv_heads", "head_dim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Everything that fixes a decoder's function but its weights."""

    vocab_size: int
    num_layers: int = 2
    num_heads: int = 1
    num_kv_heads: int | None = None
    """Heads of keys and values, each shared by num_heads / num_kv_heads queries; all if absent."""
    model_dim: int = 32
    head_dim: int | None = None
    """Width of a query and key; model_dim / num_heads if absent."""
    positions: Positions = NoPositions()
    mask: Mask = Causal()
    norm: Norm = RMSNorm()
    norm_place: Literal["before", "after", "both"] = "before"
    """Norms of the input of attention and MLP; of their output, before it is added to the residual
    stream (OLMo 2); or of both (Gemma 2 and 3)."""
    qk_norm: Literal["none", "head", "whole"] = "none"
    """Norm of queries and keys before their positions: none; of each head by itself, with one gain
    for all heads (Qwen 3, Gemma 3); or of the whole projection (OLMo 2)."""
    mlp: Mlp = DenseMlp()
    values: Literal["projected", "identity"] = "projected"
    """``identity``: each head averages its own slice of the normalized residual, with no value or
    output matrix; with one head these are the paper's equations."""
    block: Literal["sequential", "parallel"] = "sequential"
    """``parallel``: attention and MLP read the same residual and are added together (GPT-NeoX)."""
    residual_weight: float | None = None
    """The lambda in ``(1 - lambda) v + lambda attention``; plain ``v + attention`` if absent."""
    attn_scale: float | None = None
    """Factor on query-key products; head_dim^(-1/2) if absent."""
    attn_softcap: float | None = None
    """Attention logits become ``cap tanh(logit / cap)``."""
    output_softcap: float | None = None
    """The same for the logits over the vocabulary."""
    qkv_bias: bool = False
    bias: bool = False
    """Biases of the attention output and of the MLP."""
    tied: bool = True
    """The unembedding is the embedding."""
    embed_scale: float = 1.0
    """Factor on embeddings as they enter the residual stream."""
    max_length: int | None = None
    """Longest sequence that the weights were trained for, in tokens; a note, not a limit."""
    temperature: Temperature = ConstantTemperature()
    """Factor of each row of attention logits, after scale, soft cap and ALiBi."""

    def __post_init__(self) -> None:
        # Types and domains first: the checks below divide.
        caps = {"attn_softcap": POSITIVE, "output_softcap": POSITIVE, "max_length": COUNT}
        check_fields(self, **dict.fromkeys(_SIZES, COUNT), **caps)
        heads = f"num_heads={self.num_heads}"
        if self.head_dim is None:
            divides = self.model_dim % self.num_heads == 0
            wanted = "model_dim must be a multiple of num_heads where head_dim is not given"
            _require(divides, wanted, f"model_dim={self.model_dim} and {heads}")
        grouped = self.num_heads % self.kv_heads == 0
        _require(
            grouped, "num_heads must be a multiple of num_kv_heads", f"{heads} and {self.kv_heads}"
        )
        if self.values == "identity":  # each head averages its own slice of the residual
            sliced = self.kv_heads == self.num_heads and self.model_dim % self.num_heads == 0
            wanted = "identity values need ungrouped heads that divide model_dim"
            found = f"{heads}, num_kv_heads={self.kv_heads} and model_dim={self.model_dim}"
            _require(sliced, wanted, found)
        self.positions.check(self)  # after the sizes, which these read
        self.mask.check(self)

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def key_dim(self) -> int:
        """Width of a query and key."""
        return self.model_dim // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def value_dim(self) -> int:
        """Width of a value."""
        return self.model_dim // self.num_heads if self.values == "identity" else self.key_dim

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP."""
        dim = self.mlp.dim if isinstance(self.mlp, DenseMlp | GatedMlp) else 0
        return dim or 4 * self.model_dim

    @property
    def scale(self) -> float:
        """Factor on query-key products."""
        return 1 / math.sqrt(self.key_dim) if self.attn_scale is None else self.attn_scale

    @property
    def rotated_dim(self) -> int:
        """Number of a head's coordinates that rotary positions turn."""
        if not isinstance(self.positions, Rotary):
            return 0
        return self.positions.rotated_dim(self.key_dim)
