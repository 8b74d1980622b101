"""Peak memory of whole commands on a random model of 1.24e9 bf16 parameters, on CPU."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import tyro
from large_folder import LLAMA3, write_folder

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from model.made_tokenizers import folder_of

COMMANDS = {
    "collapse": "--families ones_bos ones_zero --lengths 1 4 16 64 256 --formats bf16",
    "generate": "--prompt the --max-tokens 16 --slots 8 --policy tova",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Runs commands one after the other; ends with 1 where one needs more memory than allowed."""

    commands: tuple[str, ...] = tuple(COMMANDS)
    """Which of them."""
    limit: float = 12.0
    """Of the resident memory of a command, pages of the mapped file among it, in GiB."""
    folder: Path | None = None
    """An existing folder to use in place of a made one."""


class Usage(NamedTuple):
    """What one command needed."""

    status: int
    peak: float  # GiB
    wall: float  # seconds
    cpu: float  # seconds


def measured(words: list[str]) -> Usage:
    """Runs a process to its end.

    Args:
      words: The program and its arguments.

    Returns:
      Its exit status, peak of resident memory and times.
    """
    start = time.perf_counter()
    process = subprocess.Popen(words)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(process.returncode, used.ru_maxrss / 2**20, wall, used.ru_utime + used.ru_stime)


def main(settings: Settings) -> None:
    """Makes the folder, runs each command and prints what it needed."""
    with tempfile.TemporaryDirectory() as name:
        folder = settings.folder
        if folder is None:
            folder = write_folder(Path(name), LLAMA3)
            folder_of(folder, "llama3")
        failed = False
        for command in settings.commands:
            out = f"{name}/runs/{command}"
            words = [sys.executable, "-m", "glassesjax", command, str(folder)]
            used = measured([*words, *COMMANDS[command].split(), "--out", out])
            failed |= used.status != 0 or used.peak > settings.limit
            print(
                f"{command}: status {used.status}, peak {used.peak:.2f} GiB, {used.wall:.0f} s, "
                f"{used.cpu:.0f} s of CPU",
                flush=True,
            )
    sys.exit(int(failed))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
