"""Makes the trained decoders of the package anew, and prints their digests for the table.

    python scripts/make_trained.py [NAME ...]

The same command on another machine gives other weights, since sums are rounded in another order;
the tests ask the decoders for what they must be able to do.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from glassesjax.cli import run
from glassesjax.model.pretrained import trained_name
from glassesjax.model.trained import TRAINED, trained_file


def make(name: str) -> str:
    """Trains one decoder and puts its file into the package; gives the digest."""
    with tempfile.TemporaryDirectory() as folder:
        if status := run([*TRAINED[name].arguments, "--out", folder]):
            sys.exit(status)
        content = (Path(folder) / trained_name(0)).read_bytes()
    trained_file(name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or TRAINED:
        print(wanted, make(wanted), flush=True)
