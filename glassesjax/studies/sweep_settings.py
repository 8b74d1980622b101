"""A grid of trainings: which settings vary, and the cells that they make."""

import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from glassesjax.errors import BadInput
from glassesjax.studies.train_settings import TrainSettings

MOST = 10_000  # cells; beyond, a grid is a mistake

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
    """Settings of the verb train, as NAME=VALUE or NAME=VALUE,VALUE...: each combination is a cell.
    Both numbers of lengths and all of formats belong to one value: lengths=2:32,2:64 and
    formats=f32:bf16."""

    def __post_init__(self) -> None:
        if self.preset not in GRIDS:
            raise BadInput(f"Wanted a --preset out of {', '.join(GRIDS)}; found {self.preset}.")
        _ = self.cells

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """Values of each setting that is not left to the preset, in the order given."""
        found: dict[str, tuple[Any, ...]] = {}
        for text in self.grid:
            name, values = _axis(text)
            if name in found:
                raise BadInput(f"Wanted each setting once in --grid; found {name} twice.")
            found[name] = values
        return {**dict(_axis(text) for text in GRIDS[self.preset]), **found}

    @property
    def cells(self) -> dict[str, TrainSettings]:
        """The trainings, by the names of their folders."""
        axes = self.axes
        count = 1
        for values in axes.values():
            count *= len(values)
        if not 1 <= count <= MOST:
            raise BadInput(f"Wanted a grid of 1 to {MOST} cells; found {count}.")
        combinations = [
            dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
        ]
        varied = [name for name, values in axes.items() if len(values) > 1 or name == "task"]
        return {
            _folder([chosen[name] for name in varied]): TrainSettings(preset=self.preset, **chosen)
            for chosen in combinations
        }


def _axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """A setting and its values."""
    name, equals, values = text.partition("=")
    kinds = typing.get_type_hints(TrainSettings)
    if not equals or name not in kinds or name == "preset":
        wanted = f"Wanted NAME=VALUE[,VALUE...] in --grid with a name out of {', '.join(kinds)}"
        raise BadInput(f"{wanted}; found {text!r}.")
    words = [word for word in values.split(",") if word]
    if len(set(words)) != len(words) or not words:
        raise BadInput(
            f"Wanted different values in --grid for {name}, one or more; found {text!r}."
        )
    return name, tuple(_value(name, kinds[name], word) for word in words)


def _value(name: str, kind: Any, word: str) -> Any:  # noqa: ANN401
    """A word as the setting wants it."""
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_value(name, inner, part) for part in word.split(":"))
    if kind is bool and word in ("true", "false"):
        return word == "true"
    try:
        return kind(word) if kind in (int, float) else word
    except ValueError:
        raise BadInput(f"Wanted a number for {name} in --grid; found {word!r}.") from None


def _folder(values: Sequence[Any]) -> str:
    """A name that a file system takes, different for different values."""
    joined = ",".join(":".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in values)
    return re.sub(r"[^\w.,:@+-]", "_", joined)
