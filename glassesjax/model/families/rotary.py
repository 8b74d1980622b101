"""Rotary positions of a configuration, in both dialects of its keys.

Version 4 of ``transformers`` writes ``rope_theta`` beside ``rope_scaling``, version 5 both as
``rope_parameters``, by kind of layer where these differ.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from glassesjax.errors import brief
from glassesjax.model.config import LEAST_DIVISOR, Rotary
from glassesjax.model.families.keys import Keys
from glassesjax.model.rope_scaling import (
    llama3_divisors,
    longrope_attention_factor,
    yarn_attention_factor,
    yarn_divisors,
)

LAYER_TYPES = ("full_attention", "sliding_attention")
WHOLE = (1, 1.0, None)  # shares of a family that rotates all coordinates


class Turning(NamedTuple):
    """Rotary positions, the factor of their coordinates, and how long texts may be."""

    rotary: Rotary
    factor: float = 1.0
    max_length: int | None = None
    """Less than the configuration's where another choice holds beyond."""
    notes: tuple[str, ...] = ()


def rotary_of(
    keys: Keys,
    head_dim: int,
    *,
    theta: float = 10_000.0,
    theta_keys: tuple[str, ...] = ("rope_theta",),
    fraction: float = 1.0,
    fraction_keys: tuple[str, ...] = (),
    longrope_names: tuple[str, ...] = ("longrope",),
) -> Turning:
    """Rotary positions that are the same in all layers.

    Args:
      keys: The configuration.
      head_dim: Width of a head.
      theta: The family's base where none is given.
      theta_keys: Its keys in version 4.
      fraction: The family's share of rotated coordinates where none is given.
      fraction_keys: Its keys in version 4; a family without any rotates all coordinates.
      longrope_names: What the family calls LongRoPE.

    Raises:
      BadInput: The rotation depends on a text's length, is unknown, or contradicts itself.
    """
    scaling, parameters = keys.mapping("rope_scaling"), keys.mapping("rope_parameters")
    if scaling is not None and parameters is not None and scaling != parameters:
        got = "both, which differ"
        raise keys.refusal("rope_scaling or rope_parameters", got)
    given = dict(parameters or scaling or {})
    if not fraction_keys:
        keys.neutral("partial_rotary_factor", *WHOLE)
    top = {"rope_theta": theta_keys, "partial_rotary_factor": fraction_keys}
    for name, names in top.items():
        if (value := keys.value(*names)) is not None and given.setdefault(name, value) != value:
            raise keys.refusal(f"one {name}", f"{brief(value)} and {brief(given[name])}")
    given.setdefault("rope_theta", theta)
    given.setdefault("partial_rotary_factor", fraction)
    return turning(keys, given, head_dim, longrope_names, partial=bool(fraction_keys))


def turning(
    keys: Keys,
    given: Mapping[str, Any],
    head_dim: int,
    longrope_names: tuple[str, ...] = ("longrope",),
    *,
    partial: bool = False,
) -> Turning:
    """Rotary positions of one record of parameters.

    Args:
      keys: The configuration, for lengths that the record lacks and for messages.
      given: The parameters.
      head_dim: Width of a head.
      longrope_names: What the family calls LongRoPE.
      partial: Whether models of the family may rotate a part of the coordinates only.

    Raises:
      BadInput: As ``rotary_of``.
    """
    own = Keys(given, f"the rotary parameters of {keys.where}")
    base = own.number("rope_theta")
    if not partial:
        own.neutral("partial_rotary_factor", *WHOLE)
    share = own.number("partial_rotary_factor", default=1.0)
    rotated = int(head_dim * share)
    if rotated % 2 or rotated > head_dim or base < LEAST_DIVISOR:
        expected = f"an even number of rotated coordinates up to {head_dim} and a base from 2^-32"
        raise own.refusal(expected, f"{rotated} and {base}")
    rotary = Rotary(base=base, fraction=rotated / head_dim)
    kind = own.value("rope_type", "type", default="default")
    kind = "longrope" if kind in longrope_names else kind
    scaled = lambda **changes: Rotary(base=base, fraction=rotated / head_dim, **changes)
    match kind:
        case "default":
            made = Turning(rotary)
        case "linear":
            made = Turning(scaled(scale=_positive(own, "factor")))
        case "llama3":
            names = ("factor", "low_freq_factor", "high_freq_factor")
            factors = {name: _positive(own, name) for name in names}
            if factors["low_freq_factor"] >= factors["high_freq_factor"]:
                raise own.refusal("low_freq_factor below high_freq_factor", brief(factors))
            original = _original_length(own, keys)
            divisors = llama3_divisors(rotated, base, **factors, original_length=original)
            made = Turning(scaled(divisors=divisors))
        case "yarn":
            made = _yarn(own, keys, rotated, base, scaled)
        case "longrope":
            made = _longrope(own, keys, rotated, scaled)
        case "dynamic":
            got = "dynamic NTK, in which a text's length turns all of its tokens"
            raise own.refusal("a rotation of its own position alone", got)
        case _:
            known = "default, linear, llama3, yarn, longrope"
            raise own.refusal(f"a rope_type out of {known}", brief(kind))
    own.check_all_read()
    keys.value("original_max_position_embeddings")  # without effect where nothing is stretched
    return made


def _yarn(own: Keys, keys: Keys, rotated: int, base: float, scaled: Any) -> Turning:  # noqa: ANN401
    original = _original_length(own, keys)
    longest = keys.count("max_position_embeddings")
    factor = _positive(own, "factor", longest / original)
    if base == 1:
        raise own.refusal("a rope_theta other than 1 with yarn", "1")
    divisors = yarn_divisors(
        rotated,
        base,
        factor=factor,
        original_length=original,
        beta_fast=_positive(own, "beta_fast", 32.0),
        beta_slow=_positive(own, "beta_slow", 1.0),
        truncate=own.flag("truncate", default=True),
    )
    scales = own.optional_number("mscale"), own.optional_number("mscale_all_dim")
    given = own.optional_number("attention_factor")
    own.value("finetuned")  # a note of YaRN's authors
    attention = yarn_attention_factor(factor, *scales) if given is None else given
    return Turning(scaled(divisors=divisors), attention)


def _longrope(own: Keys, keys: Keys, rotated: int, scaled: Any) -> Turning:  # noqa: ANN401
    """The short factors, which hold for texts up to the original length."""
    longest, original = keys.count("max_position_embeddings"), _original_length(own, keys)
    factor = own.number("factor", default=longest / original)
    factors = {}
    for name in ("short_factor", "long_factor"):
        factors[name] = own.listed(name, rotated // 2)
        for each in factors[name] or [None]:
            if type(each) not in (int, float) or not LEAST_DIVISOR <= each < 1e30:
                raise own.refusal(f"numbers {name} from 2^-32", brief(each))
    given = own.optional_number("attention_factor")
    attention = longrope_attention_factor(factor, original) if given is None else given
    rotary = scaled(divisors=tuple(map(float, factors["short_factor"] or ())))
    if longest <= original:
        return Turning(rotary, attention)
    note = f"rotary factors of texts to {original} tokens"
    return Turning(rotary, attention, original, (note,))


def _original_length(own: Keys, keys: Keys) -> int:
    """Length that the rotation was trained for, beside the parameters or among them."""
    name = "original_max_position_embeddings"
    inner, outer = own.value(name), keys.value(name)
    if inner is not None and outer is not None and inner != outer:
        raise own.refusal(f"one {name}", f"{brief(inner)} and {brief(outer)}")
    if inner is None and outer is None:
        return keys.count("max_position_embeddings", least=2)
    return (keys if outer is not None else own).count(name, least=2)


def _positive(own: Keys, name: str, default: float | None = None) -> float:
    if (value := own.number(name, default=default)) < LEAST_DIVISOR:
        raise own.refusal(f"{name} from 2^-32", brief(value))
    return value
