"""Every property of the plugin's schema reaches its component, whatever the language."""

from collections.abc import Iterator
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import COMPONENTS
from gitlab_runner_k8s.plugin import PluginProvider
from gitlab_runner_k8s.validation.messages import camel
from pulumi.provider.experimental.analyzer import PropertyDefinition, PropertyType
from pydantic import ValidationError

from generate.arguments import settings_of

PROVIDER = PluginProvider()
DEFINITIONS = PROVIDER._component_defs
NAMES = [component.__name__ for component in COMPONENTS]
# Of a value that the plugin passed on, only the rules for its text may say anything.
RULES = {"value_error", "greater_than_equal", "string_too_short", "enum", "literal_error"}


def sample(definition: PropertyDefinition) -> Any:
    """Return a value as a program in another language sends it."""
    if definition.items:
        return [sample(definition.items)]
    if definition.additional_properties:
        item = definition.additional_properties
        # What may be anything is a toleration.
        return {"key": "a"} if item.ref == "pulumi.json#/Any" else {"a": sample(item)}
    if definition.ref:
        kind = PROVIDER.get_type_definition(definition)
        assert kind is not None
        return kind.enum[0].value if kind.enum else samples(kind.properties)
    return {PropertyType.STRING: "a", PropertyType.BOOLEAN: True, PropertyType.INTEGER: 5.0}[
        definition.type or PropertyType.STRING
    ]


def samples(properties: dict[str, PropertyDefinition]) -> dict[str, Any]:
    return {name: sample(definition) for name, definition in properties.items()}


def objects(
    properties: dict[str, PropertyDefinition], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Return the path of every property that is an object."""
    for name, definition in properties.items():
        kind = PROVIDER.get_type_definition(definition) if definition.ref else None
        if kind and not kind.enum:
            yield (*path, name)
            yield from objects(kind.properties, (*path, name))


def spelled(value: Any) -> Any:
    """Return a mapped value as the program sent it."""
    if isinstance(value, dict):
        return {camel(key): spelled(item) for key, item in value.items()}
    return [spelled(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NAMES)
def test_every_property_arrives_as_it_was_sent(name: str) -> None:
    sent = samples(DEFINITIONS[name].inputs)
    mapped = PROVIDER.map_inputs(sent, DEFINITIONS[name])
    assert spelled(mapped) == sent
    with pytest.raises(ValidationError) as refused:
        settings_of(f"{name}Args").model_validate(mapped)
    kinds = {(error["type"], error["loc"]) for error in refused.value.errors(include_url=False)}
    assert {kind for kind in kinds if kind[0] not in RULES} == set()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrap", [pulumi.Output.from_input, pulumi.Output.secret])
def test_an_object_that_is_an_output_as_a_whole_is_refused(name: str, wrap: Any) -> None:
    """Dropped, it would let the defaults be deployed."""
    for path in objects(DEFINITIONS[name].inputs):
        inputs = samples(DEFINITIONS[name].inputs)
        place = inputs
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = wrap(place[path[-1]])
        with pytest.raises(pulumi.InputPropertiesError, match="not itself one") as refused:
            PROVIDER.construct("ci", f"gitlab-runner-k8s:index:{name}", inputs)
        assert [error["property_path"] for error in refused.value.errors or []] == [".".join(path)]
