"""The words of a command line as a verb with its settings, or one line on what is wrong."""

import io
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

import tyro

from glassesjax.errors import BadInput
from glassesjax.verbs import NUMBERS, Verb

LEAST_COLUMNS = 40  # of a terminal; what is narrower is written as if it had so many
_WIDE = 1000  # a message is taken out of its box, so that no word in it may be broken


def parsed(arguments: Sequence[str]) -> Verb:
    """The verb with its settings.

    Args:
      arguments: Words after the program's name.

    Returns:
      The settings, checked. Where help is asked for it is printed, and the process exits.

    Raises:
      BadInput: The words are none of a verb.
    """
    _check_words(arguments)
    said = io.StringIO()
    wants_help = any(word in ("-h", "--help") for word in arguments)
    columns = max(shutil.get_terminal_size().columns, LEAST_COLUMNS) if wants_help else _WIDE
    try:
        with redirect_stderr(said), _terminal(columns):
            return tyro.cli(
                Verb,  # pyrefly: ignore[bad-argument-type]  (a union of annotated classes)
                prog="glassesjax",
                description="What the last token of a decoder-only Transformer can still see.",
                args=list(arguments),
                config=(tyro.conf.OmitArgPrefixes,),
                registry=NUMBERS,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(_plain(said.getvalue())) from None


def _check_words(arguments: Sequence[str]) -> None:
    """Refuses what no file of a run could hold: a half of a character, or NUL."""
    for word in arguments:
        if re.search("[\0\ud800-\udfff]", word):
            expected = "Expected flags and values of UTF-8 without NUL"
            raise BadInput(f"{expected}, got {word!r:.80}: write or rename it so.")


@contextmanager
def _terminal(columns: int) -> Iterator[None]:
    """A terminal of that width: the parser lays out for ever where there is no room for a word."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _plain(box: str) -> str:
    """The first paragraph under the title of a box, without its frame."""
    lines = [re.sub("[\u2500-\u257f]+|--+(?![a-z])", "", line).strip() for line in box.splitlines()]
    _title, *lines = itertools.dropwhile(lambda line: not line, lines)
    paragraph = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
    text = re.sub("^Error parsing [A-Z][a-z]+: ", "", " ".join(paragraph))
    text = re.sub(r"^Error parsing (--\S+): expected (.*)", r"Expected \1 as \2: change it.", text)
    several = (
        r"^Error parsing (--\S+): Could not (?:find valid parse for|parse) arguments:? \[(.*?)\].*"
    )
    text = re.sub(several, r"Expected other values for \1, got \2: change them.", text)
    return (
        text
        if text.startswith(("Wanted", "Expected"))
        else f"{text.rstrip('.')}: see glassesjax --help."
    )
