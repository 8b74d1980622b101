"""What ``bench_decode.py`` times in JAX: our step, the simplest loop, and the memory's own pace."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from glassesjax import draws
from glassesjax.cache import State, Unrolled, advance, empty_state, logits, policy
from glassesjax.model import (
    ConstantTemperature,
    Decoder,
    DecoderConfig,
    GatedMlp,
    RMSNorm,
    Rotary,
    open_model,
)
from glassesjax.model.positions import rotate

Run = Callable[[], float]  # seconds of one turn
Step = Callable[..., tuple[Any, jax.Array]]
SHAPES = {  # vocabulary, layers, heads, key-value heads, width, MLP, rotary base, tied
    "smollm2": (49152, 30, 9, 3, 576, 1536, 1e5, True),
    "llama-7b": (32000, 32, 32, 32, 4096, 11008, 1e4, False),
    "tiny": (97, 2, 4, 2, 32, 48, 1e4, True),
}


def bytes_of(tree: object) -> int:
    """Of all arrays in it, or of their abstract twins."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def read_bytes(model: Unrolled) -> int:
    """What each token reads of the weights: all but an embedding table that has no second use."""
    table = 0 if model.outer.config.tied else bytes_of(model.outer.embed.table[...])
    return bytes_of(model) - table


def read_model(random: str | None, dtype: str) -> Decoder:
    """SmolLM2, or random weights of a shape."""
    if random is None:
        return open_model("smollm2").decoder
    vocab, layers, heads, kv_heads, dim, mlp, base, tied = SHAPES[random]
    config = DecoderConfig(
        vocab_size=vocab,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        model_dim=dim,
        positions=Rotary(base=base, style="interleaved"),
        mlp=GatedMlp(dim=mlp),
        tied=tied,
    )
    return Decoder(config, key=draws.root_key(0), dtype=jnp.dtype(dtype))


def our_run(
    model: Unrolled, name: str, slots: int, context: int, batch: int, tokens: int
) -> tuple[Run, int]:
    """A turn of our decoding, with weights flattened once and tokens chosen on the device.

    Also the bytes of one state.
    """
    weights, tree = jax.tree.flatten(model)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(weights: list[jax.Array], state: State, token: jax.Array) -> tuple[State, jax.Array]:
        model = jax.tree.unflatten(tree, weights)

        def one(state: State, token: jax.Array) -> tuple[State, jax.Array]:
            state, y, _ = advance(model, state, token[None], policy(name))
            return state, jnp.argmax(logits(model, y)[0]).astype(jnp.int32)

        return jax.vmap(one)(state, token) if batch > 1 else one(state, token)

    make = functools.partial(_filled, model, name, slots, context)
    keys = draws.split(draws.root_key(1), batch)
    # One computation for all, so that no two leaves share a buffer: they will be donated.
    state = jax.jit(jax.vmap(make))(keys) if batch > 1 else jax.jit(make)(keys[0])
    token = jnp.ones((batch,) if batch > 1 else (), jnp.int32)
    return _turn(functools.partial(step, weights), state, token, tokens), bytes_of(state) // batch


def _filled(model: Unrolled, name: str, slots: int, context: int, key: jax.Array) -> State:
    """A state that has read a context, and holds the last of it with random keys and values."""
    state = empty_state(model.outer.config, policy(name), slots, model.outer.dtype)
    held = jnp.arange(slots + 1, dtype=jnp.int32) + max(context - slots, 0)
    held = jnp.where(jnp.arange(slots + 1) < min(slots, context), held, -1)[None]
    noise = lambda key, like: draws.normal(key, like.shape, like.dtype)
    layers = [
        cache._replace(
            key=noise(one, cache.key),
            value=noise(two, cache.value),
            position=jnp.broadcast_to(held, cache.position.shape),
        )
        for cache, one, two in zip(
            state.layers, *draws.split(key, (2, len(state.layers))), strict=True
        )
    ]
    return State(tuple(layers), jnp.asarray(context, jnp.int32))


def _turn(step: Step, state: object, token: jax.Array, tokens: int) -> Run:
    def run() -> float:
        nonlocal state, token
        start = time.perf_counter()
        for _ in range(tokens):
            state, token = step(state, token)
        token.block_until_ready()
        return time.perf_counter() - start

    state, token = step(state, token)  # compiles
    return run


def matvec_run(bytes_read: int) -> Run:
    """A product of a matrix and a vector that reads as much as a token does."""
    columns = 4096
    weight = jnp.ones((max(bytes_read // 4 // columns, 1), columns), jnp.float32)
    x = jnp.ones(columns, jnp.float32)
    product = jax.jit(lambda weight, x: weight @ x)
    product(weight, x).block_until_ready()

    def run() -> float:
        start = time.perf_counter()
        product(weight, x).block_until_ready()
        return time.perf_counter() - start

    return run


def plain_run(
    decoder: Decoder, slots: int, context: int, batch: int, tokens: int
) -> tuple[Run, int]:
    """A turn of the simplest loop in JAX, which keeps all; and the bytes of one cache."""
    config, dtype = decoder.config, decoder.dtype
    shape = batch, config.num_layers, slots, config.kv_heads
    cache = lambda width: jnp.zeros((*shape, width), dtype)
    now = jnp.full(batch, context, jnp.int32)
    state = cache(config.key_dim), cache(config.value_dim), now
    step = functools.partial(plain_step(config), plain_weights(decoder))
    return _turn(step, state, jnp.ones(batch, jnp.int32), tokens), bytes_of(state) // batch


def plain_weights(decoder: Decoder) -> tuple[Any, ...]:
    """Stacked layers with matrices [in, out], as most short programs keep them; then the rest."""
    blocks = decoder.blocks
    flipped = lambda weight: jnp.asarray(weight[...].swapaxes(-1, -2))
    matrices = {n: getattr(blocks.attention, n) for n in ("query", "key", "value", "output")}
    matrices |= {n: getattr(blocks.mlp, n) for n in ("gate", "up", "down")}
    gains = {n: getattr(blocks, n).gain[...] for n in ("norm1", "norm2")}
    layers = {name: flipped(weight) for name, weight in matrices.items()} | gains
    outer = decoder.embed.table[...], decoder.final_norm.gain[...], flipped(decoder.unembedding)
    return layers, *outer


def plain_step(config: DecoderConfig) -> Step:
    """One token of the simplest loop: a scan over stacked layers, and a full cache."""
    logits = functools.partial(plain_logits, config)

    def step(weights: tuple, state: tuple, token: jax.Array) -> tuple[tuple, jax.Array]:
        state, scores = jax.vmap(logits, in_axes=(None, 0, 0))(weights, state, token)
        return state, jnp.argmax(scores, axis=-1).astype(jnp.int32)

    return jax.jit(step, donate_argnums=1)


def plain_logits(
    config: DecoderConfig, weights: tuple, state: tuple, token: jax.Array
) -> tuple[tuple, jax.Array]:
    """One token of one sequence, Llama's layers written down plainly."""
    (blocks, table, final, unembed), (keys, values, now) = weights, state
    kv_heads, rotary, norm = config.kv_heads, config.positions, config.norm
    plain = isinstance(config.temperature, ConstantTemperature)
    if not (isinstance(rotary, Rotary) and isinstance(norm, RMSNorm) and plain):
        raise SystemExit("Expected a model of Llama's kind for the simplest loop.")
    scaled = lambda x, gain: x / jnp.sqrt(jnp.mean(x * x) + norm.eps).astype(x.dtype) * gain
    turned = lambda x: rotate(x.reshape(1, -1, config.key_dim), now[None], rotary)[0]

    def layer(x: jax.Array, each: tuple) -> tuple[jax.Array, tuple]:
        w, keys, values = each
        h = scaled(x, w["norm1"])
        keys = keys.at[now].set(turned(h @ w["key"]))
        values = values.at[now].set((h @ w["value"]).reshape(kv_heads, -1))
        query = turned(h @ w["query"]).reshape(kv_heads, -1, config.key_dim)
        scores = jnp.einsum("kgh,skh->kgs", query, keys) * config.scale
        scores = jnp.where(jnp.arange(len(keys), dtype=jnp.int32) <= now, scores, -jnp.inf)
        joined = jnp.einsum("kgs,skh->kgh", jax.nn.softmax(scores), values)
        x = x + joined.reshape(-1) @ w["output"]
        h = scaled(x, w["norm2"])
        return x + (jax.nn.silu(h @ w["gate"]) * (h @ w["up"])) @ w["down"], (keys, values)

    x, (keys, values) = jax.lax.scan(layer, table[token], (blocks, keys, values))
    return (keys, values, now + 1), scaled(x, final) @ unembed
