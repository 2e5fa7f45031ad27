"""What every test shares."""

import gc

# Its plugin imports this in pytest's summary otherwise. A failed update upsets Python 3.11's count
# of recursion, and then nothing can be parsed any more.
import hypothesis.internal.observability  # noqa: F401
import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _collect_unfinished_programs(request: pytest.FixtureRequest) -> None:
    # After a failed update the SDK leaves the program's coroutine. When the garbage collector finds
    # it, its end stops the callback server of whichever program runs then. So it is collected
    # before a program starts: at the end of its own test, pytest still holds the fixtures.
    if request.node.get_closest_marker("engine") or request.node.get_closest_marker("lab"):
        gc.collect()
