"""The entries of a pydantic model that nothing bounds."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

BOUNDS = {
    "integer": ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}),
    "number": ({"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}),
    "string": ({"maxLength"},),
    "array": ({"maxItems"},),
}
"""What the JSON schema of each type has one of, where it is bounded."""


def unbounded(model: type[BaseModel]) -> list[str]:
    """The dotted paths of numbers, texts and lists without a bound, at any depth."""
    schema = model.model_json_schema()
    return sorted(set(_unbounded(schema, model.__name__, schema.get("$defs", {}))))


def _unbounded(schema: dict[str, Any], path: str, shared: dict[str, Any]) -> Iterator[str]:
    if "enum" in schema or "const" in schema:
        return
    if "$ref" in schema:
        yield from _unbounded(shared[schema["$ref"].rpartition("/")[2]], path, shared)
    for needed in BOUNDS.get(schema.get("type", ""), ()):
        if not needed & schema.keys():
            yield path
    for name, field in schema.get("properties", {}).items():
        yield from _unbounded(field, f"{path}.{name}", shared)
    for part in [*schema.get("anyOf", ()), *_items(schema), *schema.get("prefixItems", ())]:
        yield from _unbounded(part, path, shared)


def _items(schema: dict[str, Any]) -> list[dict[str, Any]]:
    items = (schema.get("items"), schema.get("additionalProperties"))
    return [one for one in items if isinstance(one, dict)]
