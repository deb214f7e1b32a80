"""Reads what is charged out of a graph that torch.compile hands to inductor. Core.

It is read after the passes over forward and backward together and before those that
rewrite each of them for its kernels: attention has its fused form, activations are
recomputed where the partitioner said so, and products have their own names still. The
graph is anything with nodes like those of torch.fx; torch is not imported.
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator, Mapping

from flopguard_hook.formulas import find, is_uncounted
from flopguard_hook.graphcost import Call, Encoded, Symbol, figure
from flopguard_hook.sizes import UnknownSizeError

# Small products are turned into a sum of products of elements before inductor sees
# them; every node made of them still names the operator that it stood for.
_PRODUCTS = frozenset(
    f"aten::{name}"
    for name in (
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "addbmm",
        "mv",
        "addmv",
        "dot",
        "vdot",
    )
)
_OF_BACKWARD = frozenset({"is_backward", "must_be_in_backward"})
# They call their subgraph once.
_INLINE = frozenset({"higher_order::invoke_subgraph"})
_PLAIN = (int, float, str, bool, type(None))


def read(module: Any, *, backward: bool, tf32: bool) -> tuple[Any, ...]:
    """Return the figure of a graph module.

    Args:
        module: A `torch.fx.GraphModule` whose nodes have `meta["val"]`.
        backward: Whether it is the backward part of a graph.
        tf32: Whether products of float32 run in TF32 on a CUDA device.

    Raises:
        UnknownSizeError: If a size is known only once the graph has run.
    """
    nodes = list(module.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    roles = _roles(nodes) if backward else {}
    calls = _calls(module, roles, "forward", tf32=tf32)
    return figure(_symbols(inputs), calls)


def _symbols(inputs: Iterable[Any]) -> Iterator[Symbol]:
    """Say where each size is found; an input that is the size comes last and wins."""
    sizes = []
    for position, node in enumerate(inputs):
        value = node.meta.get("val")
        for dimension, size in enumerate(getattr(value, "shape", ())):
            name = _expression(size)
            if name is not None and name.isidentifier():
                yield Symbol(name, position, dimension)
        name = _expression(value)
        if name is not None and name.isidentifier():
            sizes.append(Symbol(name, position, -1))
    yield from sizes


def _expression(size: Any) -> str | None:
    """Return a symbolic size as text; None for anything else."""
    node = getattr(size, "node", None)
    expression = getattr(node, "expr", None)
    return None if expression is None else str(expression)


def _roles(nodes: Iterable[Any]) -> dict[Any, str]:
    """Tell what is recomputed from what is backward, in a backward graph.

    Recomputed is what depends on no gradient and was traced in forward. A torch
    before 2.6 does not note the latter.
    """
    gradients: set[Any] = set()
    roles: dict[Any, str] = {}
    for node in nodes:
        if node.op == "placeholder":
            of_gradient = str(node.name).startswith("tangents")
        else:
            of_gradient = any(one in gradients for one in node.all_input_nodes)
        if of_gradient:
            gradients.add(node)
        traced_in_backward = node.meta.get("partitioner_tag") in _OF_BACKWARD
        again = not of_gradient and not traced_in_backward
        roles[node] = "recompute" if again else "backward"
    return roles


def _calls(
    module: Any, roles: Mapping[Any, str], role: str, *, tf32: bool
) -> Iterator[Call]:
    """Return what is charged in a graph and in those that it calls.

    Args:
        module: The graph.
        roles: Of its nodes.
        role: Of a node that has none there.
        tf32: As for `read`.
    """
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        of = roles.get(node, role)
        name, args = _named(node)
        if name is None:
            continue
        if find(name) is not None:
            given, named = _arguments(args, node.kwargs, module)
            yield Call(of, name, tf32, given, named, 1)
        elif _is_decomposed_product(name, node):
            pair = (_undecomposed(node), _undecomposed(node))
            yield Call(of, "aten::dot", tf32, pair, (), 1)
        elif subgraphs := _subgraphs(module, args):
            parts = [list(_calls(part, {}, of, tf32=tf32)) for part in subgraphs]
            yield from _of_subgraphs(name, of, parts)
        elif is_uncounted(name):
            yield Call(of, name, tf32, (), (), 1)


def _named(node: Any) -> tuple[str | None, tuple[Any, ...]]:
    """Return the full name of the operator a node calls, and its arguments.

    An operator may be the argument of another that only surrounds it, with random
    states or an order of effects.
    """
    target, args = node.target, tuple(node.args)
    if not _is_higher_order(target):
        schema = getattr(target, "_schema", None)
        return (None if schema is None else str(schema.name)), args
    for position, argument in enumerate(args):
        if hasattr(argument, "_schema"):
            return str(argument._schema.name), args[position + 1 :]
    return f"higher_order::{target}", args


def _is_higher_order(target: Any) -> bool:
    return any(kind.__name__ == "HigherOrderOperator" for kind in type(target).__mro__)


def _subgraphs(module: Any, args: Iterable[Any]) -> list[Any]:
    parts = (
        getattr(module, arg.target, None)
        for arg in args
        if getattr(arg, "op", None) == "get_attr"
    )
    return [part for part in parts if hasattr(part, "graph")]


def _of_subgraphs(name: str, role: str, parts: list[list[Call]]) -> Iterator[Call]:
    """Charge an operator that runs subgraphs: which one, how often, may be unknown."""
    if name in _INLINE or (name == "higher_order::cond" and _all_equal(parts)):
        yield from parts[0]
    elif any(parts):
        yield Call(role, name, tf32=False, args=(), kwargs=(), times=1)


def _all_equal(parts: list[list[Call]]) -> bool:
    return all(sorted(map(repr, part)) == sorted(map(repr, parts[0])) for part in parts)


def _is_decomposed_product(name: str, node: Any) -> bool:
    """Say whether a node multiplies the elements of what was a product of matrices."""
    factors = [arg for arg in node.args[:2] if _is_node(arg)]
    of_elements = name == "aten::mul" and len(factors) == 2  # noqa: PLR2004 # no scalar
    return of_elements and _stood_for(node) in _PRODUCTS


def _stood_for(node: Any) -> str | None:
    schema = getattr(node.meta.get("original_aten"), "_schema", None)
    return None if schema is None else str(schema.name)


def _undecomposed(node: Any) -> Encoded:
    """Return the elements that a node multiplies, in the type before it was widened.

    Each is one product and one sum, as an element of the arguments of a `dot`.
    """
    source = node.args[0]
    while _stood_for(source) == _stood_for(node) and source.args:
        if source.op == "placeholder" or not _is_node(source.args[0]):
            break
        source = source.args[0]
    kind, _, device, shape = _encoded_value(node.meta.get("val"))
    return (kind, str(source.meta["val"].dtype), device, shape)


def _arguments(
    args: Any, kwargs: Any, module: Any
) -> tuple[tuple[Encoded, ...], tuple[tuple[str, Encoded], ...]]:
    """Return positional and keyword arguments, encoded."""
    named = tuple((name, _encoded(arg, module)) for name, arg in kwargs.items())
    return tuple(_encoded(arg, module) for arg in args), named


def _is_node(argument: Any) -> bool:
    return hasattr(argument, "op") and hasattr(argument, "meta")


def _encoded(argument: Any, module: Any) -> Encoded:
    if _is_node(argument):
        if "val" in argument.meta:
            return _encoded_value(argument.meta["val"])
        if argument.op == "get_attr":
            return _encoded_value(getattr(module, argument.target, None))
        msg = f"the shape of {argument} is not known"
        raise UnknownSizeError(msg)
    if isinstance(argument, (list, tuple)):
        return ("list", *(_encoded(item, module) for item in argument))
    return _encoded_value(argument)


def _encoded_value(value: Any) -> Encoded:
    if isinstance(value, _PLAIN):
        return value
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = tuple(_encoded_size(size) for size in value.shape)
        return ("tensor", str(value.dtype), str(value.device.type), shape)
    if isinstance(value, (list, tuple)):
        return ("list", *(_encoded_value(item) for item in value))
    if _expression(value) is not None:
        return ("size", str(_encoded_size(value)))
    return ("opaque", type(value).__name__)


def _encoded_size(size: Any) -> int | str:
    expression = _expression(size)
    if expression is None:
        return int(size)
    return int(expression) if expression.lstrip("-").isdigit() else expression
