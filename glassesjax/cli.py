"""The command line: one verb a study. Exit status 0 done, 1 failed, 2 bad input, 130 stopped."""

import dataclasses
import io
import itertools
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Annotated

import tyro

from glassesjax.errors import BadInput
from glassesjax.records import Row
from glassesjax.studies.bounded import BoundedSettings
from glassesjax.studies.collapse import CollapseSettings
from glassesjax.studies.generate_settings import GenerateSettings
from glassesjax.studies.influence import InfluenceSettings
from glassesjax.studies.longform import LongformSettings
from glassesjax.studies.perplexity_settings import PerplexitySettings
from glassesjax.studies.recall import RecallSettings
from glassesjax.studies.retention import RetentionSettings
from proofs_numeric.ledger import VerifySettings, failures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collapse(CollapseSettings):
    """How far apart are the last representations of runs of n and n + 1 tokens, in each format?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/collapse-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Influence(InfluenceSettings):
    """How much does each token still move the last representation, and what bounds it?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command. Exit status 1 says that a bound is
    exceeded that must hold: the repaired one, or the printed one with attention held fixed.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/influence-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate(GenerateSettings):
    """What does the model write while its state is bounded?

    Prints the text as it comes, and writes a run folder with settings.json, provenance.json,
    rows.jsonl and index.html. A run that was stopped starts again with the same command.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/generate-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(PerplexitySettings):
    """How well does the model predict a text if its state is bounded, by policy and size?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/perplexity-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention(RetentionSettings):
    """Which tokens does each layer of a bounded cache keep, and for how long?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/retention-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recall(RecallSettings):
    """What can the model still say of what it has read, if its state is bounded?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command. Needs the King James Bible.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/recall-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Longform(LongformSettings):
    """What becomes of a long text if the state that it is written from is bounded?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/longform-MODEL if absent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounded(BoundedSettings):
    """Do collapse and over-squashing change where the state is bounded?

    Writes a run folder with settings.json, provenance.json, rows.jsonl, figures/ and index.html.
    A run that was stopped continues with the same command. Exit status 1 says that something is
    measured that cannot be: see the page.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """toy, smollm2, or the path of a .gguf file of the llama architecture."""
    out: Path | None = None
    """The run folder; runs/bounded-MODEL if absent."""


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


Verb = (
    Annotated[Collapse, tyro.conf.subcommand("collapse")]
    | Annotated[Influence, tyro.conf.subcommand("influence")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Perplexity, tyro.conf.subcommand("perplexity")]
    | Annotated[Retention, tyro.conf.subcommand("retention")]
    | Annotated[Recall, tyro.conf.subcommand("recall")]
    | Annotated[Longform, tyro.conf.subcommand("longform")]
    | Annotated[Bounded, tyro.conf.subcommand("bounded")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Backend, tyro.conf.subcommand("backend")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits.

    Args:
      arguments: Words after the program's name; those of the process if absent.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs one verb.

    Args:
      arguments: Words after the program's name.

    Returns:
      The exit status, 0 for done, 1 for a ledger or a bound that does not stand and 2 for bad
      input. Other failures raise.
    """
    try:
        verb = _parse(arguments)
        return VERBS[type(verb)](verb, arguments)
    except BadInput as error:
        print(f"glassesjax: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("glassesjax: stopped; the same command continues.", file=sys.stderr)
        return 130  # what a shell gives for an interrupt


def _parse(arguments: Sequence[str]) -> Verb:
    """The verb with its settings; what the parser says in a box becomes one line."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                Verb,  # pyrefly: ignore[bad-argument-type]  (a union of annotated classes)
                prog="glassesjax",
                description="What the last token of a decoder-only Transformer can still see.",
                args=list(arguments),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(_plain(said.getvalue())) from None


def _plain(box: str) -> str:
    """The first paragraph under the title of a box, without its frame."""
    lines = [re.sub("[\u2500-\u257f]+|--+(?![a-z])", "", line).strip() for line in box.splitlines()]
    _title, *lines = itertools.dropwhile(lambda line: not line, lines)
    paragraph = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
    text = re.sub("^Error parsing [A-Z][a-z]+: ", "", " ".join(paragraph))
    return text if text.startswith("Wanted") else f"{text.rstrip('.')}: see glassesjax --help."


def _study(
    verb: Bounded | Collapse | Influence | Longform | Perplexity | Recall | Retention | Verify,
    arguments: Sequence[str],
    folder: str,
    *,
    steps: int,
    run: Callable[..., Sequence[Row]],
    lines: Callable[[Sequence[Row]], Iterable[str]],
    wrong: Callable[[Sequence[Row]], Sequence[str]] = lambda rows: (),
) -> int:
    """Runs a study into its folder, prints what it says, and what is not as it must be."""
    out = verb.out or Path("runs") / folder
    with _progress(steps) as advance:
        rows = run(verb, out, command=shlex.join(["glassesjax", *arguments]), advance=advance)
    for line in lines(rows):
        print(line)
    failed = wrong(rows)
    for line in failed:
        print(f"FAILED {line}")
    print(f"Page: {out / 'index.html'}")
    return 1 if failed else 0


def _collapse(verb: Collapse, arguments: Sequence[str]) -> int:
    from glassesjax.report import headlines, run_collapse

    folder = f"collapse-{_model_name(verb.model)}"
    steps = len(verb.encodings) * len(verb.formats) * len(verb.families)
    return _study(verb, arguments, folder, steps=steps, run=run_collapse, lines=headlines)


def _influence(verb: Influence, arguments: Sequence[str]) -> int:
    from glassesjax.report import influence_headlines, run_influence
    from glassesjax.report.influence_profiles import contradictions

    told = {"run": run_influence, "lines": influence_headlines}
    folder, steps = f"influence-{_model_name(verb.model)}", 1 + len(verb.attention)  # the bounds
    broken = lambda rows: ["a bound that must hold is exceeded"] if contradictions(rows) else []
    return _study(verb, arguments, folder, steps=steps, wrong=broken, **told)


def _generate(verb: Generate, arguments: Sequence[str]) -> int:
    from glassesjax.report import run_generate

    out = verb.out or Path("runs") / f"generate-{_model_name(verb.model)}"
    others: dict[int, list[str]] = {}

    def show(prompt: int, piece: str) -> None:
        if prompt == 0:
            print(piece, end="", flush=True)
        else:  # the first text streams; the others, written at the same time, follow it
            others.setdefault(prompt, []).append(piece)

    said = lambda name: print(f"written with {name}", file=sys.stderr, flush=True)
    command = shlex.join(["glassesjax", *arguments])
    run_generate(verb, out, command=command, advance=said, show=show)
    print()
    for prompt, pieces in others.items():
        print(f"\nText {prompt + 1}\n{''.join(pieces)}")
    print(f"Page: {out / 'index.html'}")
    return 0


def _perplexity(verb: Perplexity, arguments: Sequence[str]) -> int:
    from glassesjax.report.perplexity_sentences import perplexity_headlines
    from glassesjax.report.run_perplexity import run_perplexity

    folder, told = f"perplexity-{_model_name(verb.model)}", {"lines": perplexity_headlines}
    return _study(verb, arguments, folder, steps=verb.steps, run=run_perplexity, **told)


def _retention(verb: Retention, arguments: Sequence[str]) -> int:
    from glassesjax.report.retention_sentences import retention_headlines
    from glassesjax.report.run_retention import run_retention

    folder, steps = f"retention-{_model_name(verb.model)}", len(verb.policies) * len(verb.slots)
    told = {"run": run_retention, "lines": retention_headlines}
    return _study(verb, arguments, folder, steps=steps, **told)


def _recall(verb: Recall, arguments: Sequence[str]) -> int:
    from glassesjax.report.recall_sentences import recall_headlines
    from glassesjax.report.run_recall import run_recall

    folder, told = f"recall-{_model_name(verb.model)}", {"lines": recall_headlines}
    return _study(verb, arguments, folder, steps=verb.steps, run=run_recall, **told)


def _longform(verb: Longform, arguments: Sequence[str]) -> int:
    from glassesjax.report.longform_cells import longform_headlines
    from glassesjax.report.run_longform import run_longform

    folder, told = f"longform-{_model_name(verb.model)}", {"lines": longform_headlines}
    return _study(verb, arguments, folder, steps=verb.steps, run=run_longform, **told)


def _bounded(verb: Bounded, arguments: Sequence[str]) -> int:
    from glassesjax.report.bounded_sentences import bounded_headlines, contradictions
    from glassesjax.report.run_bounded import run_bounded

    told = {"run": run_bounded, "lines": bounded_headlines, "wrong": contradictions}
    folder = f"bounded-{_model_name(verb.model)}"
    return _study(verb, arguments, folder, steps=verb.steps, **told)


def _verify(verb: Verify, arguments: Sequence[str]) -> int:
    from glassesjax.report import entries, ledger_lines, run_verify

    folder = f"verify-{verb.suite}{'-certified' if verb.certified else ''}"
    lines = lambda rows: ledger_lines(entries(rows, verb.claims))
    told = {"run": run_verify, "lines": lines, "wrong": failures}
    return _study(verb, arguments, folder, steps=len(verb.claims), **told)


def _model_name(model: str) -> str:
    return Path(model).stem if model.endswith(".gguf") else model


def _models(verb: Models, arguments: Sequence[str]) -> int:
    from glassesjax.model.pretrained import SMOLLM2_COMMAND, TOY_POSITIONS, smollm2_file

    print(f"toy      always: a seeded decoder; positions {', '.join(TOY_POSITIONS)}")
    try:
        print(f"smollm2  here: {smollm2_file().name}")
    except BadInput:
        print(f"smollm2  not here; to get it: {SMOLLM2_COMMAND}")
    print("FILE     any .gguf of the llama architecture with a byte-level BPE tokenizer")
    return 0


def _backend(verb: Backend, arguments: Sequence[str]) -> int:
    from glassesjax.precision import backend_report

    report = backend_report()
    width = max(map(len, report))
    for name, value in report.items():
        print(f"{name:{width}}  {value}")
    return 0


VERBS: dict[type, Callable[..., int]] = {
    Collapse: _collapse,
    Influence: _influence,
    Generate: _generate,
    Perplexity: _perplexity,
    Retention: _retention,
    Recall: _recall,
    Longform: _longform,
    Bounded: _bounded,
    Verify: _verify,
    Models: _models,
    Backend: _backend,
}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, a plain line a step elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name: print(name, file=sys.stderr, flush=True)
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, at="opening")

        def advance(name: str) -> None:
            progress.update(task, advance=1, at=name)

        yield advance
