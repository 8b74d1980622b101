"""The keys of a tokenizer's files: each is known, or refused by name.

The ``tokenizers`` package leaves keys out that it does not know, and takes a default where one is
missing: a letter that is damaged in ``ignore_merges`` would give other tokens without a word.
Sources: its 0.23.3, with the keys of published files that it reads for older versions.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from glassesjax.errors import BadInput, brief, escaped

WHOLE = (
    *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer"),
    *("post_processor", "decoder", "model"),
)
FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")
ADDED = ("content", *FLAGS)
MODELS: Mapping[str, Collection[str]] = {
    "BPE": (
        *("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk"),
        *("byte_fallback", "ignore_merges", "vocab", "merges"),
    ),
    "WordPiece": ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"),
    "WordLevel": ("unk_token", "vocab"),
    "Unigram": ("unk_id", "byte_fallback", "vocab"),
}
_BYTES = ("add_prefix_space", "trim_offsets", "use_regex")
# Older files have the last two.
_SPACE = ("replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
NORMALIZERS: Mapping[str, Collection[str]] = {
    **dict.fromkeys(("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt", "StripAccents"), ()),
    "BertNormalizer": ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"),
    "ByteLevel": (),
    "Precompiled": ("precompiled_charsmap",),
    "Prepend": ("prepend",),
    "Replace": ("pattern", "content"),
    "Sequence": ("normalizers",),
    "Strip": ("strip_left", "strip_right"),
}
PRE_TOKENIZERS: Mapping[str, Collection[str]] = {
    **dict.fromkeys(("BertPreTokenizer", "UnicodeScripts", "Whitespace", "WhitespaceSplit"), ()),
    "ByteLevel": _BYTES,
    "CharDelimiterSplit": ("delimiter",),
    "Delimiter": ("delimiter",),
    "Digits": ("individual_digits",),
    "FixedLength": ("length",),
    "Metaspace": _SPACE,
    "Punctuation": ("behavior",),
    "Sequence": ("pretokenizers",),
    "Split": ("pattern", "behavior", "invert"),
}
POST_PROCESSORS: Mapping[str, Collection[str]] = {
    "BertProcessing": ("sep", "cls"),
    "ByteLevel": _BYTES,
    "RobertaProcessing": ("sep", "cls", "trim_offsets", "add_prefix_space"),
    "Sequence": ("processors",),
    "TemplateProcessing": ("single", "pair", "special_tokens"),
}
DECODERS: Mapping[str, Collection[str]] = {
    "BPEDecoder": ("suffix",),
    "ByteFallback": (),
    "ByteLevel": _BYTES,
    "CTC": ("pad_token", "word_delimiter_token", "cleanup"),
    "Fuse": (),
    "Metaspace": _SPACE,
    "Replace": ("pattern", "content"),
    "Sequence": ("decoders",),
    "Strip": ("content", "start", "stop"),
    "WordPiece": ("prefix", "cleanup"),
}
PARTS = {
    "model": MODELS,
    "normalizer": NORMALIZERS,
    "pre_tokenizer": PRE_TOKENIZERS,
    "post_processor": POST_PROCESSORS,
    "decoder": DECODERS,
}
INNER = ("normalizers", "pretokenizers", "processors", "decoders")
# Keys of ``tokenizer_config.json`` and the files beside it that are read, or checked.
NAMED = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
LISTS = ("extra_special_tokens", "additional_special_tokens")
SWITCHES = (
    *("add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens"),
    *("fix_mistral_regex", "do_lower_case", "strip_accents", "remove_space"),
)
READ = (*NAMED, *LISTS, *SWITCHES, "added_tokens_decoder", "chat_template", "tokenizer_class")
# Published names of other tokens, and of their numbers, that differ from one of these in a letter.
ALIKE = frozenset(
    f"{name}_{what}"
    for name in (
        *("boi", "boa", "bot", "bov", "boc", "bog", "bss"),
        *("eoi", "eoa", "eot", "eom", "eov", "eod", "eoc", "eog", "ess"),
    )
    for what in ("token", "token_id")
) | {"bos_token_id"}
NOTES = ("id", "__type")  # of an added token: notes of those who wrote it


def check_tokenizer_keys(record: Mapping[str, Any], path: Path) -> None:
    """Refuses keys of a ``tokenizer.json`` that are unknown.

    Args:
      record: The file, or what is left of it without vocabulary and merges.
      path: Of the file, for messages.

    Raises:
      BadInput: There is one.
    """
    _check_known(record, WHOLE, "its keys", path)
    if not isinstance(added := record.get("added_tokens"), list | None):
        raise refused(path, "a list of added tokens", brief(added))
    for entry in added or ():
        _check_added(entry, path)
    for key, kinds in PARTS.items():
        for part in _parts(record.get(key)):
            kind = part.get("type")
            known = kinds.get(kind) if isinstance(kind, str) else None
            if kind is not None and known is None:
                raise refused(path, f"a {key} of a known type", brief(kind))
            # Older files have no type: the package looks for one with these keys.
            every = {name for names in kinds.values() for name in names}
            _check_known(
                part, {"type", *(every if known is None else known)}, f"keys of a {key}", path
            )


def _check_added(entry: object, path: Path) -> None:
    """Validates an added token of ``tokenizer.json``, where each key is there."""
    if not isinstance(entry, dict):
        raise refused(path, "an added token as an object", brief(entry))
    _check_known(entry, ("id", *ADDED), "keys of an added token", path)
    kinds = {"id": int, "content": str, **dict.fromkeys(FLAGS, bool)}
    for key, kind in kinds.items():
        if type(entry.get(key)) is not kind:
            got = brief(entry[key]) if key in entry else "none"
            raise refused(path, f"{key} of an added token, of type {kind.__name__}", got)


def _parts(whole: object) -> Iterator[Mapping[str, Any]]:
    """A part and those within it; what is no object the package refuses."""
    if not isinstance(whole, dict):
        return
    yield whole
    for key in INNER:
        inner = whole.get(key)
        for part in inner if isinstance(inner, list) else ():
            yield from _parts(part)


def check_config_keys(config: Mapping[str, Any], names: Collection[str], path: Path) -> None:
    """Refuses a key that is one of ``names`` but for a letter, where that one is missing.

    Anyone may add keys to these files, so that others are no damage.

    Args:
      config: Of ``tokenizer_config.json`` or a file beside it.
      names: Keys that are read.
      path: Of the file, for messages.

    Raises:
      BadInput: There is one.
    """
    missing = [name for name in names if name not in config]
    for key in config:
        if key not in names and key not in ALIKE:
            near = next((name for name in missing if not key or _one_letter(key, name)), None)
            if near is not None:
                raise refused(path, f"known keys such as {near}", brief(key))


def check_values(config: Mapping[str, Any], path: Path) -> None:
    """Refuses values of known keys that are no switches, or no tokens.

    Args:
      config: As for ``check_config_keys``.
      path: Of the file, for messages.

    Raises:
      BadInput: There is one, by its name.
    """
    for key in SWITCHES:
        if not isinstance(config.get(key), bool | None):
            raise refused(path, f"{key} true or false", brief(config[key]))
    if not isinstance(name := config.get("tokenizer_class"), str | None):
        raise refused(path, "the name of a class as tokenizer_class", brief(name))
    for key in NAMED:
        check_token(config.get(key), key, path)
    for key in LISTS:
        entries = config.get(key)
        if not isinstance(entries, list | Mapping | None):
            raise refused(path, "a list of special tokens", brief(entries))
        for entry in entries.values() if isinstance(entries, Mapping) else entries or ():
            check_token(entry, key, path)


def check_token(entry: object, name: str, path: Path) -> None:
    """Refuses a token that is neither null, nor a text, nor an object of one with its flags.

    Args:
      entry: The token.
      name: Of its key.
      path: Of the file, for messages.

    Raises:
      BadInput: It is none of these; or it has an unknown key, or a flag that is no boolean.
    """
    if isinstance(entry, str | None):
        return
    if not isinstance(entry, Mapping) or not isinstance(entry.get("content"), str):
        raise refused(path, f"{name} as a token, with a content", brief(entry))
    _check_known(entry, (*ADDED, *NOTES), f"keys of a token in {name}", path)
    for flag in FLAGS:
        if not isinstance(entry.get(flag, False), bool):
            raise refused(path, f"{flag} of a token true or false", brief(entry[flag]))


def _one_letter(one: str, other: str) -> bool:
    """Whether two names differ, and in no more than one letter."""
    short, long = sorted((one, other), key=len)
    same = next((at for at, letter in enumerate(short) if letter != long[at]), len(short))
    left = short[same:], long[same:]
    return one != other and (left[0] == left[1][1:] or left[0][1:] == left[1][1:])


def _check_known(part: Mapping[str, Any], known: Collection[str], what: str, path: Path) -> None:
    if (key := next((key for key in part if key not in known), None)) is not None:
        raise refused(path, f"{what} whose effect is known", f"{brief(key)} = {brief(part[key])}")


def refused(path: Path, expected: str, got: str) -> BadInput:
    """The error for a file of a tokenizer that is not supported."""
    return BadInput(f"Expected {expected} in {escaped(path)}, got {got}: use another folder.")
