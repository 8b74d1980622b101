"""Programs for TPU and CUDA, lowered here without either: training, instruments and the cache."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType
from made_large import LLAMA_7B, LLAMA_70B, PASSES, Sizes, program
from train.made_hosts import TRAINING, config, started

from glassesjax.cache import advance, empty_state, policy, unroll
from glassesjax.cache.generate import GREEDY, _stepper
from glassesjax.model import Decoder, Layout
from glassesjax.precision import BF16, INT8, RoundingPlan
from glassesjax.trace.collapse import _pass
from glassesjax.trace.influence import estimated_influence, exact_influence
from glassesjax.train import train_steps
from glassesjax.train.evaluate import _evaluate

PLATFORMS = ("tpu", "cuda")  # at once: one program, which chooses where the two differ
SEQ, SLOTS, ROWS, WIDTH = 8, 4, 2, 8
ROUNDED = RoundingPlan.everywhere(BF16, mode="simulated")
NATIVE = RoundingPlan.everywhere(BF16, mode="native")
ROUNDED_TO_INT8 = RoundingPlan(weights=INT8, mode="simulated")
# What may be called by name: the kernel of random bits that jaxlib brings for CUDA, and the
# eigenvalues, QR factors and singular values of each platform.
KNOWN = {
    "cu_threefry2x32_ffi", "cusolver_syevd_ffi", "cusolver_geqrf_ffi", "cusolver_gesvdj_ffi",
    "Eigh", "Qr", "ProductOfElementaryHouseholderReflectors",
}  # fmt: skip

tokens = jax.ShapeDtypeStruct((SEQ,), jnp.int32)
number = jax.ShapeDtypeStruct((), jnp.int32)


@functools.cache
def decoder(plan=None):
    """Shapes of a decoder as a plan stores it: nothing is computed."""
    make = lambda key: Decoder(config(WIDTH), key=key)
    stored = lambda key: make(key).at(plan)
    return jax.eval_shape(stored, jax.random.key(0))


def training(plan=None):
    training = dataclasses.replace(TRAINING, plan=plan)
    states = jax.eval_shape(lambda: started([0, 1], WIDTH))
    return jax.jit(lambda states: train_steps(states, training, 3)), (states,)


def evaluation(plan=None):
    size = {"size": SEQ}
    run = lambda *args: _evaluate(
        args[0].at(plan), TRAINING.task, TRAINING.prompt_format, *args[1:], **size
    )
    lengths = jax.ShapeDtypeStruct((4,), jnp.int32)
    return jax.jit(run), (decoder(), jax.eval_shape(lambda: jax.random.key(0)), lengths)


def exact():
    run = lambda decoder, tokens: exact_influence(decoder, tokens, batch=4, spectral=(0,))
    return jax.jit(run), (decoder(), tokens)


def estimated():
    run = lambda decoder, tokens, key: estimated_influence(decoder, tokens, key=key, probes=4)
    return jax.jit(run), (decoder(), tokens, jax.eval_shape(lambda: jax.random.key(0)))


def collapse(plan=None):
    layout = jax.eval_shape(lambda: Layout.line(SEQ))
    run = _pass
    return jax.jit(run), (decoder(plan), tokens, layout, jax.ShapeDtypeStruct((3,), jnp.int32))


def unrolled(plan):
    return jax.eval_shape(unroll, decoder(plan))


def state(kept, plan, rows=()):
    dtype = jnp.float32 if plan is None else plan.dtype
    empty = jax.eval_shape(lambda: empty_state(config(WIDTH), policy(kept), SLOTS, dtype))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*rows, *x.shape), x.dtype), empty)


def prefill(kept, mode, plan=None):
    run = lambda model, state, tokens, length: advance(
        model, state, tokens, policy(kept), length=length, mode=mode
    )
    return jax.jit(run), (unrolled(plan), state(kept, plan), tokens, number)


def decoding(kept, plan=None):
    weights, tree = jax.tree.flatten(unrolled(plan))
    row = lambda dtype: jax.ShapeDtypeStruct((ROWS,), dtype)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), ROWS))
    args = (weights, state(kept, plan, (ROWS,)), row(jnp.int32), row(jnp.bool_), keys, number)
    return _stepper(tree, policy(kept), GREEDY), args


PROGRAMS = {
    "train": training,
    "evaluate": evaluation,
    "exact": exact,
    "estimated": estimated,
    "collapse": collapse,
    "prefill exact": lambda: prefill("tova", "exact"),
    "prefill chunked": lambda: prefill("h2o", "chunked"),
    "decode tova": lambda: decoding("tova"),
    "decode full": lambda: decoding("full"),
}
UNDER_PLAN = {
    "train": training,
    "evaluate": evaluation,
    "collapse": collapse,
    "prefill exact": lambda plan: prefill("tova", "exact", plan),
    "decode tova": lambda plan: decoding("tova", plan),
}


def lowered(program, args, platforms=PLATFORMS):
    """The text of a program, as the compilers of the platforms get it."""
    return jax.export.export(program, platforms=platforms)(*args).mlir_module()


@functools.cache
def text_of(name):
    """Of a program without a plan."""
    return lowered(*PROGRAMS[name]())


def called(text):
    """Names of what is called by name."""
    return set(re.findall(r"custom_call @([\w.$]+)", text))


def rounds(text):
    """Whether float32 numbers are taken by their bits, as ``FloatFormat.round`` takes them."""
    return re.search(r"bitcast_convert.*xf32>\) -> tensor<[\dx]*xui32>", text) is not None


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_lower(name):
    text = text_of(name)
    assert called(text) <= KNOWN
    assert "dot_general" in text


@pytest.mark.parametrize("name", UNDER_PLAN)
def test_simulated_rounding_stands_in_the_program(name):
    """In integers: a compiler may take a cast and its return out, and none is there."""
    text = lowered(*UNDER_PLAN[name](ROUNDED))
    assert rounds(text)
    assert "bf16" not in text
    assert called(text) <= KNOWN
    assert not rounds(text_of(name))


def test_native_and_integer_plans_lower():
    native, integer = (lowered(*collapse(plan)) for plan in (NATIVE, ROUNDED_TO_INT8))
    assert called(native) | called(integer) <= KNOWN
    assert "bf16" in native
    assert "bf16" not in integer


SIXTEEN = AbstractMesh((16,), ("model",), axis_types=(AxisType.Auto,))
LARGE = {"7B": Sizes(LLAMA_7B), "70B": Sizes(LLAMA_70B), "70B on 16": Sizes(LLAMA_70B, SIXTEEN)}
# Half a second each; the others are half a minute together.
QUICK = ("collapse", "influence, estimated", "prefill, full", "perplexity, losses", "decode, tova")


@pytest.mark.parametrize(
    ("size", "name"),
    [
        pytest.param(size, name, marks=[pytest.mark.slow] * (name not in QUICK or size == "7B"))
        for size in LARGE
        for name in PASSES
    ],
)
def test_passes_lower_at_published_sizes(size, name):
    """From shapes alone; on 16 devices the program in which the weights are divided."""
    text = lowered(*program(name, LARGE[size]))
    assert called(text) <= KNOWN
    assert ("num_partitions = 16" in text) is (size == "70B on 16")


def test_the_check_sees_a_call_of_the_cpu():
    """The counter-case: eigenvalues for the CPU are LAPACK's."""
    run, matrix = jax.jit(jnp.linalg.eigvalsh), jax.ShapeDtypeStruct((4, 4), jnp.float32)
    assert any("lapack" in name for name in called(lowered(run, (matrix,), ["cpu"])) - KNOWN)
