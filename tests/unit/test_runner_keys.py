"""The keys of config.toml that the package knows are the pinned runner's own."""

import json
import subprocess
from typing import Any

from gitlab_runner_k8s import pins

from lab.paths import BIN, ROOT
from tests import required

KEYS = ROOT / "components/gitlab_runner_k8s/runner/config_keys.json"


def _committed() -> Any:
    return json.loads(KEYS.read_text())


def test_the_keys_are_those_of_the_pinned_runner() -> None:
    assert _committed()["runner"] == pins.RUNNER_VERSION


def test_the_keys_are_those_that_the_runner_decodes() -> None:
    command = BIN / "gitlab-runner-keys"
    if not command.exists():
        required.missing("gitlab-runner is not built (make up)")
    result = subprocess.run([command], capture_output=True, text=True, check=True)
    assert KEYS.read_text() == result.stdout, f"run: {command} > {KEYS}"


def test_the_runner_knows_the_keys_that_the_package_renders() -> None:
    runner = _committed()["keys"]["runners"][0]
    assert runner["kubernetes"]["pull_policy"] == "string or list"
    assert runner["kubernetes"]["volumes"]["host_path"][0]["read_only"] == "boolean"
    assert runner["cache"]["s3"]["ServerAddress"] == "string"
    assert runner["token"] == "string"  # in an embedded struct
