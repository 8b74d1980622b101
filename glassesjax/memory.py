"""Checks a run's minimum memory against the available memory, before any work; counts cores.

The needed memory is a lower bound and the available memory an upper bound: a run that fits is never
rejected, and an accepted one may still be too large.
"""

import functools
import itertools
import os
import sys
from pathlib import Path

from glassesjax.errors import BadInput

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def check_memory(needed: int, what: str, remedy: str, *, parts: int = 1) -> None:
    """Raises an error for more bytes than the memory of this machine or its devices.

    Args:
      needed: Lower bound of the bytes in memory at one time.
      what: The setting that determines them, by name and value.
      remedy: What to do, for the message.
      parts: Number of devices that share the bytes.

    Raises:
      BadInput: Less memory is available.
    """
    if needed <= (host := host_memory()):
        return  # without querying devices, which takes seconds with accelerators
    most = parts * max(host, device_memory())
    if needed > most:
        got = f"{size_text(needed)} at the least"
        expected = f"Expected {what} to fit into {size_text(most)} of memory"
        raise BadInput(f"{expected}, got {got}: {remedy}.")


@functools.lru_cache(maxsize=1)  # reads kernel files, and a sweep calls it for each cell
def host_memory() -> int:
    """Bytes available to this process, swap included; 2^63 if unknown."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        memory = 2**63
    swap = [line.split() for line in _lines("/proc/meminfo") if line.startswith("SwapTotal:")]
    # Limits of this process's control groups and their parents, in both Linux versions.
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        limits = ("memory.max", "memory.limit_in_bytes")
        roots = {"": Path("/sys/fs/cgroup"), "memory": Path("/sys/fs/cgroup/memory")}
        if (root := roots.get(controllers)) is not None:
            folder = root / path.lstrip("/")
            for file in itertools.product((folder, *folder.parents), limits):
                texts = _lines(Path(*file))
                memory = min([memory, *(int(text) for text in texts if text.isdecimal())])
    return memory + sum(1024 * int(line[1]) for line in swap)  # kB are KiB


def device_memory() -> int:
    """Largest memory in bytes of a device of this process; 0 if no device reports one."""
    import jax  # which takes seconds

    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return max(int(each.get("bytes_limit", 0)) for each in stats)


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def size_text(count: int) -> str:
    """A number of bytes with four digits and a binary unit.

    Args:
      count: Not negative, however large.

    Returns:
      Four digits and a unit.
    """
    power = min(max(count.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    return f"{count / 1024**power:.4g} {UNITS[power]}"


def _lines(path: str | Path) -> list[str]:
    """The lines of a kernel file; empty if it does not exist."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
