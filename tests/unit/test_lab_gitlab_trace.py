"""How a job's log is read."""

import re

import pytest

from lab.gitlab import Line, Result, client
from lab.gitlab.trace import Trace

CLEAR, GREEN, RESET = "\x1b[0K", "\x1b[36;1m", "\x1b[0;m"


def entry(second: float, text: str, stream: str = "00O", more: bool = False) -> str:
    return f"2026-01-01T00:00:{second:09.6f}Z {stream}{'+' if more else ' '}{text}\n"


def marker(kind: str, name: str) -> str:
    return f"section_{kind}:1767225600:{name}\r{CLEAR}"


# As the runner writes it.
LOG = "".join(
    [
        entry(1, f"{CLEAR}Running with gitlab-runner 19.4.0{RESET}"),
        entry(1, marker("start", "prepare_executor")),
        entry(1.5, f"{CLEAR}{GREEN}Preparing the executor{RESET}{RESET}", more=True),
        entry(3, marker("end", "prepare_executor")),
        entry(3, marker("start", "prepare_script"), more=True),
        entry(3, f"{GREEN}Preparing environment{RESET}", more=True),
        entry(4, "Running on runner-a-project-42-concurrent-0-b via manager-1...", "01O"),
        entry(5, marker("end", "prepare_script")),
        entry(5, f"{marker('start', 'restore_cache')}{GREEN}Restoring cache{RESET}", more=True),
        entry(5, f"{GREEN}Checking cache for deps-non_protected...{RESET}", "01O"),
        entry(5, "WARNING: file does not exist", "01E"),
        entry(5, "Failed to extract cache", "01O"),
        entry(5, "Checking cache for main-non_protected...", "01O"),
        entry(5, "Successfully extracted cache", "01O"),
        entry(6, marker("end", "restore_cache")),
        entry(6, "10%\r", "01O"),
        entry(7, "between", "01E"),
        entry(8, "50%\r", "01O", more=True),
        entry(9, "100%", "01O", more=True),
        entry(9, "", "01O"),
        entry(9, "Creating cache deps-non_protected...", "01O"),
        entry(9, "Created cache", "01O"),
        entry(9, "Creating cache b...", "01O"),
        entry(9, "Failed to create cache", "01O"),
    ]
)


@pytest.mark.parametrize("size", [1, 7, 1000, len(LOG)])
def test_a_log_is_read_as_it_grows(size: int) -> None:
    shown: list[str] = []
    trace = Trace(1767225600.0, shown.append)
    for start in range(0, len(LOG), size):
        trace.feed(LOG[start : start + size].encode())
    trace.close()
    assert trace.lines[:4] == (
        Line(1.0, "Running with gitlab-runner 19.4.0"),
        Line(1.5, "Preparing the executor"),
        Line(3.0, "Preparing environment"),
        Line(4.0, "Running on runner-a-project-42-concurrent-0-b via manager-1..."),
    )
    # A line that grew is where it began.
    assert [line.text for line in trace.lines[10:13]] == ["100%", "between", ""]
    assert sorted(shown) == sorted(line.text for line in trace.lines)
    assert trace.seconds == {"prepare_executor": 2.0, "prepare_script": 2.0, "restore_cache": 1.0}
    assert trace.restored == {"deps-non_protected": False, "main-non_protected": True}
    assert trace.saved == {"deps-non_protected": True, "b": False}
    assert trace.pod == "runner-a-project-42-concurrent-0-b"
    assert trace.raw.decode() == LOG


def test_a_log_without_timestamps_has_the_sections_times() -> None:
    plain = re.sub(r"(?m)^\S+Z \S{3}[ +]", "", LOG)
    trace = Trace(1767225590.0)
    trace.feed(plain.encode())
    trace.close()
    assert trace.lines[0] == Line(0.0, "Running with gitlab-runner 19.4.0")
    assert trace.seconds["prepare_executor"] == 0.0
    assert trace.pod == "runner-a-project-42-concurrent-0-b"
    assert trace.lines[-1] == Line(10.0, "Failed to create cache")


def test_a_long_line_is_one_line() -> None:
    trace = Trace(1767225600.0)
    halves = ["ä" * 4100, "b"]
    trace.feed((entry(1, halves[0], "01O") + entry(2, halves[1], "01O", more=True)).encode())
    trace.close()
    assert [line.text for line in trace.lines] == ["".join(halves)]


def test_the_log_is_shown_with_sections_and_colours() -> None:
    result = Result(1, "success", "", 0, (), LOG.encode(), {}, {}, {}, 0.0, 1.0, "")
    lines = client.log(result).splitlines()
    assert lines[1] == f"{GREEN}Preparing the executor{RESET}{RESET}  [00:02]"
    assert not any("section_" in line or CLEAR in line for line in lines)
    assert len(lines) == 17
