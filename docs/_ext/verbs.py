"""The directive ``{verbs}``: a table of all verbs, read off the registry."""

import dataclasses
from collections.abc import Iterator

from docutils import nodes
from flags import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from glassesjax.registry import VERBS, load
from glassesjax.runs.study import Command

HEADS = ("verb", "question that it answers, or what it prints")
WIDTHS = (25, 75)  # percent


def verbs() -> Iterator[tuple[str, str]]:
    """Each verb with the words that it takes without a flag, and its summary."""
    for verb in VERBS:
        value = load(verb)
        if isinstance(value, Command):
            yield verb, value.description
            continue
        fields = dataclasses.fields(value.settings)
        words = [field.name.upper() for field in fields if _required(field)]
        yield " ".join((verb, *words)), value.question


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


class Verbs(SphinxDirective):
    """The table."""

    def run(self) -> list[nodes.Node]:
        """One row a verb, in the order of the help."""
        rows = ((nodes.literal(verb, verb), nodes.Text(summary)) for verb, summary in verbs())
        return [table(HEADS, WIDTHS, rows)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds the directive."""
    app.add_directive("verbs", Verbs)
    return {"parallel_read_safe": True}
