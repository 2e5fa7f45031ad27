"""What a recorded state shows of an update from it."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation as auto

from lab import cluster, engine, up
from lab.providers import kept
from lab.up import PROJECT
from tests.required import needs_engine, needs_lab
from tests.upgrade.record import SECRET, is_of_lab, read, select, settings_path

# What an update must not lose: data, and what the certificates of running jobs hang on.
KEPT = (
    ":StatefulSet",
    ":PersistentVolumeClaimPatch",
    ":Namespace",
    "s3/bucket:Bucket",
    ":PrivateKey",
    ":SelfSignedCert",
    ":RandomPassword",
)
_SECRET = {SECRET: "1b47061264138c4ac30d75fd1eb44270"}
Changes = dict[str, Any]
Edit = Callable[[list[dict[str, Any]]], None]
"""Changes the resources of a state."""


@dataclass(frozen=True)
class Step:
    """What an update would do to a resource, and to which of its properties."""

    operation: str
    kind: str
    name: str
    paths: frozenset[str]
    stays: bool
    """Whether the data stay where they are when the resource is deleted."""

    @property
    def loses(self) -> bool:
        """Whether something that has to be kept is replaced or deleted."""
        return self.kind.endswith(KEPT) and (
            "replace" in self.operation or self.operation == "delete"
        )

    def __str__(self) -> str:
        return f"{self.operation} {self.kind.rpartition(':')[2]} {self.name}"


def _stays(resource: dict[str, Any]) -> bool:
    if resource["type"].endswith(":StatefulSet"):
        policy = resource["inputs"]["spec"]["persistentVolumeClaimRetentionPolicy"]
        return bool(policy["whenDeleted"] == "Retain")
    return bool(resource.get("retainOnDelete"))


def _as_the_lab_has_it(resources: list[dict[str, Any]]) -> None:
    """Take from the lab, which this version made, what an update leaves as it was made.

    Else the update would ask for what was recorded, which the API server refuses. And give each
    object what the plugin looks for among its outputs, which a recording by a stand-in has not.
    """
    state = json.loads(engine.state_text(up.STACK, PROJECT))["checkpoint"]["latest"]["resources"]
    managers = {
        (made["type"], made["id"]): made["outputs"].get("__fieldManager")
        for made in state
        if made["type"].startswith("kubernetes:")
    }
    for resource in resources:
        if resource["type"].startswith("kubernetes:"):
            if manager := managers.get((resource["type"], resource["id"])):
                resource["outputs"]["__fieldManager"] = manager
            inputs = resource["inputs"]
            if resource["type"].endswith(":Release"):
                inputs = {**_SECRET, "plaintext": json.dumps(plain(inputs))}
            resource["outputs"].setdefault("__inputs", copy.deepcopy(inputs))
        if resource["type"].endswith(":StatefulSet"):
            metadata = resource["outputs"]["metadata"]
            where = ("--namespace", metadata["namespace"], metadata["name"])
            found = json.loads(cluster.kubectl("get", "statefulset", *where, "-o", "json"))
            if (policy := found["spec"]["podManagementPolicy"]) != "OrderedReady":
                for side in ("inputs", "outputs"):
                    resource[side]["spec"]["podManagementPolicy"] = policy


def plain(value: Any) -> Any:
    """Return a value with its secrets in plain text."""
    if isinstance(value, dict):
        if SECRET in value:
            return plain(json.loads(value["plaintext"]))
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _changed(settings: Any, changes: Any) -> Any:
    """Return settings with changes: maps are joined, and None takes a key away."""
    if not isinstance(settings, dict) or not isinstance(changes, dict):
        return changes
    joined = {
        key: _changed(settings.get(key), value) if key in changes else settings[key]
        for key, value in {**settings, **changes}.items()
    }
    return {key: value for key, value in joined.items() if value is not None}


class Recorded:
    """A recorded state, in a folder."""

    def __init__(
        self, name: str, folder: Path, environment: dict[str, str], edit: Edit | None = None
    ) -> None:
        state, config = read(name)
        if edit:
            edit(state["resources"])
        self._before = {resource["urn"]: resource for resource in state["resources"]}
        self.stack = select(folder, config, environment)
        self._file = settings_path(folder)
        self._settings = yaml.safe_load(self._file.read_text())
        salt = {"salt": self._settings["encryptionsalt"]}
        state["secrets_providers"] = {"type": "passphrase", "state": salt}
        self.stack.import_stack(auto.Deployment(version=3, deployment=state))

    def preview(self, changes: Changes | None = None) -> list[Step]:
        """Return what an update would do, from the recorded settings with some changes."""
        settings = copy.deepcopy(self._settings)
        own = {f"{PROJECT}:{key}": value for key, value in (changes or {}).items()}
        settings["config"] = _changed(settings["config"], own)
        self._file.write_text(yaml.safe_dump(settings))
        seen: list[Step] = []

        def note(event: auto.EngineEvent) -> None:
            if event.resource_pre_event:
                step = event.resource_pre_event.metadata
                operation = str(getattr(step.op, "value", step.op))
                before = self._before.get(step.urn)
                seen.append(
                    Step(
                        operation,
                        step.type,
                        step.urn.rpartition("::")[2],
                        frozenset(step.detailed_diff or ()),
                        before is not None and _stays(before),
                    )
                )

        self.stack.preview(on_event=note)
        return seen


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Recorded]]:
    """Return a function that gives a recorded state, with the providers that it was recorded by.

    It gives an edited one as well.
    """
    needs_engine()
    known: dict[tuple[str, Edit | None], Recorded] = {}
    environments: dict[bool, dict[str, str]] = {}
    with ExitStack() as served:

        def get(name: str, edit: Edit | None = None) -> Recorded:
            of_lab = is_of_lab(name)
            if of_lab:
                needs_lab()
                edit = edit or _as_the_lab_has_it
            if of_lab not in environments:
                environments[of_lab] = (
                    engine.environment() if of_lab else served.enter_context(kept.environment())
                )
            if (name, edit) not in known:
                folder = tmp_path_factory.mktemp("recorded")
                known[name, edit] = Recorded(name, folder, environments[of_lab], edit)
            return known[name, edit]

        yield get
