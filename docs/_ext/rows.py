"""The directive ``{rows} VERB``: tables of the fields of a study's rows, read off its records."""

import inspect
from collections.abc import Iterator

from docutils import nodes
from flags import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from glassesjax.registry import load
from glassesjax.runs.record import Column, columns

HEADS = ("field", "values", "meaning")
WIDTHS = (20, 20, 60)  # percent


def tables(verb: str) -> Iterator[tuple[str, tuple[Column, ...]]]:
    """Each kind of row with its summary, then what all rows of a process have in common."""
    schema = load(verb).rows
    for kind in (*schema.kinds, schema.constants):
        yield inspect.cleandoc(kind.__doc__).partition("\n")[0], columns(kind)


def cells(column: Column) -> list[nodes.Node]:
    """A row of the table: where a field may be missing, its values say so."""
    values = f"{column.type}, or missing" if column.optional else column.type
    return [nodes.literal("", column.name), nodes.Text(values), nodes.Text(column.doc)]


class Rows(SphinxDirective):
    """The tables."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One after the other, each below its summary."""
        shown: list[nodes.Node] = []
        for summary, fields in tables(self.arguments[0]):
            shown.append(nodes.paragraph("", summary))
            shown.append(table(HEADS, WIDTHS, map(cells, fields)))
        return shown


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds the directive."""
    app.add_directive("rows", Rows)
    return {"parallel_read_safe": True}
