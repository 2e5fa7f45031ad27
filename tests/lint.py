"""GitLab Runner's own judgement of the configurations that tests render.

`tests.harness.deploy` records every config.toml template. `gitlab-runner lint` then checks all of
them, with the keys that registration adds: the runner's schema, and keys that it does not know.
"""

import hashlib
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomli_w
from pulumi.runtime.rpc import UNKNOWN

from lab.paths import BIN, CACHE

RUNNER = BIN / "gitlab-runner"
RENDERED = CACHE / "rendered-configs"
"""The templates that tests rendered, a file each. `make test` empties it first."""


def by_helm(template: str) -> str:
    """Return a config.toml template as Helm renders it: the package uses Helm for escapes alone."""
    return template.replace('{{ "{{" }}', "{{")


def record(values: dict[str, Any]) -> None:
    """Keep the config.toml template of a release's Helm values."""
    if values["runners"]["config"] == UNKNOWN:
        return
    text = by_helm(values["runners"]["config"])
    RENDERED.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    (RENDERED / f"{name}.toml").write_text(text)


def _registered(path: Path) -> list[dict[str, Any]]:
    """Return the runners of a template with what registration adds to them."""
    runners: list[dict[str, Any]] = tomllib.loads(path.read_text())["runners"]
    added = {"url": "https://gitlab.example.com", "executor": "kubernetes"}
    return [
        {"name": f"{path.stem}-{n}", "token": f"glrt-{path.stem}-{n}", **added, **runner}
        for n, runner in enumerate(runners)
    ]


def _lint(paths: Iterable[Path], folder: Path) -> str:
    """Return the runner's complaint about templates in one file, empty where they are valid."""
    file = folder / "config.toml"
    runners = [runner for path in paths for runner in _registered(path)]
    file.write_text(tomli_w.dumps({"concurrent": 1, "runners": runners}))
    done = subprocess.run([RUNNER, "lint", "-c", file], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


def problems(paths: Iterable[Path], folder: Path) -> list[str]:
    """Return what the runner refuses, a text for each template.

    Args:
        paths: The templates.
        folder: Where the file that the runner reads may be written.
    """
    paths = sorted(paths)
    if not _lint(paths, folder):
        return []
    found = {path: _lint([path], folder) for path in paths}
    return [f"{path}: {said}" for path, said in found.items() if said]
