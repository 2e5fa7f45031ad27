"""Skips a test where what it needs is not there; in CI that is a failure instead."""

import os
from typing import NoReturn

import pytest

from lab import cluster
from lab.paths import BIN


def missing(what: str) -> NoReturn:
    """Skip, or fail where LAB_REQUIRED=1 says that everything must be there."""
    if os.environ.get("LAB_REQUIRED") == "1":
        pytest.fail(f"{what}, and LAB_REQUIRED=1")
    pytest.skip(what)


def needs_engine() -> None:
    """Skip, or fail, where the engine or its provider plugin is not built."""
    for name in ("pulumi", "pulumi-resource-kubernetes"):
        if not (BIN / name).exists():
            missing(f"{name} is not built (make up)")


def needs_lab() -> None:
    """Skip, or fail, where the lab is not running."""
    if not cluster.runs():
        missing("the lab is not running (make up)")
