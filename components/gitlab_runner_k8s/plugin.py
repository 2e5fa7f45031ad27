"""The package as a Pulumi plugin, for programs in other languages."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
from pulumi.provider.experimental.analyzer import PropertyDefinition
from pulumi.provider.experimental.component import ComponentProvider

from .components import COMPONENTS
from .meta import PACKAGE, VERSION
from .validation.messages import camel, spelled


class PluginProvider(ComponentProvider):
    """Provider of the components, whose descriptions name settings in camelCase."""

    def __init__(self) -> None:
        super().__init__(COMPONENTS, PACKAGE, version=VERSION)
        outputs = {name for component in COMPONENTS for name in component.__annotations__}
        schema = json.loads(self.schema or "{}")
        self.schema = json.dumps(_with_camel_case(schema, outputs))

    def construct(
        self,
        name: str,
        resource_type: str,
        inputs: Any,
        options: pulumi.ResourceOptions | None = None,
    ) -> Any:
        """Construct a component.

        Raises:
            InputPropertiesError: an object as a whole is an Output or a secret. The SDK would drop
                such an object without a message.
        """
        component = self._component_defs.get(resource_type.rpartition(":")[2])
        properties = component.inputs if component else {}
        if paths := [*self._whole_outputs(inputs, properties)]:
            reason = "must be a plain object; only its properties may be outputs or secrets"
            raise pulumi.InputPropertiesError(
                f"{name}: {'; '.join(f'{path}: {reason}' for path in paths)}",
                [{"property_path": path, "reason": reason} for path in paths],
            )
        return super().construct(name, resource_type, inputs, options)

    def _whole_outputs(
        self,
        inputs: Mapping[str, Any],
        properties: Mapping[str, PropertyDefinition],
        path: str = "",
    ) -> Iterator[str]:
        """Return the paths of objects that are Outputs as a whole."""
        for name, definition in properties.items():
            yield from self._whole_output(inputs.get(name), definition, f"{path}{name}")

    def _whole_output(self, value: Any, definition: PropertyDefinition, path: str) -> Iterator[str]:
        if definition.items and isinstance(value, list):
            for number, item in enumerate(value):
                yield from self._whole_output(item, definition.items, f"{path}[{number}]")
        elif definition.additional_properties and isinstance(value, dict):
            for key, item in value.items():
                yield from self._whole_output(
                    item, definition.additional_properties, f"{path}.{key}"
                )
        elif definition.ref or definition.items or definition.additional_properties:
            kind = self.get_type_definition(definition) if definition.ref else None
            if isinstance(value, pulumi.Output) and not (kind and kind.enum):
                yield path
            elif kind and isinstance(value, dict):
                yield from self._whole_outputs(value, kind.properties, f"{path}.")


def _with_camel_case(schema: Any, outputs: set[str]) -> Any:
    """Return the schema with camelCase names in its descriptions, as other languages have them."""
    if isinstance(schema, list):
        return [_with_camel_case(item, outputs) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: spelled(value, camel, outputs)
        if key == "description" and isinstance(value, str)
        else _with_camel_case(value, outputs)
        for key, value in schema.items()
    }
