"""Turn a pydantic model into the structural OpenAPI schema that a CRD takes.

pydantic writes JSON Schema with $ref, anyOf-null and titles; the API server wants one
inlined tree with a type on every node. Anything that has no structural form is an
error here, not a surprise at `kubectl apply`.
"""

from collections.abc import Mapping
from typing import Any

from flopguard_operator.api.fields import CEL, ApiModel

_KEPT = {
    "type",
    "default",
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
}
_DROPPED = {"title", "additionalProperties", "propertyNames", "$defs"}


class SchemaError(TypeError):
    """A model uses something that a CRD cannot express."""


def structural(model: type[ApiModel], *, defaults: bool = True) -> dict[str, Any]:
    """Return the OpenAPI v3 schema of a model as a CRD takes it.

    Without `defaults` the API server fills nothing in: a status shows what was
    observed, and no more.

    Raises:
        SchemaError: a field has no structural form (a union, a bare object, a keyword
            that the API server does not know).
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    tree = _node(schema, schema.get("$defs", {}), model.__name__)
    return tree if defaults else _without_defaults(tree)


def _node(
    schema: Mapping[str, Any], defs: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Return one node of the tree, its children inlined."""
    flat = _without_null(_resolved(schema, defs), defs, path)
    node: dict[str, Any] = {}
    for key, value in flat.items():
        if key == "const":
            node["enum"] = [value]
        elif key == "properties":
            node[key] = {
                name: _node(child, defs, f"{path}.{name}")
                for name, child in value.items()
            }
        elif key == "items":
            node[key] = _node(value, defs, f"{path}[]")
        elif key == "description":
            node[key] = " ".join(value.split())
        elif key in _KEPT or key.startswith("x-kubernetes-"):
            node[key] = value
        elif key not in _DROPPED:
            message = f"{path}: a CRD has no {key}"
            raise SchemaError(message)
    if isinstance(flat.get("additionalProperties"), Mapping):
        node["additionalProperties"] = _node(
            flat["additionalProperties"], defs, f"{path}{{}}"
        )
    return _checked(node, path)


def _without_defaults(node: dict[str, Any]) -> dict[str, Any]:
    """Return the tree with no default anywhere."""
    bare = {key: value for key, value in node.items() if key != "default"}
    if "properties" in bare:
        children = bare["properties"].items()
        bare["properties"] = {name: _without_defaults(c) for name, c in children}
    for key in ("items", "additionalProperties"):
        if key in bare:
            bare[key] = _without_defaults(bare[key])
    return bare


def _resolved(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema with its $ref replaced by what it refers to."""
    flat = dict(schema)
    while "$ref" in flat:
        target = defs[flat.pop("$ref").rsplit("/", 1)[-1]]
        rules = [*target.get(CEL, []), *flat.get(CEL, [])]
        flat = {**target, **flat} | ({CEL: rules} if rules else {})
    return flat


def _without_null(
    flat: dict[str, Any], defs: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Return the schema of an optional field: absence is how the API says null."""
    options = [o for o in flat.pop("anyOf", []) if o.get("type") != "null"]
    if len(options) > 1:
        message = f"{path}: a CRD field has one type, not {len(options)}"
        raise SchemaError(message)
    if options:
        flat = {**_resolved(options[0], defs), **flat}
    if flat.get("default", ...) in (None, [], ()):
        del flat["default"]
    return flat


def _checked(node: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the node if it is typed and bounded, as CEL's cost estimate needs."""
    kind = node.get("type")
    bounded = {
        "string": "maxLength" in node or "enum" in node,
        "array": "maxItems" in node,
        "object": "properties" in node or "maxProperties" in node,
        "integer": True,
        "boolean": True,
    }
    if not bounded.get(str(kind), False):
        message = f"{path}: {kind} without a bound, or no type that a CRD knows"
        raise SchemaError(message)
    if kind == "integer":
        node["format"] = "int64"
    first = [key for key in ("type", "description") if key in node]
    return {key: node[key] for key in [*first, *sorted(node.keys() - first)]}
