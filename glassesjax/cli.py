"""The command line: one loop over the verbs of the registry.

Exit status 0 done, 1 failed, 2 bad input, 130 stopped.
"""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from glassesjax.arguments import LEAST_COLUMNS, CommandCall, Parsed, parsed
from glassesjax.files import check_local, check_name
from glassesjax.process import ending, note, run_to_end, say, shown
from glassesjax.runs.output_paths import check_out


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits.

    Args:
      arguments: Arguments after the program's name; those of the process if absent, which is then
        assumed to have no other purpose.

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
      whole_process: Whether the process has no other purpose, so that its configuration may change.

    Returns:
      The exit status, 0 for success. It is 1 where rows show a violation, or the disk, the memory
      or another process of the run fails; 2 for invalid input; 130 for an interrupt. Other failures
      raise.
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
    """Runs a study into its folder, and prints its headline and violations."""
    study, settings, options = words
    out = study.folder(settings, options.out)
    check_local(out)  # in every process; RunFolder does it where Python calls a study
    check_name(out, "--out")
    if writes:
        check_out(out, study.known(settings))
    if whole_process:  # after all validation that does not need JAX
        from glassesjax.runs.compilation_cache import use_compilation_cache

        use_compilation_cache(options.compilation_cache)
        study.configure(settings)
    if not writes:  # another process of a multi-process run writes
        study.run(settings, out, options)
        return 0
    steps = 0 if study.steps is None else study.steps(settings, options)
    with _progress(steps) as advance:
        done = study.run(settings, out, options, command=command, advance=advance)
    if done is None:
        return 0
    failures = study.violations(done.summary)
    if options.json:  # one line of JSON on standard output, violations on standard error
        say(done.summary_text(indent=None))
        for line in failures:
            note(f"glassesjax: FAILED {line}")
    else:
        say(done.headline)
        for line in failures:
            say(f"FAILED {line}")
        say(f"Page: {(out / 'index.html').absolute().as_uri()}")
        say(f"Next: {shlex.join(['glassesjax', 'export', str(out), '--to', 'csv'])}")
    return 1 if failures else 0


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on a terminal; else, or if ``total`` is 0, a plain line for each step."""
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
