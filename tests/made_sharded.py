"""A process with four CPU devices: every instrument on one device, on four, and on wrong four.

Argument: the file to write. Its arrays are named ``INSTRUMENT/DEVICES/NUMBER``.
"""

import functools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from made_decoders import made

from glassesjax import draws
from glassesjax.cache import advance, empty_state, policy, replay, unroll
from glassesjax.cache.generate import generate
from glassesjax.cache.losses import Cell, losses
from glassesjax.cache.sampling import Sampling
from glassesjax.model import DecoderConfig, GatedMlp, Rotary
from glassesjax.model.sharding import device_mesh, shard_decoder
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace import (
    block_stack,
    certificate_rows,
    estimated_influence,
    exact_influence,
    last_representations,
    printed_rollout,
    rollout,
)

# Eight heads over four of keys: four devices divide all. Every product has a bias.
SHAPE = {"vocab_size": 60, "num_layers": 2, "num_heads": 8, "num_kv_heads": 4, "model_dim": 32}
CONFIG = DecoderConfig(
    **SHAPE, head_dim=8, positions=Rotary(), mlp=GatedMlp(dim=48), qkv_bias=True, bias=True,
    tied=False,
)  # fmt: skip
# Two heads of keys: whole on each of four devices.
FEW = DecoderConfig(**{**SHAPE, "num_kv_heads": 2}, positions=Rotary(), mlp=GatedMlp(dim=48))
TOKENS = np.asarray([1, 5, 2, 9, 0, 3, 7, 7, 4, 11, 30, 59], np.int32)
RUNS = [(1,) * count for count in range(1, 6)]


@jax.jit
def dense(decoder):
    """Logits at every position."""
    return decoder.logits(decoder(jnp.asarray(TOKENS))[0])


def generated(decoder, **settings):
    """Tokens, their log-probabilities and what is evicted, of two prompts."""
    prompts = [TOKENS[:5], TOKENS[:7]]
    steps = generate(unroll(decoder), prompts, policy("h2o"), slots=4, max_tokens=5, **settings)
    return [(step.token, step.logprob, step.dropped) for step in steps]


def read_on(decoder):
    """State, representations and evictions of a text in two pieces, by head."""
    rule, model = policy("tova-head"), unroll(decoder)
    state = empty_state(CONFIG, rule, 5, jnp.float32)
    state, _, gone = advance(model, state, jnp.asarray(TOKENS[:6]), rule)
    return gone, advance(model, state, jnp.asarray(TOKENS[6:]), rule)


def scored(decoder):
    """Losses of a text under a bounded state."""
    rule = policy("h2o")
    empty = empty_state(CONFIG, rule, 4, jnp.float32)
    cell = Cell("h2o", rule, 4)
    return [loss for loss, _ in losses(unroll(decoder), TOKENS, cell, empty, chunk=6)]


def _gains(decoder):
    """A rollout, its gains without their logarithms: a gain of one has rounding alone as its."""
    rolled = jax.jit(rollout)(decoder, jnp.asarray(TOKENS))
    gains = jnp.exp(rolled.log_gain), jnp.exp(rolled.log_gains)
    return rolled._replace(log_gain=gains[0], log_gains=gains[1])


_stack, _rows = jax.jit(block_stack), jax.jit(functools.partial(certificate_rows, norm=1))
_certificate = lambda decoder: _rows(decoder, jnp.asarray(TOKENS))
_bounds = lambda rolled: lambda decoder: jax.jit(rolled)(_stack(decoder, jnp.asarray(TOKENS)))
INSTRUMENTS = {
    "dense": dense,
    "collapse": lambda decoder: last_representations(decoder, RUNS),
    "certificate": _certificate,
    "exact": lambda decoder: exact_influence(decoder, jnp.asarray(TOKENS), spectral=(0,)),
    "estimated": lambda decoder: estimated_influence(
        decoder, jnp.asarray(TOKENS), key=draws.root_key(0), probes=4
    ),
    "rollout": _gains,
    "printed": _bounds(printed_rollout),
    "repaired": _bounds(repaired_rollout),
    "advance": read_on,
    "retention": lambda decoder: replay(unroll(decoder), TOKENS, policy("tova"), slots=4),
    "perplexity": scored,
    "greedy": generated,
    "sampled": lambda decoder: generated(decoder, sampling=Sampling(temperature=0.8, top_k=10)),
}


def spoiled(decoder, spoil):
    """The decoder with one shard of one weight changed, or a gain that differs by device."""
    down, gain = decoder.blocks.mlp.down[...], decoder.blocks.norm1.gain[...]
    weight = down if spoil == "shard" else gain
    parts = [np.array(shard.data) for shard in weight.addressable_shards]
    if spoil == "shard":
        parts[2] *= np.float32(1 + 2**-8)  # a rounding of bfloat16
    else:
        parts[1] = parts[1] * np.linspace(0.9, 1.1, parts[1].size, dtype=np.float32).reshape(
            parts[1].shape
        )
    devices = [shard.device for shard in weight.addressable_shards]
    placed = [jax.device_put(*pair) for pair in zip(parts, devices, strict=True)]
    new = jax.make_array_from_single_device_arrays(weight.shape, weight.sharding, placed)
    return jax.tree.map(lambda leaf: new if leaf is weight else leaf, decoder)


def exchanges(decoder):
    """How often devices exchange something in a pass: sums, and anything else."""
    program = dense.lower(decoder).compile().as_text()
    kinds = re.findall(r" (all-[a-z]+|reduce-scatter|collective-[a-z]+)(?:-start)?\(", program)
    return np.asarray([kinds.count("all-reduce"), len(kinds) - kinds.count("all-reduce")])


def main(out):
    """Runs all and writes the numbers."""
    one = made(CONFIG, jax.random.key(0), jnp.float32)
    few = made(FEW, jax.random.key(1), jnp.float32)
    four = shard_decoder(one, device_mesh(4))
    assert four.blocks.mlp.up[...].sharding.spec == PartitionSpec(None, ("model",))
    assert isinstance(four.unembed[...].sharding, NamedSharding)
    runs = {(name, "one"): run(one) for name, run in INSTRUMENTS.items()}
    runs |= {(name, "four"): run(four) for name, run in INSTRUMENTS.items()}
    runs |= {("dense", spoil): dense(spoiled(four, spoil)) for spoil in ("shard", "gain")}
    runs |= {
        ("grouped", "one"): dense(few),
        ("grouped", "four"): dense(shard_decoder(few, device_mesh(4))),
    }
    arrays = {}
    for (name, devices), values in runs.items():
        for number, value in enumerate(jax.tree.leaves(values)):
            arrays[f"{name}/{devices}/{number}"] = np.asarray(value)
    arrays["exchanges"] = exchanges(four)
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
