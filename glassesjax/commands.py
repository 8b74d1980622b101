"""Verbs that list runs, models and properties of the backend, without making a run."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import tyro

from glassesjax.errors import BadInput
from glassesjax.runs.study import Command, NoSettings
from glassesjax.settings import check_settings

FolderName = Annotated[
    Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER", help="Where to look.")
]


def _models(settings: NoSettings) -> Iterable[str]:
    from glassesjax.model.pretrained import SMOLLM2_COMMAND, smollm2_file
    from glassesjax.model.toy import TOY_POSITIONS
    from glassesjax.model.trained import TRAINED

    models = {"toy": f"always: a seeded decoder; positions {', '.join(TOY_POSITIONS)}"}
    models["counter"] = "always: two layers written by hand that count exactly"
    models |= {name: f"always: made by {trained.command}" for name, trained in TRAINED.items()}
    try:
        models["smollm2"] = f"here: {smollm2_file().name}"
    except BadInput:
        models["smollm2"] = f"not here; to get it: {SMOLLM2_COMMAND}"
    # The last two stand for whatever a user has.
    models["FILE"] = "any .gguf of the llama architecture with a byte-level BPE tokenizer"
    models["RUN"] = "what glassesjax train wrote: a model-SEED.safetensors, or its run folder"
    return _aligned(models)


def _backend(settings: NoSettings) -> Iterable[str]:
    from glassesjax.precision import backend_report

    return _aligned(backend_report())


def _aligned(texts: Mapping[str, object]) -> list[str]:
    width = max(map(len, texts))
    return [f"{name:{width}}  {text}" for name, text in texts.items()]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsSettings:
    """Lists the runs of a folder, each with its headline."""

    folder: FolderName = Path("runs")

    def __post_init__(self) -> None:
        check_settings(self)


def _runs(settings: RunsSettings) -> Iterable[str]:
    from glassesjax.results import runs_in

    listed = list(runs_in(settings.folder))
    if not listed:
        return [f"No runs in {settings.folder}."]
    counts = [f"{run.rows:,} rows" if run.study else "" for run in listed]
    # Paths, verbs and counts in columns; the headline, of any length, is last.
    cells = [(str(run.path), run.study, count) for run, count in zip(listed, counts, strict=True)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{c:{w}}" for c, w in zip(cell, widths, strict=True)) for cell in cells]
    return [f"{line}  {run.text}".rstrip() for line, run in zip(lines, listed, strict=True)]


RUNS = Command(
    name="runs",
    description="Lists the runs of a folder, each with its headline.",
    settings=RunsSettings,
    lines=_runs,
)
MODELS = Command(
    name="models",
    description="Lists the models that can be opened here, and how to get the others.",
    settings=NoSettings,
    lines=_models,
)
BACKEND = Command(
    name="backend",
    description="Measures how this backend handles casts, products and subnormals.",
    settings=NoSettings,
    lines=_backend,
)
