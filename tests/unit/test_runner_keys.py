"""The keys of config.toml that the package knows are the pinned runner's own."""

import json
import re
import subprocess
from typing import Any

from gitlab_runner_k8s import pins

from lab import toolchain
from lab.paths import BIN, ROOT
from tests import required

KEYS = ROOT / "components/gitlab_runner_k8s/runner/config_keys.json"


def _committed() -> Any:
    return json.loads(KEYS.read_text())


def test_the_keys_are_those_of_the_pinned_runner() -> None:
    assert _committed()["runner"] == pins.RUNNER_VERSION


def test_the_runner_of_the_lab_has_the_pinned_version() -> None:
    """The linker writes the version into the program, so the program itself cannot tell."""
    modules = (ROOT / "lab/tools/core/go.mod").read_text()
    (commit,) = re.findall(r"^\tgitlab\.com/gitlab-org/gitlab-runner \S+-(\w{12})$", modules, re.M)
    revision = toolchain._VARIABLES["core"]["gitlab.com/gitlab-org/gitlab-runner/common.REVISION"]
    assert commit.startswith(revision)
    if not (BIN / "gitlab-runner").exists():
        required.missing("gitlab-runner is not built (make up)")
    version = toolchain.module_file("core", "gitlab.com/gitlab-org/gitlab-runner", "VERSION")
    assert version.read_text().strip() == pins.RUNNER_VERSION


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
