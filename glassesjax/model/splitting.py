"""Rules by which byte-level tokenizers split a text before they merge pairs.

GGUF files name a rule, as llama.cpp does; the rule itself is in no file. Each is what the published
``tokenizer.json`` of its family declares, for the ``tokenizers`` package. docs/models.md says which
are compared with what.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Splitting:
    """A rule.

    Attributes:
      parts: One after the other, each splits the pieces of that before it. ``digits``: each digit
        alone. ``runs_of_digits``, ``punctuation``: runs of either alone. ``words``: by GPT-2's
        expression, into characters that stand for bytes. Else an expression: its matches, and what
        is between them.
      composed: Whether letters and their marks are composed first (NFC).
      whole_words: Whether a piece that is a token is that token, whatever its merges.
      begins: Whether texts begin with the start token where the file does not say.
      cuts: Whether a long text may be read in the pieces of ``text_pieces``. It may not where a
        piece of this rule can go on behind the end of a line with what is no space.
    """

    parts: tuple[str, ...]
    composed: bool = False
    whole_words: bool = False
    begins: bool = False
    cuts: bool = True


def _one_of(*expressions: str) -> str:
    return "|".join(expressions)


_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"  # endings of English words
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_BLANKS = _one_of(r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+")
_THREE, _ONE = r"\p{N}{1,3}", r"\p{N}"


def _english(number: str) -> str:
    return _one_of(_ENGLISH, _WORD, number, rf"{_SIGNS}[\r\n]*", _BLANKS)


def _cased(number: str, ending: str) -> str:
    """Upper-case letters of a word come first, then lower-case ones; others have no case."""
    before = r"[^\r\n\p{L}\p{N}]?"
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    words = (f"{before}{upper}*{lower}+{ending}", f"{before}{upper}+{lower}*{ending}")
    return _one_of(*words, number, rf"{_SIGNS}[\r\n/]*", _BLANKS)


def _class_of(codes: str) -> str:
    """A class of characters from their numbers in hexadecimal, single ones and ranges."""
    ranges = (pair.split("-") for pair in codes.split())
    return "".join("-".join(chr(int(code, 16)) for code in pair) for pair in ranges)


# Letters with case, but for some that Unicode has added since.
_DEEPSEEK_LETTERS = _class_of(
    """
    41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386
    388-38A 38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA
    1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57
    1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB
    1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D
    212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3
    A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A
    FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF
    1E900-1E943
    """
)
# ASCII from the colon on, letters too, as that tokenizer has it.
_DEEPSEEK_SIGNS = _class_of("21-2F 3A-7E FF01-FF0F FF1A-FF5E 2018-201F 3000-3002")
_DEEPSEEK_CHINESE = f"[{_class_of('4E00-9FA5 800-4E00 AC00-D7FF')}]+"
_DEEPSEEK_JAPANESE = f"[{_class_of('4E00-9FA5 3040-309F 30A0-30FF')}]+"
_DEEPSEEK_3 = _one_of(
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+""",
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r" ?[\p{P}\p{S}]+[\r\n]*",
    _BLANKS,
)
_STOPS = _class_of("2E 2C 21 3F 2026 3002 FF0C 3001 964 6D4 60C")

_GPT2 = Splitting(("words",))
_NEOX = Splitting(("words",), composed=True)
_LLAMA3 = Splitting((_english(_THREE),), whole_words=True, begins=True)
_CL100K = Splitting((_english(_THREE),))
_QWEN2 = Splitting((_english(_ONE),), composed=True)
_CODE = Splitting(("digits", "words"))

SPLITTINGS = {
    "bloom": Splitting((rf" ?[^(\s|{_STOPS})]+",), cuts=False),
    "command-r": Splitting(("digits", "words"), composed=True),
    "dbrx": _CL100K,
    "deepseek-coder": Splitting(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CHINESE, "digits")
    ),
    "deepseek-llm": Splitting(
        (
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            rf"\s?[{_DEEPSEEK_SIGNS}]+",
            r"\s+$",
            _DEEPSEEK_CHINESE,
            "digits",
        )
    ),
    "deepseek-r1-qwen": _QWEN2,
    "deepseek-v3": Splitting((_THREE, _DEEPSEEK_JAPANESE, _DEEPSEEK_3)),
    "falcon": Splitting(("punctuation", "words", "runs_of_digits", "[0-9][0-9][0-9]")),
    "gpt-2": _GPT2,
    "gpt-4o": Splitting((_cased(_THREE, f"{_ENGLISH}?"),), cuts=False),
    "gpt3-finnish": Splitting((rf" ?[^(\s|{_STOPS})]+",), cuts=False),
    "llama-bpe": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama3": _LLAMA3,
    "mpt": _NEOX,
    "olmo": _NEOX,
    "phi-2": _GPT2,
    "qwen2": _QWEN2,
    "refact": _CODE,
    "smaug-bpe": _CL100K,
    "smollm": _CODE,
    "starcoder": _CODE,
    "tekken": Splitting((_cased(_ONE, ""),), whole_words=True, begins=True, cuts=False),
}
"""By the names of ``tokenizer.ggml.pre``."""


def pre_tokenizer(splitting: Splitting) -> Any:  # noqa: ANN401
    """A rule for the ``tokenizers`` package.

    Args:
      splitting: The rule.

    Returns:
      A pre-tokenizer, whose pieces are characters that stand for bytes.
    """
    from tokenizers import Regex, pre_tokenizers

    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made = {
        "digits": pre_tokenizers.Digits(individual_digits=True),
        "runs_of_digits": pre_tokenizers.Digits(individual_digits=False),
        "punctuation": pre_tokenizers.Punctuation("contiguous"),
        "words": words,
    }
    parts = [
        made[part] if part in made else pre_tokenizers.Split(Regex(part), "isolated")
        for part in splitting.parts
    ]
    if "words" not in splitting.parts:
        parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)
