"""One-line faults of formulas: a factor, a sum for a maximum, an index, a norm for its dual.

A mutant is named by what it changes and not by where that stands: module, function, kind, the
number of the change among those of its kind in the function, and a digest of what the function
computes: no comments, docstrings, annotations, decorators. So it is found again after a move. What
only refuses (``raise`` and its condition, ``check...``) is no formula and does not count.
"""

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("factor", "reduction", "index", "norm", "operator")

REDUCTIONS = {
    "sum": ("max",),
    "max": ("min", "sum"),
    "min": ("max",),
    "mean": ("sum", "max"),
    "prod": ("sum",),
    "maximum": ("minimum", "add"),
    "minimum": ("maximum",),
    "argmax": ("argmin",),
    "any": ("all",),
    "all": ("any",),
}
OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
# Triangles, and which end counts where values are equal.
SIDES = {"tril": "triu", "left": "right", "right": "left"}
_parsed = lambda text: ast.parse(text, mode="eval").body
DUAL = "{1: 'inf', 2: 2, 'inf': 1}[norm]"


Edit = tuple[str, ast.expr, ast.expr]  # a kind, an expression and what stands in its place


class Mutant(NamedTuple):
    """One change at one place, and the code of the whole module with it."""

    module: str
    function: str
    kind: str
    occurrence: int
    digest: str
    code: str


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its text."""
    lines = source.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    found = []
    for name, unit in _units(ast.parse(source)):
        digest = hashlib.sha256(_bare(unit).encode()).hexdigest()[:16]
        counts, seen = Counter[str](), set()
        for kind, old, new in _edits(unit):
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
            code = (source.encode()[:start] + _text(new).encode() + source.encode()[end:]).decode()
            if code not in seen:
                found.append(Mutant(module, name, kind, counts[kind], digest, code))
                counts[kind] += 1
            seen.add(code)
    return found


def _units(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Functions, methods and named values of a module, with their names."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(name=name) if not name.lstrip("_").startswith("check"):
                yield prefix + name, node
            case ast.ClassDef(name=name):
                yield from _units(node, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield prefix + name, node


def _bare(unit: ast.stmt) -> str:
    """What of its code computes: no comments, docstrings, annotations and refusals."""
    for node in ast.walk(unit := copy.deepcopy(unit)):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [part for part in body if not _is_idle(part)] or [ast.Pass()]
        match node:
            case ast.arg():
                node.annotation = None
            case ast.AnnAssign():
                node.annotation = ast.Constant(None)
            case ast.FunctionDef():
                node.returns, node.decorator_list = None, []
    return ast.unparse(unit)


def _is_idle(node: ast.AST) -> bool:
    """Words, types and refusals."""
    match node:
        case ast.If(body=[*_, ast.Raise()], orelse=[]):
            return True
        case ast.Expr(value=ast.Call(func=called)):
            return "check" in ast.unparse(called)
        case ast.Raise() | ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
            return True
    return isinstance(node, ast.JoinedStr)


def _text(new: ast.expr) -> str:
    text = ast.unparse(new)
    closed = ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant
    return text if isinstance(new, closed) and text[0] != "-" else f"({text})"


def _edits(node: ast.AST) -> Iterator[Edit]:
    match node:
        case _ if _is_idle(node):
            return
        case ast.If(body=[*_, ast.Raise()], orelse=rest) | ast.FunctionDef(body=rest):
            for child in rest:
                yield from _edits(child)
            return
        case ast.Assign(value=old) if value := _number(old):
            yield ("factor", old, ast.Constant(2 * value))
        case ast.BinOp() if not (_is_text(node.left) or _is_text(node.right)):
            yield from _of_product(node)
        case ast.Subscript(ctx=ast.Load()):
            yield from _of_index(node)
        case ast.Call():
            yield from _of_call(node)
        case ast.Attribute(value=value, attr="T"):
            yield ("norm", node, value)
        case ast.Attribute(value=value, attr=name) if name in SIDES:
            yield ("index", node, ast.Attribute(value, SIDES[name]))
        case ast.Attribute(value=value, attr=name) if name in REDUCTIONS:
            for other in REDUCTIONS[name]:
                yield ("reduction", node, ast.Attribute(value, other))
        case ast.Name(id="sum" | "max" | "min" as name, ctx=ast.Load()):
            yield ("reduction", node, ast.Name("min" if name == "max" else "max"))
    yield from _of_operator(node)
    for child in ast.iter_child_nodes(node):
        if child is not getattr(node, "annotation", None):
            yield from _edits(child)


def _of_product(node: ast.BinOp) -> Iterator[Edit]:
    """A factor or a term dropped, or a factor of one term only; another number; a transpose."""
    left, right = node.left, node.right
    for other in OPERATORS.get(type(node.op), ()):
        yield ("operator", node, ast.BinOp(left, other(), right))
    match node.op:
        case ast.Add() | ast.Sub():
            yield ("factor", node, left)
            if isinstance(node.op, ast.Add):
                yield ("factor", node, right)
        case ast.Mult():
            for kept in (right, left):
                if not isinstance(kept, ast.Constant):
                    yield ("factor", node, kept)
            for factor, inner in ((left, right), (right, left)):
                if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Add | ast.Sub):
                    first = ast.BinOp(factor, ast.Mult(), inner.left)
                    yield ("factor", node, ast.BinOp(first, inner.op, inner.right))
        case ast.Div() if not isinstance(left, ast.Constant):
            yield ("factor", node, left)
        case ast.MatMult():
            yield ("norm", node, ast.BinOp(right, ast.MatMult(), left))
            yield ("norm", left, ast.Attribute(left, "T"))
    for side in (left, right):
        if (value := _number(side)) is not None:
            nearer = isinstance(node.op, ast.Add | ast.Sub | ast.Pow) and abs(value) > 1
            changed = value + (-1 if nearer else 1) if isinstance(value, int) else 2 * value
            yield ("factor", side, ast.Constant(changed))


def _of_index(node: ast.Subscript) -> Iterator[Edit]:
    """An entry or a slice off by one; a norm's dual that is not taken."""
    name = node.value.id if isinstance(node.value, ast.Name) else ""
    if name.lower() == "dual":
        yield ("norm", node, node.slice)
    if name[:1].isupper() and not name.isupper():
        return  # a type
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for at, part in enumerate(parts):
        for other in _other_parts(part):
            changed = [*parts[:at], other, *parts[at + 1 :]]
            inside = ast.Tuple(changed) if isinstance(node.slice, ast.Tuple) else other
            yield ("index", node, ast.Subscript(node.value, inside))


def _other_parts(part: ast.expr) -> Iterator[ast.expr]:
    one, minus = ast.Constant(1), ast.UnaryOp(ast.USub(), ast.Constant(1))
    match part:
        case ast.Slice(lower=low, upper=None, step=None) if _number(low) == 1:
            yield ast.Slice(upper=minus)
        case ast.Slice(lower=None, upper=high, step=None) if _number(high) == -1:
            yield ast.Slice(lower=one)
        case ast.Slice(lower=low, upper=high, step=step):
            if low is not None:
                yield ast.Slice(ast.BinOp(low, ast.Add(), one), high, step)
            if high is not None:
                yield ast.Slice(low, ast.BinOp(high, ast.Sub(), one), step)
        case _ if (place := _number(part)) is not None:
            yield ast.Constant({0: -1, -1: 0}.get(place, place - 1 if place > 0 else place + 1))


def _of_call(node: ast.Call) -> Iterator[Edit]:
    """Axes, ranges and triangles; norms of vectors and matrices; sums written as ``einsum``."""
    name = ast.unparse(node.func).split(".")[-1]
    for given in node.keywords:
        if given.arg == "axis" and isinstance(axis := _number(given.value), int):
            other = {0: 1, 1: 0, -1: -2}.get(axis, axis + 1)
            yield ("index", given.value, ast.Constant(other))
        if isinstance(given.value, ast.Constant) and given.value.value in SIDES:
            yield ("index", given.value, ast.Constant(SIDES[given.value.value]))
    if name in ("range", "arange") and node.args:
        step = ast.Add() if len(node.args) > 1 else ast.Sub()
        yield ("index", end := node.args[0], ast.BinOp(end, step, ast.Constant(1)))
    for given in (*node.args, *(named.value for named in node.keywords)):
        if ast.unparse(given) == "norm":
            yield ("norm", given, _parsed(DUAL))
    if node.args and not isinstance(node.args[0], ast.Starred):
        yield from _of_first_argument(node, name)


def _of_first_argument(node: ast.Call, name: str) -> Iterator[Edit]:
    first, axis = ast.unparse(node.args[0]), _argument(node, "axis", 1)
    match name:
        case "abs" | "safe_abs" | "sqrt" | "safe_sqrt":
            yield ("norm", node, node.args[0])
        case "euclidean_norm":
            order = 2 if axis.startswith("(") else 1
            yield ("norm", node, _parsed(f"jnp.linalg.norm({first}, {order}, {axis or -1})"))
        case "operator_norm":
            yield ("norm", node, _parsed(f"jnp.linalg.norm({first})"))
        case "norm" if _argument(node, "ord", 1) and not _argument(node, "axis", 2):
            yield ("norm", node.args[0], _parsed(f"({first}).T"))
        case "norm" if _argument(node, "ord", 1) == "2":
            yield ("norm", node, _parsed(f"jnp.linalg.norm({first}, 'fro', (-2, -1))"))
        case "where" if len(node.args) == 3:
            swapped = [node.args[0], node.args[2], node.args[1]]
            yield ("operator", node, ast.Call(node.func, swapped, node.keywords))
    if isinstance(spec := node.args[0], ast.Constant) and "->" in str(spec.value):
        parts = spec.value.replace("->", ",").split(",")
        for at, part in enumerate(parts):
            if len(part) == 2:
                turned = [*parts[:at], part[::-1], *parts[at + 1 :]]
                text = f"{','.join(turned[:-1])}->{turned[-1]}"
                yield ("norm", spec, ast.Constant(text))


def _of_operator(node: ast.AST) -> Iterator[Edit]:
    """Signs, comparisons and truth values."""
    match node:
        case ast.BoolOp(op=op, values=values):
            for other in OPERATORS[type(op)]:
                yield ("operator", node, ast.BoolOp(other(), values))
        case ast.Compare(left=left, ops=[op, *rest], comparators=others):
            for other in OPERATORS.get(type(op), ()):
                yield ("operator", node, ast.Compare(left, [other(), *rest], others))
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not(), operand=inner):
            yield from () if isinstance(inner, ast.Constant) else [("operator", node, inner)]
        case ast.Constant(value=bool() as value):
            yield ("operator", node, ast.Constant(not value))


def _is_text(node: ast.AST) -> bool:
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, ast.JoinedStr)


def _number(node: ast.AST | None) -> int | float | None:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
    return None


def _argument(node: ast.Call, name: str, place: int) -> str:
    """An argument's text, given by name or by place; nothing where it is not given."""
    named = [given.value for given in node.keywords if given.arg == name]
    placed = node.args[place : place + 1]
    return "".join(ast.unparse(value) for value in (named or placed)[:1])
