"""A study as one value, for the command line, docs and tests.

Each study's folder has its ``STUDY`` in ``study.py``, listed in ``glassesjax.registry``. Neither
this module nor a ``study.py`` imports JAX: it names the module that measures, which is imported
when a run is made or read.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import tyro

from glassesjax.borders import COUNT
from glassesjax.errors import BadInput
from glassesjax.files import LONGEST_NAME, check_local
from glassesjax.names import PACKAGED
from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.run import Run
from glassesjax.settings import check_settings

if TYPE_CHECKING:
    from glassesjax.runs.fill import Opened

# Type of the model's field in the settings of a study of a model.
ModelName = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="MODEL",
        help="A name that `glassesjax models` lists; a folder of config.json and safetensors, or"
        " org/name of one in the cache of huggingface_hub; a .gguf file of these families;"
        " or what `glassesjax train` wrote: a .safetensors file or its run folder.",
    ),
]
# Type of the field of devices in these settings.
Devices = Annotated[
    int,
    COUNT,
    tyro.conf.arg(
        help="Devices that share the weights; 1: each weight is whole on the first device."
    ),
]

WRITES = (
    "Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html."
)
CONTINUES = "A run that was stopped continues with the same command."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Flags of a command beside the settings of its study; none changes a row."""

    out: Path | None = None
    """The run folder; runs/VERB-MODEL if absent."""
    json: bool = False
    """Print the summary as JSON in place of the lines."""
    compilation_cache: str | None = None
    """Where compiled programs are kept for the next command: a folder, or off. If absent, what
    GLASSESJAX_COMPILATION_CACHE says, else the user's cache."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.compilation_cache == "":
            expected = "Expected a folder or off for --compilation-cache, got an empty one"
            raise BadInput(f"{expected}: name one, or leave the flag out.")
        if self.compilation_cache is not None:
            check_local(Path(self.compilation_cache))


class Call(NamedTuple):
    """Arguments of a run beside settings and options."""

    out: Path
    """The run folder."""
    command: str = ""
    """The command line, for the record."""
    advance: Callable[[str], None] = lambda name: None
    """Takes the name of each finished step."""


SettingsT = TypeVar("SettingsT")
OptionsT = TypeVar("OptionsT", bound=Options)
ResultT = TypeVar("ResultT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Generic[SettingsT, OptionsT, ResultT]):
    """A study, or a survey of several: question, settings, row schema and functions."""

    name: str
    """The verb."""
    settings: type[SettingsT]
    """A dataclass: its fields determine the rows and are flags, its docstring is the question."""
    options: type[OptionsT]
    """A dataclass: further flags."""
    module: str
    """Full name of the module that measures. Its ``open_run(settings)`` returns the opened inputs,
    an ``Opened``; its ``result(run)`` a run with summary and figures. Where a run also depends on
    options, it has ``run(settings, options, call)`` instead of ``open_run``, which fills the run
    folder itself."""
    notes: str = f"{WRITES} {CONTINUES}"
    """For the help: the files of a run, how it resumes, and the meaning of exit status 1."""
    fix_nothing: Collection[str] = ()
    """Names of settings that are not in ``settings.json`` and not part of the run's identity."""
    folder_part: Callable[[SettingsT], str]
    """Suffix of the default run folder's name, after the verb."""
    steps: Callable[[SettingsT, OptionsT], int] | None = None
    """Number of steps of a run, for a progress bar; without it each step is a line."""
    rows: RowSchema[Any, Any]
    """Schema of its rows."""
    violations: Callable[[Any], Sequence[str]] = lambda summary: ()
    """A line for each violation that the summary shows; any makes exit status 1."""
    configure: Callable[[SettingsT], None] = lambda settings: None
    """Changes JAX's configuration, such as ``verify``'s compiler options, for the whole process:
    called after settings and folder are checked and before ``run``, and only if the process was
    started for this command, so that a caller's configuration stays. Default: no change."""
    together: Callable[[OptionsT, Callable[[bool], int]], int] = lambda options, run: run(True)
    """Joins this process with the others of a multi-process run, and returns the exit status.
    Called first, before the folder is checked. Its second argument does the rest of the command
    and must be called once, with whether this process writes the run folder: only one may. Default:
    a single process, which writes."""

    @property
    def question(self) -> str:
        """The study's question, in a line or two."""
        return inspect.getdoc(self.settings) or ""

    @property
    def description(self) -> str:
        """The question, then the notes."""
        return f"{self.question}\n\n{self.notes}"

    def known(self, settings: SettingsT) -> dict[str, object]:
        """Settings that identify a run and are known before a model is opened.

        Returns:
          Values by name, as in ``settings.json``.
        """
        kind: type[Any] = self.settings  # a dataclass
        names = [field.name for field in dataclasses.fields(kind)]
        kept = {name: getattr(settings, name) for name in names if name not in self.fix_nothing}
        return {"study": self.name, **kept}

    def folder(self, settings: SettingsT, out: Path | None) -> Path:
        """The run folder.

        Args:
          settings: Settings of this study.
          out: The chosen folder, if any.

        Returns:
          That folder, or the default one, named after the settings.
        """
        return out or Path("runs") / f"{self.name}-{self.folder_part(settings)}"

    def run(
        self,
        settings: SettingsT,
        out: Path,
        options: OptionsT | None = None,
        *,
        command: str = "",
        advance: Callable[[str], None] = lambda name: None,
    ) -> ResultT:
        """Measures the missing rows of a run folder, then writes figures and page.

        Args:
          settings: Settings of the run.
          out: The run folder; one with the same run is continued.
          options: Further flags; the defaults if absent.
          command: The command line, for the record.
          advance: Takes the name of each step that was measured.

        Returns:
          The run with its summary and figures.

        Raises:
          BadInput: Settings, model, input files or folder are invalid. Settings and model are
            validated before anything is written.
          Busy: Another process is writing the run folder.
          DiskFull: The disk is full.
        """
        code, call = importlib.import_module(self.module), Call(out, command, advance)
        if hasattr(code, "run"):
            return code.run(settings, options or self.options(), call)
        return self.fill(settings, call, code.open_run(settings))

    def fill(self, settings: SettingsT, call: Call, opened: "Opened[Any, Any]") -> ResultT:
        """Measures and writes a run whose inputs are opened."""
        from glassesjax.runs.fill import fill

        result: Any = self.result
        whole: Any = fill(
            call.out,
            opened,
            known=self.known(settings),
            schema=self.rows,
            result=result,
            command=call.command,
            advance=call.advance,
        )
        return whole

    def result(self, run: Run[Any, Any]) -> ResultT:
        """A run with its summary and figures."""
        return importlib.import_module(self.module).result(run)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelStudy(Study[SettingsT, Options, ResultT]):
    """A study of a model: its folder is named after the model, whose passes must be finite."""

    options: type[Options] = Options
    folder_part: Callable[[Any], str] = lambda settings: model_part(settings.model)
    violations: Callable[[Any], Sequence[str]] = lambda summary: summary.passes.failures


def model_part(model: str) -> str:
    """A model as part of the name of a folder.

    Args:
      model: A name or a path, as for ``open_model``.

    Returns:
      Its name, truncated to the length of a folder's name.
    """
    path = Path(model.removeprefix(PACKAGED))
    if path.suffix == ".gguf":
        name = path.stem
    elif path.suffix == ".safetensors":
        name = f"{path.absolute().parent.name}-{path.stem}"
    else:
        name = path.name
    # Room for the verb and a suffix; a character cut in two is left out.
    return name.encode()[: LONGEST_NAME - 30].decode(errors="ignore")


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """Empty settings, of a command without flags."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Generic[SettingsT]):
    """A verb that prints lines and makes no run."""

    name: str
    """The verb."""
    description: str
    """For the help."""
    settings: type[SettingsT]
    """A dataclass: its fields are words and flags."""
    lines: Callable[[SettingsT], Iterable[str]]
    """Its output, line by line."""
