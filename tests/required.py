"""Skips a test where what it needs is not there; in CI that is a failure instead."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip, or fail where LAB_REQUIRED=1 says that everything must be there."""
    if os.environ.get("LAB_REQUIRED") == "1":
        pytest.fail(f"{what}, and LAB_REQUIRED=1")
    pytest.skip(what)
