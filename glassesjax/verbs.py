"""The verbs of the command line: a study's settings, and where its run goes."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from glassesjax.errors import BadInput
from glassesjax.settings import decimal_number, whole_number
from glassesjax.studies.bounded.settings import BoundedSettings
from glassesjax.studies.collapse.settings import CollapseSettings
from glassesjax.studies.generate.settings import GenerateSettings
from glassesjax.studies.influence.settings import InfluenceSettings
from glassesjax.studies.longform.settings import LongformSettings
from glassesjax.studies.perplexity.settings import PerplexitySettings
from glassesjax.studies.recall.settings import RecallSettings
from glassesjax.studies.retention.settings import RetentionSettings
from glassesjax.studies.train.settings import TrainSettings
from glassesjax.surveys.sweep.settings import MOST_CELLS, SweepSettings
from proofs_numeric.verify.measure import VerifySettings

YEAR = 8784  # hours: no job of a cluster is longer
NUMBERS = ConstructorRegistry()  # how the command line reads them


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfModel:
    """What each study of a model is told besides its settings."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A name that `glassesjax models` lists, the path of a .gguf file of the llama architecture, or
    what `glassesjax train` wrote: a .safetensors file or its run folder."""
    out: Path | None = None
    """The run folder; runs/VERB-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collapse(OfModel, CollapseSettings):
    """How far apart are the last representations of runs of n and n + 1 tokens, in each format?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Influence(OfModel, InfluenceSettings):
    """How much does each token still move the last representation, and what bounds it?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command. Exit status 1 says that a bound is
    exceeded that must hold: the repaired one, or the printed one with attention held fixed.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(OfModel, GenerateSettings):
    """What does the model write while its state is bounded?

    Prints the text as it comes, and writes a run folder with settings.json, provenance.json,
    rows.jsonl and index.html. A run that was stopped starts again with the same command.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(OfModel, PerplexitySettings):
    """How well does the model predict a text if its state is bounded, by policy and size?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention(OfModel, RetentionSettings):
    """Which tokens does each layer of a bounded cache keep, and for how long?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recall(OfModel, RecallSettings):
    """What can the model still say of what it has read, if its state is bounded?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command. Needs the King James Bible.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """smollm2, or the path of a .gguf file of the llama architecture."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Longform(OfModel, LongformSettings):
    """What becomes of a long text if the state that it is written from is bounded?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounded(OfModel, BoundedSettings):
    """Do collapse and over-squashing change where the state is bounded?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command. Exit status 1 says that something is
    measured that cannot be: see the page.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(TrainSettings):
    """What does a small decoder learn of a task, and how far beyond its training does that go?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/, index.html,
    checkpoints, and model-SEED.safetensors, which the other verbs open. A run that was stopped
    continues from its newest checkpoint with the same command.
    """

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """copy_first, copy_last, copy_zero, copy_at, copy_string, copy_alternating, copy_hint,
    count_ones, count_mixed, sum_ones, count_word, recall or max_retrieval."""
    tensorboard: bool = False
    """Write the steps' rows for TensorBoard as well, in the run folder's tensorboard/."""
    distributed: bool = False
    """Join the other processes that run this command: a cluster's, or those that
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID tell."""
    out: Path | None = None
    """The run folder; runs/train-TASK if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep(SweepSettings):
    """Where do trained decoders fail, by task, length, format, positions, depth and remedy?

    Writes cells/NAME/, a run of the verb train each, and over all of them settings.json,
    provenance.json, rows.jsonl, figures/ and index.html. The same command continues a sweep that
    was stopped, and joins one that other processes fill; where they train all that is left it ends
    with what is done by then.
    """

    jobs: int = 0
    """Fill it from so many jobs of the cluster instead of this process."""
    cluster: Literal["slurm", "local"] = "slurm"
    """Where jobs run; local is this machine."""
    hours: float = 4.0
    """Longest time of a job."""
    out: Path | None = None
    """The folder of the sweep; runs/sweep-PRESET if absent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for holds, wanted, found in (
            (0 <= self.jobs <= MOST_CELLS, f"--jobs from 0 to {MOST_CELLS}", self.jobs),
            (0 < self.hours <= YEAR, f"--hours over 0 and up to a year, {YEAR}", self.hours),
        ):
            if not holds:
                raise BadInput(f"Wanted {wanted}; found {found}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify(VerifySettings):
    """Does every statement hold, and does it fail where a hypothesis is dropped?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    Exit status 1 says that something in the ledger is not as it must be.
    """

    out: Path | None = None
    """The run folder; runs/verify-SUITE if absent. It may be filled claim by claim."""


@dataclasses.dataclass(frozen=True)
class Models:
    """Which models can be opened here, and how to get the others."""


@dataclasses.dataclass(frozen=True)
class Backend:
    """What this backend really does with casts, products and subnormals."""


@NUMBERS.primitive_rule
def _number(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Numbers in digits of ASCII: Python's own types take those of every script, and 1_000."""
    read = {int: whole_number, float: decimal_number}.get(kind.type)
    if read is None:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.type.__name__.upper(),
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, int | kind.type),
        str_from_instance=lambda value: [str(value)],
    )


Verb = (
    Annotated[Collapse, tyro.conf.subcommand("collapse")]
    | Annotated[Influence, tyro.conf.subcommand("influence")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Perplexity, tyro.conf.subcommand("perplexity")]
    | Annotated[Retention, tyro.conf.subcommand("retention")]
    | Annotated[Recall, tyro.conf.subcommand("recall")]
    | Annotated[Longform, tyro.conf.subcommand("longform")]
    | Annotated[Bounded, tyro.conf.subcommand("bounded")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Sweep, tyro.conf.subcommand("sweep")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Backend, tyro.conf.subcommand("backend")]
)
