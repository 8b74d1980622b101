"""The command line: one verb a study. Exit status 0 done, 1 failed, 2 bad input, 130 stopped."""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax

from glassesjax.arguments import LEAST_COLUMNS, parsed
from glassesjax.errors import BadInput
from glassesjax.files import LONGEST_NAME, Row, check_local, check_name
from glassesjax.names import PACKAGED
from glassesjax.process import ending, note, run_to_end, say, shown
from glassesjax.runs.places import check_out
from glassesjax.runs.readback import blaming
from glassesjax.studies.generate.settings import FIX_NOTHING
from glassesjax.verbs import (
    Backend,
    Bounded,
    Collapse,
    Generate,
    Influence,
    Longform,
    Models,
    OfModel,
    Perplexity,
    Recall,
    Retention,
    Sweep,
    Train,
    Verify,
)
from proofs_numeric.verify.measure import OPTIMIZATIONS_OFF, failures


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits.

    Args:
      arguments: Words after the program's name; those of the process if absent.
    """
    if arguments is None:
        run_to_end(lambda: lambda: run(sys.argv[1:], whole_process=True))
    sys.exit(run(arguments))


def run(arguments: Sequence[str], *, whole_process: bool = False) -> int:
    """Runs one verb.

    Args:
      arguments: Words after the program's name.
      whole_process: Whether the process does nothing else, so that its settings may be changed.

    Returns:
      The exit status, 0 for done, 1 for a ledger or a bound that does not stand and 2 for bad
      input. Other failures raise.
    """
    try:
        verb = parsed(arguments)
        if whole_process and isinstance(verb, Verify) and verb.suite == "quick":
            jax.config.update(OPTIMIZATIONS_OFF, True)  # compiling is the cost there
        return VERBS[type(verb)](verb, arguments)
    except (Exception, KeyboardInterrupt) as error:
        if (end := ending(error)) is None:
            raise
        line, status = end
        note(f"glassesjax: {line}")
        return status


def _study(
    verb: OfModel | Sweep | Train | Verify,
    arguments: Sequence[str],
    *,
    steps: int,
    run: Callable[..., Sequence[Row]],
    lines: Callable[[Sequence[Row]], Iterable[str]],
    wrong: Callable[[Sequence[Row]], Sequence[str]] = lambda rows: (),
) -> int:
    """Runs a study into its folder, prints what it says, and what is not as it must be."""
    out = _place(verb)
    with _progress(steps) as advance:
        rows = run(verb, out, command=shlex.join(["glassesjax", *arguments]), advance=advance)
    from glassesjax.report.fields import unfinite

    with blaming(rows):
        told, failed = list(lines(rows)), [*unfinite(rows), *wrong(rows)]
    for line in told:
        say(line)
    return _end(out, failed)


def _end(out: Path, failed: Sequence[str]) -> int:
    """Prints what is not as it must be and where the page is; the exit status."""
    for line in failed:
        say(f"FAILED {line}")
    say(f"Page: {out / 'index.html'}")
    return 1 if failed else 0


def _collapse(verb: Collapse, arguments: Sequence[str]) -> int:
    from glassesjax.studies.collapse.run import run_collapse
    from glassesjax.studies.collapse.sentences import headlines

    steps = len(verb.encodings) * len(verb.formats) * len(verb.families)
    return _study(verb, arguments, steps=steps, run=run_collapse, lines=headlines)


def _influence(verb: Influence, arguments: Sequence[str]) -> int:
    from glassesjax.studies.influence.profiles import contradictions
    from glassesjax.studies.influence.run import run_influence
    from glassesjax.studies.influence.sentences import influence_headlines

    told = {"run": run_influence, "lines": influence_headlines}
    texts = 1 if verb.prompt else verb.passages * max(len(verb.text), 1)
    steps = 1 + len(verb.attention) * texts  # the bounds; a short text has fewer passages
    broken = lambda rows: ["a bound that must hold is exceeded"] if contradictions(rows) else []
    return _study(verb, arguments, steps=steps, wrong=broken, **told)


def _generate(verb: Generate, arguments: Sequence[str]) -> int:
    from glassesjax.report.fields import not_finite, unfinite
    from glassesjax.studies.generate.run import run_generate

    out = _place(verb)
    others: dict[int, list[str]] = {}

    def show(prompt: int, piece: str) -> None:
        if prompt == 0:
            print(shown(piece), end="", flush=True)
        else:  # the first text streams; the others, written at the same time, follow it
            others.setdefault(prompt, []).append(piece)

    said = lambda name: note(f"written with {name}")
    command = shlex.join(["glassesjax", *arguments])
    rows = run_generate(verb, out, command=command, advance=said, show=show)
    print()
    for prompt, pieces in others.items():
        print(shown(f"\nText {prompt + 1}\n{''.join(pieces)}"))
    with blaming(rows):
        told, failed = not_finite(rows, "written tokens"), unfinite(rows)
    for line in told:
        say(line)
    return _end(out, failed)


def _perplexity(verb: Perplexity, arguments: Sequence[str]) -> int:
    from glassesjax.studies.perplexity.run import run_perplexity
    from glassesjax.studies.perplexity.sentences import perplexity_headlines

    told = {"run": run_perplexity, "lines": perplexity_headlines}
    return _study(verb, arguments, steps=verb.steps, **told)


def _retention(verb: Retention, arguments: Sequence[str]) -> int:
    from glassesjax.studies.retention.run import run_retention
    from glassesjax.studies.retention.sentences import retention_headlines

    steps = len(verb.policies) * len(verb.slots)
    told = {"run": run_retention, "lines": retention_headlines}
    return _study(verb, arguments, steps=steps, **told)


def _recall(verb: Recall, arguments: Sequence[str]) -> int:
    from glassesjax.studies.recall.run import run_recall
    from glassesjax.studies.recall.sentences import recall_headlines

    told = {"run": run_recall, "lines": recall_headlines}
    return _study(verb, arguments, steps=verb.steps, **told)


def _longform(verb: Longform, arguments: Sequence[str]) -> int:
    from glassesjax.studies.longform.cells import longform_headlines
    from glassesjax.studies.longform.run import run_longform

    told = {"run": run_longform, "lines": longform_headlines}
    return _study(verb, arguments, steps=verb.steps, **told)


def _bounded(verb: Bounded, arguments: Sequence[str]) -> int:
    from glassesjax.studies.bounded.run import run_bounded
    from glassesjax.studies.bounded.sentences import bounded_headlines, contradictions

    told = {"run": run_bounded, "lines": bounded_headlines, "wrong": contradictions}
    return _study(verb, arguments, steps=verb.steps, **told)


def _contradictions(rows: Sequence[Row]) -> list[str]:
    """What trained decoders say against the statements that they are held against."""
    from glassesjax.studies.train.failing_cells import failing_contradictions
    from glassesjax.studies.train.ratio_cells import ratio_contradictions

    return failing_contradictions(rows) + ratio_contradictions(rows)


def _train(verb: Train, arguments: Sequence[str]) -> int:
    from glassesjax.studies.train.page import train_headlines
    from glassesjax.studies.train.run import run_train
    from glassesjax.train.hosts import connect, ended, is_writer

    def together() -> int:
        if verb.distributed:
            connect()
        run = functools.partial(run_train, tensorboard=verb.tensorboard)
        if not is_writer():  # trains with the others, and writes nothing
            run(verb, _folder(verb))
            return 0
        told = {"run": run, "lines": train_headlines, "wrong": _contradictions}
        return _study(verb, arguments, steps=verb.calls, **told)

    return ended(together)


def _sweep(verb: Sweep, arguments: Sequence[str]) -> int:
    from glassesjax.surveys.sweep.page import sweep_headlines
    from glassesjax.surveys.sweep.run import run_sweep, submit_sweep

    told = {"jobs": verb.jobs, "cluster": verb.cluster, "hours": verb.hours}
    run = functools.partial(submit_sweep, **told) if verb.jobs else run_sweep
    shown = {"run": run, "lines": sweep_headlines, "wrong": _contradictions}
    return _study(verb, arguments, steps=verb.jobs or len(verb.cells), **shown)


def _verify(verb: Verify, arguments: Sequence[str]) -> int:
    from proofs_numeric.verify.run import run_verify
    from proofs_numeric.verify.sentences import ledger_lines
    from proofs_numeric.verify.summary import entries

    lines = lambda rows: ledger_lines(entries(rows, verb.claims))
    told = {"run": run_verify, "lines": lines, "wrong": failures}
    return _study(verb, arguments, steps=len(verb.claims), **told)


def _place(verb: OfModel | Sweep | Train | Verify) -> Path:
    """The same for who writes it: what can be told before a model is opened is told now."""
    out = _folder(verb)
    # A verb's own flags, such as --out, are in no settings.json.
    settings = next(kind for kind in type(verb).__mro__ if kind.__name__.endswith("Settings"))
    known = {field.name: getattr(verb, field.name) for field in dataclasses.fields(settings)}
    known = {name: value for name, value in known.items() if name not in FIX_NOTHING}
    check_out(out, {**known, "study": type(verb).__name__.lower()})
    return out


def _folder(verb: OfModel | Sweep | Train | Verify) -> Path:
    """Where a run goes that was not told: named after what it measures."""
    if isinstance(verb, Verify):
        of = f"{verb.suite}{'-certified' if verb.certified else ''}"
    elif isinstance(verb, Train):
        of = verb.task
    elif isinstance(verb, Sweep):
        of = verb.preset
    else:
        # As much as a name has room for, whatever the file's is.
        named = _named(Path(verb.model.removeprefix(PACKAGED))).encode()[: LONGEST_NAME - 30]
        of = named.decode(errors="ignore")
    out = verb.out or Path("runs") / f"{type(verb).__name__.lower()}-{of}"
    check_local(out)  # before a model is opened
    check_name(out, "--out")
    return out


def _named(model: Path) -> str:
    """A model's name or path as part of a folder's name."""
    if model.suffix == ".gguf":
        return model.stem
    if model.suffix == ".safetensors":
        return f"{model.absolute().parent.name}-{model.stem}"
    return model.name


def _models(verb: Models, arguments: Sequence[str]) -> int:
    from glassesjax.model.pretrained import SMOLLM2_COMMAND, TOY_POSITIONS, smollm2_file
    from glassesjax.model.trained import TRAINED

    told = {"toy": f"always: a seeded decoder; positions {', '.join(TOY_POSITIONS)}"}
    told["counter"] = "always: two layers written by hand that count exactly"
    told |= {name: f"always: made by {trained.command}" for name, trained in TRAINED.items()}
    try:
        told["smollm2"] = f"here: {smollm2_file().name}"
    except BadInput:
        told["smollm2"] = f"not here; to get it: {SMOLLM2_COMMAND}"
    told["FILE"] = "any .gguf of the llama architecture with a byte-level BPE tokenizer"
    told["RUN"] = "what glassesjax train wrote: a model-SEED.safetensors, or its run folder"
    width = max(map(len, told))
    for name, text in told.items():
        say(f"{name:{width}}  {text}")
    return 0


def _backend(verb: Backend, arguments: Sequence[str]) -> int:
    from glassesjax.precision import backend_report

    report = backend_report()
    width = max(map(len, report))
    for name, value in report.items():
        say(f"{name:{width}}  {value}")
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
    Train: _train,
    Sweep: _sweep,
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
        yield note
        return
    console.width = max(console.width, LEAST_COLUMNS)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, at="opening")

        def advance(name: str) -> None:
            progress.update(task, advance=1, at=shown(name))

        yield advance
