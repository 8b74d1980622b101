"""The pages name what there is, docstrings keep their form, and the examples in both run."""

import ast
import doctest
import functools
import importlib
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import pytest
from documented import PAGE

import glassesjax
from glassesjax.model.config import Mask, Positions
from glassesjax.registry import studies
from glassesjax.tasks.sequences import FAMILIES

DOCS = Path(__file__).parents[1] / "docs"
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(glassesjax.__path__, "glassesjax.")
)
BOUND = re.compile(r"\b(bounds?|certificates?|bracket|inequalit(y|ies))\b", re.IGNORECASE)


def directives():
    """The modules of the API page, and whether each lists what it re-exports."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    found = re.findall(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", text, re.MULTILINE)
    return {name: "imported-members" in options for name, options in found}


def source(module):
    """The file of a module of ours, which need not be imported for it."""
    path = DOCS.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def parse(module):
    """The syntax tree of a module: decorators and import hooks have not touched it."""
    return ast.parse(source(module).read_text(encoding="utf-8"))


def reexported(package):
    """The names that a package re-exports, all in the form ``x as x``; modules aside."""
    # They stand in a stub beside it, from which they are imported when they are first named.
    stub = source(package).with_suffix(".pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8")) if stub.exists() else parse(package)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    every = [alias for node in imports for alias in node.names]
    names = {alias.name for alias in every if alias.asname == alias.name}
    found = importlib.import_module(package)
    return {name for name in names if not inspect.ismodule(getattr(found, name))}


def functions(module):
    """Public functions and methods of a module with their qualified names, from its source."""

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if isinstance(node, ast.ClassDef):
                    yield from visit(node.body, f"{prefix}{node.name}.")
                else:
                    yield f"{prefix}{node.name}", node

    yield from visit(parse(module).body, "")


def documented_functions():
    """The functions that the API page shows, as (module, qualified name, node)."""
    for name, imported in directives().items():
        names = reexported(name) if imported else None
        package = importlib.import_module(name)
        homes = {getattr(getattr(package, n), "__module__", name) for n in names or ()} or {name}
        for home in sorted(home for home in homes if home in MODULES):
            for qualified, node in functions(home):
                if names is None or qualified.partition(".")[0] in names:
                    yield home, qualified, node


@functools.cache
def documented_by_module():
    """The functions that the API page shows, as (name, docstring, node), by module."""
    functions = {}
    for module, name, node in documented_functions():
        functions.setdefault(module, []).append((name, ast.get_docstring(node) or "", node))
    return functions


def test_every_public_module_is_on_the_api_page():
    listed = directives()
    packages = {name for name in MODULES if source(name).stem == "__init__" and reexported(name)}
    assert {name for name in packages if not listed.get(name)} == set()
    # A statement is public as it stands; other packages re-export what is public of theirs.
    assert {name for name in MODULES if name.startswith("glassesjax.theory.")} <= listed.keys()


def test_common_axes_are_on_the_api_page():
    table = (DOCS / "api.md").read_text(encoding="utf-8").partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    listed = set(re.findall(r"`(\w+)`", " ".join(firsts)))
    annotated = re.compile(r'\b(?:Float|Int|Bool)\[[\w.]+, "([^"]*)"\]')
    texts = [source(name).read_text(encoding="utf-8") for name in MODULES]
    words = Counter(re.findall(r"(?<!\*)\b[a-z_]+\b", " ".join(annotated.findall("".join(texts)))))
    # Ten annotations: rarer ones are explained where they stand.
    assert {word for word, count in words.items() if count >= 10} <= listed
    assert listed <= words.keys()


def test_the_api_page_lists_only_modules_that_exist():
    assert directives().keys() <= set(MODULES)


def test_names_of_the_package_itself_are_documented():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert {name for name in reexported("glassesjax") if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("name", [name for name, imported in directives().items() if imported])
def test_every_reexported_name_is_documented(name):
    package, text = importlib.import_module(name), (DOCS / "api.md").read_text(encoding="utf-8")
    for public in reexported(name):
        # autodoc shows what has a docstring of its own; other names must stand in the text.
        home = getattr(getattr(package, public), "__module__", None)
        defined = parse(home).body if home in MODULES else []
        own = {
            node.name: node for node in defined if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }
        shown = public in own and ast.get_docstring(own[public])
        assert shown or f"`{public}`" in text, f"{public} is not on the API page"


def section(text, name):
    """The lines of a section, without its heading; none where there is no such section."""
    found = re.search(rf"^{name}:\n((?:(?:  .*)?\n)*)", f"{text}\n", re.MULTILINE)
    return found[1].splitlines() if found else []


# What kinds of positions and masks override is documented once, at their base.
OF_A_PROTOCOL = {name for base in (Positions, Mask) for name in vars(base)}


# Which sections a docstring owes is for a reader to say: those whose meaning, unit or range is not
# in name and type. Those that are there are checked.
@pytest.mark.parametrize("module", MODULES)
def test_docstrings_have_their_form(module):
    for name, text, node in documented_by_module().get(module, ()):
        if not text and name.partition(".")[2] in OF_A_PROTOCOL:
            continue
        arguments = node.args
        names = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        names |= {extra.arg for extra in (arguments.vararg, arguments.kwarg) if extra}
        assert text.partition("\n")[0].endswith((".", "?")), f"{name}: the summary is one line"
        described = re.findall(r"^  \**(\w+): \S", "\n".join(section(text, "Args")), re.MULTILINE)
        assert len(described) == len(set(described)), name
        assert set(described) <= names, f"{name}: Args names what is no parameter"
        assert bool(described) == ("\nArgs:\n" in text), name
        for returned in (section(text, "Returns"), section(text, "Yields")):
            # Sphinx would take what stands before a colon in the first line for a type.
            assert not returned or not re.search(r":(\s|$)", returned[0]), name
        order = re.findall(r"^(Source|Args|Returns|Yields|Raises|Example):", text, re.MULTILINE)
        rank = ["Source", "Args", "Returns", "Yields", "Raises", "Example"]
        assert order == sorted(set(order), key=rank.index), name


@pytest.mark.parametrize("module", MODULES)
def test_statements_name_their_source(module):
    in_theory, in_trace = (module.startswith(f"glassesjax.{p}.") for p in ("theory", "trace"))
    for name, text, _ in documented_by_module().get(module, ()):
        summary = f"{text.partition(chr(10))[0]} {name.replace('_', ' ')}"
        bounds, is_method = BOUND.search(summary), "." in name
        states = (in_theory and (bounds or ".. math::" in text)) or (in_trace and bounds)
        if states and not is_method:
            assert re.search(r"^Source: \S", text, re.MULTILINE), name


def test_the_api_page_shows_functions_of_many_modules():
    """Or the two tests above would look at nothing."""
    functions = documented_by_module()
    assert len(functions) > 50
    assert sum(map(len, functions.values())) > 400


def failures(text, names):
    """Runs the examples of a text, each of which must print exactly what stands under it."""
    test = doctest.DocTestParser().get_doctest(text, names, "example", None, 0)
    report = []
    failed, attempted = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert attempted == len(test.examples)
    return "".join(report) if failed else ""


def of_docstring(module, text):
    return lambda: (text, vars(importlib.import_module(module)).copy())


def docstring_examples():
    """What gives the text of each docstring with examples, and the names that it uses."""
    # From the source: decorated functions hide their docstrings from doctest's own search.
    examples = []
    for module in MODULES:
        for node in ast.walk(parse(module)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if ">>>" in text:
                    examples.append(
                        pytest.param(of_docstring(module, text), id=f"{module}.{node.name}")
                    )
    return examples


# Examples show calls as a reader makes them, step by step: they run with a fixture's allowance.
@pytest.fixture(scope="module")
def printed_otherwise(request):
    return failures(*request.param())


@pytest.mark.parametrize("printed_otherwise", docstring_examples(), indirect=True)
def test_examples_in_docstrings(printed_otherwise):
    assert printed_otherwise == ""


PAGES = sorted(p for p in DOCS.rglob("*.md") if "```pycon" in p.read_text(encoding="utf-8"))


def page_examples():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```pycon\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        text = "\n".join(blocks)
        yield pytest.param(lambda text=text: (text, {}), id=str(page.relative_to(DOCS)))


@pytest.mark.pages
@pytest.mark.parametrize("printed_otherwise", list(page_examples()), indirect=True)
def test_examples_on_pages(printed_otherwise):
    assert printed_otherwise == ""


def test_the_readme_example_measures_256_lengths():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block.count('"smollm2"') == 1
    names: dict = {}
    exec(block.replace('"smollm2"', '"toy"'), names)  # the toy needs no weights
    relative = names["gap"].relative_l1
    assert relative.shape == (256,)
    assert 0 < relative[-1] < relative[0] < 1


def test_every_statement_page_has_an_example():
    statements = set((DOCS / "statements").glob("*.md")) - {DOCS / "statements" / "index.md"}
    assert statements <= set(PAGES)


def test_each_verb_with_flags_has_their_table_and_each_family_a_row():
    text = PAGE.read_text(encoding="utf-8")
    tables = re.findall(r"^```\{flags\} (\w+)$", text, re.MULTILINE)
    assert sorted(tables) == sorted(study.name for study in studies())
    assert all(f"\n| `{family}` |" in text for family in FAMILIES)
