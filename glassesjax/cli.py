"""The command line: one loop over the verbs of the registry.

Exit status 0 done, 1 failed, 2 bad input, 130 stopped.
"""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glassesjax.arguments import LEAST_COLUMNS, CommandCall, Parsed, parsed
from glassesjax.files import check_local, check_name
from glassesjax.process import ending, note, run_to_end, say, shown
from glassesjax.runs.places import check_out
from glassesjax.runs.run import Result


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits.

    Args:
      arguments: Words after the program's name; those of the process if absent, which is then taken
        for one that does nothing else.

    Raises:
      SystemExit: Always, with the exit status of ``run``.
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
      The exit status, 0 where all is done. It is 1 where rows show what must not be, or where the
      disk, the memory or another process of the run fails; 2 where the input is bad; 130 where it
      was interrupted. Other failures raise.
    """
    try:
        verb = parsed(arguments)
        if isinstance(verb, CommandCall):
            for line in verb.command.lines(verb.settings):
                say(line)
            return 0
        command = shlex.join(["glassesjax", *arguments])
        run_it = lambda writes: _study(verb, command, writes=writes, whole_process=whole_process)
        return verb.study.together(verb.options, run_it)
    except (Exception, KeyboardInterrupt) as error:
        if (end := ending(error)) is None:
            raise
        line, status = end
        note(f"glassesjax: {line}")
        return status


def _study(words: Parsed, command: str, *, writes: bool, whole_process: bool) -> int:
    """Runs a study into its folder, prints what its rows say, and what in them must not be."""
    study, settings, options = words
    out = study.folder(settings, options.out)
    check_local(out)  # of every process; RunFolder does it where Python calls a study
    check_name(out, "--out")
    if writes:
        check_out(out, study.known(settings))
    if whole_process:  # what could be refused without JAX is refused
        from glassesjax.runs.compilation_cache import use_compilation_cache

        use_compilation_cache(options.compilation_cache)
        study.configure(settings)
    if not writes:  # of several processes another one does
        study.run(settings, out, options)
        return 0
    steps = 0 if study.steps is None else study.steps(settings, options)
    with _progress(steps) as advance:
        done = study.run(settings, out, options, command=command, advance=advance)
    if done is None:
        return 0
    failures = study.violations(done.summary)
    (_say_summary if options.json else _say_headline)(done, failures, out)
    return 1 if failures else 0


def _say_headline(result: Result[Any, Any, Any], failures: Sequence[str], out: Path) -> None:
    """What a run comes down to, what in it must not be, its page, and the next command."""
    say(result.headline)
    for line in failures:
        say(f"FAILED {line}")
    say(f"Page: {(out / 'index.html').absolute().as_uri()}")
    say(f"Next: {shlex.join(['glassesjax', 'export', str(out), '--to', 'csv'])}")


def _say_summary(result: Result[Any, Any, Any], failures: Sequence[str], out: Path) -> None:
    """The same for a program: JSON alone on standard output."""
    say(result.summary_text(indent=None))
    for line in failures:
        note(f"glassesjax: FAILED {line}")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal; a plain line a step elsewhere, and where their number is unknown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not total or not console.is_terminal:
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
