"""Grouped attention over one sequence or tree; the axes of einsum strings are those of layers."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from glassesjax import draws
from glassesjax.model.config import (
    DecoderConfig,
    Mask,
    NoNorm,
    Positions,
    ScalableSoftmax,
    Temperature,
)
from glassesjax.model.fused import fused_average
from glassesjax.model.layers import (
    Normalize,
    Rounding,
    normal,
    present,
    product,
    project,
    softcap,
)
from glassesjax.model.positions import Layout, held, visible
from glassesjax.model.temperature import tempered
from glassesjax.model.tiling import TILING
from glassesjax.precision import RoundingPlan, Site, accumulate


class Attended(NamedTuple):
    """Logits as the softmax gets them and weights of one layer; -inf where a pair is masked."""

    attn_logits: Float[Array, "heads query key"]
    attn_weights: Float[Array, "heads query key"]


class Attention(Rounding):
    """Grouped multi-head attention with every switch of the configuration."""

    def __init__(self, config: DecoderConfig, *, key: Array, dtype: jnp.dtype) -> None:
        super().__init__()
        self.config = config
        self.layer = nnx.data(None)  # its number, set by ``Decoder.layers`` where layers differ
        keys = dict(zip(("query", "key", "value", "output"), draws.split(key, 4), strict=True))
        dim, kv_heads = config.model_dim, config.kv_heads
        query_dim, key_dim = config.num_heads * config.key_dim, kv_heads * config.key_dim
        value_dim, joined = kv_heads * config.value_dim, config.num_heads * config.value_dim
        projected = config.values == "projected"
        zeros = lambda width, wanted: present(wanted, lambda: nnx.Param(jnp.zeros(width, dtype)))
        # Weights are [out, in]; heads lie one after another along ``out``.
        self.query = normal(keys["query"], query_dim, dim, dtype)
        self.key = normal(keys["key"], key_dim, dim, dtype)
        self.value = present(projected, lambda: normal(keys["value"], value_dim, dim, dtype))
        self.output = present(projected, lambda: normal(keys["output"], dim, joined, dtype))
        self.query_bias = zeros(query_dim, config.qkv_bias)
        self.key_bias = zeros(key_dim, config.qkv_bias)
        self.value_bias = zeros(value_dim, config.qkv_bias and projected)
        self.output_bias = zeros(dim, config.bias and projected)
        wide = config.qk_norm == "whole"
        norm = NoNorm() if config.qk_norm == "none" else config.norm
        make = functools.partial(Normalize, norm, dtype=dtype)
        self.query_norm = make(width=query_dim if wide else config.key_dim)
        self.key_norm = make(width=key_dim if wide else config.key_dim)
        sharp = config.temperature if isinstance(config.temperature, ScalableSoftmax) else None
        start = lambda: nnx.Param(jnp.full(config.num_heads, sharp.start if sharp else 0, dtype))
        self.sharpness = present(sharp is not None, start)

    def __call__(
        self,
        x: Float[Array, "seq model_dim"],
        layout: Layout,
        *,
        keep: bool,
        freeze: bool,
    ) -> tuple[Float[Array, "seq model_dim"], Attended | None]:
        """The attention output in the carrier, not yet stored, and the weights if kept."""
        query, key, value = self.heads(x, layout)
        if keep or not self.plan_of(x).row_wise:
            joined, attended = self._rows(query, layout, key, value, layout, freeze)
            return self.output_of(joined), attended if keep else None
        return self.output_of(self.mix(query, key, value, layout, freeze)), None

    @property
    def positions(self) -> Positions:
        """The positions of this layer."""
        return self.config.positions.in_layer(self.layer)

    @property
    def mask(self) -> Mask:
        """The mask of this layer."""
        return self.config.mask.in_layer(self.layer)

    @property
    def sharpness_of_heads(self) -> Float[Array, "*layers heads"] | None:
        """Scalable softmax's s; None under other temperatures."""
        return None if self.sharpness is None else self.sharpness[...]

    def output_of(self, joined: Float[Array, "query joined"]) -> Float[Array, "query model_dim"]:
        """What the heads' averages add to the residual stream, not yet stored."""
        plan = self.plan_of(joined)
        if self.config.values == "identity":
            return joined.astype(plan.carrier_dtype)
        return project(joined, self.output, self.output_bias, plan)

    def heads(
        self,
        x: Float[Array, "seq model_dim"],
        layout: Layout,
        *,
        last: int | None = None,
        state: bool = True,
    ) -> tuple[
        Float[Array, "query heads key_dim"],
        Float[Array, "seq kv_heads key_dim"],
        Float[Array, "seq kv_heads value_dim"],
    ]:
        """Queries of the last rows, or of all, and all keys and values.

        Without ``state`` keys and values are what the rounding of the state reads: stored as
        activations, or not at all where the two formats are one.
        """
        config, positions, plan = self.config, self.positions, self.plan_of(x)
        asking = last_rows(layout, last)
        # (seq, heads * width) -> (seq, heads, width)
        split = lambda y, heads: y.reshape(len(y), heads, -1)
        query, key = self.projected(x, len(asking.position))
        query, key = self.normed(query, key)
        query = positions.turn(query, asking.position)
        key = positions.turn(key, layout.position)
        store = functools.partial(plan.store, Site.ACTIVATIONS)
        # Stored after the rotation, as a cache keeps it; keys and values are also state.
        once = not state and plan.state == plan.activations
        before = (lambda y: y) if once else store
        after = plan.store_state if state else lambda y: y
        query, key = store(query), after(before(key))
        if config.values == "identity":  # x is stored as an activation already
            return query, key, split(after(x), config.kv_heads)
        value = split(project(x, self.value, self.value_bias, plan), config.kv_heads)
        return query, key, after(before(value))

    def projected(
        self, x: Float[Array, "seq model_dim"], last: int
    ) -> tuple[Float[Array, "query heads key_dim"], Float[Array, "seq kv_heads key_dim"]]:
        """Queries of the last rows and all keys, without norm and positions.

        In the carrier; what a norm reads is stored.
        """
        config, plan = self.config, self.plan_of(x)
        normed = config.qk_norm != "none"
        query = project(x[len(x) - last :], self.query, self.query_bias, plan)
        key = project(x, self.key, self.key_bias, plan)
        # (seq, heads * width) -> (seq, heads, width)
        split = lambda y, heads: y.reshape(len(y), heads, -1)
        store = lambda y: plan.store(Site.ACTIVATIONS, y) if normed else y
        return split(store(query), config.num_heads), split(store(key), config.kv_heads)

    def normed(
        self,
        query: Float[Array, "query heads key_dim"],
        key: Float[Array, "seq kv_heads key_dim"],
    ) -> tuple[Float[Array, "query heads key_dim"], Float[Array, "seq kv_heads key_dim"]]:
        """The same with their norm, if they have one: of each head, or over all heads of a row."""

        def apply(norm: Normalize, x: Array) -> Array:
            if self.config.qk_norm == "none":
                return x
            # (seq, heads, width) -> (seq, heads * width) where one norm is over all heads
            rows = x.reshape(len(x), -1) if self.config.qk_norm == "whole" else x
            return norm(rows).reshape(x.shape)

        return apply(self.query_norm, query), apply(self.key_norm, key)

    def _rows(
        self,
        query: Float[Array, "query heads head_dim"],
        rows: Layout,
        key: Float[Array, "key kv_heads head_dim"],
        value: Float[Array, "key kv_heads value_dim"],
        layout: Layout,
        freeze: bool,
    ) -> tuple[Float[Array, "query joined"], Attended]:
        """Attention of some query rows over some keys."""
        pairs = Pairs.of(rows, layout, self.seen(rows, layout))
        # (key, kv_heads, head_dim) -> (kv_heads, key, head_dim)
        attended = self.weigh(query, key.transpose(1, 0, 2), pairs)
        return self.average(attended, value.transpose(1, 0, 2), freeze)

    def weights(
        self,
        query: Float[Array, "query heads key_dim"],
        rows: Layout,
        key: Float[Array, "key kv_heads key_dim"],
        value: Float[Array, "key kv_heads value_dim"],
        layout: Layout,
    ) -> Float[Array, "heads query key"]:
        """The weights of some query rows as the plan stores them, from what ``heads`` gives."""
        return self._rows(query, rows, key, value, layout, freeze=False)[1].attn_weights

    def average(
        self,
        attended: Attended,
        value: Float[Array, "kv_heads key value_dim"],
        freeze: bool = False,
    ) -> tuple[Float[Array, "query joined"], Attended]:
        """What each head averages, stored, and the weights that it does so with."""
        config, plan = self.config, self.plan_of(value)
        value = value if plan.attn_inputs is None else plan.store(Site.ATTN_INPUTS, value)
        # (heads, query, key) -> (kv_heads, n, key): n is the queries of all heads of a group
        shared = lambda x: x.reshape(config.kv_heads, -1, x.shape[-1])
        if plan.attn_exp is None:
            weights = plan.store(Site.ATTN_WEIGHTS, attended.attn_weights)
            weights = jax.lax.stop_gradient(weights) if freeze else weights
            averaged = product("kns,ksh->knh", shared(weights), value, plan)
        else:
            logits = attended.attn_logits.astype(plan.carrier_dtype)
            logits = jax.lax.stop_gradient(logits) if freeze else logits
            averaged, weights = fused_average(shared(logits), value, plan)
            weights = weights.reshape(attended.attn_weights.shape)
        # (kv_heads, n, value_dim) -> (heads, query, value_dim) -> (query, heads, value_dim)
        joined = averaged.reshape(*weights.shape[:2], -1).transpose(1, 0, 2)
        # (query, heads, value_dim) -> (query, joined)
        joined = plan.store(Site.ACTIVATIONS, joined.reshape(len(joined), -1))
        return joined, Attended(attended.attn_logits, weights)

    def weigh(
        self,
        query: Float[Array, "query heads key_dim"],
        key: Float[Array, "kv_heads key key_dim"],
        pairs: "Pairs",
    ) -> Attended:
        """Logits of some queries and keys as the plan stores them, and weights not yet stored."""
        plan = self.plan_of(query)
        if plan.attn_inputs is not None:
            query, key = (plan.store(Site.ATTN_INPUTS, each) for each in (query, key))
        logits = self.logits(scaled_products(self.config, query, key, plan), pairs)
        # Zero where masked, so that no unseen pair has a part in a format's scale.
        logits = plan.store(Site.ATTN_LOGITS, jnp.where(pairs.seen, logits, 0))
        # After the storing, since some formats have no infinity.
        logits = jnp.where(pairs.seen, logits, -jnp.inf)
        return Attended(logits, weights_of(logits.astype(plan.carrier_dtype), plan))

    def seen(self, rows: Layout, layout: Layout) -> Bool[Array, "#heads query key"]:
        """Which keys each head's queries attend to: by the mask, and by what is not evicted yet."""
        seen = visible(self.mask, rows, layout)[None]  # (query, key) -> (1, query, key)
        if layout.until is None:
            return seen
        kept = held(rows, layout.until)
        if len(kept) > 1:  # (groups, query, key) -> (heads, ...); one group broadcasts as it is
            kept = jnp.repeat(kept, self.config.num_heads // len(kept), axis=0)
        return seen & kept

    def logits(
        self, products: Float[Array, "heads query key"], pairs: "Pairs"
    ) -> Float[Array, "heads query key"]:
        """Attention logits out of scaled products, not yet stored; see ``attention_logits``."""
        config = self.config
        bias = self.positions.bias(
            config.num_heads, pairs.query_position, pairs.key_position, products.dtype
        )
        return attention_logits(
            products,
            pairs.seen,
            cap=config.attn_softcap,
            bias=bias,
            temperature=config.temperature,
            sharpness=self.sharpness_of_heads,
        )

    def mix(
        self,
        query: Float[Array, "query heads key_dim"],
        key: Float[Array, "seq kv_heads key_dim"],
        value: Float[Array, "seq kv_heads value_dim"],
        layout: Layout,
        freeze: bool,
    ) -> Float[Array, "query joined"]:
        """What each head averages for the last rows, some rows at a time: less memory.

        Ordered masks cost no work on keys that come later.
        """
        ordered = self.config.mask.causal
        first, length = len(key) - len(query), len(query)
        # A long sequence in a few stretches, each as a loop over blocks: XLA may keep the blocks
        # of all stretches in memory at once, of a loop only one.
        size, stretches = TILING.attention_rows, TILING.attention_stretches
        stretch = size * math.ceil(length / size / stretches)
        part = lambda index: jax.tree.map(lambda field: field[index], layout)
        joined = []
        for start in range(0, length, stretch):
            stop = min(start + stretch, length)
            seen = slice(0, first + stop if ordered else None)
            rows = query[start:stop], part(slice(first + start, first + stop))
            keys = {"key": key[seen], "value": value[seen], "layout": part(seen)}
            attend = lambda at, keys=keys: self._rows(at[0], at[1], **keys, freeze=freeze)[0]
            whole = (stop - start) // size * size if stop - start > size else 0
            if whole:
                # (whole, ...) -> (blocks, size, ...), one loop; then back to (whole, joined)
                split = lambda x, whole=whole: x[:whole].reshape(-1, size, *x.shape[1:])
                blocks = jax.lax.map(attend, jax.tree.map(split, rows))
                joined.append(blocks.reshape(whole, -1))
            if whole < stop - start:  # rows that fill no block
                joined.append(attend(jax.tree.map(lambda x, whole=whole: x[whole:], rows)))
        return jnp.concatenate(joined)


@jax.custom_jvp
def softmax(logits: Float[Array, "*rows key"]) -> Float[Array, "*rows key"]:
    """Exponentials over their sum, shifted by the largest; every row needs a finite logit."""
    # The shift cancels in value and slope; without it exp overflows.
    shifted = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    return shifted / jnp.sum(shifted, axis=-1, keepdims=True)


@softmax.defjvp
def _softmax_slope(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """By its own values alone: a gradient then keeps them, and no array of each step to them."""
    weights, [moved] = softmax(*primals), tangents
    # d w = w (d l - sum_s w_s d l_s), over the keys of a row
    return weights, weights * (moved - jnp.sum(weights * moved, axis=-1, keepdims=True))


def weights_of(logits: Float[Array, "*rows key"], plan: RoundingPlan) -> Float[Array, "*rows key"]:
    """The softmax with its sum as the plan accumulates it, not yet stored."""
    if plan.softmax_sum is None:
        return softmax(logits)
    shifted = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    return shifted / accumulate(shifted, plan.softmax_sum)[..., None]


def last_rows(layout: Layout, last: int | None) -> Layout:
    """The layout's last rows, or all of them."""
    start = 0 if last is None else len(layout.position) - last
    return jax.tree.map(lambda field: field[start:], layout)


class Pairs(NamedTuple):
    """Queries and keys by their positions, and which of them see one another.

    One entry for all heads, or one for each.
    """

    query_position: Int[Array, "#heads query 1"]
    key_position: Int[Array, "#heads 1 key"]
    seen: Bool[Array, "#heads query key"]

    @classmethod
    def of(cls, rows: Layout, layout: Layout, seen: Bool[Array, "#heads query key"]) -> "Pairs":
        """Pairs of some rows of a layout and all that it has."""
        # (query) -> (1, query, 1) and (key) -> (1, 1, key), which broadcast to the logits' axes
        return cls(rows.position[None, :, None], layout.position[None, None, :], seen)


def scaled_products(
    config: DecoderConfig,
    query: Float[Array, "query heads key_dim"],
    key: Float[Array, "kv_heads key key_dim"],
    plan: RoundingPlan,
) -> Float[Array, "heads query key"]:
    """Products of queries with the keys that they share, times the decoder's scale."""
    products = product("knh,ksh->kns", group(query, config.kv_heads), key, plan)
    # (kv_heads, n, key) -> (heads, query, key)
    products = products.reshape(config.num_heads, len(query), key.shape[1])
    return products * jnp.asarray(config.scale, plan.carrier_dtype)


def attention_logits(
    products: Float[Array, "heads query key"],
    seen: Bool[Array, "#heads query key"],
    *,
    cap: float | Float[Array, ""] | None,
    bias: Float[Array, "heads query key"] | None,
    temperature: Temperature,
    sharpness: Float[Array, " heads"] | None,
) -> Float[Array, "heads query key"]:
    """Attention logits out of scaled products: soft cap, bias of the positions, temperature.

    This one rule serves the pass, the cache, the derivatives and the bounds.

    Args:
      products: Scaled products of queries and keys, in the carrier.
      seen: Which keys each row sees; the temperature counts them.
      cap: Of the soft cap; None for none.
      bias: What the positions of a pair add.
      temperature: Factor of each row.
      sharpness: Scalable softmax's s of each head.

    Returns:
      Logits of all pairs; those of unseen pairs mean nothing.
    """
    # The order is part of the definition: the temperature multiplies the bias as well.
    logits = products if cap is None else softcap(products, cap)
    logits = logits if bias is None else logits + bias
    return tempered(temperature, sharpness, logits, seen)


def group(x: Float[Array, "query heads width"], kv_heads: int) -> Float[Array, "kv_heads n width"]:
    """Queries that share a head of keys below one another: one product for each such head."""
    # (query, heads, width) -> (heads, query, width) -> (kv_heads, n, width)
    return x.transpose(1, 0, 2).reshape(kv_heads, -1, x.shape[-1])
