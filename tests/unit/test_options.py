"""Resource options on every component, as the engine gets them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest

from tests.components import ARGUMENTS, NAMES, is_ours, make
from tests.harness import Recorder, Registration, deploy

every = pytest.mark.parametrize("component", NAMES)


def test_every_component_is_tried() -> None:
    assert sorted(ARGUMENTS) == NAMES


def declared(component: str, options: Callable[[], pulumi.ResourceOptions]) -> Recorder:
    return deploy(lambda: make(component, opts=options()))


def itself(recorder: Recorder, component: str, name: str = "one") -> Registration:
    return recorder.one(f":index:{component}", name)


def children(recorder: Recorder, component: str) -> list[Registration]:
    """Return everything below a component, which is the one that was declared."""
    found = [
        made
        for made in recorder.registrations
        if component in made.parent or made.parent.endswith("Group::mine")
        if made.name != "one" or not made.type.endswith(f":{component}")
    ]
    assert found, component
    return found


class Group(pulumi.ComponentResource):
    """A component of the user's own."""

    def __init__(self) -> None:
        super().__init__("user:index:Group", "mine", {})


@every
def test_the_parent_is_the_callers_and_the_childrens_is_the_component(component: str) -> None:
    recorder = declared(component, lambda: pulumi.ResourceOptions(parent=Group()))
    assert itself(recorder, component).parent.endswith("user:index:Group::mine")
    for made in recorder.registrations:
        if not made.type.startswith(("pulumi:", "user:")) and made.name != "one":
            assert component in made.parent, made.name


def providers() -> list[pulumi.ProviderResource]:
    return [
        k8s.Provider("other", kubeconfig="{}"),
        aws.Provider("other", region="eu-west-1"),
    ]


@every
@pytest.mark.parametrize("one", [True, False], ids=["provider", "providers"])
def test_children_use_the_callers_provider_and_none_is_made(component: str, one: bool) -> None:
    def options() -> pulumi.ResourceOptions:
        kubernetes, amazon = providers()
        wanted = amazon if component == "S3Cache" else kubernetes
        if one:
            return pulumi.ResourceOptions(provider=wanted)
        return pulumi.ResourceOptions(providers=[kubernetes, amazon])

    recorder = declared(component, options)
    made_providers = recorder.of_type("pulumi:providers:kubernetes")
    assert len(made_providers) == 1, "a component makes no provider of its own"
    package = "aws" if component == "S3Cache" else "kubernetes"
    concerned = [
        made for made in children(recorder, component) if made.type.startswith(f"{package}:")
    ]
    assert concerned
    for made in concerned:
        assert f"pulumi:providers:{package}::other::" in made.request.provider, made.name


@every
def test_protection_reaches_every_child(component: str) -> None:
    recorder = declared(component, lambda: pulumi.ResourceOptions(protect=True))
    for made in [itself(recorder, component), *children(recorder, component)]:
        assert made.request.protect, made.name


@every
def test_nothing_says_no_to_what_the_engine_hands_down(component: str) -> None:
    # The engine gives a child its parent's choice where the child has none: `False` is one.
    recorder = declared(component, lambda: pulumi.ResourceOptions(retain_on_delete=True))
    assert itself(recorder, component).request.retainOnDelete
    for made in children(recorder, component):
        refused = made.request.HasField("retainOnDelete") and not made.request.retainOnDelete
        assert not refused, made.name


@every
def test_what_it_depends_on_comes_first(component: str) -> None:
    def program() -> None:
        first = k8s.core.v1.ConfigMap("first", metadata={"name": "first"})
        make(component, opts=pulumi.ResourceOptions(depends_on=[first]))

    recorder = deploy(program)
    (first,) = [made for made in recorder.registrations if made.name == "first"]
    assert any(
        urn.endswith("ConfigMap::first") for urn in itself(recorder, component).request.dependencies
    )
    assert first.type == "kubernetes:core/v1:ConfigMap"


@every
def test_who_depends_on_it_waits_for_every_child(component: str) -> None:
    def program() -> None:
        made = make(component)
        k8s.core.v1.ConfigMap(
            "last",
            metadata={"name": "last"},
            opts=pulumi.ResourceOptions(depends_on=[made]),
        )

    recorder = deploy(program)
    (last,) = [made for made in recorder.registrations if made.name == "last"]
    waited = set(last.request.dependencies)
    for made in children(recorder, component):
        if not is_ours(made.type):
            assert any(urn.endswith(f"{made.type}::{made.name}") for urn in waited), made.name


def names_of(aliases: list[Any]) -> set[str]:
    return {alias.spec.name for alias in aliases if alias.HasField("spec")}


@every
def test_an_alias_of_a_component_is_its_own_alone(component: str) -> None:
    # The engine works out those of the children: see tests/engine/test_options.py.
    recorder = declared(
        component, lambda: pulumi.ResourceOptions(aliases=[pulumi.Alias(name="before")])
    )
    assert names_of(list(itself(recorder, component).request.aliases)) == {"before"}
    for made in children(recorder, component):
        assert "before" not in names_of(list(made.request.aliases)), made.name


@every
def test_a_second_instance_does_not_collide(component: str) -> None:
    parts = ("runner", "jobs", "cache", "daemon", "mirror")
    own = {"namespaces": {part: f"two-{part}" for part in parts}}
    second = {**ARGUMENTS[component], **(own if component == "RunnerPlatform" else {})}

    def program() -> None:
        make(component)
        make(component, "two", arguments=second)

    recorder = deploy(program)
    urns = Counter((made.type, made.name, made.parent) for made in recorder.registrations)
    assert [urn for urn, count in urns.items() if count > 1] == []
    objects = Counter(
        (made.type.rpartition(":")[2], metadata.get("namespace"), metadata["name"])
        for made in recorder.of_type("")
        if made.type.startswith("kubernetes:")
        and "name" in (metadata := made.plain.get("metadata", {}))
        # A patch names the object that it changes.
        and not made.type.endswith("Patch")
    )
    assert [name for name, count in objects.items() if count > 1] == []
    releases = Counter(
        (made.plain["namespace"], made.plain["name"]) for made in recorder.of_type(":Release")
    )
    assert all(count == 1 for count in releases.values())


def test_two_platforms_with_the_same_namespaces_would_collide() -> None:
    """What a second platform has to set: docs/import.md says so."""

    def program() -> None:
        make("RunnerPlatform")
        make("RunnerPlatform", "two")

    recorder = deploy(program)
    made = Counter(found.plain["metadata"]["name"] for found in recorder.of_type(":Namespace"))
    assert {name for name, count in made.items() if count > 1} == {
        "gitlab-runner",
        "gitlab-runner-jobs",
        "gitlab-runner-cache",
        "gitlab-runner-docker",
        "gitlab-runner-mirror",
    }


def test_the_options_object_of_the_caller_stays_as_it_is() -> None:
    options = pulumi.ResourceOptions(protect=True)
    deploy(lambda: [make(name, name.lower(), options) for name in NAMES])
    assert options.parent is None
    assert options.depends_on is None or options.depends_on == []
