"""The tokenizer of a model's folder: its ``tokenizer.json`` as it stands, and the files beside it.

``tokenizer.json`` is read by the ``tokenizers`` package, and its post-processor gives the tokens
that begin every text. ``tokenizer_config.json`` names the special tokens, as ``add_bos_token``
there is of tokenizers without ``tokenizer.json``, ``generation_config.json`` gives the tokens that
end a text, ``chat_template.jinja`` the template of a conversation.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassesjax.errors import MODELS_WANTED, BadInput, brief, escaped
from glassesjax.model.spelling import BYTES, SPACE, Spelling
from glassesjax.model.tokenizer import TextTokenizer, TokenNumbersOnly

TOKENIZER, CONFIG, OLD_CONFIG = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
GENERATION, MODEL, TEMPLATE = "generation_config.json", "config.json", "chat_template.jinja"
MOST_BYTES = {TOKENIZER: 1 << 28}  # Gemma 3's has 2^25
MOST_OTHER = 1 << 24
# Parts of words have other names at their beginning or end then; the library aborts on some.
AFFIX = re.compile(rb'"(continuing_subword_prefix|end_of_word_suffix)"\s*:\s*"[^"]')
# What a decoder may consist of so that each token has its own bytes, whatever stands beside it.
# ``Strip`` removes the space before a whole text, which is no token's.
DECODERS = {"Sequence", "ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


def open_tokenizer(folder: Path, rows: int) -> TextTokenizer | TokenNumbersOnly:
    """The tokenizer of a model's folder, or none of texts where there is no ``tokenizer.json``.

    Args:
      folder: The folder.
      rows: Rows of the model's table of embeddings.

    Returns:
      A tokenizer that refuses tokens without a row.

    Raises:
      BadInput: As for ``tokenizer_from_folder``, or a token that begins every text has no row.
    """
    if (tokenizer := tokenizer_from_folder(folder)) is not None:
        return tokenizer.for_table(rows)
    ends = frozenset(end for end in _ends(folder) if end < rows)
    return TokenNumbersOnly(f"the folder has no {TOKENIZER}", ends)


def tokenizer_from_folder(folder: Path) -> TextTokenizer | None:
    """The tokenizer of a model's folder.

    Args:
      folder: The folder.

    Returns:
      The tokenizer; None where the folder has no ``tokenizer.json``.

    Raises:
      BadInput: A file is damaged, or describes a tokenizer that is not supported; or ``tokenizers``
        is not installed.
    """
    path = folder / TOKENIZER
    if not path.exists():
        return None
    engine = _engine(path)
    config = {**_read_json(folder / OLD_CONFIG), **_read_json(folder / CONFIG)}
    _add_tokens(engine, config, folder / CONFIG)
    spelling = _spelling(engine, path)
    added = engine.get_added_tokens_decoder()
    named = {key: _content(value) for key, value in config.items() if key.endswith("_token")}
    extra = config.get("extra_special_tokens")
    if isinstance(extra, Mapping):
        named = {**{key: _content(value) for key, value in extra.items()}, **named}
    numbers = {key: engine.token_to_id(name) for key, name in named.items() if name is not None}
    bos, eos = numbers.pop("bos_token", None), numbers.pop("eos_token", None)
    unknown = getattr(engine.model, "unk_token", None)
    lacks = lambda name: spelling == "byte_level" and engine.token_to_id(name) is None
    return TextTokenizer(
        engine=engine,
        bos=bos,
        eos=eos,
        opening=_opening(engine, path),
        chat_template=_chat_template(folder, config),
        other_ends=tuple(end for end in _ends(folder) if end != eos),
        whole=frozenset(added),
        missing=bytes(byte for name, byte in BYTES.items() if lacks(name)),
        unknown=None if unknown is None else engine.token_to_id(unknown),
        named=tuple((key, number) for key, number in numbers.items() if number is not None),
        spelling=spelling,
    )


def _engine(path: Path) -> Any:  # noqa: ANN401
    """The tokenizer of ``tokenizer.json``, which neither truncates nor pads."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BadInput(MODELS_WANTED) from error
    content = _content_of(path)
    if affix := AFFIX.search(content):
        raise _refused(path, f"no {affix[1].decode()}", "one")
    try:
        with _without_stderr():
            engine = Tokenizer.from_buffer(content)
    except BaseException as error:
        # The library raises a bare Exception, or one of its own outside of Exception for a panic.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _refused(
            path, "an undamaged tokenizer", f"one that fails ({escaped(error)})"
        ) from error
    engine.no_truncation()
    engine.no_padding()
    if getattr(engine.model, "dropout", None):
        raise _refused(path, "a tokenizer without chance", f"dropout {engine.model.dropout}")
    return engine


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


def _opening(engine: Any, path: Path) -> tuple[int, ...]:  # noqa: ANN401
    """Tokens that the post-processor puts before a text; it may put none behind it."""
    if engine.post_processor is None:
        return ()
    wanted = "a post-processor that adds tokens before a text only"
    before: list[int] = []
    # From its description: the library aborts where a template names a token that is not there.
    for part in _parts(json.loads(engine.post_processor.__getstate__())):
        if part["type"] in ("Sequence", "ByteLevel"):  # no tokens of their own
            continue
        if part["type"] != "TemplateProcessing":
            raise _refused(path, wanted, brief(part["type"]))
        *first, last = part["single"] or [{}]
        if "Sequence" not in last or any("SpecialToken" not in each for each in first):
            raise _refused(path, wanted, f"the template {brief(part['single'])}")
        for each in first:
            name = each["SpecialToken"]["id"]
            numbers = part["special_tokens"].get(name, {}).get("ids", [None])
            unknown = [n for n in numbers if n is None or engine.id_to_token(n) is None]
            if unknown:
                raise _refused(path, wanted, f"{brief(name)}, which is no token")
            before += numbers
    return tuple(before)


def _spelling(engine: Any, path: Path) -> Spelling:  # noqa: ANN401
    """How its decoder writes tokens."""
    if engine.decoder is None:
        return "plain"
    parts = list(_parts(json.loads(engine.decoder.__getstate__())))
    kinds = {part["type"] for part in parts}
    wanted = "a decoder that writes each token by itself"
    if foreign := kinds - DECODERS:
        raise _refused(path, wanted, brief(min(foreign)))
    if "ByteLevel" in kinds:
        return "byte_level"
    for part in parts:
        replaced = part.get("pattern"), part.get("content")
        if part["type"] == "Replace" and replaced != ({"String": SPACE}, " "):
            raise _refused(path, wanted, f"one that replaces {brief(part.get('pattern'))}")
        if part["type"] == "Metaspace" and part.get("replacement", SPACE) != SPACE:
            raise _refused(path, wanted, f"spaces as {brief(part['replacement'])}")
    return "sentencepiece" if kinds & {"Replace", "ByteFallback", "Metaspace"} else "plain"


def _parts(whole: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A decoder or post-processor and those that it consists of."""
    yield whole
    for part in (*whole.get("decoders", ()), *whole.get("processors", ())):
        yield from _parts(part)


def _add_tokens(engine: Any, config: Mapping[str, Any], path: Path) -> None:  # noqa: ANN401
    """Adds tokens that only ``tokenizer_config.json`` lists, under their numbers."""
    listed = config.get("added_tokens_decoder", {})
    if not isinstance(listed, Mapping):
        raise _refused(path, "added_tokens_decoder as an object", brief(listed))
    from tokenizers import AddedToken

    for number, entry in sorted(listed.items(), key=lambda item: (len(str(item[0])), item[0])):
        name = _content(entry)
        if name is None:
            raise _refused(path, "added tokens with a content", brief(entry))
        if engine.token_to_id(name) is None:
            flag = lambda key, entry=entry: isinstance(entry, Mapping) and entry.get(key) is True
            names = ("special", "single_word", "lstrip", "rstrip", "normalized")
            engine.add_tokens([AddedToken(name, **{key: flag(key) for key in names})])
        if str(engine.token_to_id(name)) != str(number):
            got = f"{number} for {brief(name)}, which {TOKENIZER} has as {engine.token_to_id(name)}"
            raise _refused(path, "added tokens under their numbers", got)


def _ends(folder: Path) -> tuple[int, ...]:
    """Tokens that end a text, from the settings of generation, else of the model."""
    for path in (folder / GENERATION, folder / MODEL):
        config = _read_json(path)
        inner = config.get("text_config")
        value = config.get("eos_token_id")
        if value is None and isinstance(inner, Mapping):
            value = inner.get("eos_token_id")
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if any(type(end) is not int or end < 0 for end in values):
            raise _refused(path, "eos_token_id as a number from 0, or a list of such", brief(value))
        return tuple(dict.fromkeys(values))
    return ()


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The template in a file of its own, else the one, or the default one, of the configuration."""
    path = folder / TEMPLATE
    if path.exists():
        try:
            return _content_of(path).decode()
        except UnicodeDecodeError as error:
            raise _refused(path, "a template in UTF-8", "other bytes") from error
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {
            entry.get("name"): entry.get("template")
            for entry in template
            if isinstance(entry, Mapping)
        }
        template = named.get("default")
    if not isinstance(template, str | None):
        raise _refused(folder / CONFIG, "a string chat_template", brief(template))
    return template


def _content(value: object) -> str | None:
    """The text of a token, which may be an object with its flags."""
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _read_json(path: Path) -> dict[str, Any]:
    """An object from a file, empty where there is none."""
    if not path.exists():
        return {}
    content = _content_of(path)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "JSON", f"other content ({escaped(error)})") from error
    if not isinstance(values, dict):
        raise _refused(path, "an object", brief(values))
    return values


def _content_of(path: Path) -> bytes:
    most = MOST_BYTES.get(path.name, MOST_OTHER)
    try:
        if not path.is_file():
            raise _refused(path, "a file", "something else")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise _refused(path, "a file that can be read", escaped(error.strerror or error)) from error
    if len(content) > most:
        raise _refused(path, f"at most {most} bytes", "more")
    return content


def _refused(path: Path, expected: str, got: str) -> BadInput:
    return BadInput(f"Expected {expected} in {escaped(path)}, got {got}: use another folder.")
