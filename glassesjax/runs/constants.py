"""What all rows of a process have in common in a study of a model."""

import dataclasses
from typing import Any, TypeVar

DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16"}
"""What rows call the types of arrays that settings name as ``format``."""

UNROUNDED = {f"wide {name}": "none" for name in ("f32", "f64")}
"""What schema 1 had as ``rounding`` where nothing is rounded on purpose; ``dtype`` has the rest."""


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


ConstantsT = TypeVar("ConstantsT")


def with_settings(kind: type[ConstantsT], settings: Any, **others: object) -> ConstantsT:  # noqa: ANN401
    """A record of what rows have in common, which takes settings over by name.

    Args:
      kind: A dataclass.
      settings: A dataclass; what has the name of a field of the record is taken over.
      **others: The other fields, and those that do not have the setting's value.
    """
    records: tuple[Any, Any] = kind, settings
    own, theirs = ({field.name for field in dataclasses.fields(each)} for each in records)
    return kind(**{name: getattr(settings, name) for name in own & theirs} | others)
