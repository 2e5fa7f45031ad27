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
def _no_garbage_collection_in_a_program(request: pytest.FixtureRequest) -> Iterator[None]:
    # After a failed update the SDK leaves the program's coroutine. If the garbage collector finds
    # it while another program runs, its end stops the callback server of that program.
    if not any(map(request.node.get_closest_marker, ("engine", "lab"))):
        yield
        return
    gc.collect()
    gc.disable()
    yield
    gc.enable()
