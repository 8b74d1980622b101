"""What the page on commands says of a study's rows."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"


def row_keys(study):
    """The keys in the first column of the tables under the study's rows."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## A row of `{study}`")[2]
    firsts = re.findall(r"^\| (`.*?) \|", text.partition("\n## ")[0], re.MULTILINE)
    keys = {name for first in firsts for name in re.findall(r"`([^`]+)`", first)}
    return keys - {"weights_sha256"}  # of weights that come from a file
