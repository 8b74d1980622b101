"""A study as one value: all that the command line, the docs and tests need to know of it.

A study's folder has it in ``study.py`` as ``STUDY``, and ``glassesjax.registry`` names it. Nothing
here imports JAX, nor does a ``study.py``: it names the module that does the work, which is imported
when a run is made or read.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import tyro

from glassesjax.errors import BadInput
from glassesjax.files import LONGEST_NAME, check_local
from glassesjax.names import PACKAGED
from glassesjax.runs.row_schema import RowSchema
from glassesjax.runs.run import Run
from glassesjax.settings import check_settings

if TYPE_CHECKING:
    from glassesjax.runs.fill import Opened

# A field of the settings of a study of a model: which one.
ModelName = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="MODEL",
        help="A name that `glassesjax models` lists, the path of a .gguf file of the llama"
        " architecture, or what `glassesjax train` wrote: a .safetensors file or its run folder.",
    ),
]

WRITES = (
    "Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html."
)
CONTINUES = "A run that was stopped continues with the same command."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a command adds to the settings of a study; none of it fixes a row."""

    out: Path | None = None
    """The run folder; runs/VERB-MODEL if absent."""
    json: bool = False
    """Print the summary as JSON in place of sentences."""
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
    """What a study is given beside settings and options."""

    out: Path
    """The run folder."""
    command: str = ""
    """What was called, for the record."""
    advance: Callable[[str], None] = lambda name: None
    """Takes the name of each step that is done."""


SettingsT = TypeVar("SettingsT")
OptionsT = TypeVar("OptionsT", bound=Options)
ResultT = TypeVar("ResultT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Generic[SettingsT, OptionsT, ResultT]):
    """A study, or a survey of several: its question, how it runs, and what its rows decide."""

    name: str
    """The verb."""
    settings: type[SettingsT]
    """A dataclass: its fields fix the rows and are flags, its docstring is the question."""
    options: type[OptionsT]
    """A dataclass: further flags."""
    module: str
    """Full name of the one that does it. ``open_run(settings)`` there gives what is to be measured,
    an ``Opened``; ``result(run)`` gives a run that was read with its summary and figures. Where
    options say more of a run than settings do, there is ``run(settings, options, call)`` in place
    of ``open_run``: it fills the run folder itself."""
    notes: str = f"{WRITES} {CONTINUES}"
    """For the help: what a run leaves, how it continues, and what exit status 1 says."""
    fix_nothing: Collection[str] = ()
    """Names of settings that are in no ``settings.json``: where they differ it is the same run."""
    folder_part: Callable[[SettingsT], str]
    """What the default run folder is named after, behind the verb; part of the name of a folder."""
    steps: Callable[[SettingsT, OptionsT], int] | None = None
    """How many steps a run has, for a bar of progress; without it each step is a line."""
    rows: RowSchema[Any, Any]
    """How its rows are kept."""
    violations: Callable[[Any], Sequence[str]] = lambda summary: ()
    """A line for each thing that the summary shows and that must not be; any makes exit status
    1."""
    configure: Callable[[SettingsT], None] = lambda settings: None
    """Changes settings of JAX, such as ``verify``'s compiler options, for the whole process: called
    once settings and folder are checked and before ``run``, and only where the process was started
    for this command, so that a caller's own settings stay. As a default, nothing changes."""
    together: Callable[[OptionsT, Callable[[bool], int]], int] = lambda options, run: run(True)
    """Makes this process one of those that run the study together, and gives the exit status.
    Called first, before the folder is looked at. Its second argument does the rest of the command;
    it is to be called once, with whether this process writes the run folder: of two that write, one
    would be refused. As a default the process is alone and writes."""

    @property
    def question(self) -> str:
        """What the study answers, in a line or two."""
        return inspect.getdoc(self.settings) or ""

    @property
    def description(self) -> str:
        """The question, then the notes."""
        return f"{self.question}\n\n{self.notes}"

    def known(self, settings: SettingsT) -> dict[str, object]:
        """What fixes a run, as far as it is known before a model is opened.

        Returns:
          Values as ``settings.json`` has them, by name.
        """
        kind: type[Any] = self.settings  # a dataclass
        names = [field.name for field in dataclasses.fields(kind)]
        kept = {name: getattr(settings, name) for name in names if name not in self.fix_nothing}
        return {"study": self.name, **kept}

    def folder(self, settings: SettingsT, out: Path | None) -> Path:
        """Where a run goes.

        Args:
          settings: Of this study.
          out: The folder that was chosen, if one was.

        Returns:
          That folder, or the default one, named after what is measured.
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
        """Measures what is not measured yet, into a folder with figures and page.

        Args:
          settings: What to measure.
          out: The run folder; one that holds the same run is continued.
          options: What a command adds; if absent, none of it.
          command: What was called, for the record.
          advance: Takes the name of each step that was measured.

        Returns:
          The run with its summary and figures.

        Raises:
          BadInput: Something is wrong with the settings, the model, what it reads or the folder.
            What the settings and the model can tell is known before anything is written.
          Busy: Another process is writing the run folder.
          NoRoom: The disk is full.
        """
        code, call = importlib.import_module(self.module), Call(out, command, advance)
        if hasattr(code, "run"):
            return code.run(settings, options or self.options(), call)
        return self.fill(settings, call, code.open_run(settings))

    def fill(self, settings: SettingsT, call: Call, opened: "Opened[Any, Any]") -> ResultT:
        """The rest of a run, once all is opened that it reads."""
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
        """A run that was read, with its summary and figures."""
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
      As much of its name as the name of a folder has room for.
    """
    path = Path(model.removeprefix(PACKAGED))
    if path.suffix == ".gguf":
        name = path.stem
    elif path.suffix == ".safetensors":
        name = f"{path.absolute().parent.name}-{path.stem}"
    else:
        name = path.name
    return name.encode()[: LONGEST_NAME - 30].decode(errors="ignore")


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """Of a command that takes none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Generic[SettingsT]):
    """A verb that measures nothing and leaves no run: it prints lines."""

    name: str
    """The verb."""
    description: str
    """For the help."""
    settings: type[SettingsT]
    """A dataclass: its fields are words and flags."""
    lines: Callable[[SettingsT], Iterable[str]]
    """What it prints, line by line."""
