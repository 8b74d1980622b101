"""Word classes of tokens by their text and context, and the part-of-speech tags they approximate.

There is no tagger, since its model would be external data. Classes are closed lists of words and
marks, and capitalization; each lists the Penn Treebank tags that it approximates.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


class WordClass(NamedTuple):
    """A kind of token."""

    name: str
    tags: tuple[str, ...]
    """Penn Treebank tags that it approximates; none where no tag fits."""
    family: str
    """One of four groups: mark, closed (function words), open (content words), other."""


CLASSES = (
    WordClass("first token", (), "other"),
    WordClass("newline", ("newline",), "mark"),
    WordClass("sentence end", (".",), "mark"),
    WordClass("comma", (",",), "mark"),
    WordClass("colon", (":",), "mark"),
    WordClass("closing quote", ("closing quote",), "mark"),
    WordClass("closing bracket", (")",), "mark"),
    WordClass("currency", ("$",), "mark"),
    WordClass("other mark", (), "mark"),
    WordClass("possessive ending", ("POS",), "closed"),
    WordClass("determiner", ("DT",), "closed"),
    WordClass("preposition", ("IN",), "closed"),
    WordClass("to", ("TO",), "closed"),
    WordClass("conjunction", ("CC",), "closed"),
    WordClass("pronoun", ("PRP",), "closed"),
    WordClass("possessive pronoun", ("PRP$",), "closed"),
    WordClass("modal", ("MD",), "closed"),
    WordClass("wh-word", ("WDT", "WP", "WP$", "WRB"), "closed"),
    WordClass("number", ("CD",), "open"),
    WordClass("capitalized word", ("NNP", "NNPS"), "open"),
    WordClass("other word", ("NN", "NNS", "JJ", "RB", "VB", "VBD", "VBN", "VBG", "VBZ"), "open"),
    WordClass("continuation", (), "open"),
    WordClass("white space", (), "other"),
)

# Modern English and that of the King James Bible; a word is in one list, that of its most frequent
# use: "that" and "as" are prepositions in the Treebank, which has no subordinating conjunction.
WORDS = {
    "determiner": "a an the this these those each every no some any another all both either"
    " neither",
    "preposition": "of in for with by from at on upon unto into that if because as than while"
    " though although about above after against among amongst before behind below beneath beside"
    " between beyond during except like near out over since through throughout till toward towards"
    " under until without within whether lest",
    "to": "to",
    "conjunction": "and or but nor yet",
    "pronoun": "i you he she it we they me him us them thou thee ye myself yourself himself herself"
    " itself ourselves themselves thyself one",
    "possessive pronoun": "my your his her its our their mine yours hers ours theirs thy thine",
    "modal": "will would shall should can could may might must wilt shalt canst mayest cannot"
    " ought",
    "wh-word": "who whom whose which what when where why how whoever whatever wherefore whereby",
}
CLASS_OF = {word: name for name, words in WORDS.items() for word in words.split()}

MARKS = {
    "sentence end": ".!?",
    "comma": ",",
    "colon": ":;…\N{EN DASH}\N{EM DASH}",
    "closing quote": "”»",
    "closing bracket": ")]}",
    "currency": "$£€¥",
}
CLASS_OF_MARK = {mark: name for name, marks in MARKS.items() for mark in marks}
APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
STRAIGHT = f"\"'{APOSTROPHE}"  # closing after a word or a mark, and not before one

# In this order: an ending is no word, and letters after a digit are part of the number.
ITEM = re.compile(
    rf"(?P<newline>\n)|(?P<possessive>(?<=\w)['{APOSTROPHE}][sS]\b|(?<=s)['{APOSTROPHE}](?=\s|$))"
    r"|(?P<number>\d[\d.,]*\d\w*|\d\w*)|(?P<word>[^\W\d_]+)|(?P<mark>[^\s\w]|_)"
)


class _Item(NamedTuple):
    """A word, a mark or a line's end in the whole text."""

    start: int
    end: int
    name: str


def classify(tokens: Sequence[str]) -> list[str]:
    """The class of each token of a text.

    A token has the class of the first word, mark or line's end in it; one that goes on with a word
    or a number is a ``continuation``. The first piece of a word has the class of the whole word. A
    capitalized word is one only within a sentence; at the beginning of one any word may be. The
    first token of a text is a separate class, since policies retain it for its position.

    Args:
      tokens: Texts of the tokens in order, white space included.

    Returns:
      Names out of ``CLASSES``.
    """
    text = "".join(tokens)
    # The item before decides whether a sentence begins, where a capital means nothing.
    items, opens = [], True
    for match in ITEM.finditer(text):
        name = _name(match, text, opens)
        items.append(_Item(match.start(), match.end(), name))
        opens = name in ("newline", "sentence end") or (opens and match.lastgroup == "mark")
    starts = [item.start for item in items]
    ends = list(accumulate(map(len, tokens)))
    names = []
    for token, end in zip(tokens, ends, strict=True):
        # A token has the class of the item that begins where its white space ends.
        begin = end - len(token.lstrip(" \t\r"))
        at = bisect_right(starts, begin) - 1
        if not token.strip(" \t\r"):
            names.append("white space")
        elif at < 0 or begin >= items[at].end:  # a control character, which is nothing of these
            names.append("other mark")
        else:
            names.append(items[at].name if items[at].start == begin else "continuation")
    return ["first token", *names[1:]] if names else []


def _name(match: re.Match[str], text: str, opens: bool) -> str:
    kind, word = str(match.lastgroup), match[0]
    if kind == "mark":
        if word in STRAIGHT:
            before, behind = text[match.start() - 1 : match.start()], text[match.end() :][:1]
            closes = before.strip() and not behind.isalnum()
            return "closing quote" if closes else "other mark"
        return CLASS_OF_MARK.get(word, "other mark")
    if kind == "word":
        other = "capitalized word" if word[0].isupper() and not opens else "other word"
        return CLASS_OF.get(word.lower(), other)
    return {"possessive": "possessive ending"}.get(kind, kind)
