"""Sizes as torch's symbolic shapes print them: expressions over integers. Core."""

from __future__ import annotations

import ast
import operator
from typing import Any, Callable, Mapping


class UnknownSizeError(ValueError):
    """A size is not an expression over the sizes of the graph's inputs."""


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
# As torch's symbolic shapes print them.
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "Max": max,
    "Min": min,
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda over, by: -(-over // by),
    "ModularIndexing": lambda base, by, modulus: base // by % modulus,
    "Identity": lambda value: value,
}


def names_of(expression: str) -> set[str]:
    """Return the symbols of an expression.

    Raises:
        UnknownSizeError: If it holds anything but sums, products, integer quotients,
            remainders, powers, and the functions that shapes are printed with.
    """
    try:
        return _names(ast.parse(expression, mode="eval").body)
    except SyntaxError as error:
        raise UnknownSizeError(expression) from error


def _names(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return set()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _names(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _names(node.left) | _names(node.right)
    if isinstance(node, ast.Call) and _is_function(node.func) and not node.keywords:
        return set().union(*(_names(arg) for arg in node.args))
    raise UnknownSizeError(ast.dump(node))


def _is_function(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _FUNCTIONS


def value_of(expression: str, sizes: Mapping[str, int]) -> int:
    """Return the value of an expression over sizes, such as `2*s0 + 1`.

    Raises:
        UnknownSizeError: As `names_of` does.
        KeyError: If a symbol has no value.
    """
    names_of(expression)
    return _value(ast.parse(expression, mode="eval").body, sizes)


def _value(node: Any, sizes: Mapping[str, int]) -> int:  # one that has `_names`
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.Constant):
        return int(str(node.value))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, sizes)
    if isinstance(node, ast.BinOp):
        apply = _OPERATORS[type(node.op)]
        return apply(_value(node.left, sizes), _value(node.right, sizes))
    values = [_value(arg, sizes) for arg in node.args]
    return _FUNCTIONS[node.func.id](*values)
