"""JAX's persistent compilation cache, configured for the processes of the command line.

This module chooses the folder and the size limits and reports failures. Programs are machine code:
there is a folder for each JAX version and kind of processor, and it is used only if no other user
can write into it. A failing cache costs time and does not stop a run.
"""

import hashlib
import os
import platform
import re
import stat
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import TextIO

import jax
import jaxlib
from jax.experimental.compilation_cache import compilation_cache

from glassesjax.files import check_local, reason
from glassesjax.memory import cores
from glassesjax.process import note

VARIABLE = "GLASSESJAX_COMPILATION_CACHE"  # environment variable; the flag has precedence
OFF = "off"
MOST_BYTES = 2 * 10**9  # of one folder; the least recently used programs are evicted first
MOST_PROGRAMS = 2_000  # JAX looks at each one's file before it writes another
LEAST_SECONDS = 0.5  # minimum compile time of a cached program
LOCK_SECONDS = 10.0  # the wait for other processes, as JAX has it
HITS, MISSES = "hits", "misses"
_EVENTS = {
    "/jax/compilation_cache/cache_hits": HITS,
    "/jax/compilation_cache/cache_misses": MISSES,
}
# The warning of JAX's cache, with the name of the program and the error.
_FAILED = r"Error (reading|writing) persistent compilation cache entry for '(.*)': (.*)"
# CPU features that determine the compiler's instructions and tuning, on x86 and on ARM.
_FEATURES = (
    *("vendor_id", "cpu family", "model", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)
_counts: Counter[str] = Counter()
_reported: set[str] = set()
_lock = threading.Lock()


def use_compilation_cache(choice: str | None = None) -> None:
    """Turns on JAX's persistent compilation cache for this process.

    A failure is reported in one line, and the process continues without a cache.

    Args:
      choice: A folder, in which one for this JAX and processor is made; or ``off``. If absent, the
        value of the variable ``VARIABLE`` unless it is empty; then JAX's own
        ``JAX_COMPILATION_CACHE_DIR``, which is left unchanged; then the user's cache.

    Raises:
      BadInput: ``choice`` is a URL.
    """
    if choice is None:
        choice = os.environ.get(VARIABLE) or None
    if choice is not None:
        check_local(Path(choice))
    if choice == OFF:
        os.environ[VARIABLE] = OFF  # also for the processes that this one starts
        _stop()
        return
    folder = None
    if choice is not None or not _cache_dir():
        try:
            base = user_cache() if choice is None else Path(choice).absolute()
            folder = _made(base)
            _repair(folder)
        except (OSError, RuntimeError) as error:  # without a home it is a RuntimeError
            at = choice or "the user's cache"
            _report_stopped(f"Expected to keep compiled programs in {at}", error)
            return
        os.environ[VARIABLE] = str(base)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
        # Compilers' further caches have no bound, and would be options of each program.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
        compilation_cache.reset_cache()
    jax.monitoring.register_event_listener(_count)
    _watch(folder)


def take_counts() -> dict[str, int]:
    """Counts of cache hits and misses since the last call.

    Returns:
      ``hits`` and ``misses``; empty where there was neither, as without a cache. Programs that
      compile in less than ``LEAST_SECONDS`` are not counted.
    """
    with _lock:
        taken = {name: _counts[name] for name in (HITS, MISSES)} if _counts else {}
        _counts.clear()
    return taken


def user_cache() -> Path:
    """The default folder of compiled programs.

    Returns:
      A folder that may be missing; a relative ``XDG_CACHE_HOME`` is ignored.

    Raises:
      RuntimeError: The user has no home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    return base / "glassesjax" / "compiled"


def folder_name() -> str:
    """Name of the folder for this JAX version, kind of processor and number of cores."""
    # XLA partitions work by the cores that a process may use, which is not in JAX's keys.
    versions = f"jax-{jax.__version__}-jaxlib-{jaxlib.__version__}"
    return f"{versions}-{processor()}-cores-{cores()}"


def processor(described: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's architecture, and a digest of its features."""
    try:
        lines = described.read_text().splitlines()
    except OSError:  # not on every system
        lines = []
    fields = (line.partition(":") for line in lines)
    features = {
        f"{name.strip()}: {value}" for name, _, value in fields if name.strip() in _FEATURES
    }
    digest = hashlib.sha256("\n".join(sorted(features or {platform.processor()})).encode())
    return f"{platform.machine()}-{digest.hexdigest()[:16]}"


def _made(base: Path) -> Path:
    """The folder for this JAX and processor; created with access for this user alone."""
    folder = base / folder_name()
    for each in reversed((folder, *folder.parents)):
        if not os.path.lexists(each):
            each.mkdir(mode=0o700, exist_ok=True)
        _check_place(each)
    if folder.is_symlink():
        raise PermissionError(f"{folder} is a symbolic link")
    if folder.lstat().st_mode & 0o022:  # also in a sticky folder: files could be added
        raise PermissionError(f"others may write into {folder}: chmod go-w")
    return folder


def _check_place(path: Path) -> None:
    """Raises an error for a folder, or a link on its path, that another user could replace.

    Args:
      path: An existing folder or link; the folders above it are checked already.

    Raises:
      OSError: Another user owns it or may rename its entries, or it links to such a path or to
        none.
    """
    state = path.lstat()
    if state.st_uid not in (os.geteuid(), 0):
        raise PermissionError(f"{path} belongs to another user, who could put programs there")
    if stat.S_ISLNK(state.st_mode):
        path.stat()  # a link to nothing, or in a circle, ends here
        target = path.parent / path.readlink()
        for each in reversed((target, *target.parents)):
            _check_place(each)
    # In a sticky folder such as /tmp others may write but not rename this user's files.
    elif state.st_mode & 0o022 and not state.st_mode & stat.S_ISVTX:
        raise PermissionError(f"others may write into {path}: chmod go-w")


def _repair(folder: Path, program: str = "") -> None:
    """Removes incomplete entries of killed processes, and the oldest beyond ``MOST_PROGRAMS``.

    A program's file is written first, then a file with its time of use; JAX 0.10 stores nothing
    more once it has met one without the other.

    Args:
      folder: Folder for this JAX and processor.
      program: Entries of this program are removed too, if given.
    """
    import filelock

    # JAX's own lock: no other process reads or writes meanwhile.
    with filelock.FileLock(folder / ".lockfile").acquire(timeout=LOCK_SECONDS):
        names = {path.name for path in folder.iterdir()}
        keys = {name.removesuffix("-cache") for name in names if name.endswith("-cache")}
        # An entry is two files; a killed process may have written the first alone.
        gone = {key for key in keys if f"{key}-atime" not in names}
        gone |= {key for key in keys if program and key.startswith(f"{program}-")}
        last_use = lambda key: int.from_bytes((folder / f"{key}-atime").read_bytes(), "little")
        if len(kept := keys - gone) > MOST_PROGRAMS:
            gone |= {*sorted(kept, key=last_use)[:-MOST_PROGRAMS]}
        for key in gone:
            (folder / f"{key}-cache").unlink()
            (folder / f"{key}-atime").unlink(missing_ok=True)


def _watch(folder: Path | None) -> None:
    """Handles warnings of JAX's cache: each kind is reported once, damaged entries are removed."""
    warnings.filterwarnings("always", message="Error (reading|writing) persistent compilation")
    show = warnings.showwarning

    def shown(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        failed = re.fullmatch(_FAILED, str(message), re.DOTALL)
        if failed is None:
            show(message, category, filename, lineno, file, line)
            return
        # JAX warns while it handles the error; the new program is written after this.
        (action, program), at = failed.groups()[:2], _cache_dir()
        error = sys.exception() or OSError(failed[3])
        if action == "writing" or isinstance(error, OSError):
            _report_stopped(f"Expected {action} of compiled programs in {at} to work", error)
            return
        got = f"{program} ({reason(error):.200})"
        expected = f"Expected undamaged programs for this machine in {at}"
        _report("broken", f"{expected}, got {got}: compiled again.")
        if folder is not None:  # the folder of JAX's own variable is left as it is
            try:
                _repair(folder, program)
            except OSError as locked:
                _report_stopped(f"Expected to repair {folder}", locked)

    warnings.showwarning = shown


def _report_stopped(expected: str, error: BaseException) -> None:
    _stop()
    rest = f"this run goes on without; --compilation-cache names another folder, or {OFF}"
    _report("stopped", f"{expected}, got {reason(error):.200}: {rest}.")


def _cache_dir() -> str | None:
    return jax.config.values["jax_compilation_cache_dir"]


def _stop() -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


def _report(kind: str, line: str) -> None:
    """Prints the first line of each kind in a process: hundreds of programs may fail alike."""
    with _lock:
        new = kind not in _reported
        _reported.add(kind)
    if new:
        note(f"glassesjax: {line}")


def _count(event: str, **_: str | int) -> None:
    if (name := _EVENTS.get(event)) is not None:
        with _lock:
            _counts[name] += 1
