"""Grouped attention over one sequence or tree; the axes of einsum strings are those of layers."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from glassesjax.model.config import Alibi, Causal, DecoderConfig, Rotary, Sinusoidal, Window
from glassesjax.model.layers import exact, normal, present, project, softcap
from glassesjax.model.positions import Layout, alibi_penalty, rotate, sinusoidal, visible
from glassesjax.precision import RoundingPlan

# Query rows that attend at once where attention is not kept: bounds memory by rows x keys.
ATTENTION_ROWS = 256


class Attended(NamedTuple):
    """Attention logits and weights of one layer; logits of masked pairs are -inf."""

    attn_logits: Float[Array, "heads query key"]
    attn_weights: Float[Array, "heads query key"]


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
        x: Float[Array, "seq model_dim"],
        layout: Layout,
        plan: RoundingPlan,
        *,
        keep: bool,
        freeze: bool,
    ) -> tuple[Float[Array, "seq model_dim"], Attended | None]:
        """The attention output in the carrier, not yet stored, and the weights if kept."""
        query, key, value = self.heads(x, layout, plan)
        if keep or not plan.row_wise:
            joined, attended = self._rows(query, layout, key, value, layout, plan, freeze)
            return self.output_of(joined, plan), attended if keep else None
        return self.output_of(self.mix(query, key, value, layout, plan, freeze), plan), None

    def output_of(
        self, joined: Float[Array, "query joined"], plan: RoundingPlan
    ) -> Float[Array, "query model_dim"]:
        """What the heads' averages add to the residual stream, not yet stored."""
        if self.config.values == "identity":
            return joined.astype(plan.carrier_dtype)
        return project(joined, self.output, self.output_bias, plan)

    def heads(
        self,
        x: Float[Array, "seq model_dim"],
        layout: Layout,
        plan: RoundingPlan,
        *,
        last: int | None = None,
    ) -> tuple[
        Float[Array, "query heads key_dim"],
        Float[Array, "seq kv_heads key_dim"],
        Float[Array, "seq kv_heads value_dim"],
    ]:
        """Queries of the last rows, or of all, and all keys and values."""
        config, positions = self.config, self.config.positions
        asking = last_rows(layout, last)
        store = lambda y: plan.store("activations", y)
        split = lambda y, heads: y.reshape(len(y), heads, -1)
        query = project(x[-len(asking.position) :], self.query, self.query_bias, plan)
        query = split(query, config.num_heads)
        key = split(project(x, self.key, self.key_bias, plan), config.kv_heads)
        match positions:
            case Rotary():
                query = rotate(query, asking.position, positions)
                key = rotate(key, layout.position, positions)
            case Sinusoidal(where="query_key", base=base):
                added = sinusoidal(layout.position, config.key_dim, base, query.dtype)[:, None, :]
                query, key = query + added[-len(query) :], key + added
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
        logits = _logits(config, plan, query, rows, key, layout)[0]
        seen = visible(config.mask, rows, layout)[None]
        # Zero where masked, so that no unseen pair has a part in a format's scale.
        logits = plan.store("attn_logits", jnp.where(seen, logits, 0))
        logits = jnp.where(seen, logits, -jnp.inf)
        weights = plan.store("attn_weights", softmax(logits.astype(carrier)))
        weights = jax.lax.stop_gradient(weights) if freeze else weights
        joined = _ungroup(_average(weights, value, plan), len(query))
        return plan.store("activations", joined), Attended(logits, weights)

    def mix(
        self,
        query: Float[Array, "query heads key_dim"],
        key: Float[Array, "seq kv_heads key_dim"],
        value: Float[Array, "seq kv_heads value_dim"],
        layout: Layout,
        plan: RoundingPlan,
        freeze: bool,
    ) -> Float[Array, "query joined"]:
        """What each head averages for the last rows, some rows at a time: less memory.

        Ordered masks cost no work on keys that come later.
        """
        ordered = isinstance(self.config.mask, Causal | Window)
        first = len(key) - len(query)
        part = lambda index: Layout(*(field[index] for field in layout))
        rounded = {"attn_logits", "attn_weights"} & plan.formats.keys()
        joined = []
        for start in range(0, len(query), ATTENTION_ROWS):
            stop = min(start + ATTENTION_ROWS, len(query))
            keys = slice(0, first + stop if ordered else None)
            rows, seen = part(slice(first + start, first + stop)), part(keys)
            here = query[start:stop], rows, key[keys], value[keys], seen
            if freeze or rounded:
                joined.append(self._rows(*here, plan, freeze)[0])
            else:
                averaged = _core(self.config, plan, *here)
                joined.append(plan.store("activations", averaged))
        return jnp.concatenate(joined)


def softmax(logits: Float[Array, "*rows key"]) -> Float[Array, "*rows key"]:
    """Exponentials over their sum, shifted by the largest; every row needs a finite logit."""
    shifted = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    return shifted / jnp.sum(shifted, axis=-1, keepdims=True)


def last_rows(layout: Layout, last: int | None) -> Layout:
    """The layout's last rows, or all of them."""
    start = 0 if last is None else len(layout.position) - last
    return Layout(*(field[start:] for field in layout))


def _logits(
    config: DecoderConfig, plan: RoundingPlan, query: Array, rows: Layout, key: Array, layout: Layout
) -> tuple[Float[Array, "heads query key"], Float[Array, "heads query key"] | float]:
    """Scores of all pairs, seen or not, and their slope in the product of query and key."""
    carrier = plan.carrier_dtype
    scale = jnp.asarray(config.scale, carrier)
    logits = exact("knh,ksh->kns", _group(config, query), key.transpose(1, 0, 2), carrier)
    logits = logits.reshape(config.num_heads, len(query), len(key)) * scale
    slope = jnp.ones_like(logits)
    if config.attn_softcap is not None:
        logits = softcap(logits, config.attn_softcap)
        slope = 1 - jnp.square(logits / jnp.asarray(config.attn_softcap, carrier))
    if isinstance(config.positions, Alibi):
        logits = logits - alibi_penalty(config.positions, config.num_heads, rows, layout, carrier)
    return logits, slope * scale


def _group(config: DecoderConfig, query: Array) -> Float[Array, "kv_heads rows key_dim"]:
    """Queries that share a head of keys below one another: one product for each such head."""
    return query.transpose(1, 0, 2).reshape(config.kv_heads, -1, config.key_dim)


def _ungroup(averaged: Float[Array, "kv_heads rows value_dim"], queries: int) -> Array:
    """The heads' averages side by side, one row per query."""
    heads = averaged.reshape(-1, queries, averaged.shape[-1])
    return heads.transpose(1, 0, 2).reshape(queries, -1)


def _average(
    weights: Float[Array, "heads query key"], value: Array, plan: RoundingPlan
) -> Float[Array, "kv_heads rows value_dim"]:
    shared = weights.reshape(value.shape[1], -1, len(value))
    return exact("kns,ksh->knh", shared, value.transpose(1, 0, 2), plan.carrier_dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _core(
    config: DecoderConfig,
    plan: RoundingPlan,
    query: Array,
    rows: Layout,
    key: Array,
    value: Array,
    layout: Layout,
) -> Float[Array, "query joined"]:
    """The heads' averages of some query rows over some keys."""
    return _ungroup(_weighed(config, plan, query, rows, key, value, layout)[-1], len(query))


def _weighed(
    config: DecoderConfig,
    plan: RoundingPlan,
    query: Array,
    rows: Layout,
    key: Array,
    value: Array,
    layout: Layout,
) -> tuple[Array, Array, Array]:
    """Weights, their slope in the product of query and key, and averages."""
    logits, slope = _logits(config, plan, query, rows, key, layout)
    logits = jnp.where(visible(config.mask, rows, layout)[None], logits, -jnp.inf)
    weights = softmax(logits)
    return weights, weights * slope, _average(weights, value, plan)


@_core.defjvp
def _core_jvp(
    config: DecoderConfig, plan: RoundingPlan, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    r"""With weights P, averages u and S = P times the slope of the logits, row j of head h moves by

    .. math::
       \delta u_j = \sum_k P_{jk} \delta v_k + C_j^\top \delta q_j
       + \sum_k S_{jk} (q_j \cdot \delta k_k) (v_k - u_j),
       \quad C_j = \sum_k S_{jk} k_k (v_k - u_j)^\top.

    Transposed over many cotangents, P and C are computed once, the terms in v and q are products
    with them, and only the term in k has pairs of tokens for each cotangent.
    """
    query, _, key, value, _ = primals
    dquery, _, dkey, dvalue, _ = tangents
    carrier = plan.carrier_dtype
    weights, steep, mean = _weighed(config, plan, *primals)
    steep = steep.reshape(config.kv_heads, -1, len(key))
    k, v = key.transpose(1, 0, 2), value.transpose(1, 0, 2)
    q, dq = _group(config, query), _group(config, dquery)
    product = functools.partial(exact, carrier=carrier)
    moved = _average(weights, dvalue, plan)
    pairs = (k[..., None] * v[..., None, :]).reshape(*k.shape[:2], -1)
    spread = product("kns,ksz->knz", steep, pairs).reshape(*q.shape, v.shape[-1])
    spread -= product("kns,ksh->knh", steep, k)[..., None] * mean[..., None, :]
    moved += product("knh,knhe->kne", dq, spread)
    pull = steep * product("knh,khs->kns", q, dkey.transpose(1, 2, 0))
    moved += product("kns,kes->kne", pull, value.transpose(1, 2, 0))
    moved -= jnp.sum(pull, axis=-1, keepdims=True) * mean
    return _ungroup(mean, len(query)), _ungroup(moved, len(query))
