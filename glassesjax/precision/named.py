"""Rounding plans by name, as used by commands and rows."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, cast

from glassesjax.errors import BadInput
from glassesjax.precision.format_names import number_format
from glassesjax.precision.formats import F32, FloatFormat
from glassesjax.precision.nearest import nearest_plan
from glassesjax.precision.plan import STORED, SUMS, RoundingPlan, Site
from glassesjax.precision.presets import PRESETS
from glassesjax.precision.sums import Accumulator

NATIVE = "native-"
GROUPS: Mapping[str, tuple[Site, ...]] = {
    **{site: (site,) for site in Site},
    "all": STORED,
    "attention": (Site.ATTN_LOGITS, Site.ATTN_WEIGHTS),
    "passes": tuple(site for site in STORED if site != Site.WEIGHTS),
}
GRAMMAR = "FORMAT[*SCALE][@SITE[+SITE]...][,...], native-FORMAT or a preset"


def named_plan(text: str) -> RoundingPlan:
    """A rounding plan by name: ``FORMAT[*SCALE][@SITE[+SITE]...]``, ``native-FORMAT`` or a preset.

    ``bf16`` rounds everything that is stored, ``int4*block32@linear_weights`` only the matrices of
    linear layers, ``e4m3fn@passes`` all but the weights, and ``bf16@weights+residual+activations``
    leaves attention and output in float32. ``f32`` rounds nowhere. ``native-bf16`` stores arrays of
    that dtype instead of rounding. Several parts are joined by commas, the first of which may be a
    preset that the others change: ``bf16-flash,e5m2@state``.

    Sums are sites, too, ``product_sum`` and ``softmax_sum``, with an order behind a colon:
    ``bf16@product_sum:chunked64`` (``sequential``, ``chunkedN``, ``pairwise``, ``splitN``); so is
    ``attn_exp``, whose colon has the keys of a tile: ``e4m3fn*256@attn_exp:64``, or
    ``:reverse64``. It takes the place of ``attn_weights``: ``bf16,bf16@attn_exp`` is bfloat16 in
    the order of fused kernels.

    Args:
      text: The name. Sites are those of ``RoundingPlan``; ``all`` for all that is stored,
        ``attention`` for logits and weights of the attention, and ``passes`` for all that is stored
        but the weights. Presets are those of ``precision.PRESETS``.

    Returns:
      The plan, its carrier float32.

    Raises:
      BadInput: There is no such format, site or preset, a site is named twice, or float32 does not
        contain the format.
    """
    parts = text.split(",")
    first = PRESETS.get(parts[0])
    fields: dict[str, Any] = {} if first is None else _fields_of(first.make())
    try:
        if len(parts) == 1 and first is not None:
            return first.make()
        if text.startswith(NATIVE) and len(parts) == 1 and "@" not in text:
            fmt = number_format(text.removeprefix(NATIVE))
            return RoundingPlan.everywhere(fmt, mode="native", carrier=F32)
        named: dict[str, Any] = {}
        for part in parts if first is None else parts[1:]:
            for field, value in _part(part).items():
                if field in named:
                    raise BadInput(f"Expected each site once, got {field} twice in {text!r}.")
                named[field] = value
        # F32 is the carrier: nothing is rounded there.
        fields |= {name: None if value == F32 else value for name, value in named.items()}
        # Weights are stored once: what kernels store takes the place of what a group names.
        if fields.get(Site.ATTN_EXP) and not re.search("attn_weights|attention", text):
            fields[Site.ATTN_WEIGHTS] = None
        if all(value is None for name, value in fields.items() if name in tuple(Site)):
            return RoundingPlan.wide()
        return RoundingPlan(**fields, mode="simulated", carrier=F32)
    except ValueError as error:
        near = nearest_plan(text, NATIVE, GROUPS, PRESETS)
        message, _, _ = str(error).partition(": did you mean")
        if not isinstance(error, BadInput):
            message = f"Expected {GRAMMAR}, got {text!r:.80}: {message}"
        hint = f": did you mean {near!r}?" if near else f"; presets are {', '.join(PRESETS)}."
        raise BadInput(message.rstrip(".") + hint) from None


def _fields_of(plan: RoundingPlan) -> dict[str, Any]:
    """The fields of a plan but its mode and carrier."""
    every = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    return {name: value for name, value in every.items() if name not in ("mode", "carrier")}


def _part(text: str) -> dict[str, Any]:
    """The fields of a plan that one part names."""
    name, at, sites = text.partition("@")
    fmt = number_format(name)
    if not at:
        return {site.value: fmt for site in STORED}
    fields: dict[str, Any] = {}
    for word in sites.split("+"):
        group, colon, option = word.partition(":")
        if group not in GROUPS:
            raise BadInput(f"Expected rounding sites out of {', '.join(GROUPS)}, got {group!r}.")
        for site in GROUPS[group]:
            if site in SUMS:
                fields[site.value] = _accumulator(fmt, option or "sequential")
                continue
            fields[site.value] = fmt
        if colon and GROUPS[group] == (Site.ATTN_EXP,):
            fields |= _tile(option)
        elif colon and group not in SUMS:
            raise BadInput(f"Expected an order for sums and tiles of attn_exp only, got {word!r}.")
    return fields


def _accumulator(fmt: object, order: str) -> Accumulator | FloatFormat:
    """The accumulator of a format and an order such as ``chunked64``."""
    if not isinstance(fmt, FloatFormat):
        raise BadInput(f"Expected a float format without a scale for a sum, got {fmt.name}.")  # pyrefly: ignore
    if fmt == F32:
        return fmt  # the carrier's own
    known = re.fullmatch(r"(sequential|pairwise)|(chunked|split)([1-9][0-9]{0,8})", order)
    if not known:
        orders = "sequential, chunkedN, pairwise or splitN"
        raise BadInput(f"Expected the order of a sum out of {orders}, got {order!r}.")
    if known[1]:
        return Accumulator(fmt, cast("Any", known[1]))
    return Accumulator(fmt, cast("Any", known[2]), int(known[3]))


def _tile(option: str) -> dict[str, Any]:
    known = re.fullmatch(r"(reverse)?(0|[1-9][0-9]{0,8})?", option)
    if not known or not option:
        raise BadInput(f"Expected the keys of a tile, such as 64 or reverse64, got {option!r}.")
    size = {} if known[2] is None else {"tile": int(known[2])}
    return size | ({"tile_order": "reverse"} if known[1] else {})
