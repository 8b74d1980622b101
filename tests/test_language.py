"""Docstrings speak the field's words: counted as CONTRIBUTING says, over both packages."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Words of our own that stood where the field has a term: influence, text, scored, evicted, cached.
OUR_OWN = re.compile(
    r"\b(told|tells?|said|says|hears?|heard|loudest|asks?|asked|whom|who(?=\s+is)|forgets?|forgot"
    r"|forgotten|glasses|nobody|stands?|victims?|twins?|held)\b",
    re.IGNORECASE,
)
MOST = 0.02  # of all docstrings


def docstrings():
    for part in ("glassesjax", "proofs_numeric"):
        for path in sorted((ROOT / part).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = ast.get_docstring(node)
                    if text:
                        name = getattr(node, "name", "the file")
                        yield f"{path.relative_to(ROOT)}: {name}", text


def test_docstrings_speak_the_fields_words():
    every = dict(docstrings())
    ours = {name: OUR_OWN.findall(text) for name, text in every.items() if OUR_OWN.search(text)}
    assert len(every) > 2000
    assert len(ours) <= MOST * len(every), ours


def test_the_words_are_seen_as_words():
    assert OUR_OWN.search("The token that is heard.")
    assert OUR_OWN.search("One WHO\nis there")
    assert not OUR_OWN.search("withheld, stance, a foretaste, the glassesjax package")
