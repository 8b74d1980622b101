"""The survey compare as one value."""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import tyro

from glassesjax.errors import BadInput
from glassesjax.files import to_json
from glassesjax.results import read, study_of
from glassesjax.runs.run import summary_fields
from glassesjax.runs.study import Command
from glassesjax.settings import check_settings
from glassesjax.surveys.compare.differences import MISSING, differences

FirstRun = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A", help="A run folder.")]
SecondRun = Annotated[
    Path, tyro.conf.Positional, tyro.conf.arg(metavar="B", help="Another run of the same verb.")
]
LONGEST = 60  # characters of a value that a line shows


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Compares two runs: settings, code, machine and summaries."""

    first: FirstRun
    second: SecondRun

    def __post_init__(self) -> None:
        check_settings(self)


def _lines(settings: CompareSettings) -> Iterable[str]:
    studies = [study_of(path) for path in (settings.first, settings.second)]
    verbs = [study.name if study else "no verb of this package" for study in studies]
    if verbs[0] != verbs[1]:
        expected = f"Expected two runs of the same verb, got {verbs[0]} and {verbs[1]}"
        raise BadInput(f"{expected}: choose another.")
    one, other = read(settings.first), read(settings.second)
    parts = {
        "settings": (one.run.settings, other.run.settings),
        "made by": (one.run.records, other.run.records),
        "summary": (summary_fields(one.summary), summary_fields(other.summary)),
    }
    lines = []
    for name, pair in parts.items():
        apart = list(differences(*pair))
        lines.append(f"{name}: {len(apart) or 'no'} difference{'' if len(apart) == 1 else 's'}")
        lines += [f"  {d.path}: {_shown(d.first)} | {_shown(d.second)}" for d in apart]
    return lines


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = "missing" if value is MISSING else to_json(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


COMPARE = Command(
    name="compare",
    description="What differs between two runs of a verb: settings, code and machine, summary.",
    settings=CompareSettings,
    lines=_lines,
)
