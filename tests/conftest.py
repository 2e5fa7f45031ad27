"""What every test shares."""

import gc
import subprocess
from collections.abc import Generator, Iterator

# Its plugin imports this in pytest's summary otherwise. A failed update upsets Python 3.11's count
# of recursion, and then nothing can be parsed any more.
import hypothesis.internal.observability  # noqa: F401
import pytest
from hypothesis import settings

from lab import cluster, enforcer, process
from lab.console import LabError

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Take the imported modules out of garbage collection: they are most of the heap."""
    gc.collect()
    gc.freeze()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the state of the lab to a failed test's report: nobody can look at CI's machine."""
    report = yield
    if report.failed and item.get_closest_marker("lab"):
        report.sections.append(("the lab", _lab()))
    return report


def _lab() -> str:
    servers = [
        f"{name} {'runs' if pid else 'does not run'}; the end of its log:\n{process.tail(name, 5)}"
        for name, pid in cluster.status().items()
        if pid is None or name == enforcer.NAME
    ]
    newest = ("--field-selector=type=Warning", "--sort-by=.metadata.creationTimestamp")
    try:
        pods = cluster.kubectl("get", "pods", "-A")
        warnings = cluster.kubectl("get", "events", "-A", *newest)
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        return "\n".join([*servers, str(error)])
    return "\n".join([*servers, pods, *warnings.splitlines()[-40:]])
