"""Weights of 16 bits are widened one layer at a time, in every pass over layers."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glassesjax import draws
from glassesjax.cache import advance, empty_state, policy, unroll
from glassesjax.model import Decoder, DecoderConfig, GatedMlp, Layout, Rotary
from glassesjax.model.layer_scan import run_layer, scan_layers
from glassesjax.precision import BF16, F32, RoundingPlan
from glassesjax.theory.blocks import repaired_rollout
from glassesjax.trace import attention_statistics, rollout
from glassesjax.trace.certificate import certificate_rows
from glassesjax.trace.collapse import _pass
from glassesjax.trace.influence import _estimate, _exact, estimated_influence
from glassesjax.trace.rollout import block_stack, printed_bound

SEQ, WIDTH, HIDDEN = 4, 128, 256
NARROW = RoundingPlan(weights=BF16, mode="native", carrier=F32)
# In the order that takes the least memory: the default one lets independent steps run at once.
ORDER = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def config(layers):
    return DecoderConfig(
        vocab_size=16,
        num_layers=layers,
        num_heads=2,
        model_dim=WIDTH,
        positions=Rotary(),
        mlp=GatedMlp(dim=HIDDEN),
    )


def decoder(layers):
    return Decoder(config(layers), key=draws.root_key(0)).at(NARROW)


@functools.cache
def abstract(layers):
    return jax.eval_shape(lambda: decoder(layers))


tokens = jax.ShapeDtypeStruct((SEQ,), jnp.int32)
probes = jax.ShapeDtypeStruct((2, 2, WIDTH), jnp.float32)
rows = jax.ShapeDtypeStruct((2,), jnp.int32)
PASSES = {
    "collapse": lambda d: _pass.lower(d, tokens, jax.eval_shape(lambda: Layout.line(SEQ)), rows),
    "estimated": lambda d: _estimate.lower(d, tokens, probes, 4, False, None),
    "exact": lambda d: _exact.lower(d, tokens, probes, rows=(0,), spectral=(), freeze=False),
    "from layer 1": lambda d: jax.jit(
        lambda d, x: d.represent(x, start=1, keep="nothing")[0]
    ).lower(d, jax.ShapeDtypeStruct((SEQ, WIDTH), jnp.float32)),
    "rollout": lambda d: jax.jit(rollout).lower(d, tokens),
    "printed": lambda d: jax.jit(printed_bound).lower(d, tokens),
    "repaired": lambda d: jax.jit(block_stack).lower(d, tokens),
    "statistics": lambda d: jax.jit(attention_statistics).lower(d, tokens),
    "certificate": lambda d: jax.jit(lambda d, t: certificate_rows(d, t, norm=1)).lower(d, tokens),
}


def temporaries(lowered):
    return lowered.compile(compiler_options=ORDER).memory_analysis().temp_size_in_bytes


def growth(name):
    """Temporaries of a layer, in bytes a weight of it."""
    # From three layers on: XLA takes a loop of one layer apart.
    few, many = (temporaries(PASSES[name](abstract(layers))) for layers in (3, 7))
    weights = jax.tree.leaves(abstract(1).blocks)
    return (many - few) / 4 / sum(math.prod(weight.shape) for weight in weights)


# The others are made of the same scans.
SLOW = ("exact", "printed", "certificate")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in PASSES],
)
def test_temporaries_do_not_grow_with_the_weights_of_the_layers(name):
    """A copy of the stack is two bytes a weight, a widened one four."""
    assert growth(name) < 0.5


def test_some_layers_of_any_width_are_not_copied_first():
    """Of all layers but the first: a copy of them is four bytes a weight."""

    def run(layers):
        x = jax.ShapeDtypeStruct((SEQ, WIDTH), jnp.float32)
        stack = jax.ShapeDtypeStruct((layers, WIDTH, WIDTH), jnp.float32)
        product = lambda x, weight: (x @ weight, None)
        some = lambda x, stack: scan_layers(product, x, stack, start=1)
        return temporaries(jax.jit(some).lower(x, stack))

    assert (run(7) - run(3)) / 4 / WIDTH**2 < 0.5


def test_a_plain_scan_widens_all_layers_first():
    """The counter-case, on this backend."""

    def run(layers):
        x = jax.ShapeDtypeStruct((SEQ, WIDTH), jnp.float32)
        stack = jax.ShapeDtypeStruct((layers, WIDTH, WIDTH), jnp.bfloat16)
        product = lambda x, weight: (x @ weight.astype(x.dtype), None)
        return temporaries(
            jax.jit(lambda x, stack: jax.lax.scan(product, x, stack)).lower(x, stack)
        )

    assert (run(7) - run(3)) / 4 / WIDTH**2 > 2


def decoded(model, state, tokens):
    """The state after some tokens, and their representations."""
    return advance(model, state, tokens, policy("tova"))[:2]


def growth_of_decoding():
    """In the order in which steps may run at once, for there the layers of a row are widened."""

    def run(layers):
        empty = jax.eval_shape(lambda: empty_state(config(layers), policy("tova"), SEQ))
        one = jax.ShapeDtypeStruct((1,), jnp.int32)
        model = jax.eval_shape(unroll, abstract(layers))
        compiled = jax.jit(decoded).lower(model, empty, one).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    weights = jax.tree.leaves(abstract(1).blocks)
    return (run(5) - run(3)) / 2 / sum(math.prod(weight.shape) for weight in weights)


def test_decoding_widens_one_layer_at_a_time():
    assert growth_of_decoding() < 0.5


def test_layers_of_one_program_are_widened_together(monkeypatch):
    """The counter-case, on this backend."""
    module = importlib.import_module("glassesjax.cache.advance")  # its name is a function, too
    monkeypatch.setattr(module, "run_layer", lambda step, carry, layer: step(carry, layer))
    jax.clear_caches()
    assert growth_of_decoding() > 2
    jax.clear_caches()


def equal(first, second):
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@functools.cache
def under(plan):
    return decoder(2).at(plan)


NUMBERS = {
    "pass": lambda d, line: d(line, keep="attention"),
    "influence": lambda d, line: estimated_influence(d, line, key=draws.root_key(1), probes=2),
    "bound": lambda d, line: repaired_rollout(block_stack(d, line)),
    "statistics": lambda d, line: attention_statistics(d, line),
    "decoding": lambda d, line: decoded(unroll(d), empty_state(d.config, policy("tova"), 2), line),
}


@pytest.mark.parametrize(
    "name",
    # Two compilations of some seconds each.
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("influence", "bound")))
        for name in NUMBERS
    ],
)
def test_narrow_weights_give_the_numbers_of_widened_ones(name):
    narrow, wide = under(NARROW), under(RoundingPlan.wide(F32))
    assert (narrow.dtype, wide.dtype) == (jnp.bfloat16, jnp.float32)
    measure, line = jax.jit(NUMBERS[name]), jnp.arange(SEQ, dtype=jnp.int32)
    equal(measure(narrow, line), measure(wide, line))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layers", [(0, 3), (1, 3), (1, 2), (2, 2)])
def test_values_and_derivatives_are_those_of_a_scan(layers, reverse):
    start, stop = layers
    key = draws.root_key(0)
    stack = {
        "narrow": draws.normal(key, (3, 4, 4), jnp.float32).astype(jnp.bfloat16),
        "wide": draws.normal(key, (3, 4), jnp.float32),
        "none": None,
    }
    x = jnp.arange(4, dtype=jnp.float32)

    def step(x, layer):
        x = jnp.tanh(layer["narrow"].astype(x.dtype) @ x + layer["wide"])
        return x, x[0]

    def ours(x, stack):
        return scan_layers(step, x, stack, start=start, stop=stop, reverse=reverse)

    def plain(x, stack):
        part = jax.tree.map(lambda leaf: leaf[start:stop], stack)
        return jax.lax.scan(step, x, part, reverse=reverse)

    equal(jax.jit(ours)(x, stack), jax.jit(plain)(x, stack))
    loss = lambda run: lambda x, stack: jnp.sum(run(x, stack)[0])
    slopes = [jax.jit(jax.grad(loss(run), (0, 1)))(x, stack) for run in (ours, plain)]
    equal(*slopes)
    assert bool(jnp.any(slopes[0][1]["narrow"])) is (stop > start)


def test_values_and_derivatives_of_one_layer_are_those_of_its_step():
    weight = draws.normal(draws.root_key(0), (4, 4), jnp.float32).astype(jnp.bfloat16)
    carry = jnp.arange(4, dtype=jnp.float32), jnp.asarray(3, jnp.int32)

    def step(carry, weight):
        x = jnp.tanh(weight.astype(jnp.float32) @ carry[0])
        return (x, carry[1]), x[0]

    ours = lambda x, weight: run_layer(step, (x, carry[1]), weight)
    plain = lambda x, weight: step((x, carry[1]), weight)
    equal(jax.jit(ours)(carry[0], weight), jax.jit(plain)(carry[0], weight))
    loss = lambda run: lambda x, weight: jnp.sum(run(x, weight)[0][0])
    slopes = [jax.jit(jax.grad(loss(run), (0, 1)))(carry[0], weight) for run in (ours, plain)]
    equal(*slopes)
    assert bool(jnp.any(slopes[0][1]))
