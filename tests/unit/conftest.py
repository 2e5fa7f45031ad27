"""Shells that jobs run in."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lab import packages
from lab.console import LabError
from tests.required import missing


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with busybox's commands alone: what docker's own image has."""
    try:
        binary = shutil.which("busybox") or packages.binary("busybox")
    except LabError:
        missing("there is no busybox (make up downloads it)")
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run([binary, "--install", "-s", folder], check=True)
    return folder


@pytest.fixture(params=["dash", "bash", "busybox"])
def shell(request: pytest.FixtureRequest) -> str:
    """Return a shell of a job's image, by its name or path."""
    if request.param == "busybox":
        return str(request.getfixturevalue("busybox") / "sh")
    return str(request.param)
