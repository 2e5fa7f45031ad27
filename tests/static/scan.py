"""The scanners, which live in an environment of their own: their dependencies are many."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import paths
from tests.required import missing

TOOLS = paths.CACHE / "static-venv/bin"
KUBERNETES_VERSION = "1.34"


@dataclass(frozen=True, order=True)
class Finding:
    """A check that an object fails."""

    check: str
    object: str
    title: str = ""


def needs_scanners() -> None:
    """Skip, or fail, where the scanners are not installed."""
    for tool in ("checkov", "kubernetes-validate"):
        if not (TOOLS / tool).exists():
            missing(f"{tool} is not installed (make static)")


def checkov(folder: Path, framework: str) -> tuple[list[Finding], int]:
    """Return the checks that fail below a folder, and how many pass."""
    made = subprocess.run(
        [
            *(TOOLS / "checkov", "--directory", folder, "--framework", framework),
            # Nothing is asked of the vendor's servers.
            *("--output", "json", "--quiet", "--compact", "--soft-fail", "--skip-download"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        check=False,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    report: dict[str, Any] = json.loads(made.stdout)
    failed = [
        Finding(found["check_id"], found["resource"], found["check_name"])
        for found in report["results"]["failed_checks"]
    ]
    assert report["summary"]["parsing_errors"] == 0
    return sorted(failed), report["summary"]["passed"]


def kubernetes_validate(folder: Path) -> subprocess.CompletedProcess[str]:
    """Judge every file of a folder by Kubernetes' own schema."""
    return subprocess.run(
        [
            TOOLS / "kubernetes-validate",
            "--strict",
            f"--kubernetes-version={KUBERNETES_VERSION}",
            *sorted(folder.glob("*.yaml")),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
