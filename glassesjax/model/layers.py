"""The parts of a block: norm, attention, MLP. All numerics are our own and follow a plan.

Glossary of axes in einsum strings: ``t`` query, ``s`` key, ``k`` key-value head, ``n`` the queries
of all heads that share it, ``h`` head width, ``d`` model width, ``f`` output features. Weights are
stored ``[out, in]``, so that a decoding step reads their rows.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from glassesjax.model.config import (
    Alibi,
    Causal,
    ConstantNorm,
    DecoderConfig,
    LayerNorm,
    NoNorm,
    RMSNorm,
    Rotary,
    Sinusoidal,
    Window,
)
from glassesjax.model.positions import (
    Layout,
    alibi_penalty,
    rotate,
    sinusoidal,
    visible,
)
from glassesjax.precision import RoundingPlan

# Query rows that attend at once where attention is not kept: bounds memory by rows x keys.
ATTENTION_ROWS = 256


class Attended(NamedTuple):
    """Attention logits and weights of one layer; logits of masked pairs are -inf."""

    attn_logits: Float[Array, "heads query key"]
    attn_weights: Float[Array, "heads query key"]


def normal(key: Array, out_dim: int, in_dim: int, dtype: jnp.dtype) -> nnx.Param:
    """A matrix that keeps the scale of its input: variance one over the input's width."""
    return nnx.Param(jax.random.normal(key, (out_dim, in_dim), dtype) * in_dim**-0.5)


def present(wanted: bool, make: Callable[[], nnx.Param]) -> nnx.Param:
    """A parameter, or nothing where a switch leaves it out; the same switch never reads it then."""
    return make() if wanted else cast(nnx.Param, None)


def project(
    x: Float[Array, "seq d"], weight: nnx.Param, bias: nnx.Param | None, plan: RoundingPlan
) -> Float[Array, "seq f"]:
    """``W x + b``, summed in the plan's carrier and not yet stored."""
    carrier = plan.carrier_dtype
    y = _exact("td,fd->tf", x, weight[...], carrier)
    return y if bias is None else y + bias[...].astype(carrier)[None]


class Normalize(nnx.Module):
    """One of the four norms, in the carrier, with two-pass variance."""

    def __init__(self, config: DecoderConfig, *, dtype: jnp.dtype) -> None:
        self.norm = config.norm
        gained = isinstance(self.norm, RMSNorm | LayerNorm)
        offset = self.norm.offset if isinstance(self.norm, RMSNorm) else 0.0
        fill = lambda value: nnx.Param(jnp.full(config.model_dim, value, dtype))
        self.gain = present(gained, lambda: fill(1 - offset))
        self.bias = present(isinstance(self.norm, LayerNorm), lambda: fill(0))

    def __call__(self, x: Float[Array, "seq d"], plan: RoundingPlan) -> Float[Array, "seq d"]:
        """The normalized rows in the carrier, not yet stored."""
        x = x.astype(plan.carrier_dtype)
        mean_of = lambda values: jnp.mean(values, axis=-1, keepdims=True)
        match self.norm:
            case NoNorm():
                return x
            case ConstantNorm(beta=beta):
                return x / jnp.asarray(beta, x.dtype)
            case RMSNorm(eps=eps, offset=offset):
                gain = self.gain[...].astype(x.dtype) + jnp.asarray(offset, x.dtype)
                return x / jnp.sqrt(mean_of(x * x) + jnp.asarray(eps, x.dtype)) * gain[None]
            case LayerNorm(eps=eps):
                x = x - mean_of(x)
                x = x / jnp.sqrt(mean_of(x * x) + jnp.asarray(eps, x.dtype))
                gain, bias = self.gain[...].astype(x.dtype), self.bias[...].astype(x.dtype)
                return x * gain[None] + bias[None]


class Attention(nnx.Module):
    """Grouped multi-head attention with every switch of the configuration."""

    def __init__(self, config: DecoderConfig, *, key: Array, dtype: jnp.dtype) -> None:
        self.config = config
        keys = dict(zip(("query", "key", "value", "output"), jax.random.split(key, 4), strict=True))
        dim, kv_heads = config.model_dim, config.kv_heads
        query_dim, key_dim = config.num_heads * config.key_dim, kv_heads * config.key_dim
        value_dim, joined = kv_heads * config.value_dim, config.num_heads * config.value_dim
        projected = config.values == "projected"
        zeros = lambda width, wanted: present(wanted, lambda: nnx.Param(jnp.zeros(width, dtype)))
        self.query = normal(keys["query"], query_dim, dim, dtype)
        self.key = normal(keys["key"], key_dim, dim, dtype)
        self.value = present(projected, lambda: normal(keys["value"], value_dim, dim, dtype))
        self.output = present(projected, lambda: normal(keys["output"], dim, joined, dtype))
        self.query_bias = zeros(query_dim, config.qkv_bias)
        self.key_bias = zeros(key_dim, config.qkv_bias)
        self.value_bias = zeros(value_dim, config.qkv_bias and projected)
        self.output_bias = zeros(dim, config.bias and projected)

    def __call__(
        self,
        x: Float[Array, "seq d"],
        layout: Layout,
        plan: RoundingPlan,
        *,
        keep: bool,
        freeze: bool,
    ) -> tuple[Float[Array, "seq d"], Attended | None]:
        """The attention output in the carrier, not yet stored, and the weights if kept."""
        query, key, value = self._heads(x, layout, plan)
        if keep:
            joined, attended = self._rows(query, layout, key, value, layout, plan, freeze)
        else:
            joined, attended = self._in_blocks(query, key, value, layout, plan, freeze), None
        if self.config.values == "identity":
            return joined.astype(plan.carrier_dtype), attended
        return project(joined, self.output, self.output_bias, plan), attended

    def _heads(self, x: Array, layout: Layout, plan: RoundingPlan) -> tuple[Array, Array, Array]:
        config, positions = self.config, self.config.positions
        store = lambda y: plan.store("activations", y)
        split = lambda y, heads: y.reshape(len(x), heads, -1)
        query = split(project(x, self.query, self.query_bias, plan), config.num_heads)
        key = split(project(x, self.key, self.key_bias, plan), config.kv_heads)
        match positions:
            case Rotary():
                query, key = (rotate(y, layout.position, positions) for y in (query, key))
            case Sinusoidal(where="query_key", base=base):
                added = sinusoidal(layout.position, config.key_dim, base, query.dtype)[:, None, :]
                query, key = query + added, key + added
        if config.values == "identity":
            return store(query), store(key), split(x, config.kv_heads)
        value = split(project(x, self.value, self.value_bias, plan), config.kv_heads)
        return store(query), store(key), store(value)

    def _rows(
        self,
        query: Float[Array, "query heads head_dim"],
        rows: Layout,
        key: Float[Array, "key kv_heads head_dim"],
        value: Float[Array, "key kv_heads value_dim"],
        layout: Layout,
        plan: RoundingPlan,
        freeze: bool,
    ) -> tuple[Float[Array, "query joined"], Attended]:
        """Attention of some query rows over some keys."""
        config, carrier = self.config, plan.carrier_dtype
        # Queries that share a head of keys stand below one another: one product for each such head.
        grouped = query.transpose(1, 0, 2).reshape(config.kv_heads, -1, config.key_dim)
        logits = _exact("knh,ksh->kns", grouped, key.transpose(1, 0, 2), carrier)
        logits = logits.reshape(config.num_heads, len(query), len(key))
        logits = logits * jnp.asarray(config.scale, carrier)
        if config.attn_softcap is not None:
            logits = softcap(logits, config.attn_softcap)
        if isinstance(config.positions, Alibi):
            penalty = alibi_penalty(config.positions, config.num_heads, rows, layout, carrier)
            logits = logits - penalty
        seen = visible(config.mask, rows, layout)[None]
        logits = jnp.where(seen, plan.store("attn_logits", logits), -jnp.inf)
        weights = plan.store("attn_weights", softmax(logits.astype(carrier)))
        weights = jax.lax.stop_gradient(weights) if freeze else weights
        shared = weights.reshape(config.kv_heads, -1, len(key))
        averaged = _exact("kns,ksh->knh", shared, value.transpose(1, 0, 2), carrier)
        joined = averaged.reshape(config.num_heads, len(query), -1).transpose(1, 0, 2)
        joined = plan.store("activations", joined.reshape(len(query), -1))
        return joined, Attended(logits, weights)

    def _in_blocks(
        self,
        query: Array,
        key: Array,
        value: Array,
        layout: Layout,
        plan: RoundingPlan,
        freeze: bool,
    ) -> Array:
        """The same rows, some at a time: less memory, and no work on keys that come later."""
        ordered = isinstance(self.config.mask, Causal | Window)
        joined = []
        for start in range(0, len(query), ATTENTION_ROWS):
            rows = slice(start, start + ATTENTION_ROWS)
            keys = slice(0, start + ATTENTION_ROWS if ordered else None)
            part = lambda index: Layout(*(field[index] for field in layout))
            here = query[rows], part(rows), key[keys], value[keys], part(keys)
            joined.append(self._rows(*here, plan, freeze)[0])
        return jnp.concatenate(joined)


def _exact(subscripts: str, x: Array, y: Array, carrier: jnp.dtype) -> Array:
    """A product summed in the carrier, whatever the backend's default is."""
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum(subscripts, x, y, precision=highest, preferred_element_type=carrier)


class MlpBlock(nnx.Module):
    """The map psi."""

    def __init__(self, config: DecoderConfig, *, key: Array, dtype: jnp.dtype) -> None:
        self.mlp = config.mlp
        gate_key, up_key, down_key = jax.random.split(key, 3)
        dim, kind = config.model_dim, config.mlp.kind
        gated, deep = kind in ("swiglu", "geglu"), kind not in ("zero", "identity", "linear")
        there = kind not in ("zero", "identity")
        hidden = config.mlp_dim if deep else dim
        zeros = lambda width, wanted: present(
            wanted and config.bias, lambda: nnx.Param(jnp.zeros(width, dtype))
        )
        self.gate = present(gated, lambda: normal(gate_key, hidden, dim, dtype))
        self.up = present(deep, lambda: normal(up_key, hidden, dim, dtype))
        self.down = present(there, lambda: normal(down_key, dim, hidden, dtype))
        self.gate_bias, self.up_bias = zeros(hidden, gated), zeros(hidden, deep)
        self.down_bias = zeros(dim, there)

    def __call__(self, x: Float[Array, "seq d"], plan: RoundingPlan) -> Float[Array, "seq d"]:
        """The MLP's output in the carrier, not yet stored."""
        store = lambda y: plan.store("activations", y)
        match self.mlp.kind:
            case "zero":
                return jnp.zeros_like(x, plan.carrier_dtype)
            case "identity":
                return x.astype(plan.carrier_dtype) * jnp.asarray(
                    self.mlp.sigma, plan.carrier_dtype
                )
            case "linear":
                return project(x, self.down, self.down_bias, plan)
            case "swiglu" | "geglu" as kind:
                act = jax.nn.silu if kind == "swiglu" else jax.nn.gelu
                gate = act(project(x, self.gate, self.gate_bias, plan))
                hidden = store(gate * project(x, self.up, self.up_bias, plan))
                return project(hidden, self.down, self.down_bias, plan)
            case kind:
                hidden = project(x, self.up, self.up_bias, plan)
                hidden = jax.nn.gelu(hidden, approximate=kind == "gelu")
                return project(store(hidden), self.down, self.down_bias, plan)


def softmax(logits: Float[Array, "*rows key"]) -> Float[Array, "*rows key"]:
    """Exponentials over their sum, shifted by the largest; every row needs a finite logit."""
    shifted = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    return shifted / jnp.sum(shifted, axis=-1, keepdims=True)


def softcap(x: Float[Array, "*shape"], cap: float) -> Float[Array, "*shape"]:
    """A smooth clip to the open interval (-cap, cap)."""
    limit = jnp.asarray(cap, x.dtype)
    return limit * jnp.tanh(x / limit)
