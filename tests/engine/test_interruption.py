"""An update that is interrupted: nothing outlives it, and the next one succeeds."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import process
from tests.interrupted import Command
from tests.required import needs_engine

pytestmark = pytest.mark.engine
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import pulumi_random as random
from lab import engine
from lab.__main__ import _interrupt

folder, seconds = Path(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGTERM, _interrupt)


def program():
    made = random.RandomId("one", byte_length=4)
    made.hex.apply(lambda _: (print("made", flush=True), time.sleep(seconds)))
    random.RandomId("two", byte_length=4, prefix=made.hex.apply(lambda text: text))


stack = engine.select_stack(
    "test", program, folder, "slow", engine.environment(), folder / "state"
)
engine.recover(stack, "slow")
try:
    engine.update(stack)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(130)
print("updated", flush=True)
"""


def update(folder: Path, seconds: int) -> Command:
    return Command([sys.executable, "-c", PROGRAM, folder, str(seconds)], folder, {})


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Command]:
    """Yield an update that runs, and takes an hour."""
    needs_engine()
    (tmp_path / "Pulumi.yaml").write_text("name: slow\nruntime: python\n")
    command = update(tmp_path, 3600)

    def made() -> bool:
        assert command.popen.poll() is None, command.said
        return "made" in command.said

    try:
        process.wait_for("the first resource", made, 120)
        assert any("bin/pulumi " in line for line in command.running().values())
        yield command
    finally:
        command.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "program"])
def test_it_leaves_no_process_and_no_lock(
    interrupted: Command, number: signal.Signals, whole_group: bool, tmp_path: Path
) -> None:
    (os.killpg if whole_group else os.kill)(interrupted.popen.pid, number)
    interrupted.popen.wait(timeout=90)
    killed = number == signal.SIGKILL
    process.wait_for("the end of all processes", lambda: not interrupted.running(), 10)
    assert interrupted.said.rstrip().endswith("made" if killed else "interrupted")
    assert "Traceback" not in interrupted.said
    locks = list((tmp_path / "state/.pulumi/locks").rglob("*.json"))
    assert len(locks) == (1 if killed else 0)
    again = update(tmp_path, 0)
    again.popen.wait(timeout=120)
    assert again.said.rstrip().endswith("updated"), again.said
    assert ("cancelled the update of a process that is gone" in again.said) == killed
