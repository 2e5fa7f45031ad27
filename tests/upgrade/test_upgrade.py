"""An update from every recorded version: nothing that holds data, and no authority, is replaced."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi import automation as auto

from lab import engine
from lab.paths import BIN, KUBECONFIG, ROOT
from lab.up import PROJECT
from tests.required import missing, needs_lab
from tests.upgrade.record import FOLDER, STACK

pytestmark = [pytest.mark.engine, pytest.mark.lab]
VERSIONS = sorted(path.stem for path in FOLDER.glob("*.json"))
# What an update must not lose: data, and what the certificates of running jobs hang on.
KEPT = (
    ":StatefulSet",
    ":PersistentVolumeClaim",
    ":Namespace",
    "s3/bucket:Bucket",
    ":SelfSignedCert",
    ":RandomPassword",
)
Step = tuple[str, str, str]


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    if not (BIN / "pulumi").exists():
        missing("the Pulumi CLI is not built (make up)")
    needs_lab()
    with engine.providers("standin", KUBECONFIG) as served:
        yield served


def steps(
    folder: Path, environment: dict[str, str], version: str, changes: dict[str, Any] | None = None
) -> list[Step]:
    """Return what the update would do: operation, type and name of each resource."""
    (folder / "stacks").mkdir()
    shutil.copy(ROOT / "Pulumi.yaml", folder / "Pulumi.yaml")
    text = (FOLDER / f"{version}.yaml").read_text().replace("{ROOT}", str(ROOT))
    settings = yaml.safe_load(text)
    settings["config"] |= changes or {}
    (folder / f"stacks/Pulumi.{STACK}.yaml").write_text(yaml.safe_dump(settings))
    program = engine.program_of(ROOT / "__main__.py")
    stack = engine.select_stack(STACK, program, folder, PROJECT, environment)
    try:
        stack.set_config("runnerToken", auto.ConfigValue("glrt-" + "0" * 20, secret=True))
        state = json.loads((FOLDER / f"{version}.json").read_text().replace("{ROOT}", str(ROOT)))
        own = yaml.safe_load((folder / f"stacks/Pulumi.{STACK}.yaml").read_text())
        salt = {"salt": own["encryptionsalt"]}
        state["secrets_providers"] = {"type": "passphrase", "state": salt}
        stack.import_stack(auto.Deployment(version=3, deployment=state))
        seen: list[Step] = []

        def note(event: Any) -> None:
            if event.resource_pre_event:
                metadata = event.resource_pre_event.metadata
                operation = str(getattr(metadata.op, "value", metadata.op))
                seen.append((operation, metadata.type, metadata.urn.rpartition("::")[2]))

        stack.preview(on_event=note)
        return seen
    finally:
        stack.workspace.remove_stack(STACK, force=True)


def lost(seen: list[Step]) -> list[Step]:
    return [
        step
        for step in seen
        if ("replace" in step[0] or step[0] == "delete") and step[1].endswith(KEPT)
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_update_loses_nothing(version: str, environment: dict[str, str], tmp_path: Path) -> None:
    seen = steps(tmp_path, environment, version)
    assert len([step for step in seen if step[0] == "same"]) > 20
    assert lost(seen) == []
    assert [step for step in seen if step[0] == "delete"] == []


def test_the_check_can_fail(environment: dict[str, str], tmp_path: Path) -> None:
    changes = {f"{PROJECT}:namespaces": {"docker": "elsewhere"}}
    seen = steps(tmp_path, environment, VERSIONS[-1], changes)
    assert any(kind.endswith(":StatefulSet") for _, kind, _ in lost(seen))


def test_there_is_a_version_to_update_from() -> None:
    assert VERSIONS
