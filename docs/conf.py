"""Settings of Sphinx: Markdown pages, executed cells, API from docstrings, formulas as MathML."""

import re
import sys
from pathlib import Path

import jax
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# The name under which signatures show arrays; jaxlib gives the path to its own copy of the class.
jax.Array.__name__ = "Array"

HIDDEN = "\N{INVISIBLE SEPARATOR}"  # stands for a colon while napoleon looks

project = "glassesjax"
author = "The glassesjax authors"
copyright = "2026, The glassesjax authors"

sys.path.append(str(Path(__file__).parent / "_ext"))
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "flags", "rows", "verbs"]
exclude_patterns = ["_build", "jupyter_execute"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "glassesjax"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"

nb_execution_mode = "force"
nb_execution_timeout = 300  # seconds for one cell: a busy machine compiles slowly
nb_execution_raise_on_error = True
nb_render_markdown_format = "myst"
nb_merge_streams = True
nb_output_stderr = "remove"  # JAX notes there which accelerators it did not find

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88


def visit_inline_formula(self: HTML5Translator, node: nodes.math) -> None:
    """Writes a formula as MathML, which browsers show without scripts or network."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def visit_formula(self: HTML5Translator, node: nodes.math_block) -> None:
    """The same on lines of its own."""
    self.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def name_record(
    app: Sphinx, what: str, name: str, obj: object, options: object, args: str, returns: str
) -> tuple[str, str] | None:
    """Leaves out a record's list of fields, which follows with what they mean."""
    return ("", "") if isinstance(obj, type) and issubclass(obj, tuple) else None


def hide_colons(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """From napoleon, which would take the words before an attribute's colon for its type."""
    if what in ("attribute", "property"):
        lines[:] = [line.replace(":", HIDDEN) for line in lines]


def set_out(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Sources on lines of their own; nothing where Python itself numbers a record's fields."""
    numbered = bool(lines) and lines[0].startswith("Alias for field number")
    text = "" if numbered else "\n".join(lines).replace(HIDDEN, ":")
    lines[:] = re.sub(r"^(Source|Differs):", r"\n**\1.**", text, flags=re.MULTILINE).split("\n")


def setup(app: Sphinx) -> None:
    """Connects the functions above."""
    app.add_html_math_renderer("mathml", (visit_inline_formula, None), (visit_formula, None))
    app.connect("autodoc-process-signature", name_record)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", set_out, priority=600)
