"""Parses a command line to a verb with its settings, or raises a one-line error."""

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
from glassesjax.schema import RENAMED_SETTINGS
from glassesjax.settings import decimal_number, whole_number

LEAST_COLUMNS = 40  # minimum width of output, also on a narrower terminal
_WIDE = 1000  # columns of an error message, so that its words are not wrapped
_NUMBERS = ConstructorRegistry()  # parsers of numbers
_HELP = ("-h", "--help")
_FLAT = tyro.conf.arg(name="")  # the fields of both dataclasses are flags without a prefix

SettingsT = TypeVar("SettingsT")
OptionsT = TypeVar("OptionsT", bound=Options)


class Parsed(NamedTuple):
    """A parsed command line of a study."""

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
    """A parsed command line of a command."""

    command: Command[Any]
    settings: Any
    """Of the type ``command.settings``, checked."""


def parsed(arguments: Sequence[str]) -> Parsed | CommandCall:
    """Parses the arguments of the command line.

    Returns:
      A study with its settings and options, or a command with its settings, validated. With
      ``--help`` the help is printed and the process exits.

    Raises:
      BadInput: The arguments are invalid.
    """
    for word in arguments:
        # Half surrogates and NUL, which no file of a run can contain.
        if re.search("[\0\ud800-\udfff]", word):
            expected = "Expected flags and values of UTF-8 without NUL"
            raise BadInput(f"{expected}, got {word!r:.80}: write or rename it so.")
    name, *words = arguments or ("",)
    if name not in VERBS:
        if not any(word in _HELP for word in arguments):
            expected = f"Expected a verb out of {', '.join(VERBS)}"
            if not name:
                raise BadInput(f"{expected}, got none: name one.")
            close = difflib.get_close_matches(name, VERBS)
            remedy = f"did you mean {' or '.join(close)}?" if close else "see glassesjax --help."
            raise BadInput(f"{expected}, got {name!r:.60}: {remedy}")
        # A union type whose help lists all verbs with their descriptions.
        subcommand = lambda name: tyro.conf.subcommand(name, description=load(name).description)
        named: Callable[[str], Any] = lambda name: dataclasses.make_dataclass(name, ())
        kinds = [Annotated[named(name), subcommand(name)] for name in VERBS]  # pyrefly: ignore[invalid-annotation]
        return _read(functools.reduce(operator.or_, kinds), "glassesjax", _SUBJECT, _HELP[1:])
    verb, program = load(name), f"glassesjax {name}"
    if isinstance(verb, Command):
        return CommandCall(verb, _read(verb.settings, program, verb.description, words))
    _check_renamed(verb, words)
    kind = _Words[Annotated[verb.settings, _FLAT], Annotated[verb.options, _FLAT]]
    read = _read(kind, program, verb.description, words)
    return Parsed(verb, read.settings, read.options)


def _check_renamed(study: Study[Any, Any, Any], words: Sequence[str]) -> None:
    """Raises an error for a flag that has another name now, with that name."""
    fields = {field.name for field in dataclasses.fields(study.settings)}
    for word in words:
        flag, _, _ = word.partition("=")
        now = RENAMED_SETTINGS.get(flag.removeprefix("--").replace("-", "_"))
        if flag.startswith("--") and now in fields:
            now = f"--{now.replace('_', '-')}"
            raise BadInput(
                f"Expected {now}, got {flag}, its name before version 0.2.0: write {now}."
            )


_SUBJECT = "What the last token of a decoder-only Transformer can still see."


def _read(kind: Any, program: str, description: str, words: Sequence[str]) -> Any:  # noqa: ANN401
    """The settings that the parser makes of the arguments."""
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
    """Parses numbers in ASCII digits; Python's types also accept other scripts and 1_000."""
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


@contextmanager
def _terminal(columns: int) -> Iterator[None]:
    """Sets the terminal's width: the parser does not terminate where a word does not fit."""
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
    """The first paragraph below the title of a box, without its frame."""
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
