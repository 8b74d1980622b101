"""Each number on a run's page, read back: it is in the run's files, or in a fixed text.

A page is read without figures, styles and attributes. A number on it must be the rounding, to the
digits shown, of a number in the run's summary, settings or constants. A line of a table, a heading,
or an item of a list that quotes a row may be of one row instead: then all its numbers are that
row's. Else a number must stand in a fixed text of the program, together with the words of that
text. There is no list of exceptions.

What cannot be seen: a number that is changed into another one of the same run.
"""

import ast
import bisect
import functools
import importlib
import importlib.resources
import inspect
import itertools
import json
import math
import pkgutil
import re
from html.parser import HTMLParser
from typing import NamedTuple

from glassesjax import registry
from glassesjax.report.numbers import MISSING
from glassesjax.report.tokens import VISIBLE
from glassesjax.runs.record import columns, names

SKIPPED = {"svg", "style", "script", "math"}  # a formula is that of a statement, not of a run
INLINE = {"b", "small", "i", "em", "strong", "sup"}
VOID = {"meta", "br"}
HEADINGS = {"h3", "h4", "summary"}  # which may name a row, as a line of a table does
TEXTS = {"dd", "p"}  # where a text of the run may be a number, as a whole

# What the word behind a number makes of it. In words a page gives a negative number its sign.
UNITS = {"%": 0.01, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "less than": -1}
UNIT = re.compile(rf"\s?({'|'.join(map(re.escape, UNITS))})(?!\w)")
MINUS = "\N{MINUS SIGN}"
RAISED = "⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹"
ON_LINE, RAISE = str.maketrans(RAISED, "-+0123456789"), str.maketrans("-+0123456789", RAISED)
NUMBER = re.compile(
    rf"""(?P<sign>(?<![\w.)\]%])[+\-{MINUS}])?
    (?P<digits>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?)
    (?:e(?P<e>[+-]?\d+)(?!\w)
    |[ ]\N{{MULTIPLICATION SIGN}}[ ]10(?P<ten>[{RAISED}]+)|(?P<power>[{RAISED}]+))?""",
    re.VERBOSE,
)
# What makes a number a part of a name or a citation: h2o, window+4, 4-grams, Genesis 1:2.
BEFORE = re.compile(r"[^\W\d][+\-.]?$|\d:$")
AFTER = re.compile(r"-?[^\W\d]|:\d")


class Block(NamedTuple):
    """A text of a page, with no other within."""

    tag: str
    text: str
    line: int = 0
    """Which line of a table it is in, from 1; 0 outside of tables."""
    is_token: bool = False
    """Whether it is a token's text: a code, one of a text's tokens, or what has a title or tip."""


class Number(NamedTuple):
    """A number as printed; the least and the most that are printed so."""

    start: int
    end: int
    text: str
    low: float
    """NaN where it is part of a name: then it is no number of a run."""
    high: float


def numbers_of(text):
    """All numbers of a text."""
    return [_number(match) for match in NUMBER.finditer(text)]


def _number(match):
    before, after = match.string[: match.start()], match.string[match.end() :]
    place, unit = (*match.span(), match[0]), UNIT.match(after)
    if BEFORE.search(before) or (AFTER.match(after) and not unit):
        return Number(*place, math.nan, math.nan)
    exponent = lambda part: int((match[part] or "0").translate(ON_LINE))
    digits = match["digits"].replace(",", "")
    value = float(digits)
    if match["power"]:  # it is the exponent that was rounded
        return Number(*place, *(value ** (exponent("power") + half) for half in (-0.5, 0.5)))
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    half += 1e-9 * max(value, half)  # of binary fractions, that stand for the decimal ones
    scale = 10.0 ** (exponent("e") + exponent("ten")) * (UNITS[unit[1]] if unit else 1)
    scale *= -1 if match["sign"] in ("-", MINUS) else 1
    return Number(*place, *sorted(((value - half) * scale, (value + half) * scale)))


class _Reader(HTMLParser):
    """A page as blocks of text."""

    def __init__(self, html):
        super().__init__()
        self.blocks, self._open, self._skipped, self._lines = [], [], 0, 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._skipped += tag in SKIPPED
        if not self._skipped and tag not in VOID:
            self._open.append((tag, dict(attrs), []))
            self._lines += tag in ("tr", "dt")

    def handle_data(self, data):
        if not self._skipped and self._open:
            self._open[-1][2].append(data)

    def handle_endtag(self, tag):
        if self._skipped:
            self._skipped -= tag in SKIPPED
            return
        tag, attributes, parts = self._open.pop()
        text = "".join(parts)
        if tag in INLINE:
            raised = text.replace(MINUS, "-").translate(RAISE)
            self._open[-1][2].append({"sup": raised, "i": f" {text}"}.get(tag, text))
            return
        inside = tag in ("dt", "dd") or any(each[0] == "tr" for each in self._open)
        line = self._lines if inside else 0
        of_text = any("tokens" in (each[1].get("class") or "").split() for each in self._open)
        is_token = tag == "code" or of_text or {"title", "data-tip"} & {*attributes} != set()
        self.blocks.append(Block(tag, " ".join(text.split()), line, is_token))
        if self._open:
            self._open[-1][2].append(" ")


def lines_of(html):
    """The texts of a page: each line of a table as a whole, all others by themselves."""
    blocks = [block for block in _Reader(html).blocks if block.text]
    lines = itertools.groupby(blocks, key=lambda block: block.line or block)
    return [list(line) for _, line in lines]


class _Scope:
    """Values that a text may show, and what it says of itself, from names and values."""

    def __init__(self, base, own):
        values = [value for _, value in (*base, *own)]
        kinds = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        self.numbers = sorted(map(float, kinds))
        self.has_gap = None in values
        self.phrases = {plain(v) for _, v in own if isinstance(v, str) and " " in v.strip()}

    def shows(self, number):
        """Whether one of the values is printed so."""
        if number.text == MISSING:
            return self.has_gap
        at = bisect.bisect_left(self.numbers, number.low)
        return at < len(self.numbers) and self.numbers[at] <= number.high


class Files:
    """What a run folder holds.

    Args:
      folder: Of a run.
      study: Whose rows are records.
    """

    def __init__(self, folder, study):
        load = lambda name: json.loads((folder / name).read_text())
        self.settings, self.provenance = load("settings.json"), load("provenance.json")
        self.records = self.provenance["records"]
        summary = {k: v for k, v in load("summary.json").items() if k != "headline"}
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        constants = [{n: r.get(n) for n in names(study.rows.constants)} for r in self.records]
        base = [*_leaves(self.settings), *_leaves(constants)]
        optional = [c.name for kind in study.rows.kinds for c in columns(kind) if c.optional]
        self.whole = _Scope(base, list(_leaves(summary)))
        self.rows = [_Scope(base, list(_leaves(dict.fromkeys(optional) | row))) for row in rows]
        leaves = [*base, *_leaves(summary), *_leaves(rows), *_leaves(self.provenance)]
        texts = {plain(value) for _, value in leaves if isinstance(value, str)}
        self.texts = {text for text in texts if re.search(r"\d", text)}
        self.fixed, self.fixed_lines = fixed_texts(study.name), fixed_lines(study.name)

    def wrong_in(self, line):
        """The numbers of a line that are nowhere.

        Args:
          line: One of ``lines_of``.

        Returns:
          Pairs of a block and its number.
        """
        if self.is_literal(line):
            return []
        shown = [(block, number) for block in line for number in open_numbers(block, self)]
        if any(all(row.shows(number) for _, number in shown) for row in self._rows_of(line)):
            return []
        return [each for each in shown if not self.whole.shows(each[1])]

    def _rows_of(self, line):
        """The rows of which a line may be."""
        if line[0].line or line[0].tag in HEADINGS:
            return self.rows
        text = plain(line[0].text)
        return [r for r in self.rows if line[0].tag == "li" and any(p in text for p in r.phrases)]

    def is_literal(self, line):
        """Whether a line is of the settings or the record, or is fixed in the program."""
        cells = [block.text for block in line if block.tag in ("th", "td", "dt", "dd")]
        if len(cells) == 2 and self._says(*cells):
            return True
        numbers = [numbers_of(cell) for cell in cells[1:]]
        if len(numbers) < 3 or any(len(each) != 1 for each in numbers):
            return False
        fits = lambda line: all(n.low <= v <= n.high for (n,), v in zip(numbers, line, strict=True))
        return any(len(line) == len(numbers) and fits(line) for line in self.fixed_lines)

    def _says(self, name, text):
        """Whether settings or record have this value by that name, as ``facts`` prints it."""
        if name == "continued under":
            made = [str(r.get("commit") or r.get("source_sha256")) for r in self.records[1:]]
            return text == ", ".join(made)
        sources = (self.settings, self.provenance, self.records[0])
        values = [s[k] for s in sources for k in s if k.replace("_", " ") == name]
        join = lambda value: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        return text in ["" if v is None else " ".join(join(v).split()) or MISSING for v in values]


def _leaves(value, name=""):
    """All plain values with their names; a logarithm stands for its number, too."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield "", key
            yield from _leaves(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, name)
    else:
        yield name, value
        if name.startswith("log10_") and value is not None:
            yield name, 10.0 ** min(value, 300.0)


def plain(text):
    """A text as a page shows it, with one blank for any white space, in lower case."""
    return " ".join(text.split()).casefold()


def unfounded(html, files):
    """All numbers of a page that are in no file of its run and in no fixed text.

    Args:
      html: The page.
      files: Of its run.

    Returns:
      Each with the text around it.
    """
    wrong = [each for line in lines_of(html) for each in files.wrong_in(line)]
    return [f"{number.text} in {block.tag}: {block.text:.200}" for block, number in wrong]


def open_numbers(block, files):
    """The numbers of a text that must be in a file of the run, and a mark that one is missing."""
    if is_quote(block, files):
        return []
    if block.text == MISSING:
        return [Number(0, 1, MISSING, math.nan, math.nan)]
    numbers = numbers_of(block.text)
    spans = [*_named(block.text, files), *_fixed(block.text, files)] if numbers else []
    inside = lambda n: any(start <= n.start and n.end <= end for start, end in spans)
    return [number for number in numbers if not inside(number)]


def is_quote(block, files):
    """Whether it is a text of the run as a whole, or how one begins."""
    text = plain(re.sub(f"[{''.join(VISIBLE.values())}]", " ", block.text))
    if text.endswith("…"):
        return any(each.startswith(text[:-1]) for each in files.texts)
    return text in files.texts and (
        block.is_token or block.tag in TEXTS or not NUMBER.fullmatch(text)
    )


def _named(text, files):
    """Where names of the run stand: of a policy, a format; a number alone only in quotes."""
    whole = text.casefold()
    for name in files.texts:
        if name in whole:
            ends = ("(?<=[“'])", "(?=[”'])") if NUMBER.fullmatch(name) else (r"(?<!\w)", r"(?!\w)")
            yield from (m.span() for m in re.finditer(re.escape(name).join(ends), whole))


def _fixed(text, files):
    """Where fixed texts stand."""
    whole = text.casefold()
    for fixed in files.fixed:
        if fixed in whole:
            ends = r"(?:(?<!\w)|(?=\W))", r"(?:(?!\w|[.,]\d)|(?<=\W))"
            yield from (m.span() for m in re.finditer(re.escape(fixed).join(ends), whole))


def _modules(verb):
    """The modules of a study, those of the report, and what they import: where texts are fixed."""
    package = registry.VERBS[verb].partition(":")[0].rpartition(".")[0]
    own = []
    if not package.startswith("glassesjax."):  # the claims, which the study of them finds
        package = package.partition(".")[0]
    for name in (package, "glassesjax.report"):
        path = importlib.import_module(name).__path__
        own += [info.name for info in pkgutil.walk_packages(path, f"{name}.") if not info.ispkg]
    imported = {
        node.module
        for name in own
        for node in ast.walk(_tree(name))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("glassesjax.")
    }
    return sorted({*own, *imported})


@functools.cache
def _tree(name):
    return ast.parse(inspect.getsource(importlib.import_module(name)))


@functools.cache
def fixed_texts(verb):
    """What the program writes the same in each run, between the places that a run fills.

    Args:
      verb: Of the study.

    Returns:
      Texts that have a number and a word; no docstrings.
    """
    texts = set()
    for name in _modules(verb):
        nodes = list(ast.walk(_tree(name)))
        docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        joined = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        parts = {id(part) for node in joined for part in ast.walk(node) if part is not node}
        for node in nodes:
            if id(node) in docs | parts:
                continue
            if isinstance(node, ast.JoinedStr):
                texts.update(_filled(node, importlib.import_module(name)).split("\0"))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.update(re.split(r"\{\w*(?:[:!][^}]*)?\}|\$[^$]*\$", node.value))
    texts.update(_template_texts(verb))
    word = re.compile(r"[^\W\d_]{2}|[^\W\d_]\d")
    return {text for text in map(plain, texts) if re.search(r"\d", text) and word.search(text)}


def _template_texts(verb):
    """What stands in the templates of a study's page, of those it builds on, and of all pages."""
    packages = {module.rpartition(".")[0] for module in _modules(verb)}
    for name in sorted({*packages, "glassesjax.report.templates"} - {"glassesjax"}):
        for file in importlib.resources.files(name).iterdir():
            if file.name.endswith(".j2"):
                text = re.sub(r"\{#.*?#\}", "", file.read_text("utf-8"), flags=re.DOTALL)
                yield from re.split(r"\{\{.*?\}\}|\{%.*?%\}|<[^>]*>", text)


def _filled(node, module):
    """A formatted text, with a null for what a run fills; a constant of the module is filled in."""
    pieces = []
    for part in node.values:
        name = getattr(getattr(part, "value", None), "id", "")
        value = getattr(module, name, None) if name.isupper() else None
        if isinstance(part, ast.Constant):
            pieces.append(part.value)
        elif isinstance(value, int | float):
            spec = _filled(part.format_spec, module) if part.format_spec else ""
            pieces.append(format(value, spec))
        else:
            pieces.append("\0")
    return "".join(pieces)


@functools.cache
def fixed_lines(verb):
    """Lines of three numbers or more that are in the program: of a table of the paper.

    Args:
      verb: Of the study.

    Returns:
      Their numbers.
    """
    tuples = (
        n.elts for m in _modules(verb) for n in ast.walk(_tree(m)) if isinstance(n, ast.Tuple)
    )
    lines = ([getattr(each, "value", None) for each in elements] for elements in tuples)
    numbers = lambda line: len(line) >= 3 and all(type(v) in (int, float) for v in line)
    return {tuple(map(float, line)) for line in lines if numbers(line)}


def altered(text, number):
    """A text with one number changed in its last digit, and with it changed by a tenth.

    Args:
      text: A text of a page.
      number: One of its numbers.

    Returns:
      Texts that differ from it.
    """
    digits = NUMBER.search(number.text)["digits"]
    decimals, commas = len(digits.partition(".")[2]), "," * ("," in digits)
    value, step = float(digits.replace(",", "")), 10.0**-decimals
    others = {f"{v:{commas}.{decimals}f}" for v in (value + step, abs(value - step), 1.1 * value)}
    at = number.start + number.text.index(digits)
    return [text[:at] + new + text[at + len(digits) :] for new in sorted(others - {digits})]


def refused(html, files):
    """How many single changes of a page's numbers are refused, each number changed in turn.

    Args:
      html: The page.
      files: Of its run.

    Returns:
      Counts of refused and of all changes: of whole numbers below 100, and of all other numbers.
    """
    counts = {True: [0, 0], False: [0, 0]}
    for line in lines_of(html):
        if files.is_literal(line):
            continue
        for at, block in enumerate(line):
            for number in [] if is_quote(block, files) else numbers_of(block.text):
                count = counts[bool(re.fullmatch(r"\d\d?", number.text))]
                for text in altered(block.text, number):
                    changed = [*line[:at], block._replace(text=text), *line[at + 1 :]]
                    count[0] += bool(files.wrong_in(changed))
                    count[1] += 1
    return counts[True], counts[False]
