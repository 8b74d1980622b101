"""Products of a linear layer as the backend computes them itself, for the presets of plans."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glassesjax.precision import ScaledFormat
from glassesjax.precision.backend import product_bits
from glassesjax.precision.formats import E4M3FN, TF32

REFUSED = (RuntimeError, ValueError, TypeError)  # as JAX and XLA's compilers refuse an operation
_SHORT = {  # XLA's names of the types that products are asked for
    "bfloat16": "bf16",
    "int8": "s8",
    "float8_e4m3fn": "f8e4m3fn",
    "float4_e2m1fn": "f4e2m1fn",
}


class NativeProduct(NamedTuple):
    """What a backend makes of one product."""

    kind: str
    """``native``; ``as TYPE`` where the compiled program first converts the operands to that type;
    or ``none``."""
    result: Float[Array, "rows features"] | None
    """float32, not yet stored; None where there is none."""


def operand_types(program: str) -> set[str]:
    """Element types that products read in a compiled program, by XLA's names.

    Args:
      program: The text of the optimized module.

    Returns:
      Types of the operands of every ``dot``; where there is none, of every call of a library.
    """
    computations = program.split("\n}")  # names are of one computation
    for operation in ("dot", "custom-call"):
        read: set[str] = set()
        for computation in computations:
            types = dict(re.findall(r"%([\w.\-]+) = (\w+)\[", computation))
            for operands in re.findall(rf" {operation}\(([^)]*)\)", computation):
                names = re.findall(r"%([\w.\-]+)", operands)
                read |= {types[name] for name in names if name in types}
        if read:
            return read
    return set()


def _compiled(dtype: str, call: Callable[..., Array], *operands: Array) -> NativeProduct:
    """A call with narrow operands, and whether its program multiplies them as they are."""
    try:
        program = jax.jit(call).lower(*operands).compile()
        result = program(*operands)
    except REFUSED:
        return NativeProduct("none", None)
    types = operand_types(program.as_text() or "")
    wider = " and ".join(sorted(types)) or "unknown"
    return NativeProduct("native" if _SHORT[dtype] in types else f"as {wider}", result)


def _dot(x: Array, weight: Array, sums: Any = jnp.float32) -> Array:  # noqa: ANN401
    # The default is what a backend does if nothing is requested; narrow operands have no other.
    return jnp.einsum("td,fd->tf", x, weight, precision="default", preferred_element_type=sums)


def bf16_product(x: Float[Array, "rows d"], weight: Float[Array, "features d"]) -> NativeProduct:
    """Operands in bfloat16, a float32 result."""
    narrow = (x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16))
    return _compiled("bfloat16", _dot, *narrow)


def tf32_product(x: Float[Array, "rows d"], weight: Float[Array, "features d"]) -> NativeProduct:
    """float32 operands with TF32 requested, which shows in the bits that they keep."""
    asked = "tensorfloat32"
    result = jax.jit(lambda x, weight: jnp.matmul(x, weight.T, precision=asked))(x, weight)
    bits = product_bits(rows=256, precision=asked)
    native = bits == TF32.mantissa_bits
    return NativeProduct("native" if native else f"as {bits} mantissa bits", result)


def int4_product(
    x: Float[Array, "rows d"], weight: Float[Array, "features d"], fmt: ScaledFormat
) -> NativeProduct:
    """4-bit codes in memory, multiplied in bfloat16; the scales of blocks multiply their sums.

    Args:
      x: Inputs.
      weight: Of which codes and scales are made.
      fmt: Codes of 4 bits with a scale a block; blocks are whole.
    """
    codes, scale = fmt.quantize(weight)
    size = fmt.scaling.block
    blocks = lambda rows: rows.reshape(len(rows), -1, size)

    def call(x: Array, codes: Array, scale: Array) -> Array:
        narrow = blocks(codes).astype(jnp.bfloat16)
        sums = jnp.einsum(
            "tbk,fbk->tbf",
            blocks(x),
            narrow,
            precision="default",
            preferred_element_type=jnp.float32,
        )
        return jnp.sum(sums * scale.T[None], axis=1)

    return _compiled("bfloat16", call, x.astype(jnp.bfloat16), codes.astype(jnp.int4), scale)


def int8_product(
    x: Float[Array, "rows d"], weight: Float[Array, "features d"], fmt: ScaledFormat
) -> NativeProduct:
    """8-bit codes with int32 sums, times the scales of both rows.

    Args:
      x: Inputs.
      weight: Of one output a row.
      fmt: Codes of 8 bits with a scale a row.
    """
    (x, of_x), (weight, of_weight) = fmt.quantize(x), fmt.quantize(weight)
    # Sums of fewer than 1,000 products are below 2^24: float32 has them all.
    call = lambda x, weight: _dot(x, weight, jnp.int32).astype(jnp.float32)
    kind, sums = _compiled("int8", call, x, weight)
    return NativeProduct(kind, None if sums is None else sums * of_x * of_weight.T)


def float8_product(
    x: Float[Array, "rows d"], weight: Float[Array, "features d"], fmt: ScaledFormat
) -> NativeProduct:
    """float8 elements with float32 sums, times the scales of both rows.

    Args:
      x: Inputs.
      weight: Of one output a row.
      fmt: Elements of e4m3fn with a scale a row.
    """
    (x, of_x), (weight, of_weight) = fmt.quantize(x), fmt.quantize(weight)
    narrow = (x.astype(jnp.float8_e4m3fn), weight.astype(jnp.float8_e4m3fn))
    kind, sums = _compiled("float8_e4m3fn", _dot, *narrow)
    return NativeProduct(kind, None if sums is None else sums * of_x * of_weight.T)


def block_product(
    x: Float[Array, "rows d"],
    weight: Float[Array, "features d"],
    of_x: ScaledFormat,
    of_weight: ScaledFormat,
) -> NativeProduct:
    """``jax.nn.scaled_matmul`` of MX or NVFP4 blocks.

    Args:
      x: Inputs.
      weight: Of one output a row.
      of_x: Blocks of the inputs.
      of_weight: Blocks of the same elements.

    Returns:
      The product; ``none`` on backends to which it cannot be lowered.
    """
    dtype = "float8_e4m3fn" if of_x.element == E4M3FN else "float4_e2m1fn"
    elements, scales, seconds = [], [], []
    for values, fmt in ((x, of_x), (weight, of_weight)):
        element, scale = fmt.quantize(values)
        # A block's scale is a stored number times a second one of its row or tensor.
        power = fmt.scaling.stored == "power_of_two"
        axis = -1 if fmt.scaling.stored == "e4m3fn_row" else None
        peak = jnp.max(jnp.abs(values), axis=axis, keepdims=True)
        second = jnp.ones_like(peak) if power else peak / (fmt.element.max * E4M3FN.max)
        elements.append(element.astype(dtype)[None])
        narrow = jnp.float8_e8m0fnu if power else jnp.float8_e4m3fn
        scales.append((scale / second).astype(narrow)[None])
        seconds.append(second)
    call = lambda *blocks: jax.nn.scaled_matmul(*blocks)[0]
    kind, result = _compiled(dtype, call, *elements, *scales)
    return NativeProduct(kind, None if result is None else result * seconds[0] * seconds[1].T)


def distance(
    found: Float[Array, "*shape"],
    expected: Float[Array, "*shape"],
    terms: Float[np.ndarray, "*shape"],
    unit_roundoff: float,
) -> float:
    """Largest difference of two sums, over the sum of their terms' magnitudes, in unit roundoffs.

    Args:
      found: Sums.
      expected: Sums.
      terms: Sums of the magnitudes.
      unit_roundoff: The unit.
    """
    apart = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    return float(np.max(apart / terms) / unit_roundoff)
