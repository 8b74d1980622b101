"""Converts a decoder's settings to JSON values and back, with validation of each field.

Files of weights and saved states contain this record, and rows some of its names.
"""

import dataclasses
import sys
import typing
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from glassesjax.errors import brief
from glassesjax.model.by_layer import MaskByLayer, PositionsByLayer
from glassesjax.model.config import (
    AdaptiveTemperature,
    Alibi,
    Bidirectional,
    Causal,
    ConstantNorm,
    ConstantTemperature,
    DecoderConfig,
    DenseMlp,
    GatedMlp,
    IdentityMlp,
    LayerNorm,
    Learned,
    LinearMlp,
    Mask,
    Mlp,
    NoNorm,
    NoPositions,
    Positions,
    Prefix,
    RMSNorm,
    Rotary,
    ScalableSoftmax,
    Sinusoidal,
    Window,
    ZeroMlp,
)

SWITCH = "switch"
# Names of switch classes in files. They do not change if a class is renamed.
KINDS: Mapping[str, type] = {
    "NoPositions": NoPositions,
    "Sinusoidal": Sinusoidal,
    "Learned": Learned,
    "Rotary": Rotary,
    "Alibi": Alibi,
    "Causal": Causal,
    "Bidirectional": Bidirectional,
    "Window": Window,
    "Prefix": Prefix,
    "PositionsByLayer": PositionsByLayer,
    "MaskByLayer": MaskByLayer,
    "NoNorm": NoNorm,
    "ConstantNorm": ConstantNorm,
    "RMSNorm": RMSNorm,
    "LayerNorm": LayerNorm,
    "ZeroMlp": ZeroMlp,
    "IdentityMlp": IdentityMlp,
    "LinearMlp": LinearMlp,
    "DenseMlp": DenseMlp,
    "GatedMlp": GatedMlp,
    "ConstantTemperature": ConstantTemperature,
    "ScalableSoftmax": ScalableSoftmax,
    "AdaptiveTemperature": AdaptiveTemperature,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OlderMlp:
    """The one class of MLPs before version 0.2.0, some of whose kinds ignored its numbers."""

    kind: Literal["zero", "identity", "linear", "gelu", "gelu_exact", "swiglu", "geglu"] = "gelu"
    dim: int = 0
    sigma: float = 1.0

    def now(self) -> Mlp:
        """The MLP of today."""
        match self.kind:
            case "zero":
                return ZeroMlp()
            case "identity":
                return IdentityMlp(sigma=self.sigma)
            case "linear":
                return LinearMlp()
            case "gelu" | "gelu_exact":
                return DenseMlp(activation=self.kind, dim=self.dim)
        return GatedMlp(activation="silu" if self.kind == "swiglu" else "gelu", dim=self.dim)


OLDER_MLP = "Mlp"  # its name in files
BY_LAYER = ("PositionsByLayer", "MaskByLayer")
_NAMES = {
    DecoderConfig: "DecoderConfig",
    _OlderMlp: OLDER_MLP,
    **{kind: name for name, kind in KINDS.items()},
}
MOST = 2**31 - 1  # of any size: positions and shapes are int32


def kind_name(switch: object) -> str:
    """Name of a switch class in files.

    Args:
      switch: A value of a field of the settings, such as ``Rotary()``.

    Returns:
      A key of ``KINDS``.

    Raises:
      ValueError: It is of a class of your own, which no file can name.
    """
    if type(switch) not in _NAMES:
        wanted = f"Expected a kind that files can name, one of {', '.join(KINDS)}"
        raise ValueError(f"{wanted}, got {type(switch).__name__}: store the weights yourself.")
    return _NAMES[type(switch)]


def config_record(config: DecoderConfig) -> dict[str, Any]:
    """A decoder's settings as JSON values: each switch with the name of its kind.

    Args:
      config: Any settings.

    Returns:
      Plain values.
    """
    fields = dataclasses.fields(config)
    return {field.name: _plain(getattr(config, field.name)) for field in fields}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return {SWITCH: kind_name(value), **fields}


def config_text(config: DecoderConfig) -> str:
    """The settings as text of older saved states: the ``repr`` of these classes then.

    Args:
      config: Any settings.

    Returns:
      One line, without later switches that have no effect.
    """
    record = config_record(config)
    mlp = record["mlp"]
    numbers = {"dim": mlp.get("dim", 0), "sigma": mlp.get("sigma", 1.0)}
    # Then one class with a kind, and all numbers whether the kind had them or not.
    record["mlp"] = {SWITCH: "Mlp", "kind": config.mlp.kind, **numbers}
    # Saved states of before a switch are compared by this text: its default is left out.
    defaults = config_record(DecoderConfig(vocab_size=1))
    later = {name: defaults[name] for name in ("temperature", "norm_place", "qk_norm")}
    fields = {name: value for name, value in record.items() if value != later.get(name, ...)}
    fields["positions"] = _older_rotary(fields["positions"])
    return _shown(_NAMES[DecoderConfig], fields)


def _older_rotary(positions: dict[str, Any]) -> dict[str, Any]:
    """Rotary positions, also of single layers, without later fields that have their default."""
    if "layers" in positions:
        return {**positions, "layers": tuple(map(_older_rotary, positions["layers"]))}
    if positions[SWITCH] != kind_name(Rotary()):
        return positions
    defaults = _plain(Rotary())
    later = {name: defaults[name] for name in ("divisors", "attention_factor")}
    return {name: value for name, value in positions.items() if value != later.get(name, ...)}


def _shown(kind: str, fields: Mapping[str, Any]) -> str:
    shown = (
        f"{name}={_shown(value[SWITCH], {k: v for k, v in value.items() if k != SWITCH})}"
        if isinstance(value, dict)
        else f"{name}={value!r}"
        for name, value in fields.items()
    )
    return f"{kind}({', '.join(shown)})"


def config_of(record: Mapping[str, Any]) -> DecoderConfig:
    """The settings of a record.

    Args:
      record: A value of ``config_record``, also after a round trip through JSON.

    Returns:
      The same settings; numbers that may have a fraction are floats.

    Raises:
      ValueError: A field is missing, unknown or not of its kind, or the sizes do not fit. The
        message names the field.
    """
    return _made(DecoderConfig, "config", record)


def _made(kind: Any, name: str, record: Mapping[str, Any]) -> Any:  # noqa: ANN401  (a dataclass)
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    if unknown := sorted(record.keys() - {field.name for field in fields}):
        raise ValueError(f"Expected {name} of fields that {_NAMES[kind]} has, got {unknown[0]!a}")
    # No field of a switch or of the settings has a default factory.
    needed = (field.name for field in fields if field.default is dataclasses.MISSING)
    if (missing := next((field for field in needed if field not in record), None)) is not None:
        raise ValueError(f"Expected {name}.{missing}, got none")
    values = {
        field: _value(f"{name}.{field}", value, hints[field]) for field, value in record.items()
    }
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(
            f"Expected {name} that makes a decoder, got {error}".rstrip(".")
        ) from error


def _value(name: str, value: object, hint: Any) -> Any:  # noqa: ANN401
    """A field's value: a plain one, a switch from its record, or a switch for each layer."""
    # tuple[Positions, ...] and tuple[Mask, ...]: an entry may be of any kind, each a switch.
    if get_args(hint)[:1] in ((Positions,), (Mask,)):
        if not isinstance(value, list | tuple):
            raise ValueError(f"Expected {name} as a list, got {brief(value)}")
        # A foreign file may nest these without end.
        nested = (
            each[SWITCH]
            for each in value
            if isinstance(each, Mapping) and each.get(SWITCH) in BY_LAYER
        )
        if (inner := next(nested, None)) is not None:
            raise ValueError(f"Expected {name} of what one layer has, got {inner}")
        return tuple(_value(name, each, get_args(hint)[0]) for each in value)
    # Unions come in two forms: ``A | B`` of types, and of what is no type.
    parts = get_args(hint) if get_origin(hint) in (typing.Union, UnionType) else (hint,)
    classes = tuple(part for part in parts if isinstance(part, type))
    switches = {switch: kind for switch, kind in KINDS.items() if issubclass(kind, classes)}
    if not switches:
        return _scalar(name, value, parts)
    if not isinstance(value, Mapping):
        raise ValueError(f"Expected {name} as an object with {SWITCH}, got {brief(value)}")
    fields = {str(field): each for field, each in value.items()}
    given = fields.pop(SWITCH, None)
    if given == OLDER_MLP and ZeroMlp in classes:
        return _made(_OlderMlp, name, fields).now()
    if not isinstance(given, str) or given not in switches:
        expected = f"Expected {name}.{SWITCH} as one of {', '.join(switches)}"
        raise ValueError(f"{expected}, got {brief(given)}")
    if switches[given] is Alibi and fields.get("slopes", "") is None:
        fields["slopes"] = "geometric"  # the default of older records
    return _made(switches[given], name, fields)


def _scalar(name: str, value: Any, hints: Sequence[Any]) -> Any:  # noqa: ANN401
    """A value of one of some plain types, converted to the first that it fits."""
    names = {int: "an integer from 0 below 2^31", float: "a finite number", bool: "true or false"}
    expected = []
    for hint in hints:
        listed = get_origin(hint) is tuple
        if _fits(value, hint):
            # JSON has no tuples, and may write 1.0 as 1.
            return tuple(map(float, value)) if listed else float(value) if hint is float else value
        if get_origin(hint) is Literal:
            expected.append(f"one of {', '.join(get_args(hint))}")
        else:
            expected.append("a list of finite numbers" if listed else names.get(hint, "null"))
    raise ValueError(f"Expected {name} as {' or '.join(expected)}, got {brief(value)}")


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Whether a JSON value is of a plain type: true is no number, and NaN is not accepted."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(x, get_args(hint)[0]) for x in value)
    if hint is int:
        return type(value) is int and 0 <= value <= MOST  # isinstance would take true for 1
    if hint is float:
        # False for NaN; an integer may be too large for a float.
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return value is None if hint is NoneType else hint is bool and isinstance(value, bool)
