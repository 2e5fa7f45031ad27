"""What an option on a component does to its children: what the engine alone can show."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi import automation as auto

from lab import engine
from tests.components import NAMES, is_ours, make
from tests.engine.conftest import changes

pytestmark = pytest.mark.engine
PROJECT = "options-test"
Program = Callable[[], object]
Options = Callable[[], pulumi.ResourceOptions | None]


@pytest.fixture
def stack(kept: dict[str, str], tmp_path: Path) -> Iterator[Callable[[Program], auto.Stack]]:
    (tmp_path / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
    made: list[auto.Stack] = []

    def select(program: Program) -> auto.Stack:
        def run() -> None:
            program()

        made.append(engine.select_stack("test", run, tmp_path, PROJECT, kept))
        return made[-1]

    yield select
    if made:
        made[-1].workspace.pulumi_command.run(
            ["stack", "rm", "--force", "--yes", "--stack", "test"],
            str(tmp_path),
            made[-1].workspace.env_vars,
        )


def all_of_them(options: Options, prefix: str = "one") -> Program:
    """Return a program with every component, each with the same options."""
    return lambda: [make(name, f"{prefix}-{name.lower()}", options()) for name in NAMES]


def nothing() -> None:
    return None


def resources(stack: auto.Stack) -> list[dict[str, Any]]:
    """Return what is in the state, but the stack and the providers."""
    deployment: Any = stack.export_stack().deployment
    return [made for made in deployment["resources"] if not made["type"].startswith("pulumi:")]


def by_component(made: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the resources below each component."""
    return {name: [found for found in made if f":index:{name}$" in found["urn"]] for name in NAMES}


class Group(pulumi.ComponentResource):
    """A component of the user's own."""

    def __init__(self) -> None:
        super().__init__("user:index:Group", "mine", {})


def test_components_that_move_keep_all_that_is_theirs(stack: Any) -> None:
    first = stack(all_of_them(lambda: None))
    first.up()
    before = {made["urn"]: made.get("id") for made in resources(first)}

    def moved() -> None:
        group = Group()
        alias = pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)
        options = pulumi.ResourceOptions(parent=group, aliases=[alias])
        for name in NAMES:
            make(name, f"one-{name.lower()}", options)

    second = stack(moved)
    done = changes(second.up())
    # The group is new; nothing else is made, changed or deleted.
    assert done == {"create": 1, "same": len(before) + 1}
    after = {made["urn"]: made.get("id") for made in resources(second)}
    assert sorted(map(str, before.values())) == sorted(
        str(found) for urn, found in after.items() if not urn.endswith("Group::mine")
    )


def test_a_component_with_another_name_keeps_its_keys_and_names_its_objects_anew(
    stack: Any,
) -> None:
    stack(all_of_them(lambda: None)).up()

    def renamed() -> None:
        for name in NAMES:
            alias = pulumi.Alias(name=f"one-{name.lower()}")
            options = pulumi.ResourceOptions(aliases=[alias])
            make(name, f"new-{name.lower()}", options)

    seen: dict[str, set[str]] = {}

    def note(event: auto.EngineEvent) -> None:
        if event.resource_pre_event:
            step = event.resource_pre_event.metadata
            seen.setdefault(step.urn, set()).add(str(step.op).rpartition(".")[2].lower())

    second = stack(renamed)
    second.preview(on_event=note)
    made_anew = {
        urn for urn, steps in seen.items() if steps == {"create"} and "pulumi:providers" not in urn
    }
    assert made_anew == set(), "an alias reaches every child"
    for urn, steps in seen.items():
        kind = urn.split("::")[2].rpartition("$")[2]
        if kind.startswith(("random:", "tls:index/privateKey")) or is_ours(kind):
            assert steps <= {"same"}, f"{urn}: {steps}"
        # Its volume stays behind: docs/import.md says so.
        if kind == "kubernetes:apps/v1:StatefulSet":
            assert steps & {"replace", "delete_replaced"}, urn


def test_a_protected_component_and_its_children_cannot_be_removed(stack: Any) -> None:
    first = stack(all_of_them(lambda: pulumi.ResourceOptions(protect=True)))
    first.up()
    for name, below in by_component(resources(first)).items():
        assert below, name
        assert all(made.get("protect") for made in below), name
    with pytest.raises(auto.errors.CommandError, match="protected"):
        stack(nothing).up()
    assert len(resources(first)) > 100


def test_what_is_retained_is_in_no_providers_hand(stack: Any) -> None:
    first = stack(all_of_them(lambda: pulumi.ResourceOptions(retain_on_delete=True)))
    first.up()
    for name, below in by_component(resources(first)).items():
        kept_back = [made for made in below if not is_ours(made["type"])]
        assert kept_back, name
        for made in kept_back:
            assert made.get("retainOnDelete"), made["urn"]
    done = stack(nothing).up()
    assert set(changes(done)) <= {"discard", "delete", "same"}
    assert resources(first) == []


def test_a_transform_is_asked_about_every_child(stack: Any) -> None:
    asked: Counter[str] = Counter()

    def transform(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
        asked[f"{args.type_}::{args.name}"] += 1
        if args.type_ != "kubernetes:core/v1:ConfigMap":
            return None
        props = {**args.props}
        known: Any = props["metadata"]
        metadata = {**known, "labels": {"cost-center": "42"}}
        return pulumi.ResourceTransformResult({**props, "metadata": metadata}, args.opts)

    first = stack(all_of_them(lambda: pulumi.ResourceOptions(transforms=[transform])))
    first.up()
    for name, below in by_component(resources(first)).items():
        assert below, name
        for made in below:
            own_name = made["urn"].rpartition("::")[2]
            assert asked[f"{made['type']}::{own_name}"] == 1, made["urn"]
    labelled = [made for made in resources(first) if made["type"].endswith(":ConfigMap")]
    assert len(labelled) > 3
    for made in labelled:
        assert made["inputs"]["metadata"]["labels"] == {"cost-center": "42"}, json.dumps(made)
