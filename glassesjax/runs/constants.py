"""Constants of a run: fields shared by all rows of a process in a study of a model."""

import dataclasses
from typing import Any, TypeVar

DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16"}
"""Dtype names in rows, by the setting ``format``."""

UNROUNDED = {f"wide {name}": "none" for name in ("f32", "f64")}
"""Values of ``rounding`` in schema 1 for no simulated rounding; ``dtype`` has the rest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConstants:
    """Study, model and weights."""

    study: str
    """The verb."""
    model: str
    """As on the command line."""
    weights: str | None
    """Where the weights come from: a file's name, or how they were drawn; missing where the file
    does not say."""
    weights_sha256: str | None
    """Of the file of weights, hexadecimal; missing where weights are drawn."""
    model_seed: int | None
    """Which decoder of the toy or of a run folder; a single decoder has none."""
    seed: int
    """The setting."""
    model_dim: int
    """Width of the residual stream."""
    start_token: str | None = None
    """What prompts with a start token begin with: its name, else those of the tokens that the model
    expects before every text, else ``none``; missing in runs of before it was recorded."""
    tiling: str | None = None
    """Blocks in which long computations ran; missing in runs of before it was recorded."""
    devices: int | None = None
    """Number of devices that share the weights; missing in runs of before it was recorded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArithmeticConstants(ModelConstants):
    """The same, and the one arithmetic of all passes."""

    format: str | None = None
    """The setting, a plan by name; missing in runs of before it was recorded."""
    dtype: str
    """Of the arrays that the passes were computed in."""
    rounding: str
    """Name of the rounding plan; ``none``: nothing is rounded but by ``dtype``."""


ConstantsT = TypeVar("ConstantsT")


def with_settings(kind: type[ConstantsT], settings: Any, **others: object) -> ConstantsT:  # noqa: ANN401
    """A record of constants whose fields are copied from the settings of the same name.

    Args:
      kind: A dataclass.
      settings: A dataclass; fields with the name of a field of the record are copied.
      **others: The other fields, and those whose value differs from the setting's.
    """
    records: tuple[Any, Any] = kind, settings
    kept, given = ({field.name for field in dataclasses.fields(each)} for each in records)
    return kind(**{name: getattr(settings, name) for name in kept & given} | others)
