"""Every property of the plugin's schema reaches its component, whatever the language."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gitlab_runner_k8s as ci
import pulumi
import pytest
import yaml
from gitlab_runner_k8s.plugin import PluginProvider
from pulumi.provider.experimental.analyzer import (
    ComponentDefinition,
    PropertyDefinition,
    PropertyType,
)

from tests.harness import deploy
from tests.unit.test_objects import objects

INPUTS: dict[str, list[Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
CASES = [
    pytest.param(component.__name__, inputs, id=f"{component.__name__}-{number}")
    for component in ci.COMPONENTS
    for number, inputs in enumerate(INPUTS[component.__name__])
]
every_case = pytest.mark.parametrize(("component", "inputs"), CASES)
KIND = "gitlab-runner-k8s:index:"
Properties = dict[str, PropertyDefinition]


@functools.cache
def provider() -> PluginProvider:
    """Return the plugin's provider. To make it takes seconds, because it reads all sources."""
    return PluginProvider()


def definitions() -> dict[str, ComponentDefinition]:
    return provider()._component_defs


def properties_of(definition: PropertyDefinition) -> Properties | None:
    """Return the properties of an object, or nothing for all other types."""
    kind = provider().get_type_definition(definition) if definition.ref else None
    return None if kind is None or kind.enum else kind.properties


def rebuilt(
    inputs: Any,
    properties: Properties,
    leaf: Callable[[Any, PropertyDefinition], Any] = lambda value, _: value,
    key: Callable[[str], str] = str,
) -> Any:
    """Return inputs with another name for each property, and another value for each leaf."""

    def value_of(value: Any, definition: PropertyDefinition) -> Any:
        if definition.items:
            return [value_of(item, definition.items) for item in value]
        if item := definition.additional_properties:
            return {name: value_of(below, item) for name, below in value.items()}
        below = properties_of(definition)
        return leaf(value, definition) if below is None else rebuilt(value, below, leaf, key)

    return {key(name): value_of(value, properties[name]) for name, value in inputs.items()}


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def used(inputs: Any, properties: Properties, owner: str) -> Iterator[tuple[str, str]]:
    """Return the properties that inputs set, with the type that declares each."""
    for name, value in inputs.items():
        yield owner, name
        definition = properties[name]
        values = [value]
        if item := definition.items or definition.additional_properties:
            definition, values = item, [*(value.values() if isinstance(value, dict) else value)]
        if below := properties_of(definition):
            for value in values:
                yield from used(value, below, str(definition.ref))


def declared(properties: Properties, owner: str) -> Iterator[tuple[str, str]]:
    """Return all properties, with the type that declares each."""
    for name, definition in properties.items():
        yield owner, name
        item = definition.items or definition.additional_properties or definition
        if below := properties_of(item):
            yield from declared(below, str(item.ref))


def whole(inputs: Any, properties: Properties) -> Iterator[tuple[str, ...]]:
    """Return the path of every object in inputs, below the inputs themselves."""
    for name, value in inputs.items():
        if below := properties_of(properties[name]):
            yield (name,)
            for path in whole(value, below):
                yield (name, *path)


def test_the_cases_set_every_property() -> None:
    found = {
        pair
        for component, definition in definitions().items()
        for inputs in INPUTS[component]
        for pair in used(inputs, definition.inputs, component)
    }
    for component, definition in definitions().items():
        assert set(declared(definition.inputs, component)) - found == set()


def as_output(value: Any, definition: PropertyDefinition) -> Any:
    """Return a leaf as other languages may send it: as an Output, or as a secret."""
    if definition.plain or definition.type != PropertyType.STRING:
        return value
    return pulumi.Output.secret(value) if "canary" in value else pulumi.Output.from_input(value)


@every_case
def test_outputs_by_the_plugin_declare_what_plain_arguments_declare_in_python(
    component: str, inputs: Any
) -> None:
    definition = definitions()[component]
    arguments = rebuilt(inputs, definition.inputs, key=snake)
    assert provider().map_inputs(inputs, definition) == arguments
    in_python = deploy(lambda: getattr(ci, component)("ci", arguments))

    def program() -> None:
        provider().construct("ci", KIND + component, rebuilt(inputs, definition.inputs, as_output))

    by_plugin = deploy(program)
    assert objects(by_plugin) == objects(in_python)
    assert "canary" not in by_plugin.readable()


@every_case
@pytest.mark.parametrize("wrap", [pulumi.Output.from_input, pulumi.Output.secret])
def test_an_object_that_is_an_output_as_a_whole_is_refused(
    component: str, inputs: Any, wrap: Any
) -> None:
    """Dropped, it would let the defaults be deployed."""
    for path in whole(inputs, definitions()[component].inputs):
        sent = rebuilt(inputs, definitions()[component].inputs)
        place = sent
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = wrap(place[path[-1]])
        with pytest.raises(pulumi.InputPropertiesError, match="must be a plain object") as refused:
            provider().construct("ci", KIND + component, sent)
        assert [error["property_path"] for error in refused.value.errors or []] == [".".join(path)]
