"""Models of configuration files that the user writes in the program's own format."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

Rule = Callable[[str, str, Any], Any]
"""Returns the type of a key, or None for that of its shape, from the name of the key's table, the
key, and its shape."""


class Table(BaseModel):
    """A table of a configuration file, without unknown keys and type conversion."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())


def model(
    name: str,
    shape: Mapping[str, Any],
    types: Mapping[str, Any],
    rule: Rule = lambda table, key, shape: None,
    required: Mapping[str, set[str]] = {},
) -> type[Table]:
    """Return the model of a table.

    Args:
        name: Key of the table.
        shape: Shape of each key: the name of a type, a list of one shape, or a table. A table with
            the only key `*` may have any keys.
        types: Python types by name.
        rule: Type of a key beyond its shape.
        required: Keys that must be set, by the key of their table.
    """

    def kind(key: str, shape: Any) -> Any:
        if found := rule(name, key, shape):
            return found
        if isinstance(shape, list):
            return list[kind(key, shape[0])]  # type: ignore[misc]
        if isinstance(shape, dict):
            if "*" in shape:
                return dict[str, kind(key, shape["*"])]  # type: ignore[misc]
            return model(key, shape, types, rule, required)
        return types[shape]

    fields: dict[str, Any] = {}
    for key, value in shape.items():
        is_required = key in required.get(name, set())
        field = Field(alias=key) if is_required else Field(None, alias=key)
        python_type = kind(key, value)
        fields[key.replace("-", "_")] = (python_type if is_required else python_type | None, field)
    return create_model(name, __base__=Table, **fields)


def managed(path: str, argument: str) -> str:
    """Return the problem of a key that the package sets itself."""
    return f"{path}: must not be set, because this package sets it; use {argument}"


def fixed(path: str, reason: str) -> str:
    """Return the problem of a key that nobody may set."""
    return f"{path}: must not be set, because {reason}; remove it"


def merge(rendered: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two tables: tables are merged, lists are joined, and `extra` overrides other values."""
    merged = dict(rendered)
    for key, value in extra.items():
        current = merged.get(key)
        if isinstance(current, dict) and isinstance(value, Mapping):
            merged[key] = merge(current, value)
        elif isinstance(current, list) and isinstance(value, list):
            merged[key] = [*current, *value]
        else:
            merged[key] = value
    return merged
