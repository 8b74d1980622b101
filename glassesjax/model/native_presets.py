"""Which presets of rounding plans the backend computes by itself, and how far from simulation."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from glassesjax.borders import border
from glassesjax.model.fused import fused_average
from glassesjax.model.layers import product, project
from glassesjax.model.native_products import (
    REFUSED,
    NativeProduct,
    bf16_product,
    block_product,
    distance,
    float8_product,
    int4_product,
    int8_product,
    tf32_product,
)
from glassesjax.precision import F32, PRESETS, RoundingPlan, ScaledFormat, Site
from glassesjax.precision.scaled import Codes

WIDTH = 256  # inputs of the product: two blocks of the coarsest preset
_KEYS, _HEAD = 384, 64  # three tiles of keys
_EQUAL = 507  # 507 times the bfloat16 number nearest to 1/507 is 0.998, which rounds to 0.996


class PresetProbe(NamedTuple):
    """One preset on this backend."""

    preset: str
    native: str
    """``yes``, ``part`` or ``no``: of a linear layer and attention, both, one or none."""
    linear: str
    """Product of a linear layer: ``native``; ``as TYPE`` where operands are converted to that type
    before they are multiplied, with the same exact products; or ``none``."""
    linear_distance: float | None
    """Largest difference from the simulated product over the sum of the terms' magnitudes, neither
    stored, in units of ``unit``'s unit roundoff; None where there is no product."""
    tolerance: float
    """What two float32 sums of the same terms may differ by, in that unit."""
    attention: str
    """``fused`` or ``normalized``, the order of ``jax.nn.dot_product_attention``, with its type
    where that is not the preset's own."""
    attention_distance: float
    """Largest difference of a stored head from the simulated one, likewise."""
    unit: str
    """The format whose unit roundoff is the unit."""


@border()
def preset_report() -> list[PresetProbe]:
    """Small compiled programs for each preset beside their simulation, on fixed random numbers.

    Returns:
      One record for each of ``precision.PRESETS``, fit for a row.
    """
    orders = {name: attention_order(name) for name in ("cudnn", "xla")}
    return [_probe(name, preset.make(), orders) for name, preset in PRESETS.items()]


def _probe(name: str, plan: RoundingPlan, orders: Mapping[str, str | None]) -> PresetProbe:
    unit: Any = plan.activations or plan.operands
    linear, apart = _linear(plan, unit.unit_roundoff)
    attention, native, far = _attention(plan, unit.unit_roundoff, orders)
    parts = (linear.kind == "native", native)
    verdict = "yes" if all(parts) else "part" if any(parts) else "no"
    # The sums, and at most four roundings more of scales.
    tolerance = 2 * (WIDTH + 4) * F32.unit_roundoff / unit.unit_roundoff
    return PresetProbe(name, verdict, linear.kind, apart, tolerance, attention, far, unit.name)


def _numbers(shape: tuple[int, ...], seed: int) -> Float[Array, "..."]:
    """Normal numbers that no release of JAX changes."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _linear(plan: RoundingPlan, unit_roundoff: float) -> tuple[NativeProduct, float | None]:
    """The backend's product of a linear layer, and its distance from the simulated one."""
    x = plan.store(Site.ACTIVATIONS, _numbers((WIDTH, WIDTH), 0))
    stored = plan.store(Site.WEIGHTS, _numbers((WIDTH, WIDTH), 1))
    weight = plan.store(Site.LINEAR_WEIGHTS, stored)
    native = _native_product(plan, x, stored)
    if native.result is None:
        return native, None
    simulated = jax.jit(lambda x, w: project(x, nnx.Param(w), None, plan))(x, weight)
    read = x if plan.inputs is None else plan.store(Site.INPUTS, x)
    terms = np.abs(np.asarray(read, np.float64)) @ np.abs(np.asarray(weight, np.float64)).T
    return native, distance(native.result, simulated, terms, unit_roundoff)


def _native_product(plan: RoundingPlan, x: Array, weight: Array) -> NativeProduct:
    """The backend's product for the formats that a plan has at its linear layers."""
    if plan.operands is not None:
        return tf32_product(x, weight)
    match plan.inputs, plan.linear_weights:
        case ScaledFormat(element=Codes()) as fmt, _:
            return int8_product(x, weight, fmt)
        case ScaledFormat() as of_x, ScaledFormat() as of_weight:
            return block_product(x, weight, of_x, of_weight)
        case None, ScaledFormat() as fmt:
            return int4_product(x, weight, fmt)
    return bf16_product(x, weight)


def attention_order(implementation: str) -> str | None:
    """The order of ``jax.nn.dot_product_attention`` in bfloat16 on this backend.

    Of equal logits and values of one, exponentials that are stored before the division are exact;
    weights that are stored after it sum to another number than one.

    Args:
      implementation: As of that function, ``xla`` or ``cudnn``.

    Returns:
      ``fused`` or ``normalized``; None where the backend refuses it.
    """
    query, value = jnp.zeros((1, 128, 1, _HEAD)), jnp.ones((1, 512, 1, _HEAD))
    query, value = query.astype(jnp.bfloat16), value.astype(jnp.bfloat16)
    lengths = jnp.array([_EQUAL], jnp.int32)

    call = lambda query, value: _averaged(query, value, value, implementation, lengths)
    try:
        return "fused" if bool(jnp.all(jax.jit(call)(query, value) == 1)) else "normalized"
    except REFUSED:
        return None


def _averaged(
    query: Array, key: Array, value: Array, implementation: str, lengths: Array | None = None
) -> Array:
    """JAX's own attention, whose constants are of other types than its operands."""
    called: Any = jax.nn.dot_product_attention
    with jax.numpy_dtype_promotion("standard"):
        return called(
            query, key, value, key_value_seq_lengths=lengths, implementation=implementation
        )


def _attention(
    plan: RoundingPlan, unit_roundoff: float, orders: Mapping[str, str | None]
) -> tuple[str, bool, float]:
    """What the backend's attention is, whether it is the plan's, and the distance of one head."""
    query, key, value = (
        plan.store(Site.ACTIVATIONS, _numbers((1, rows, _HEAD), seed))
        for rows, seed in ((64, 2), (_KEYS, 3), (_KEYS, 4))
    )
    key, value = plan.store_state(key), plan.store_state(value)
    query, key, value = (plan.store(Site.ATTN_INPUTS, each) for each in (query, key, value))
    simulated, terms = jax.jit(lambda q, k, v: _simulated(q, k, v, plan))(query, key, value)
    tf32 = plan.operands is not None
    fused = (name for name, order in orders.items() if order == "fused" and not tf32)
    chosen = next(fused, "xla")
    # (heads, rows, width) -> (batch, rows, heads, width)
    head = [jnp.swapaxes(each, 0, 1)[None] for each in (query, key, value)]
    head = head if tf32 else [each.astype(jnp.bfloat16) for each in head]
    call = lambda query, key, value: _averaged(query, key, value, chosen)
    with jax.default_matmul_precision("tensorfloat32") if tf32 else contextlib.nullcontext():
        found = jax.jit(call)(*head)
    far = distance(found[0, :, 0], simulated[0], np.asarray(terms[0], np.float64), unit_roundoff)
    if tf32:
        kind = tf32_product(query[0], key[0]).kind
        return kind, kind == "native", far
    order = orders[chosen] or "none"
    if plan.attn_inputs is None:
        return order, order == "fused", far
    # JAX has no public attention in float8; the products alone are probed.
    fmt: Any = plan.attn_inputs
    products = float8_product(query[0], key[0], fmt).kind
    return f"{order}, in bf16; float8 products {products}", False, far


def _simulated(
    query: Array, key: Array, value: Array, plan: RoundingPlan
) -> tuple[Float[Array, "1 n h"], Float[Array, "1 n h"]]:
    """A head under a plan, stored, and the average of its values' magnitudes."""
    logits = product("knh,ksh->kns", query, key, plan) / math.sqrt(_HEAD)
    if plan.attn_exp is None:
        weights = jax.nn.softmax(logits, axis=-1)
        averaged = product("kns,ksh->knh", weights, value, plan)
    else:
        averaged, weights = fused_average(logits, value, plan)
    terms = jnp.einsum("kns,ksh->knh", weights, jnp.abs(value), precision="highest")
    return plan.store(Site.ACTIVATIONS, averaged), terms
