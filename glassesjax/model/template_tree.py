"""Rewrites the syntax tree of a template: adds steps where Jinja has no sandbox hook."""

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

NODES_A_STEP = 64


class CountedTree(NodeTransformer):
    """Adds a counting call to each node for which Jinja has no sandbox hook."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """A loop: each iteration, and each item that its condition excludes."""
        self.visit_Macro(node)
        if node.test is not None:  # ``step`` returns True, so the condition stays what it is
            node.test = nodes.And(_call("step"), node.test)
        return node

    def visit_Macro(self, node: Any) -> nodes.Node:  # noqa: ANN401
        """A body that may run many times."""
        # Names, conditions and assignments have no hook: they are counted by their number.
        size = sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call("step", nodes.Const(1 + size / NODES_A_STEP))))
        return node

    visit_CallBlock = visit_Block = visit_Macro

    def visit_Output(self, node: nodes.Output) -> list[nodes.Node]:
        """An output."""
        self.generic_visit(node)
        plain = [child for child in node.nodes if isinstance(child, nodes.TemplateData)]
        # Constant text is counted once in front; values are counted where they are written.
        step = _call("wrote", nodes.Const(sum(len(child.data) for child in plain)))
        node.nodes = [child if child in plain else _call("written", child) for child in node.nodes]
        return [nodes.ExprStmt(step), node]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """The operator ``~``."""
        self.generic_visit(node)
        return _call("joined", *node.nodes)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """A comparison."""
        self.generic_visit(node)
        node.expr = _call("sized", node.expr)
        for operand in node.ops:
            within = operand.op in ("in", "notin")
            operand.expr = _call("container" if within else "sized", operand.expr)
        return node

    def visit_List(self, node: nodes.Expr) -> nodes.Node:
        """A list or dictionary that is made."""
        self.generic_visit(node)
        return _call("sized", node)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        """A tuple that is made, where it is none that is assigned to."""
        self.generic_visit(node)
        return _call("sized", node) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """A slice, which Jinja takes without its sandbox."""
        self.generic_visit(node)
        return _call("sliced", node) if isinstance(node.arg, nodes.Slice) else node


def _call(name: str, *arguments: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None)
