"""Settings of a sweep: a grid of training settings and its cells."""

import dataclasses
import functools
import itertools
import math
import re
import typing
from collections.abc import Mapping
from typing import Any, Literal

from glassesjax.errors import BadInput
from glassesjax.schema import RENAMED_SETTINGS
from glassesjax.settings import check_settings, decimal_number, whole_number
from glassesjax.studies.train.settings import TrainSettings

MOST_CELLS = 10_000  # cells; beyond, a grid is a mistake

# What a preset trains where the grid does not say otherwise.
GRIDS: Mapping[str, tuple[str, ...]] = {
    "quick": ("task=count_ones", "positions=none,rotary", "remedy=none,separators-3"),
    "full": (
        "task=count_ones,copy_string", "positions=none,sinusoidal,rotary,p-rope,alibi",
        "remedy=none,separators_end-3,no_bos", "layers=2,4", "seeds=4",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """Where do trained decoders fail, by task, length, format, positions, depth and remedy?"""

    preset: Literal["quick", "full"] = "quick"
    """Which grid where --grid says nothing, and which sizes."""
    grid: tuple[str, ...] = ()
    """Each a setting of glassesjax train (see its --help), as NAME=VALUE or NAME=VALUE,VALUE...;
    each combination is a cell. The numbers of lengths or mesh and all of formats belong to one
    value: lengths=2:32,2:64, mesh=1:1:2 and formats=f32:bf16."""

    def __post_init__(self) -> None:
        check_settings(self)
        _ = self.cells

    @functools.cached_property
    def axes(self) -> Mapping[str, tuple[Any, ...]]:
        """Values of each setting that the grid or its preset names, in the order given."""
        axes: dict[str, tuple[Any, ...]] = {}
        for text in self.grid:
            name, values = _axis(text)
            if name in axes:
                expected = "Expected each setting once in --grid"
                raise BadInput(f"{expected}, got {name} twice: leave one out.")
            axes[name] = values
        return {**dict(_axis(text) for text in GRIDS[self.preset]), **axes}

    @functools.cached_property  # tens of milliseconds a cell
    def cells(self) -> Mapping[str, TrainSettings]:
        """The trainings, by the names of their folders."""
        axes = self.axes
        count = math.prod(map(len, axes.values()))
        if not 1 <= count <= MOST_CELLS:
            expected = f"Expected a grid of 1 to {MOST_CELLS} cells"
            raise BadInput(f"{expected}, got {count}: change --grid.")
        varied = [name for name, values in axes.items() if len(values) > 1 or name == "task"]
        names: dict[TrainSettings, str] = {}
        for values in itertools.product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            # A valid folder name, different for different values.
            joined = lambda v: ":".join(map(str, v)) if isinstance(v, tuple) else str(v)
            parts = [joined(chosen[axis]) for axis in varied]
            name = re.sub(r"[^\w.,:@+-]", "_", ",".join(parts))
            cell = TrainSettings(preset=self.preset, **chosen)
            if (other := names.setdefault(cell, name)) != name:  # as layers=0,2 of preset quick
                got = f"{other} and {name} with the same settings"
                raise BadInput(f"Expected cells that differ, got {got}: leave one out.")
        return {name: cell for cell, name in names.items()}


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """Parses a setting of the grid and its values."""
    name, equals, listed = text.partition("=")
    kinds = typing.get_type_hints(TrainSettings)
    if (now := RENAMED_SETTINGS.get(name)) in kinds:
        got = f"got {name}, its name before version 0.2.0"
        raise BadInput(f"Expected {now} in --grid, {got}: write {now}.")
    if not equals or name not in kinds or name == "preset":
        names = ", ".join(kinds)
        expected = f"Expected NAME=VALUE[,VALUE...] in --grid with a name out of {names}"
        raise BadInput(f"{expected}, got {text!r}: change it.")
    values = tuple(_value(name, kinds[name], word) for word in listed.split(",") if word)
    if len(set(values)) != len(values) or not values:
        expected = f"Expected different values in --grid for {name}, one or more"
        raise BadInput(f"{expected}, got {text!r}: change them.")
    return name, values


def _value(name: str, kind: Any, word: str) -> Any:  # noqa: ANN401
    """Parses one value by the type of its setting."""
    if typing.get_origin(kind) is tuple:  # several parts, joined by colons
        kinds, parts = typing.get_args(kind), word.split(":")
        if Ellipsis not in kinds and len(parts) != len(kinds):
            expected = f"Expected {len(kinds)} numbers, joined by colons, for {name} in --grid"
            raise BadInput(f"{expected}, got {':'.join(parts)!r}: change it.")
        return tuple(_value(name, kinds[0], part) for part in parts)
    if kind is bool or typing.get_origin(kind) is Literal:
        words = ("true", "false") if kind is bool else typing.get_args(kind)
        if word not in words:
            expected = f"Expected {' or '.join(words)} for {name} in --grid"
            raise BadInput(f"{expected}, got {word!r}: choose one.")
        return word == "true" if kind is bool else word
    read = {int: whole_number, float: decimal_number}.get(kind, str)
    try:
        return read(word)
    except ValueError:
        expected = f"Expected a number for {name} in --grid"
        raise BadInput(f"{expected}, got {word!r}: change it.") from None
