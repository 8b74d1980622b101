"""Passes under rounding plans, against a slow pass in NumPy that stores at each site by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax.cache import policy, prefill, unroll
from glassesjax.errors import BadInput
from glassesjax.model import Decoder, DecoderConfig, GatedMlp, RMSNorm
from glassesjax.model.positions import Layout
from glassesjax.precision import (
    BF16,
    E4M3FN,
    F32,
    F64,
    PRESETS,
    TF32,
    Accumulator,
    FloatFormat,
    RoundingPlan,
    Site,
    named_plan,
)
from tests.made_decoders import made

CONFIG = DecoderConfig(
    vocab_size=11,
    num_layers=3,
    model_dim=8,
    num_heads=4,
    num_kv_heads=2,
    norm=RMSNorm(eps=1e-6),
    mlp=GatedMlp(dim=12),
    tied=False,
)
TOKENS = jnp.asarray([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7], jnp.int32)
EVERY = {
    **{name: preset.make() for name, preset in PRESETS.items()},
    "operands": RoundingPlan(operands=E4M3FN, mode="simulated"),
    "inputs": RoundingPlan(inputs=BF16, mode="simulated"),
    "attn_inputs": RoundingPlan(attn_inputs=BF16, mode="simulated"),
    "linear_weights": RoundingPlan(linear_weights=E4M3FN, mode="simulated"),
    "tiles": RoundingPlan(attn_exp=BF16, tile=4, mode="simulated"),
    "reverse": RoundingPlan(attn_exp=E4M3FN, tile=4, tile_order="reverse", mode="simulated"),
    "sums": RoundingPlan(
        product_sum=Accumulator(BF16), softmax_sum=Accumulator(BF16), mode="simulated"
    ),
    "chunks": RoundingPlan(
        product_sum=Accumulator(TF32, "chunked", 4),
        softmax_sum=Accumulator(BF16, "pairwise"),
        attn_exp=BF16,
        tile=8,
        mode="simulated",
    ),
}
"""Plans that have each of the new sites, alone and together."""


def in_float64(plan):
    """The same plan in float64, where two orders of a sum do not end on two sides of a tie."""
    return dataclasses.replace(plan, carrier=F64)


def stored(fmt, x):
    """Numbers of a format by NumPy, exact in float64; no overflow here."""
    if not isinstance(fmt, FloatFormat):
        return np.asarray(fmt.round(jnp.asarray(x)))
    exponent = np.maximum(np.frexp(x)[1] - 1, fmt.min_exponent)
    quantum = np.ldexp(1.0, exponent - fmt.mantissa_bits)
    return np.rint(x / quantum) * quantum


def added(how, terms):
    """Sum over the last axis, in the order of the accumulator."""
    if how is None:
        return terms.sum(axis=-1)
    if how.order == "pairwise":
        size = max(2, 1 << (terms.shape[-1] - 1).bit_length())
        terms = np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, size - terms.shape[-1])])
        while terms.shape[-1] > 1:
            terms = stored(how.fmt, terms[..., ::2] + terms[..., 1::2])
        return terms[..., 0]
    total = np.zeros(terms.shape[:-1])
    for start in range(0, terms.shape[-1], how.size):
        total = stored(how.fmt, total + terms[..., start : start + how.size].sum(axis=-1))
    return total


class Slow:
    """A pass over one sequence, head by head and query by query."""

    def __init__(self, decoder, plan):
        self.plan, self.decoder = plan, decoder

    def store(self, site, x):
        fmt = getattr(self.plan, site)
        return x if fmt is None else stored(fmt, x)

    def weight(self, param, layer=None):
        x = np.asarray(param[...] if layer is None else param[layer])
        x = self.store(Site.WEIGHTS, x)
        return self.store(Site.LINEAR_WEIGHTS, x) if layer is not None and x.ndim == 2 else x

    def product(self, x, y):
        """[rows, n] times [columns, n]."""
        x, y = self.store(Site.OPERANDS, x), self.store(Site.OPERANDS, y)
        if self.plan.product_sum is None:
            return x @ y.T
        return added(self.plan.product_sum, x[:, None, :] * y[None, :, :])

    def linear(self, x, param, layer):
        return self.product(self.store(Site.INPUTS, x), self.weight(param, layer))

    def norm(self, x, gain):
        root = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.decoder.config.norm.eps)
        return x / root * gain

    def total(self, exps):
        return added(self.plan.softmax_sum, exps)

    def average(self, logits, value):
        """One query over the keys that it sees."""
        plan = self.plan
        if plan.attn_exp is None:
            exps = np.exp(logits - logits.max())
            weights = self.store(Site.ATTN_WEIGHTS, exps / self.total(exps))
            return self.product(weights[None], value.T)[0]
        rounded = lambda how, x: x if how is None else stored(how.fmt, x)
        size = plan.tile or len(TOKENS)
        most, total, mean = -np.inf, 0.0, np.zeros(value.shape[1])
        starts = range(0, len(logits), size)
        for start in starts if plan.tile_order == "forward" else starts[::-1]:
            part = slice(start, start + size)
            before, most = most, max(most, logits[part].max())
            factor, exps = np.exp(before - most), np.exp(logits[part] - most)
            total = rounded(plan.softmax_sum, factor * total) + self.total(exps)
            total = rounded(plan.softmax_sum, total)
            new = self.product(self.store(Site.ATTN_EXP, exps)[None], value[part].T)[0]
            mean = rounded(plan.product_sum, rounded(plan.product_sum, factor * mean) + new)
        return mean / total

    def __call__(self, tokens):
        decoder, config = self.decoder, self.decoder.config
        keep = functools.partial(self.store, Site.ACTIVATIONS)
        resid = self.store(Site.RESIDUAL, self.weight(decoder.embed.table)[tokens])
        shared = config.num_heads // config.kv_heads
        split = lambda y, heads: y.reshape(len(y), heads, -1)
        for layer in range(config.num_layers):
            block, attention, mlp = decoder.blocks, decoder.blocks.attention, decoder.blocks.mlp
            x = keep(self.norm(resid, self.weight(block.norm1.gain, layer)))
            query = keep(split(self.linear(x, attention.query, layer), config.num_heads))
            read = lambda param, x=x, layer=layer: self.store(
                Site.STATE, keep(split(self.linear(x, param, layer), config.kv_heads))
            )
            seen = lambda y: self.store(Site.ATTN_INPUTS, y)
            query, key, value = seen(query), seen(read(attention.key)), seen(read(attention.value))
            joined = np.zeros((len(tokens), config.num_heads, config.value_dim))
            for head in range(config.num_heads):
                for at in range(len(tokens)):
                    own = key[: at + 1, head // shared]
                    logits = self.product(query[at, head][None], own)[0] * config.scale
                    logits = self.store(Site.ATTN_LOGITS, logits)
                    joined[at, head] = self.average(logits, value[: at + 1, head // shared])
            joined = keep(joined.reshape(len(tokens), -1))
            update = keep(self.linear(joined, attention.output, layer))
            resid = self.store(Site.RESIDUAL, resid + update)
            x = keep(self.norm(resid, self.weight(block.norm2.gain, layer)))
            gate = self.linear(x, mlp.gate, layer)
            gate = gate / (1 + np.exp(-gate))
            hidden = keep(gate * self.linear(x, mlp.up, layer))
            resid = self.store(Site.RESIDUAL, resid + keep(self.linear(hidden, mlp.down, layer)))
        y = self.store(Site.OUTPUT, self.norm(resid, self.weight(decoder.final_norm.gain)))
        return y, self.product(y, self.weight(decoder.unembed))


@jax.jit
def ours(decoder, tokens):
    y, _ = decoder(tokens)
    return y, decoder.logits(y)


# Sums of at most 14 products in another order, and what later layers make of that: no number here
# is as near to a tie as that.
close = functools.partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_a_pass_stores_where_the_plan_says(key, name):
    decoder, plan = made(CONFIG, key), in_float64(EVERY[name])
    y, scores = ours(decoder.at(plan), TOKENS)
    slow_y, slow_scores = Slow(decoder, plan)(np.asarray(TOKENS))
    close(y, slow_y)
    close(scores, slow_scores)
    unrounded, _ = ours(decoder.at(RoundingPlan.wide(F64)), TOKENS)
    assert np.abs(y - unrounded).max() > 1e-5  # the plan does something here


@pytest.mark.parametrize("name", EVERY)
def test_a_full_cache_is_the_dense_pass(key, name):
    decoder = made(CONFIG, key).at(in_float64(EVERY[name]))
    parts = prefill(unroll(decoder), TOKENS, policy("full"), slots=len(TOKENS), mode="exact")
    y = np.concatenate([np.asarray(part.y) for part in parts])
    # With tiles in reverse order empty slots only add tiles that nothing is seen of.
    close(y, ours(decoder, TOKENS)[0])


def test_layers_with_plans_of_their_own(key):
    decoder = made(CONFIG, key)
    plans = [in_float64(EVERY[name]) for name in ("bf16-flash", "operands", "bf16-flash")]
    outside = RoundingPlan(weights=BF16, output=BF16, mode="simulated", carrier=F64)
    plan = RoundingPlan.by_layer(plans.__getitem__, 3, outside)
    y, scores = ours(decoder.at(plan), TOKENS)
    # By hand: each layer of a decoder that has its plan everywhere.
    resid = enter(decoder.at(outside), TOKENS)
    for layer, own in enumerate(plans):
        one = jax.tree.map(lambda weight, layer=layer: weight[layer], decoder.at(own).blocks)
        resid = run(one, resid)
    for one, other in zip((y, scores), leave(decoder.at(outside), resid), strict=True):
        close(one, other)
    with pytest.raises(BadInput, match="3 plans of layers"):
        decoder.at(RoundingPlan.by_layer(lambda i: plans[0], 2))


def test_a_cache_follows_the_plan_of_each_layer(key):
    plans = [in_float64(EVERY[name]) for name in ("bf16-flash", "operands", "sums")]
    decoder = made(CONFIG, key).at(RoundingPlan.by_layer(plans.__getitem__, 3))
    parts = prefill(unroll(decoder), TOKENS, policy("full"), slots=14, mode="exact")
    close(np.concatenate([np.asarray(part.y) for part in parts]), ours(decoder, TOKENS)[0])


enter = jax.jit(Decoder.enter)


@jax.jit
def leave(decoder, resid):
    y = decoder.plan.store(Site.OUTPUT, decoder.final_norm(resid))
    return y, decoder.logits(y)


@jax.jit
def run(block, resid):
    return block(resid, Layout.line(len(TOKENS)))[0]


def test_one_plan_for_all_layers_is_the_plan(key):
    decoder, plan = made(CONFIG, key), named_plan("bf16-flash")
    decoder = jax.tree.map(lambda weight: weight.astype(jnp.float32), decoder)
    by_layer = RoundingPlan.by_layer(lambda layer: plan, 3, plan)
    one, other = (ours(decoder.at(each), TOKENS)[1] for each in (plan, by_layer))
    assert np.array_equal(one, other)


def test_linear_weights_are_the_matrices_of_layers_alone(key):
    decoder = made(CONFIG, key)
    rounded = decoder.at(RoundingPlan(linear_weights=BF16, mode="simulated", carrier=F64))
    changed = {
        jax.tree_util.keystr(path)
        for (path, one), other in zip(
            jax.tree_util.tree_leaves_with_path(decoder), jax.tree.leaves(rounded), strict=True
        )
        if not np.array_equal(one, other)
    }
    parts = ["query", "key", "value", "output", "gate", "up", "down"]
    assert len(changed) == len(parts)
    assert all("blocks" in name and "gain" not in name for name in changed)


def test_sums_of_float32_are_the_pass_itself(key):
    # f32 at the sites of sums is the carrier: nothing is rounded, and no accumulator is made.
    assert named_plan("f32@product_sum+softmax_sum") == RoundingPlan.wide()
    plan = RoundingPlan(product_sum=Accumulator(F32), mode="simulated", carrier=F64)
    decoder = made(CONFIG, key)
    y, slow_y = ours(decoder.at(plan), TOKENS)[0], Slow(decoder, plan)(np.asarray(TOKENS))[0]
    close(y, slow_y)
