"""Builds the tokenizer of a GGUF file from its lists of tokens, merges and scores.

Two kinds are read: ``gpt2``, byte-level BPE that splits texts by a rule that the file names, and
``llama``, SentencePiece BPE. A file of another kind, or of another rule, opens for token numbers.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from glassesjax.errors import MODELS_WANTED, BadInput, brief, escaped
from glassesjax.model.gguf_keys import check_beginnings
from glassesjax.model.sentencepiece import Pairs, merges_by_score, sentencepiece_engine
from glassesjax.model.spelling import BYTE as BYTE_NAME
from glassesjax.model.spelling import BYTES, SPACE, byte_name
from glassesjax.model.splitting import SPLITTINGS, Splitting, pre_tokenizer
from glassesjax.model.tokenizer import TextTokenizer, TokenNumbersOnly

# Types of tokens, as GGUF numbers them from 1 to 6: normal, unknown, control, user-defined, unused,
# byte. Marks are never spelled by text, only named; user-defined ones are read whole, before pairs.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MARKS, TYPES = (UNKNOWN, CONTROL), range(1, 7)

PREFIX = "tokenizer.ggml."
# Keys under it that the tokenizer is made of or checked against, beside ids of tokens; ``scores``
# order the merges of ``llama`` and are a note for ``gpt2``, ``merges`` the other way round.
USED = {"model", "pre", "tokens", "token_type", "scores", "merges", "add_bos_token"}
ENDS = "eos_token_ids"  # of Ollama's converter: all tokens that end a text
# Keys under it that would change what is read, and must be as this kind of tokenizer has them:
# false, but for a space before a text (SentencePiece) and words that are tokens (some rules).
SPACE_PREFIX, WHOLE_WORDS = "add_space_prefix", "ignore_merges"
SWITCHES = {
    "add_eos_token",
    "add_sep_token",
    SPACE_PREFIX,
    WHOLE_WORDS,
    "normalizer.lowercase",
    "remove_extra_whitespaces",
}
# Other keys under ``tokenizer.``: the template that is used, and those under names of their own,
# which are notes. Any key in none of these tables is refused: what it means here is not known.
TEMPLATE = "tokenizer.chat_template"
TEMPLATES = ("tokenizer.chat_templates", f"{TEMPLATE}.")
# Names of tokens in the templates of conversations, and their keys.
NAMED = {
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # so spelled in the files
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
USED_IDS = ("bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id")
# Those of texts with a gap, which no verb here writes, in newer files and in older ones.
GAP = ("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep")
GAP += ("prefix", "suffix", "middle")
IDS = {*USED_IDS, *NAMED.values(), *(f"{name}_token_id" for name in GAP)}
# Numbers where a ``llama`` file has no key, and the type that such a token must have.
LLAMA_IDS = {
    "bos_token_id": (1, CONTROL),
    "eos_token_id": (2, CONTROL),
    "unknown_token_id": (0, UNKNOWN),
}
NO_TOKEN = 2**32 - 1  # how files write -1, none, for ids that reading and writing do not use
# Marks of Phi-3's tokenizer that leave the blanks behind them alone; all others take them in, which
# no key of a file says.
KEEP_BLANKS = {"<unk>", "<s>", "<|endoftext|>"}


class _Vocabulary(NamedTuple):
    """Tokens by number, and what a text does with them."""

    tokens: list[str]
    types: list[int]
    special: list[str]
    """Marks that are read whole."""
    added: list[str]
    """User-defined tokens that are read whole."""


def tokenizer_from_gguf(
    metadata: Mapping[str, Any], rows: int | None = None
) -> TextTokenizer | TokenNumbersOnly:
    """Builds the tokenizer of a GGUF file.

    Args:
      metadata: The file's key-value pairs.
      rows: Rows of the model's table of embeddings; if absent, as many as tokens.

    Returns:
      The rebuilt tokenizer, or none of texts where its kind or its rule of splitting is not known.
      The ends of a sequence, of a turn and of a message end a text.

    Raises:
      BadInput: The file has a key of a tokenizer that is not known or not supported, or contradicts
        itself; or ``tokenizers`` is not installed.
    """
    ends = {f"ggml.{name}" for name in USED | SWITCHES | IDS | {ENDS}}
    check_beginnings(metadata, "tokenizer.", {*ends, "chat_template"})
    keys = {key.removeprefix(PREFIX): v for key, v in metadata.items() if key.startswith(PREFIX)}
    if (reason := _unreadable(keys)) is not None:
        if keys.get("model") == "gpt2":
            _check_keys(metadata, Splitting(()))
        return TokenNumbersOnly(reason, _ends(_ids(keys, rows)))
    is_llama = keys["model"] == "llama"
    splitting = Splitting(()) if is_llama else SPLITTINGS[keys["pre"]]
    _check_keys(metadata, None if is_llama else splitting)
    tokens = _strings("tokens", keys.get("tokens"))
    if rows is not None and len(tokens) != rows:
        raise _foreign("one embedding a token", f"{rows} rows for {len(tokens)} tokens")
    if importlib.util.find_spec("tokenizers") is None:
        raise BadInput(MODELS_WANTED)
    types, numbers = _types(len(tokens), keys), _ids(keys, len(tokens))
    if is_llama:
        defaults = {n: at for n, (at, kind) in LLAMA_IDS.items() if types[at : at + 1] == [kind]}
        numbers = defaults | numbers
    bos = numbers.get("bos_token_id")
    adds_bos = keys.get("add_bos_token", (is_llama or splitting.begins) and bos is not None)
    if not isinstance(adds_bos, bool) or (adds_bos and bos is None):
        got = f"{brief(adds_bos)} with bos_token_id {bos}"
        raise _foreign(f"{PREFIX}add_bos_token false, or true with a token", got)
    template = metadata.get(TEMPLATE)
    if not isinstance(template, str | None):
        raise _foreign(f"a string {TEMPLATE}", type(template).__name__)
    unknown = numbers.get("unknown_token_id") if is_llama else None
    if is_llama:
        prefix = keys.get(SPACE_PREFIX, True)
        vocabulary = _vocabulary(tokens if prefix else _with_space_marks(tokens, types), types)
        scores = _scores(vocabulary, keys)
        if not _order_merges(vocabulary, scores):
            reason = "the scores in the GGUF file do not order the merges of its tokenizer"
            return TokenNumbersOnly(reason, _ends(numbers))
        engine = _llama_engine(vocabulary, scores, unknown, begins_with_space=prefix)
    else:
        vocabulary = _vocabulary(tokens, types)
        engine = _gpt2_engine(vocabulary, _strings("merges", keys.get("merges")), splitting)
    takes_blanks = is_llama and metadata.get("general.architecture") == "phi3"
    _add_tokens(engine, vocabulary, takes_blanks=takes_blanks)
    lacks = lambda name: not is_llama and engine.token_to_id(name) is None
    named = ((name, numbers.get(key)) for name, key in NAMED.items())
    return TextTokenizer(
        engine=engine,
        bos=bos,
        eos=numbers.get("eos_token_id"),
        opening=(bos,) if adds_bos and bos is not None else (),
        chat_template=template,
        other_ends=_turn_ends(numbers),
        whole=frozenset(engine.get_added_tokens_decoder()),
        missing=bytes(byte for name, byte in BYTES.items() if lacks(name)),
        unknown=unknown,
        named=tuple((name, number) for name, number in named if number is not None),
        spelling="sentencepiece" if is_llama else "byte_level",
        splits=not is_llama and splitting.cuts,
    )


def _unreadable(keys: Mapping[str, Any]) -> str | None:
    """Why the texts of a file's tokenizer cannot be read, or None where they can."""
    model, pre = keys.get("model"), keys.get("pre")
    if not isinstance(model, str | None) or not isinstance(pre, str | None):
        got = brief(model if not isinstance(model, str | None) else pre)
        raise _foreign(f"strings {PREFIX}model and {PREFIX}pre", got)
    if model is None:
        return "the GGUF file names no kind of tokenizer"
    if model not in ("gpt2", "llama"):
        return f"the kind {brief(model)} of the GGUF file's tokenizer is not supported"
    if model == "gpt2" and pre not in SPLITTINGS:
        if pre in (None, "default"):
            return "the GGUF file does not name the rule by which its tokenizer splits texts"
        return f"the GGUF file's rule {brief(pre)} for splitting texts is not supported"
    return None


def _ids(keys: Mapping[str, Any], count: int | None) -> dict[str, int | None]:
    """Numbers of the tokens that a file names by keys; None where it says that there is none."""
    most = NO_TOKEN if count is None else count
    numbers: dict[str, int | None] = {}
    for name, value in keys.items():
        if name not in IDS:
            continue
        # Types exactly: a bool is an int to isinstance.
        valid = type(value) is int and 0 <= value < most
        absent = type(value) is int and value == NO_TOKEN and name not in USED_IDS
        if not valid and not absent:
            raise _foreign(f"tokenizer.ggml.{name} from 0 below {most}", brief(value))
        numbers[name] = value if valid else None
    if (listed := keys.get(ENDS)) is not None:
        ends = listed.tolist() if isinstance(listed, np.ndarray) else [listed]
        if any(type(end) is not int or not 0 <= end < most for end in ends):
            raise _foreign(f"tokenizer.ggml.{ENDS} from 0 below {most}", brief(listed))
        numbers |= {f"{ENDS} {at}": end for at, end in enumerate(ends)}
    return numbers


def _turn_ends(numbers: Mapping[str, int | None]) -> tuple[int, ...]:
    """Ends of a turn and of a message, and those of a list, beside that of a sequence."""
    ends = [numbers.get("eot_token_id"), numbers.get("eom_token_id")]
    ends += [number for name, number in numbers.items() if name.startswith(ENDS)]
    eos = numbers.get("eos_token_id")
    return tuple(dict.fromkeys(end for end in ends if end is not None and end != eos))


def _ends(numbers: Mapping[str, int | None]) -> frozenset[int]:
    eos = numbers.get("eos_token_id")
    return frozenset(_turn_ends(numbers) if eos is None else (eos, *_turn_ends(numbers)))


def _check_keys(metadata: Mapping[str, Any], splitting: Splitting | None) -> None:
    """Validates that every key of the tokenizer is used, a note, or without effect.

    ``splitting`` is the rule of a byte-level tokenizer, None for SentencePiece.
    """
    for key, value in metadata.items():
        if key.partition(".")[0] != "tokenizer" or key == TEMPLATE or key.startswith(TEMPLATES):
            continue
        name = key.removeprefix(PREFIX)
        if name == SPACE_PREFIX and splitting is None:
            if not isinstance(value, bool):
                raise _foreign(f"{key} true or false", brief(value))
        elif name in SWITCHES:
            expected = name == WHOLE_WORDS and splitting is not None and splitting.whole_words
            if value is not expected:
                raise _foreign(f"{key} {str(expected).lower()} or without it", brief(value))
        elif name == key or name not in USED | IDS | {ENDS}:
            expected = "keys of a plain byte-level or SentencePiece tokenizer"
            raise _foreign(expected, f"{escaped(key)} = {brief(value)}")


def _foreign(expected: str, got: str) -> BadInput:
    return BadInput(f"Expected a GGUF with {expected}, got {got}: use another file.")


def _strings(name: str, value: object) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise _foreign(f"a list of strings tokenizer.ggml.{name}", type(value).__name__)


def _types(vocab_size: int, keys: Mapping[str, Any]) -> list[int]:
    """The type of each token; all are normal where the file has none. Validates scores as well."""
    if "scores" in keys:
        scores = keys["scores"]
        expected = f"one floating-point number {PREFIX}scores for each of {vocab_size} tokens"
        if not isinstance(scores, np.ndarray) or scores.dtype.kind != "f":
            raise _foreign(expected, brief(scores))
        if len(scores) != vocab_size:
            raise _foreign(expected, f"{len(scores)}")
    if (types := keys.get("token_type")) is None:
        return [1] * vocab_size
    expected = f"one tokenizer.ggml.token_type for each of {vocab_size} tokens"
    if not isinstance(types, list | np.ndarray) or len(types) != vocab_size:
        got = len(types) if isinstance(types, list | np.ndarray) else type(types).__name__
        raise _foreign(expected, f"{got}")
    numbers = types.tolist() if isinstance(types, np.ndarray) else types
    foreign = {kind for kind in set(numbers) if type(kind) is not int or kind not in TYPES}
    if foreign:
        raise _foreign(f"{expected}, from 1 to {len(TYPES)}", brief(foreign.pop()))
    return numbers


def _vocabulary(tokens: list[str], types: list[int]) -> _Vocabulary:
    """Sorts tokens by what a text does with them."""
    if len(number_of := {token: number for number, token in enumerate(tokens)}) < len(tokens):
        twice = next(token for number, token in enumerate(tokens) if number_of[token] != number)
        raise _foreign("tokens of different texts", f"two of {brief(twice)}")
    special, added = [], []
    for number, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        # Rows without a token are named by their number; no text has them.
        if not token or (kind != NORMAL and token == f"[PAD{number}]"):
            continue
        if kind in MARKS:
            special.append(token)
        elif kind == USER_DEFINED:
            added.append(token)
    return _Vocabulary(tokens, types, special, added)


def _gpt2_engine(vocabulary: _Vocabulary, merges: list[str], splitting: Splitting) -> Any:  # noqa: ANN401
    from tokenizers import Tokenizer, models, normalizers

    # A byte-level name has no blank, which it writes as another character.
    foreign = (m for m in merges if m.count(" ") != 1 or m[0] == " " or m[-1] == " ")
    if (merge := next(foreign, None)) is not None:
        raise _foreign("merges of two tokens with a space between", brief(merge))
    split = lambda merge: (merge[: (at := merge.index(" "))], merge[at + 1 :])
    pairs = Pairs(len(merges), lambda: map(split, merges))
    names = {token: number for number, token in enumerate(vocabulary.tokens)}
    try:
        model = models.BPE(vocab=names, merges=pairs, ignore_merges=splitting.whole_words)
    except Exception as error:
        # The library raises a bare Exception, for example for a merge outside the vocabulary.
        raise _foreign("merges that fit its tokens", " ".join(str(error).split())) from error
    engine = Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizer(splitting)
    if splitting.composed:
        engine.normalizer = normalizers.NFC()
    return engine


def _with_space_marks(tokens: list[str], types: list[int]) -> list[str]:
    """Runs of spaces that are user-defined tokens, by the names that they have in a vocabulary.

    Converters write them as spaces. Where no space is put before a text, such tokens are merged
    like others, first of all.
    """
    is_run = lambda token: bool(token) and not token.strip(" ")
    numbers = [n for n, kind in enumerate(types) if kind == USER_DEFINED and is_run(tokens[n])]
    named = {number: tokens[number].replace(" ", SPACE) for number in numbers}
    taken = set(named.values()) & set(tokens) if named else set()
    marked = list(tokens)
    for number, name in named.items():
        if name not in taken:
            marked[number] = name
    return marked


def _scores(vocabulary: _Vocabulary, keys: Mapping[str, Any]) -> np.ndarray:
    """Scores that order merges: those of the file, user-defined tokens before all others."""
    scores = keys.get("scores")
    if not isinstance(scores, np.ndarray):
        raise _foreign(f"{PREFIX}scores for the merges of a tokenizer of kind llama", brief(scores))
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        raise _foreign(f"finite {PREFIX}scores", "NaN or infinity")
    return np.where(np.asarray(vocabulary.types) == USER_DEFINED, np.inf, scores)


def _order_merges(vocabulary: _Vocabulary, scores: np.ndarray) -> bool:
    """Whether scores differ: some converters write the same one for each token."""
    longer = np.asarray([len(token) for token in vocabulary.tokens]) > 1
    merged = scores[longer & (np.asarray(vocabulary.types) == NORMAL)]
    return len(merged) < 2 or bool((merged != merged[0]).any())


def _llama_engine(
    vocabulary: _Vocabulary, scores: np.ndarray, unknown: int | None, *, begins_with_space: bool
) -> Any:  # noqa: ANN401
    tokens, types, _, _ = vocabulary
    names = set(tokens)
    foreign = (
        t
        for t, kind in zip(tokens, types, strict=True)
        if kind == BYTE and not BYTE_NAME.fullmatch(t)
    )
    if (token := next(foreign, None)) is not None:
        raise _foreign("tokens of bytes as <0x41>", brief(token))
    lacks = next((byte for byte in range(256) if byte_name(byte) not in names), None)
    if unknown is None and lacks is not None:
        expected = "a token for unknown letters, or one of each byte"
        raise _foreign(expected, f"neither it nor {byte_name(lacks)}")
    merged = [n for n, kind in enumerate(types) if kind in (NORMAL, USER_DEFINED, UNUSED)]
    merges = merges_by_score(tokens, scores, merged)
    return sentencepiece_engine(
        tokens, merges, unknown=unknown, begins_with_space=begins_with_space
    )


def _add_tokens(engine: Any, vocabulary: _Vocabulary, *, takes_blanks: bool) -> None:  # noqa: ANN401
    """Adds the tokens that are read whole; they are matched before letters are composed."""
    from tokenizers import AddedToken

    special = [
        AddedToken(token, special=True, rstrip=takes_blanks and token not in KEEP_BLANKS)
        for token in vocabulary.special
    ]
    engine.add_special_tokens(special)
    engine.add_tokens([AddedToken(token, normalized=False) for token in vocabulary.added])
