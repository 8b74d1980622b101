"""The passes of the instruments on LLaMA 2's sizes, by abstract shapes: no weight is made.

Each is the compiled function that a command runs, with arguments of the command's default lengths.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from glassesjax import draws
from glassesjax.cache import State, Unrolled, empty_state, policy, unroll
from glassesjax.cache.advance import _enter, _finish, _layer
from glassesjax.cache.generate import GREEDY, _chooser, _stepper
from glassesjax.cache.losses import token_losses
from glassesjax.cache.pruned import _represent
from glassesjax.cache.step import RowPositions
from glassesjax.model import Decoder, DecoderConfig, GatedMlp, Layout, RMSNorm, Rotary
from glassesjax.model.sharding import weight_spec
from glassesjax.model.tiling import TILING
from glassesjax.model.weights import flat_parameters
from glassesjax.precision import BF16, F32, F64, RoundingPlan
from glassesjax.studies.bounded.measure import _paths
from glassesjax.studies.collapse.layers import _certified
from glassesjax.studies.influence.measure import _each, _last, _stacks
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace import attention_statistics
from glassesjax.trace.collapse import _pass
from glassesjax.trace.influence import _estimate, _exact
from glassesjax.trace.rollout import printed_rollout, rollout

_LLAMA = {
    "vocab_size": 32000,
    "positions": Rotary(),
    "norm": RMSNorm(eps=1e-5),
    "tied": False,
    "max_length": 4096,
}
LLAMA_7B = DecoderConfig(
    num_layers=32, num_heads=32, model_dim=4096, mlp=GatedMlp(dim=11008), **_LLAMA
)
LLAMA_70B = DecoderConfig(
    num_layers=80,
    num_heads=64,
    num_kv_heads=8,
    model_dim=8192,
    mlp=GatedMlp(dim=28672),
    **_LLAMA,
)
# As a folder in bf16 opens; in `collapse` the reference is float64, and a curve is in bf16 itself.
NARROW = RoundingPlan(weights=BF16, mode="native", carrier=F32)
WIDE = RoundingPlan(weights=BF16, mode="native", carrier=F64)
OWN = RoundingPlan.everywhere(BF16, mode="native")

# By default: `collapse` packs prompts of up to 513 tokens and their suffixes into 684 rows.
RUN, PROMPTS, LONGEST = 2048, 36, 514
TEXT, PASSAGES, PROBES, BATCH = 64, 4, 32, 16  # of `influence`
WINDOW, SLOTS = 4096, 1024  # of `perplexity`, whose largest bounded state it is
STATISTICS = 1024  # tokens


class Sizes(NamedTuple):
    """A decoder's settings, and the devices over which its weights are divided."""

    config: DecoderConfig
    mesh: AbstractMesh | Mesh | None = None

    def of(self, layers: int) -> "Sizes":
        """The same of so many layers."""
        return self._replace(config=dataclasses.replace(self.config, num_layers=layers))


class Program(NamedTuple):
    """A compiled function and its abstract arguments."""

    run: Any
    args: tuple[Any, ...]


def ints(*shape: int) -> jax.ShapeDtypeStruct:
    """Abstract int32 numbers."""
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """Abstract float32 numbers."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _placed(x: jax.ShapeDtypeStruct, mesh: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))


def _divided(module: Any, names: Iterable[str], at: Sizes, layer: bool = False) -> Any:
    """The weights of a decoder, or of one of its layers, as ``shard_decoder`` divides them."""
    if at.mesh is None:
        return module
    leaves = []
    for name, weight in zip(names, jax.tree.leaves(module), strict=True):
        spec = weight_spec(name, at.config, at.mesh.size, at.mesh.axis_names)
        # A layer's weight has lost the axis of layers, which is never divided.
        leaves.append(_placed(weight, at.mesh, PartitionSpec(*spec[1:]) if layer else spec))
    return jax.tree.unflatten(jax.tree.structure(module), leaves)


def _whole(args: Any, mesh: Any) -> Any:
    """What is no weight is whole on each device."""
    place = lambda x: x if x.sharding else _placed(x, mesh, PartitionSpec())
    return args if mesh is None else jax.tree.map(place, args)


@functools.cache
def decoder(at: Sizes, plan: RoundingPlan = NARROW) -> Decoder:
    """Shapes of a decoder as a plan stores it."""
    make = lambda: Decoder(at.config, key=draws.root_key(0)).at(plan)
    made = jax.eval_shape(make)
    return _divided(made, flat_parameters(made), at)


@functools.cache
def unrolled(at: Sizes) -> Unrolled:
    """The same with its layers apart."""
    stacked = decoder(at._replace(mesh=None))
    model = jax.eval_shape(unroll, stacked)
    names = [name for name in flat_parameters(stacked) if name.startswith("blocks.")]
    blocks = tuple(_divided(block, names, at, layer=True) for block in model.blocks)
    return Unrolled(_divided(model.outer, flat_parameters(model.outer), at), blocks)


@functools.cache
def state(at: Sizes, kept: str, slots: int, rows: tuple[int, ...] = ()) -> State:
    """Shapes of a state of one sequence, or of some rows."""
    empty = jax.eval_shape(lambda: empty_state(at.config, policy(kept), slots, NARROW.dtype))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*rows, *x.shape), x.dtype), empty)


def collapse(at: Sizes, plan: RoundingPlan = NARROW, length: int = RUN) -> Program:
    """The pass over all prompts of a family."""
    layout = jax.eval_shape(lambda: Layout.line(length))
    return Program(_pass, (decoder(at, plan), ints(length), layout, ints(PROMPTS)))


def certificate(at: Sizes, plan: RoundingPlan = NARROW) -> Program:
    """Theorem 4.2 in each layer, of the longest prompt."""
    return Program(_certified, (decoder(at, plan), ints(LONGEST)))


def estimated(at: Sizes, freeze: bool = False) -> Program:
    """Influence by random probes, of one passage."""
    run = lambda *args: _estimate(*args, PROBES, freeze)
    probes = floats(PROBES // BATCH, BATCH, at.config.model_dim)
    return Program(jax.jit(run), (decoder(at), ints(TEXT), probes))


def exact(at: Sizes, spectral: tuple[int, ...]) -> Program:
    """Influence by all coordinates, of one passage."""
    rows = tuple(range(at.config.num_layers + 1))
    run = lambda *args: _exact(*args, rows=rows, spectral=spectral, freeze=False)
    coordinates = floats(at.config.model_dim // BATCH, BATCH, at.config.model_dim)
    return Program(jax.jit(run), (decoder(at), ints(TEXT), coordinates))


def stacks(at: Sizes) -> Program:
    """What both bounds are made of, of all passages."""
    return Program(_stacks, (decoder(at), ints(PASSAGES, TEXT)))


def bound(at: Sizes, rolled: Callable[..., Any]) -> Program:
    """A bound from it."""
    before = stacks(at)
    run = lambda made: _each(rolled, (), made)
    return Program(jax.jit(run), (jax.eval_shape(before.run, *before.args),))


def rolling(at: Sizes) -> Program:
    """The rollout of all passages."""
    run = lambda decoder, tokens: _each(rollout, (decoder,), tokens)
    return Program(jax.jit(run), (decoder(at), ints(PASSAGES, TEXT)))


def statistics(at: Sizes) -> Program:
    """Entropies and ranges of every head."""
    return Program(jax.jit(attention_statistics), (decoder(at), ints(STATISTICS)))


def pruned(at: Sizes) -> Program:
    """The dense pass of `bounded`."""
    until = ints(at.config.num_layers, RUN, 1)
    layout = jax.eval_shape(lambda: Layout.line(RUN))
    return Program(_represent, (decoder(at), floats(RUN, at.config.model_dim), layout, until))


def paths(at: Sizes, repaired: bool) -> Program:
    """The rollout or the bound of `bounded`."""
    run = lambda *args: _paths(*args, repaired=repaired)
    return Program(jax.jit(run), (decoder(at), ints(TEXT), ints(at.config.num_layers, TEXT, 1)))


def outer(at: Sizes) -> Decoder:
    """All but the layers."""
    return unrolled(at.of(1)).outer


def enter(at: Sizes) -> Program:
    """A chunk's way into the first layer."""
    return Program(_enter, (outer(at), ints(TILING.prefill_chunk), ints(), ints()))


def layer(at: Sizes, kept: str, slots: int, mode: str) -> Program:
    """One layer of prefill, the same program for all."""
    one, size = at.of(1), TILING.prefill_chunk
    rows = RowPositions(ints(size), jax.ShapeDtypeStruct((size,), jnp.bool_))
    run = lambda block, cache, resid, rows: _layer(block, cache, resid, rows, policy(kept), mode)
    args = (unrolled(one).blocks[0], state(one, kept, slots).layers[0])
    return Program(jax.jit(run), (*args, floats(size, at.config.model_dim), rows))


def finish(at: Sizes) -> Program:
    """A chunk's way out of the last layer."""
    run = lambda *args: _finish(*args, True)
    return Program(
        jax.jit(run), (outer(at), floats(TILING.prefill_chunk, at.config.model_dim), ints())
    )


def scores(at: Sizes) -> Program:
    """Losses of a chunk."""
    size = TILING.prefill_chunk
    return Program(token_losses, (outer(at), floats(size, at.config.model_dim), ints(size)))


def decode(at: Sizes, kept: str, slots: int) -> Program:
    """One step of decoding, of one row."""
    weights, tree = jax.tree.flatten(unrolled(at))
    keys = jax.eval_shape(lambda: jax.random.split(draws.root_key(0), 1))
    rows = (ints(1), jax.ShapeDtypeStruct((1,), jnp.bool_), keys, ints())
    run = _stepper(tree, policy(kept), GREEDY)
    return Program(run, (weights, state(at, kept, slots, (1,)), *rows))


def choose(at: Sizes) -> Program:
    """The first token after a prompt."""
    weights, tree = jax.tree.flatten(unrolled(at.of(1))._replace(blocks=()))
    keys = jax.eval_shape(lambda: jax.random.split(draws.root_key(0), 1))
    args = (weights, floats(1, at.config.model_dim), keys, ints())
    return Program(_chooser(tree, GREEDY), args)


def last(at: Sizes) -> Program:
    """The pass that tells whether a passage is finite."""
    return Program(_last, (decoder(at), ints(TEXT)))


PASSES: Mapping[str, Callable[[Sizes], Program]] = {
    "collapse": collapse,
    "collapse, bf16 arithmetic": lambda at: collapse(at, OWN),
    "collapse, float64 arithmetic": lambda at: collapse(at, WIDE),
    "certificate": certificate,
    "certificate, float64 arithmetic": lambda at: certificate(at, WIDE),
    "influence, estimated": estimated,
    "influence, estimated, frozen attention": lambda at: estimated(at, freeze=True),
    "influence, exact": lambda at: exact(at, ()),
    "influence, exact with operator norms": lambda at: exact(at, (0,)),
    "influence, finite": last,
    "constants of the bounds": stacks,
    "rollout": rolling,
    "printed bound": lambda at: bound(at, printed_rollout),
    "repaired bound": lambda at: bound(at, repaired_rollout),
    "attention statistics": statistics,
    "pruned pass": pruned,
    "pruned rollout": lambda at: paths(at, repaired=False),
    "pruned bound": lambda at: paths(at, repaired=True),
    "prefill, in": enter,
    "prefill, full": lambda at: layer(at, "full", WINDOW, "chunked"),
    "prefill, h2o chunked": lambda at: layer(at, "h2o", SLOTS, "chunked"),
    "prefill, tova": lambda at: layer(at, "tova", SLOTS, "exact"),
    "prefill, out": finish,
    "perplexity, losses": scores,
    "decode, full": lambda at: decode(at, "full", WINDOW),
    "decode, tova": lambda at: decode(at, "tova", SLOTS),
    "decode, first token": choose,
}
"""Every compiled function that an instrument runs, by name, from the sizes of a decoder."""


def program(name: str, at: Sizes) -> Program:
    """A pass by its name."""
    run, args = PASSES[name](at)
    return Program(run, _whole(args, at.mesh))
