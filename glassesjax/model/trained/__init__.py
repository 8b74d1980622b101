"""Decoders that were trained here, a file each, with the command and the digest of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Trained(NamedTuple):
    """How a file of this folder was made."""

    arguments: tuple[str, ...]
    """Of ``glassesjax``, without ``--out``."""
    sha256: str
    """Of the file; another machine's roundings give other weights."""

    @property
    def command(self) -> str:
        """What to type."""
        return " ".join(("glassesjax", *self.arguments))


# Made when gains and biases decayed as well; now it has to be said.
_DECAY = ("--weight-decay-on", "all")

TRAINED: Mapping[str, Trained] = {
    "count_ones": Trained(
        ("train", "count_ones", "--preset", "quick", *_DECAY),
        "afdd57cfd3d3865ef4a916ee20188af10902fae87817c8eb5aa39e2ad52e8a4a",
    ),
    "copy_last": Trained(
        ("train", "copy_last", "--preset", "quick", *_DECAY),
        "930793fec96d0677acd2287dee4f432ef7efde73f22b441e0311ad69dbae7e02",
    ),
}


def trained_file(name: str) -> Path:
    """Where the file of a trained decoder lies.

    Args:
      name: A key of ``TRAINED``.

    Returns:
      A path in the package.
    """
    return FOLDER / f"{name}.safetensors"
