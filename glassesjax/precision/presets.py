"""Rounding plans that people run, by name: kernels, quantized weights and caches."""

import dataclasses
from collections.abc import Callable
from typing import Any

from glassesjax.precision.format_names import number_format
from glassesjax.precision.formats import BF16, F32, TF32
from glassesjax.precision.plan import RoundingPlan


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named plan and where its definition comes from."""

    make: Callable[[], RoundingPlan]
    what: str
    """What runs so, in one line."""
    source: str
    """The publication or specification that defines it."""


def _flash(**sites: str) -> RoundingPlan:
    """All storage in bfloat16 and fused attention, with other formats at some sites."""
    stored = ("weights", "residual", "activations", "state", "output", "attn_exp")
    named = {site: number_format(name) for site, name in sites.items()}
    formats: dict[str, Any] = dict.fromkeys(stored, BF16) | named
    return RoundingPlan(**formats, mode="simulated", carrier=F32)


FLASH = "FlashAttention-2, arXiv 2307.08691, algorithm 1"

PRESETS: dict[str, Preset] = {
    "bf16-flash": Preset(
        _flash,
        "Everything stored in bfloat16; fused attention: logits and sums in float32, "
        "exponentials in bfloat16.",
        FLASH,
    ),
    "e4m3fn-flash": Preset(
        lambda: _flash(attn_inputs="e4m3fn*row", attn_exp="e4m3fn*256"),
        "bf16-flash with queries, keys and values in float8 with a scale a token and head, and "
        "256 times the exponentials in float8.",
        "FlashAttention-3, arXiv 2407.08608 (with a scale a block of tokens there); "
        "the factor 256: arXiv 2606.06521",
    ),
    "tf32-products": Preset(
        lambda: RoundingPlan(operands=TF32, mode="simulated", carrier=F32),
        "float32, with both operands of each product rounded to TF32 (to nearest); float32 sums.",
        "NVIDIA A100 Tensor Core GPU Architecture whitepaper (2020), TF32",
    ),
    "w4a16": Preset(
        lambda: _flash(linear_weights="int4*block128"),
        "bf16-flash with the matrices of linear layers in 4-bit integers, a scale for 128 inputs "
        "of an output; symmetric, rounded to nearest.",
        "the layout of GPTQ (arXiv 2210.17323, groups of 128), without its search",
    ),
    "w8a8": Preset(
        lambda: _flash(linear_weights="int8*row", inputs="int8*row"),
        "bf16-flash with linear layers in 8-bit integers: a scale for each output of a matrix and "
        "each token of its input.",
        "LLM.int8, arXiv 2208.07339 (vector-wise), without its outliers apart",
    ),
    "kv-int8": Preset(
        lambda: _flash(state="int8*row"),
        "bf16-flash with keys and values in 8-bit integers, a scale for each token and head.",
        "the per-token quantization of KIVI, arXiv 2402.02750, with 8 bits",
    ),
    "mxfp8": Preset(
        lambda: _flash(linear_weights="mxfp8", inputs="mxfp8"),
        "bf16-flash with linear layers in MXFP8 (E4M3): a power of two for 32 values.",
        "OCP Microscaling Formats (MX) Specification 1.0",
    ),
    "nvfp4": Preset(
        lambda: _flash(linear_weights="nvfp4", inputs="nvfp4_row"),
        "bf16-flash with linear layers in NVFP4: an E4M3 scale for 16 values, and one in float32 "
        "for a matrix, or for each token of its input, so that no token rounds another.",
        "NVIDIA, Introducing NVFP4 (2025); a second scale a token in place of a tensor's",
    ),
}
"""The presets, in the order of help texts."""
