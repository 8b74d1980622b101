"""The directive ``{flags} VERB``: a table of the verb's flags, read off its settings."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from glassesjax.registry import load

HEADS = ("flag", "values", "default", "meaning")
WIDTHS = (15, 15, 15, 55)  # percent
KINDS = {int: "a whole number", float: "a number", str: "a word", Path: "a path", bool: "on or off"}


def dataclasses_of(verb: str) -> tuple[type, ...]:
    """The dataclasses whose fields are the verb's flags: what is measured, then how it runs."""
    study = load(verb)
    return study.settings, study.options


def meaning(settings: type, name: str) -> str:
    """What stands under a field, of the class nearest to the verb that has something there.

    A type that several verbs share has its help in the annotation.
    """
    hint = typing.get_type_hints(settings, include_extras=True)[name]
    for part in typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ():
        if getattr(part, "help", None):
            return part.help
    for base in settings.__mro__:
        if base.__module__ != "builtins":
            docs = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            if (base.__qualname__, name) in docs:
                return " ".join(docs[base.__qualname__, name]).strip()
    raise ValueError(f"Expected a docstring under {settings.__name__}.{name}, got none.")


def values(hint: object) -> str:
    """An annotation in words."""
    parts = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Annotated:
            return values(parts[0])
        case typing.Literal:
            return ", ".join(map(str, parts))
        case typing.Union | types.UnionType:
            return ", or ".join(values(part) for part in parts if part is not types.NoneType)
        case None:
            return KINDS[hint]
    if Ellipsis in parts:
        return f"several of: {values(parts[0])}"
    return f"{len(parts)} of: {values(parts[0])}"


def default_text(default: object) -> str:
    """A default as the command line writes it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return "" if default is None else str(default)


def flags(verb: str) -> Iterator[tuple[str, str, str, str]]:
    """Each flag of the verb with its values, its default and what it means."""
    for kind in dataclasses_of(verb):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            made = field.default_factory
            default = field.default if made is dataclasses.MISSING else made()
            if default is not dataclasses.MISSING:  # else a word without a flag
                flag = f"--{field.name.replace('_', '-')}"
                text = meaning(kind, field.name)
                yield flag, values(hints[field.name]), default_text(default), text


class Flags(SphinxDirective):
    """The table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One row a flag."""
        rows = (
            (nodes.literal(flag, flag), *map(nodes.Text, rest))
            for flag, *rest in flags(self.arguments[0])
        )
        return [table(HEADS, WIDTHS, rows)]


def table(
    heads: typing.Sequence[str],
    widths: typing.Sequence[int],
    rows: typing.Iterable[typing.Iterable[nodes.Node]],
) -> nodes.table:
    """A table with a row of heads; widths of the columns in percent."""
    columns = (nodes.colspec(colwidth=width) for width in widths)
    group = nodes.tgroup("", *columns, cols=len(widths))
    group += nodes.thead("", row(map(nodes.Text, heads)))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=["colwidths-given"])


def row(cells: typing.Iterable[nodes.Node]) -> nodes.row:
    """A row of a table."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds the directive."""
    app.add_directive("flags", Flags)
    return {"parallel_read_safe": True}
