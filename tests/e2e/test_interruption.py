"""`make up`, interrupted: nothing outlives it, and the next one ends with a running platform."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import cluster, engine, process, up
from lab.chart_source import STAND_IN
from lab.paths import ROOT
from tests.required import needs_lab

pytestmark = pytest.mark.lab
PENDING = "owner=helm,status in (pending-install,pending-upgrade)"


@dataclass
class Command:
    """A `make up` that changes the runner's release, by a chart of its own."""

    popen: subprocess.Popen[bytes]
    mark: str
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def left(self) -> dict[str, str]:
        """Return the processes that it started, directly or not, and that still run."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if self.mark.encode() in environment:
                found[folder.name] = command
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Command]]:
    """Return a function that starts the command in a process group of its own."""
    needs_lab()
    chart = tmp_path / "gitlab-runner"
    shutil.copytree(STAND_IN, chart)
    started: list[Command] = []

    def run() -> Command:
        # Another pod, so that its rollout takes seconds.
        mark = uuid.uuid4().hex
        template = (STAND_IN / "templates/deployment.yaml").read_text()
        where = "  template:\n    metadata:\n"
        assert where in template
        (chart / "templates/deployment.yaml").write_text(
            template.replace(where, f"  minReadySeconds: 15\n{where}")
        )
        log = tmp_path / f"{mark}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                ["make", "--old-file=setup", "up", f"PY={sys.executable}"],
                cwd=ROOT,
                env={**os.environ, "LAB_TEST": mark, "GITLAB_RUNNER_CHART": str(chart)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        started.append(Command(popen, mark, log))
        return started[-1]

    yield run
    for command in started:
        if command.popen.poll() is None:
            os.killpg(command.popen.pid, signal.SIGKILL)
            command.popen.wait()
    if started:
        # The platform as it was, for the tests that come after.
        completed(again())


def again() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", "up"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def completed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready: export KUBECONFIG=" in done.stdout
    return done.stdout


def upgrading() -> bool:
    query = ("-n", "gitlab-runner", "get", "secret", "-l", PENDING, "-o", "name")
    return bool(cluster.kubectl(*query))


MOMENTS: dict[str, Callable[[Command], bool]] = {
    "start": lambda command: "tools" in command.said,
    "cluster": lambda command: "starting Kubernetes" in command.said,
    "pulumi": lambda command: "pulumi up ..." in command.said,
    "helm": lambda command: upgrading(),
}


def group(number: signal.Signals) -> Callable[[Command], None]:
    return lambda command: os.killpg(command.popen.pid, number)


def only(name: str, number: signal.Signals) -> Callable[[Command], None]:
    """Return what sends a signal to `make` alone, or to the Python program alone."""

    def send(command: Command) -> None:
        pids = {
            "make": [command.popen.pid],
            "python": [int(pid) for pid, line in command.left().items() if "-m lab up" in line],
        }[name]
        for pid in pids:
            os.kill(pid, number)

    return send


KILLS = {
    "Ctrl-C": group(signal.SIGINT),
    "kill make": only("make", signal.SIGTERM),
    "kill -9 make": only("make", signal.SIGKILL),
    "kill python": only("python", signal.SIGTERM),
    "kill -9 python": only("python", signal.SIGKILL),
}


@pytest.mark.parametrize(
    ("moment", "kill"),
    [
        ("start", "Ctrl-C"),
        ("cluster", "kill make"),
        ("pulumi", "Ctrl-C"),
        ("pulumi", "kill -9 python"),
        ("helm", "Ctrl-C"),
        ("helm", "kill python"),
        ("helm", "kill -9 make"),
        ("helm", "kill -9 python"),
    ],
)
def test_what_is_interrupted_can_be_done_again(
    moment: str, kill: str, start: Callable[[], Command]
) -> None:
    command = start()

    def reached() -> bool:
        assert command.popen.poll() is None, command.said
        return MOMENTS[moment](command)

    process.wait_for(f"the moment '{moment}'", reached, 120)
    KILLS[kill](command)
    command.popen.wait(timeout=120)
    assert command.popen.returncode != 0
    # The kernel needs a moment for what it kills.
    deadline = time.monotonic() + (60 if kill == "kill -9 make" else 5)
    while command.left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert command.left() == {}, command.said
    assert "Traceback" not in command.said
    said = completed(again())
    if (moment, kill) == ("helm", "kill -9 python"):
        assert "cancelled the update of a process that is gone (pid " in said
    assert not upgrading()
    assert '"pending_operations"' not in engine.state_text(up.STACK, up.PROJECT)
