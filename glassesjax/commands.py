"""Verbs that list runs, models and properties of the backend, without making a run."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from glassesjax.errors import BadInput
from glassesjax.runs.study import Command, NoSettings
from glassesjax.settings import check_settings

DESCRIBED = 15  # letters of the longest name of a line, such as residual_weight
FolderName = Annotated[
    Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER", help="Where to look.")
]


ModelPath = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="MODEL",
        help="A model to describe from its headers: a name, a file or a folder; all if absent.",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelsSettings:
    """Lists the models that can be opened here, or describes one."""

    model: ModelPath = ""

    def __post_init__(self) -> None:
        check_settings(self)


def _models(settings: ModelsSettings) -> Iterable[str]:
    if settings.model:
        return _described(settings.model)
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
    # The last four stand for whatever a user has.
    models["FILE"] = "a GGUF file of one of these families, or the first part of one"
    models["FOLDER"] = "config.json and safetensors, as transformers writes them"
    models["ORG/NAME"] = "such a folder in the local cache of huggingface_hub"
    models["RUN"] = "what glassesjax train wrote: a model-SEED.safetensors, or its run folder"
    return _aligned(models)


def _described(name: str) -> Iterator[str]:
    """A model from its headers: sizes, switches and tokenizer, of a folder also its family."""
    from glassesjax.model.describing import (
        describe,
        describe_folder,
        describe_gguf,
        tokenizer_text,
    )
    from glassesjax.model.pretrained import locate, open_header

    located = locate(name)
    if located is not None and located.folder is not None:
        lines = describe_folder(located.folder, located.weights)
    elif located is not None and located.kind == "gguf":
        lines = describe_gguf(located.path)
    else:
        header = open_header(name)
        tokenizer = tokenizer_text(header.tokenizer)
        lines = itertools.chain(describe(header.config), [("tokenizer", tokenizer)])
    # One by one: what is known is printed before a tokenizer is refused.
    return (f"{what:{DESCRIBED}}  {text}" for what, text in lines)


def _backend(settings: NoSettings) -> Iterable[str]:
    from glassesjax.model.native_presets import PresetProbe, preset_report
    from glassesjax.precision import backend_report

    rows = [["-" if cell is None else _cell(cell) for cell in probe] for probe in preset_report()]
    return [*_aligned(backend_report()), "", *_columns([list(PresetProbe._fields), *rows])]


def _cell(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def _columns(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


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
    lines = _columns(cells)
    return [f"{line}  {run.text}".rstrip() for line, run in zip(lines, listed, strict=True)]


RUNS = Command(
    name="runs",
    description="Lists the runs of a folder, each with its headline.",
    settings=RunsSettings,
    lines=_runs,
)
MODELS = Command(
    name="models",
    description="Lists the models that can be opened here, and how to get the others; or describes"
    " one of them from its headers: family, sizes, switches, tokenizer, and why it is refused.",
    settings=ModelsSettings,
    lines=_models,
)
BACKEND = Command(
    name="backend",
    description="Measures how this backend handles casts, products and subnormals, and which"
    " presets of rounding plans it computes natively.",
    settings=NoSettings,
    lines=_backend,
)
