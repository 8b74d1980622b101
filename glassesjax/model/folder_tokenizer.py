"""The tokenizer of a model's folder: its ``tokenizer.json`` as it stands, and the files beside it.

``tokenizer.json`` is read by the ``tokenizers`` package, and its post-processor gives the tokens
that begin every text. ``tokenizer_config.json`` names the special tokens, as ``add_bos_token``
there is of tokenizers without ``tokenizer.json``, ``generation_config.json`` gives the tokens that
end a text, ``chat_template.jinja`` the template of a conversation.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput, brief, escaped
from glassesjax.files import json_object
from glassesjax.model.safetensors_file import check_surrogates
from glassesjax.model.spelling import BYTES, SPACE, Spelling, byte_name
from glassesjax.model.tokenizer import TextTokenizer, TokenNumbersOnly
from glassesjax.model.tokenizer_file import (
    fill,
    frame_of,
    read_merges,
    read_numbers,
    read_tokenizer_file,
)
from glassesjax.model.tokenizer_keys import (
    FLAGS,
    LISTS,
    NAMED,
    READ,
    check_config_keys,
    check_token,
    check_values,
)

TOKENIZER, CONFIG, OLD_CONFIG = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
OLD_ADDED = "added_tokens.json"
GENERATION, MODEL, TEMPLATE = "generation_config.json", "config.json", "chat_template.jinja"
MOST_BYTES = {TOKENIZER: 1 << 28}  # Gemma 3's has 2^25
MOST_OTHER = 1 << 24
AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix")
# Classes that take tokenizer.json as it stands, and those of decoders that build parts of it anew.
GENERIC = {"PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"}
OF_DECODERS = {
    f"{name}Tokenizer"
    for name in ("Llama", "CodeLlama", "GPT2", "GPTNeoX", "Qwen2", "Gemma", "Bloom", "CodeGen")
} | {"CohereTokenizer"}
# Switches that change tokens where they are true: in every class, and in classes of encoders.
SWITCHES = ("split_special_tokens", "fix_mistral_regex")
SWITCHES_OF_ENCODERS = ("do_lower_case", "strip_accents", "remove_space")
BEFORE = "a post-processor that adds tokens before a text only"
LOST = "\uffff lost"  # a name in no vocabulary
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
    if not os.path.lexists(path):
        return None
    config = _configuration(folder)
    ends, chat_template = _ends(folder), _chat_template(folder, config)
    engine, opening, spelling = _engine(path, config)
    _add_special_tokens(engine, config)
    named = {key: _content(value) for key, value in config.items() if key.endswith("_token")}
    extra = config.get("extra_special_tokens")
    if isinstance(extra, Mapping):
        named = {**{key: _content(value) for key, value in extra.items()}, **named}
    numbers = {key: engine.token_to_id(name) for key, name in named.items() if name is not None}
    bos, eos = numbers.pop("bos_token", None), numbers.pop("eos_token", None)
    marking = _marking(engine)
    return TextTokenizer(
        engine=engine,
        bos=bos,
        eos=eos,
        opening=opening,
        chat_template=chat_template,
        other_ends=tuple(end for end in ends if end != eos),
        whole=frozenset(engine.get_added_tokens_decoder()),
        unknown=_unknown(engine if marking is None else marking),
        marking=marking,
        named=tuple((key, number) for key, number in numbers.items() if number is not None),
        spelling=spelling,
    )


def _engine(path: Path, config: Mapping[str, Any]) -> tuple[Any, tuple[int, ...], Spelling]:
    """The tokenizer of ``tokenizer.json``, tokens that begin every text, and how it spells."""
    content = _content_of(path)
    file = read_tokenizer_file(content, path)
    _check_model(file.record.get("model"), path)
    # A vocabulary may have 262,144 tokens: what is refused without it is refused before it.
    engine = frame_of(file, content, path)
    beside = path.parent / CONFIG
    _check_switches(engine, config, beside)
    spelling, opening = _spelling(engine, path), _opening(engine, path)
    listed = _listed(config, beside)
    numbers = read_numbers(content, file, path)
    _check_numbers(listed, (numbers or {}).get, beside, new=False)
    merges = read_merges(content, file, numbers, path)
    del content
    fill(engine, file, numbers, merges, path)
    _add_tokens(engine, listed, beside)
    first: list[int] = []
    for text, number in opening:
        known = None if text is None else engine.token_to_id(text)
        if known is None or number is None:
            raise _refused(path, BEFORE, f"{brief(text)}, which is no token")
        if known != number:
            raise _refused(path, f"{brief(text)} before a text as token {known}", f"{number}")
        first.append(known)
    return engine, tuple(first), spelling


def _check_model(model: object, path: Path) -> None:
    """Refuses parts of words with other names at their beginning or end, and chance."""
    given = model if isinstance(model, Mapping) else {}
    for affix in AFFIXES:  # the library aborts on some
        if given.get(affix):
            raise _refused(path, f"no {affix}", brief(given[affix]))
    if given.get("dropout"):
        raise _refused(path, "a tokenizer without chance", f"dropout {brief(given['dropout'])}")


def _opening(engine: Any, path: Path) -> list[tuple[str | None, int | None]]:  # noqa: ANN401
    """Tokens that the post-processor puts before a text, each with its number.

    It may put none behind the text.
    """
    if engine.post_processor is None:
        return []
    before = []
    # From its description: the library aborts where a template names a token that is not there.
    for part in _parts(json.loads(engine.post_processor.__getstate__())):
        if part["type"] in ("Sequence", "ByteLevel"):  # no tokens of their own
            continue
        if part["type"] != "TemplateProcessing":
            raise _refused(path, BEFORE, brief(part["type"]))
        *first, last = part["single"] or [{}]
        if "Sequence" not in last or any("SpecialToken" not in each for each in first):
            raise _refused(path, BEFORE, f"the template {brief(part['single'])}")
        names = [each["SpecialToken"]["id"] for each in first]
        for name in names:
            one = part["special_tokens"].get(name, {"tokens": [name], "ids": [None]})
            # Of one that has more texts than numbers the rest has none.
            before += itertools.zip_longest(one["tokens"], one["ids"])
    return before


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
    """A part of the tokenizer and those that it consists of."""
    yield whole
    kinds = ("decoders", "processors", "normalizers", "pretokenizers")
    for part in (part for kind in kinds for part in whole.get(kind, ())):
        yield from _parts(part)


def _listed(config: Mapping[str, Any], path: Path) -> list[tuple[str, Any]]:
    """Tokens of ``tokenizer_config.json`` with their numbers, those with fewer digits first."""
    listed = config.get("added_tokens_decoder") or {}
    if not isinstance(listed, Mapping):
        raise _refused(path, "added_tokens_decoder as an object", brief(listed))
    for entry in listed.values():
        if _content(entry) is None:
            raise _refused(path, "added tokens with a content", brief(entry))
        check_token(entry, "added_tokens_decoder", path)
    return sorted(listed.items(), key=lambda item: (len(item[0]), item[0]))


def _check_numbers(
    listed: Sequence[tuple[str, Any]], number_of: Callable[[Any], Any], path: Path, *, new: bool
) -> None:
    """Refuses tokens with other numbers than listed; without ``new``, of those that there are."""
    for number, entry in listed:
        known = number_of(name := _content(entry))
        # One without a letter is in no text; the package does not add it.
        if str(known) != number and (known is not None or (new and name)):
            got = f"{number} for {brief(name)}, which {TOKENIZER} has as {known}"
            raise _refused(path, "added tokens under their numbers", got)


def _add_tokens(engine: Any, listed: Sequence[tuple[str, Any]], path: Path) -> None:  # noqa: ANN401
    """Adds tokens that only ``tokenizer_config.json`` lists, under their numbers."""
    from tokenizers import AddedToken

    # One that is there gets these flags, as in transformers. At once: each call of the package
    # looks through all that there are.
    engine.add_tokens([AddedToken(_content(entry), **_flags(entry)) for _, entry in listed])
    _check_numbers(listed, engine.token_to_id, path, new=True)


def _add_special_tokens(engine: Any, config: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Adds special tokens that are no added tokens yet, in the order of transformers."""
    from tokenizers import AddedToken

    extra = config.get("extra_special_tokens")
    names = [*NAMED, *(key for key in config if key.endswith("_token") and key not in NAMED)]
    listed = [config.get(name) for name in names]
    listed += extra.values() if isinstance(extra, Mapping) else extra or ()
    added = {token.content for token in engine.get_added_tokens_decoder().values()}
    new: dict[str, Any] = {}
    for entry in listed:
        if (name := _content(entry)) and name not in added:
            new.setdefault(name, AddedToken(name, **(_flags(entry) | {"special": True})))
    engine.add_tokens([*new.values()])


def _flags(entry: object) -> dict[str, bool]:
    """How a token is recognized in a text, where its entry says."""
    entries = entry if isinstance(entry, Mapping) else {}
    return {key: entries[key] is True for key in FLAGS if key in entries}


def _check_switches(engine: Any, config: Mapping[str, Any], path: Path) -> None:  # noqa: ANN401
    """Refuses keys by which transformers makes other tokens than ``tokenizer.json``."""
    name = str(config.get("tokenizer_class") or "PreTrainedTokenizer").removesuffix("Fast")
    other = name not in GENERIC | OF_DECODERS
    for key in (*SWITCHES, *(SWITCHES_OF_ENCODERS if other else ())):
        if config.get(key):
            raise _refused(path, f"{key} false", brief(config[key]))
    parts = [
        part
        for whole in (engine.normalizer, engine.pre_tokenizer)
        if whole is not None
        for part in _parts(json.loads(whole.__getstate__()))
    ]
    wanted = config.get("add_prefix_space")
    byte_level = any(part["type"] == "ByteLevel" for part in parts)
    # A LlamaTokenizer of bytes is read as it stands.
    if not isinstance(wanted, bool) or name in GENERIC or ("Llama" in name and byte_level):
        return
    begins = any(
        part["type"] == "Prepend"
        or part.get("add_prefix_space") is True
        or (part["type"] == "Metaspace" and part.get("prepend_scheme") != "never")
        for part in parts
    )
    if wanted != begins:
        does = "begins" if begins else "does not begin"
        got = f"{wanted} where {TOKENIZER} {does} a text with a space"
        raise _refused(path, f"add_prefix_space as {TOKENIZER} has it", got)


def _unknown(engine: Any) -> int | None:  # noqa: ANN401
    """Number of the token for a letter that the vocabulary lacks."""
    if type(engine.model).__name__ == "Unigram":
        return json.loads(engine.model.__getstate__()).get("unk_id")
    name = getattr(engine.model, "unk_token", None)
    return None if name is None else engine.token_to_id(name)


def _marking(engine: Any) -> Any:  # noqa: ANN401
    """A copy with a token for letters that the engine would leave out, if it leaves out any."""
    from tokenizers import Tokenizer, models

    if type(engine.model).__name__ != "BPE" or engine.model.unk_token is not None:
        return None
    parts = (whole.__getstate__() for whole in (engine.normalizer, engine.pre_tokenizer) if whole)
    names = list(BYTES) if any(b'"ByteLevel"' in part for part in parts) else []
    if not names and engine.model.byte_fallback:
        names = [byte_name(byte) for byte in range(256)]
    if names and all(engine.token_to_id(name) is not None for name in names):
        return None
    model = json.loads(engine.to_str())["model"]
    merges = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    numbers = engine.get_vocab(with_added_tokens=True).values()
    marking = Tokenizer.from_str(engine.to_str())
    marking.model = models.BPE(
        vocab={**model["vocab"], LOST: max(numbers, default=-1) + 1},
        merges=[(first, second) for first, second in merges],
        unk_token=LOST,
        byte_fallback=model["byte_fallback"],
        ignore_merges=model["ignore_merges"],
    )
    return marking


def _configuration(folder: Path) -> dict[str, Any]:
    """Settings of the tokenizer; without ``added_tokens_decoder`` older files come first."""
    new, old = _read_json(folder / CONFIG), _read_json(folder / OLD_CONFIG)
    for config, names, path in ((new, READ, CONFIG), (old, (*NAMED, *LISTS), OLD_CONFIG)):
        check_config_keys(config, names, folder / path)
        check_values(config, folder / path)
    extra = new.get("extra_special_tokens") or new.get("additional_special_tokens")
    if "added_tokens_decoder" in new:
        return {**old, **new, "extra_special_tokens": extra}
    more = old.get("extra_special_tokens")
    if isinstance(extra, list) and isinstance(more, list):
        more = extra + more
    extra = more or extra or old.get("additional_special_tokens")
    config = {**new, **old, "extra_special_tokens": extra}
    special = {_content(config.get(name)) for name in NAMED}
    special |= {_content(token) for token in extra or ()} if isinstance(extra, list) else set()
    numbers = _read_json(folder / OLD_ADDED).items()
    for name, number in numbers:
        if type(number) is not int or number < 0:
            wanted = f"the number of {brief(name)} as a whole number from 0"
            raise _refused(folder / OLD_ADDED, wanted, brief(number))
    config["added_tokens_decoder"] = {
        str(number): {
            "content": name,
            "special": name in special,
            "normalized": name not in special,
        }
        for name, number in numbers
    }
    return config


def _ends(folder: Path) -> tuple[int, ...]:
    """Tokens that end a text, from the settings of generation, else of the model."""
    for path in (folder / GENERATION, folder / MODEL):
        config = _read_json(path)
        check_config_keys(config, ("eos_token_id",), path)
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
    if os.path.lexists(path):
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
    if not os.path.lexists(path):
        return {}
    content = _content_of(path)
    try:
        values = json_object(content)
        check_surrogates(content, values)
    except ValueError as error:
        raise _refused(path, "an object of JSON", f"other content ({escaped(error)})") from error
    return values


def _content_of(path: Path) -> bytes:
    most = MOST_BYTES.get(path.name, MOST_OTHER)
    try:
        if path.is_symlink() and not path.exists():
            raise _refused(path, "a file", "a link that leads nowhere")
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
