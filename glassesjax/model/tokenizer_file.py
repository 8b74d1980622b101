"""Reads a ``tokenizer.json``: its vocabulary and merges by themselves, and all else before them.

The package that reads such files has the whole one as values of JSON in memory, 370 MB for the
262,144 tokens of Gemma 3. Here vocabulary and merges are found in its bytes, so that what is wrong
is known before any of it is made, and the package gets numbers and pairs.
"""

import contextlib
import json
import os
import re
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glassesjax.errors import MODELS_WANTED, BadInput, brief, escaped
from glassesjax.files import json_object, reason
from glassesjax.model.sentencepiece import Pairs
from glassesjax.model.tokenizer_keys import ADDED, check_tokenizer_keys, refused

MOST = 2**31 - 1  # token numbers are int32
HEADING = "#version"
_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+"'
_FLAT = rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+"
_VOCABULARY = rb"\{\s*+(?:" + _STRING + rb'\s*+:\s*+\d++\s*+(?:,\s*+(?=")|(?=\})))*+\}'
_PIECES = rb'\[(?:[^"{}\[\]]++|\[' + _FLAT + rb"\])*+\]"  # of Unigram, each with its score
_PAIRED = rb"\[\s*+" + _STRING + rb"\s*+,\s*+" + _STRING + rb"\s*+\]"
_MERGES = rb"\[\s*+(?:(?:" + _STRING + rb"|" + _PAIRED + rb')\s*+(?:,\s*+(?=["\[])|(?=\])))*+\]'
# A string matches whole, so that no key is found within one.
_LARGE = re.compile(
    rb'"vocab"\s*+:\s*+(?P<vocab>' + _VOCABULARY + rb"|" + _PIECES + rb")"
    rb'|"merges"\s*+:\s*+(?P<merges>' + _MERGES + rb")"
    rb'|"(?P<other>vocab|merges)"\s*+:|' + _STRING
)
# So many at a time are made values of JSON.
_TOKENS = re.compile(rb"(?:" + _STRING + rb"\s*+:\s*+\d++\s*+,?\s*+){1,20000}+")
_MERGED = re.compile(rb"(?:(?:" + _STRING + rb"|" + _PAIRED + rb")\s*+,?\s*+){1,20000}+")
Span = tuple[int, int]


class TokenizerFile(NamedTuple):
    """A file without its tokens."""

    record: dict[str, Any]
    """The file with an empty vocabulary, without merges and without added tokens."""
    added: tuple[Mapping[str, Any], ...]
    """Added tokens, each with its flags."""
    places: tuple[Span, Span] | None
    """From where to where vocabulary and merges are in the file; None of a model other than BPE,
    which the package reads by itself."""


def read_tokenizer_file(content: bytes, path: Path) -> TokenizerFile:
    """Validates a file but for the vocabulary and the merges of BPE, and the pieces of Unigram.

    Args:
      content: Of the file.
      path: Of the file, for messages.

    Raises:
      BadInput: It is no JSON, or has a key whose effect is not known, or a key or number twice.
    """
    with _one_line(path):
        record, places = _parts_of(content)
    check_tokenizer_keys(record, path)
    model = record.get("model")
    # Older files do not name the kind of their model.
    is_bpe = isinstance(model, dict) and model.get("type", "BPE") == "BPE"
    if not is_bpe or places.keys() != {"vocab", "merges"}:
        if (place := places.get("vocab")) and content.startswith(b"{", place[0]):
            with _one_line(path):
                _numbers(content, place)
        return TokenizerFile(record, (), None)
    if content[places["vocab"][0] : places["vocab"][0] + 1] != b"{":
        raise refused(path, "a vocabulary of texts with numbers", "a list")
    model |= {"vocab": {}, "merges": []}
    added = tuple(record.pop("added_tokens", None) or ())
    return TokenizerFile(record, added, (places["vocab"], places["merges"]))


def read_numbers(content: bytes, file: TokenizerFile, path: Path) -> dict[str, int] | None:
    """Reads the vocabulary of BPE.

    Args:
      content: Of the file.
      file: What was read of it.
      path: Of the file, for messages.

    Returns:
      The number of each token; None of a model other than BPE.

    Raises:
      BadInput: A token is there twice, or a number.
    """
    if file.places is None:
        return None
    with _one_line(path):
        return _numbers(content, file.places[0])


def read_merges(
    content: bytes, file: TokenizerFile, numbers: Mapping[str, int] | None, path: Path
) -> Pairs:
    """Reads the merges of BPE.

    Args:
      content: Of the file.
      file: What was read of it.
      numbers: Of its tokens.
      path: Of the file, for messages.

    Raises:
      BadInput: A merge does not make a token of two others.
    """
    if file.places is None or numbers is None:
        return Pairs(0, lambda: iter(()))
    with _one_line(path):
        return _pairs(content, file.places[1], numbers)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        got = f"one with {escaped(reason(error))}"
        raise refused(path, "an undamaged tokenizer", got) from error


def _parts_of(content: bytes) -> tuple[dict[str, Any], dict[str, Span]]:
    """The file with null for vocabulary and merges, and from where to where these are in it."""
    # A file that is cut is not searched for the end of its vocabulary.
    if content[-64:].rstrip()[-1:] != b"}":
        raise ValueError("no end")
    kept, places, at = [], {}, 0
    for found in _LARGE.finditer(content):
        name = found.lastgroup
        if name is None:
            continue
        if name == "other":
            raise ValueError(f"damage in its {found[name].decode()}")
        start, end = found.span(name)
        kept += [content[at:start], b"null"]
        places[name], at = (start, end), end
    return json_object(b"".join([*kept, content[at:]])), places


def _chunks(content: bytes, place: Span, some: re.Pattern[bytes]) -> Iterator[list[Any]]:
    """Entries of an object or a list, each as a list of two or as a text; some at a time."""
    at, end = place[0] + 1, place[1] - 1
    is_object = content[place[0] : at] == b"{"
    while (found := some.search(content, at, end)) is not None:
        inner, at = found[0].rstrip(b", \t\r\n"), found.end()
        text = b"{" + inner + b"}" if is_object else b"[" + inner + b"]"
        yield json.loads(text, object_pairs_hook=list)


def _numbers(content: bytes, place: Span) -> dict[str, int]:
    """The number of each token."""
    numbers: dict[str, int] = {}
    count = 0
    for pairs in _chunks(content, place, _TOKENS):
        numbers.update(pairs)
        count += len(pairs)
    if len(numbers) < count:
        seen: set[str] = set()
        names = (name for pairs in _chunks(content, place, _TOKENS) for name, _ in pairs)
        twice = next(name for name in names if name in seen or seen.add(name))
        raise ValueError(f"the key {brief(twice)} twice")
    if (most := max(numbers.values(), default=0)) > MOST:
        raise ValueError(f"a token number {most} over {MOST}")
    if len(names := {number: name for name, number in numbers.items()}) < count:
        name, number = next(it for it in numbers.items() if names[it[1]] != it[0])
        raise ValueError(f"the number {number} for {brief(name)} and {brief(names[number])}")
    return numbers


def _pairs(content: bytes, place: Span, numbers: Mapping[str, int]) -> Pairs:
    """Merges as numbers: half a million pairs of texts would take as much as their reader."""
    first, second = array("q"), array("q")
    for merges in _chunks(content, place, _MERGED):
        # The package leaves out the first line of merges.txt, which some writers keep.
        merges = (it for it in merges if not (isinstance(it, str) and it.startswith(HEADING)))
        pairs = [each.split(" ") if isinstance(each, str) else each for each in merges]
        try:
            first.extend([numbers[one] for one, _ in pairs])
            second.extend([numbers[other] for _, other in pairs])
            foreign = next((pair for pair in pairs if pair[0] + pair[1] not in numbers), None)
        except (KeyError, ValueError):
            parts = lambda pair: (*pair, "".join(pair))
            foreign = next(
                pair for pair in pairs if len(pair) != 2 or not numbers.keys() >= {*parts(pair)}
            )
        if foreign is not None:
            raise ValueError(
                f"a merge of {' and '.join(map(brief, foreign))}, which makes no token"
            )
    names = {number: name for name, number in numbers.items()}.__getitem__
    return Pairs(len(first), lambda: zip(map(names, first), map(names, second), strict=True))


def frame_of(file: TokenizerFile, content: bytes, path: Path) -> Any:  # noqa: ANN401
    """The tokenizer without its tokens: all that does not depend on these.

    Args:
      file: What its file consists of.
      content: Of the file.
      path: Of the file, for messages.

    Returns:
      A tokenizer of the ``tokenizers`` package; the whole one where its model is no BPE.

    Raises:
      BadInput: The package refuses the file, or is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error
    with _failing(path):
        if file.places is None:
            engine = Tokenizer.from_buffer(content)
        else:
            engine = Tokenizer.from_str(json.dumps(file.record))
    engine.no_truncation()
    engine.no_padding()
    return engine


def fill(
    engine: Any,  # noqa: ANN401
    file: TokenizerFile,
    numbers: dict[str, int] | None,
    merges: Pairs,
    path: Path,
) -> None:
    """Gives a frame its tokens and merges.

    Args:
      engine: Of ``frame_of``.
      file: What its file consists of.
      numbers: Of its tokens; None where the frame has them.
      merges: Of its tokens.
      path: Of the file, for messages.

    Raises:
      BadInput: The package refuses them.
    """
    if numbers is None:
        return
    from tokenizers import AddedToken, models

    left_out = ("type", "vocab", "merges")
    settings = {
        key: value
        for key, value in file.record["model"].items()
        if value is not None and key not in left_out
    }
    with _failing(path):
        engine.model = models.BPE(numbers, merges, **settings)
        engine.add_tokens([AddedToken(**{key: each[key] for key in ADDED}) for each in file.added])


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Turns errors of the package into one line."""
    try:
        with _without_stderr():
            yield
    except BaseException as error:
        # The library raises a bare Exception, or one of its own outside of Exception for a panic.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        got = f"one that fails ({escaped(error)})"
        raise refused(path, "an undamaged tokenizer", got) from error


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Drops what the process writes to standard error: a panic of the library has lines there."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    sys.stderr.flush()
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
