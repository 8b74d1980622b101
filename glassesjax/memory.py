"""Memory that a run needs at the least, against what there is: refused before any work.

What is asked for here is a lower bound, and what there is an upper one: a run that would fit is
never refused, and one that is let through may still be too large.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from glassesjax.errors import BadInput

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def check_memory(needed: int, what: str, remedy: str, *, parts: int = 1) -> None:
    """Refuses what cannot fit into the memory of this machine, nor into that of its devices.

    Args:
      needed: Bytes that are in memory at one time, at the least.
      what: What takes them: the setting, by name and value.
      remedy: What to do about it.
      parts: Devices that they are divided over.

    Raises:
      BadInput: There is less.
    """
    if needed <= (host := host_memory()):
        return  # and no device was asked, which takes seconds where there are accelerators
    most = parts * max(host, device_memory())
    if needed > most:
        got = f"{size_text(needed)} at the least"
        expected = f"Expected {what} to fit into {size_text(most)} of memory"
        raise BadInput(f"{expected}, got {got}: {remedy}.")


@functools.lru_cache(maxsize=1)  # files of the kernel, and a sweep asks for each of its cells
def host_memory() -> int:
    """Bytes that this process may have, swap included; 2^63 where nothing tells."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        memory = 2**63
    return min([memory, *_limits()]) + _swap()


def device_memory() -> int:
    """Bytes of the largest device of this process that has memory of its own; else 0."""
    import jax  # which takes seconds

    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return max(int(each.get("bytes_limit", 0)) for each in stats)


def size_text(count: int) -> str:
    """Bytes as a reader has them.

    Args:
      count: Not negative, however large.

    Returns:
      Four digits and a unit.
    """
    power = min(max(count.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    return f"{count / 1024**power:.4g} {UNITS[power]}"


def _limits() -> Iterator[int]:
    """What the control groups of this process allow, in both versions of Linux: own and outer."""
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        own = {"": Path("/sys/fs/cgroup"), "memory": Path("/sys/fs/cgroup/memory")}
        if (root := own.get(controllers)) is not None:
            folder = root / path.lstrip("/")
            for group in (folder, *folder.parents):
                for name in ("memory.max", "memory.limit_in_bytes"):
                    yield from (int(text) for text in _lines(group / name) if text.isdecimal())


def _swap() -> int:
    lines = [line.split() for line in _lines("/proc/meminfo") if line.startswith("SwapTotal:")]
    return sum(1024 * int(line[1]) for line in lines)


def _lines(path: str | Path) -> list[str]:
    """The lines of a file of the kernel; none where there is no such file."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
