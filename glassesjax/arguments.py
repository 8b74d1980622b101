"""The words of a command line as a verb with its settings, or one line on what is wrong."""

import dataclasses
import difflib
import functools
import io
import itertools
import operator
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from glassesjax.errors import BadInput
from glassesjax.registry import VERBS, load
from glassesjax.runs.study import Command, Options, Study
from glassesjax.settings import decimal_number, whole_number

LEAST_COLUMNS = 40  # of a terminal; what is narrower is written as if it had so many
_WIDE = 1000  # a message is taken out of its box, so that no word in it may be broken
_NUMBERS = ConstructorRegistry()  # how the command line reads them
_HELP = ("-h", "--help")
_FLAT = tyro.conf.arg(name="")  # the fields of both dataclasses are flags without a prefix

SettingsT = TypeVar("SettingsT")
OptionsT = TypeVar("OptionsT", bound=Options)


class Parsed(NamedTuple):
    """The words of a study."""

    study: Study[Any, Any, Any]
    settings: Any
    """Of the type ``study.settings``, checked."""
    options: Any
    """Of the type ``study.options``, checked."""


@dataclasses.dataclass(frozen=True)
class _Words(Generic[SettingsT, OptionsT]):
    settings: SettingsT
    options: OptionsT


class CommandCall(NamedTuple):
    """The words of a command."""

    command: Command[Any]
    settings: Any
    """Of the type ``command.settings``, checked."""


def parsed(arguments: Sequence[str]) -> Parsed | CommandCall:
    """The verb with its settings.

    Returns:
      A study with its settings and options, or a command with its settings, checked. Where help is
      asked for it is printed, and the process exits.

    Raises:
      BadInput: The words are none of a verb.
    """
    _check_words(arguments)
    name, *words = arguments or ("",)
    if name not in VERBS:
        if not any(word in _HELP for word in arguments):
            raise _no_verb(name)
        return _read(_every_verb(), "glassesjax", _SUBJECT, _HELP[1:])
    verb, program = load(name), f"glassesjax {name}"
    if isinstance(verb, Command):
        return CommandCall(verb, _read(verb.settings, program, verb.description, words))
    kind = _Words[Annotated[verb.settings, _FLAT], Annotated[verb.options, _FLAT]]
    read = _read(kind, program, verb.description, words)
    return Parsed(verb, read.settings, read.options)


_SUBJECT = "What the last token of a decoder-only Transformer can still see."


def _every_verb() -> Any:  # noqa: ANN401
    """A type of which the parser's help lists all verbs with what they do."""
    subcommand = lambda name: tyro.conf.subcommand(name, description=load(name).description)
    named: Callable[[str], Any] = lambda name: dataclasses.make_dataclass(name, ())
    kinds = [Annotated[named(name), subcommand(name)] for name in VERBS]  # pyrefly: ignore[invalid-annotation]
    return functools.reduce(operator.or_, kinds)


def _no_verb(name: str) -> BadInput:
    expected = f"Expected a verb out of {', '.join(VERBS)}"
    if not name:
        return BadInput(f"{expected}, got none: name one.")
    close = difflib.get_close_matches(name, VERBS)
    remedy = f"did you mean {' or '.join(close)}?" if close else "see glassesjax --help."
    return BadInput(f"{expected}, got {name!r:.60}: {remedy}")


def _read(kind: Any, program: str, description: str, words: Sequence[str]) -> Any:  # noqa: ANN401
    """What the parser makes of the words."""
    text = io.StringIO()
    wants_help = any(word in _HELP for word in words)
    columns = max(shutil.get_terminal_size().columns, LEAST_COLUMNS) if wants_help else _WIDE
    try:
        with redirect_stderr(text), _terminal(columns):
            return tyro.cli(
                kind, prog=program, description=description, args=list(words), registry=_NUMBERS
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise BadInput(_plain(text.getvalue())) from None


@_NUMBERS.primitive_rule
def _number(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Numbers in digits of ASCII: Python's own types take those of every script, and 1_000."""
    read = {int: whole_number, float: decimal_number}.get(kind.type)
    if read is None:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.type.__name__.upper(),
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: isinstance(value, int | kind.type),
        str_from_instance=lambda value: [str(value)],
    )


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
    text = " ".join(paragraph)
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
