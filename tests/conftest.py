"""What every test shares."""

import gc
from collections.abc import Iterator

# Its plugin imports this in pytest's summary otherwise. A failed update upsets Python 3.11's count
# of recursion, and then nothing can be parsed any more.
import hypothesis.internal.observability  # noqa: F401
import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _collect_what_a_failed_program_left(request: pytest.FixtureRequest) -> Iterator[None]:
    # After a failed update the SDK leaves the program's coroutine, whose end raises wherever the
    # garbage collector happens to find it: better here than in the middle of something.
    yield
    if request.node.get_closest_marker("engine") or request.node.get_closest_marker("lab"):
        gc.collect()
