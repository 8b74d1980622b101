"""A grid of trainings: which settings vary, and the cells that they make."""

import dataclasses
import functools
import itertools
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from glassesjax.errors import BadInput
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
        """Values of each setting that is not left to the preset, in the order given."""
        found: dict[str, tuple[Any, ...]] = {}
        for text in self.grid:
            name, values = _axis(text)
            if name in found:
                raise BadInput(f"Wanted each setting once in --grid; found {name} twice.")
            found[name] = values
        return {**dict(_axis(text) for text in GRIDS[self.preset]), **found}

    @functools.cached_property  # tens of milliseconds a cell
    def cells(self) -> Mapping[str, TrainSettings]:
        """The trainings, by the names of their folders."""
        axes = self.axes
        count = math.prod(map(len, axes.values()))
        if not 1 <= count <= MOST_CELLS:
            raise BadInput(f"Wanted a grid of 1 to {MOST_CELLS} cells; found {count}.")
        varied = [name for name, values in axes.items() if len(values) > 1 or name == "task"]
        found: dict[TrainSettings, str] = {}
        for values in itertools.product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            name = _folder([chosen[axis] for axis in varied])
            cell = TrainSettings(preset=self.preset, **chosen)
            if (other := found.setdefault(cell, name)) != name:  # as layers=0,2 of preset quick
                raise BadInput(f"Wanted cells that differ; found {other} and {name} the same.")
        return {name: cell for cell, name in found.items()}


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """A setting and its values."""
    name, equals, told = text.partition("=")
    kinds = typing.get_type_hints(TrainSettings)
    if not equals or name not in kinds or name == "preset":
        wanted = f"Wanted NAME=VALUE[,VALUE...] in --grid with a name out of {', '.join(kinds)}"
        raise BadInput(f"{wanted}; found {text!r}.")
    values = tuple(_value(name, kinds[name], word) for word in told.split(",") if word)
    if len(set(values)) != len(values) or not values:
        wanted = f"Wanted different values in --grid for {name}, one or more"
        raise BadInput(f"{wanted}; found {text!r}.")
    return name, values


def _value(name: str, kind: Any, word: str) -> Any:  # noqa: ANN401
    """A word as the setting wants it."""
    if typing.get_origin(kind) is tuple:
        return _values(name, typing.get_args(kind), word.split(":"))
    if kind is bool or typing.get_origin(kind) is Literal:
        words = ("true", "false") if kind is bool else typing.get_args(kind)
        if word not in words:
            raise BadInput(f"Wanted {' or '.join(words)} for {name} in --grid; found {word!r}.")
        return word == "true" if kind is bool else word
    read = {int: whole_number, float: decimal_number}.get(kind, str)
    try:
        return read(word)
    except ValueError:
        raise BadInput(f"Wanted a number for {name} in --grid; found {word!r}.") from None


def _values(name: str, kinds: Sequence[Any], parts: Sequence[str]) -> tuple[Any, ...]:
    """One value of several parts, as many as the setting has unless it takes any number."""
    if Ellipsis not in kinds and len(parts) != len(kinds):
        wanted = f"Wanted {len(kinds)} numbers, joined by colons, for {name} in --grid"
        raise BadInput(f"{wanted}; found {':'.join(parts)!r}.")
    return tuple(_value(name, kinds[0], part) for part in parts)


def _folder(values: Sequence[Any]) -> str:
    """A name that a file system takes, different for different values."""
    joined = ",".join(":".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values)
    return re.sub(r"[^\w.,:@+-]", "_", joined)
