"""`make up`, interrupted: nothing outlives it, and the next one ends with a running platform."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import cluster, engine, images, process, up
from lab.chart_source import STAND_IN
from tests.interrupted import Command
from tests.required import needs_lab

pytestmark = [pytest.mark.lab, pytest.mark.alone]
NAMESPACE = "interrupted"


def group(number: signal.Signals) -> Callable[[Command], None]:
    return lambda command: os.killpg(command.popen.pid, number)


def only(program: str, number: signal.Signals) -> Callable[[Command], None]:
    """Return what sends a signal to one program of the command alone."""

    def send(command: Command) -> None:
        (pid,) = [pid for pid, line in command.running().items() if program in line]
        os.kill(pid, number)

    return send


KILLS = {
    "Ctrl-C": group(signal.SIGINT),
    "kill make": only("make --old-file", signal.SIGTERM),
    "kill -9 make": only("make --old-file", signal.SIGKILL),
    "kill python": only("-m lab up", signal.SIGTERM),
    "kill -9 python": only("-m lab up", signal.SIGKILL),
}


def is_half_made(namespace: str, state: str) -> bool:
    query = ("-n", namespace, "get", "secret", "-l", f"owner=helm,status={state}", "-o", "name")
    return bool(cluster.kubectl(*query))


def interrupted(command: Command, is_reached: Callable[[], bool], kill: str) -> None:
    """Interrupt a command when it has come to some point; it must end, with all it started."""

    def reached() -> bool:
        assert command.popen.poll() is None, command.said
        return is_reached()

    process.wait_for("the moment", reached, 180)
    KILLS[kill](command)
    assert command.popen.wait(timeout=180) != 0
    # Python itself ends by itself when make is killed; the kernel needs a moment for the others.
    process.wait_for("the end of it all", lambda: not command.running(), 90)
    assert "Traceback" not in command.said


# A release in a stack of its own: what a killed plugin leaves, the platform need not go through.
PROGRAM = """
import os, signal, sys
from pathlib import Path
import pulumi_kubernetes as k8s
from lab import cluster, engine, up
from lab.__main__ import _interrupt

signal.signal(signal.SIGTERM, _interrupt)
folder, color = Path(sys.argv[1]), sys.argv[2]


def program():
    namespace = k8s.core.v1.Namespace("space", metadata={"name": "NAMESPACE"})
    k8s.core.v1.ConfigMap(
        "map", metadata={"name": "map", "namespace": namespace.metadata.name}, data={"a": color}
    )
    k8s.helm.v3.Release(
        "release",
        name="slow",
        namespace=namespace.metadata.name,
        chart=str(folder / "chart"),
        atomic=True,
        values={"color": color},
    )


stack = engine.select_stack(
    "test", program, folder, "interrupted", engine.environment(), folder / "state"
)
if color == "none":
    stack.destroy()
    sys.exit()
engine.recover(stack, "interrupted")
up.recover_releases("NAMESPACE")
try:
    engine.update(stack)
except KeyboardInterrupt:
    os._exit(130)
""".replace("NAMESPACE", NAMESPACE)
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: slow\nversion: 1.0.0\n",
    "templates/deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: slow}
spec:
  minReadySeconds: 8
  selector: {matchLabels: {app: slow}}
  template:
    metadata: {labels: {app: slow, color: {{ .Values.color }}}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: pause, image: IMAGE}]}
""",
}


@pytest.fixture
def update(tmp_path: Path) -> Iterator[Callable[[str], Command]]:
    """Return a function that starts an update of a release, whose rollout takes seconds."""
    needs_lab()
    (tmp_path / "Pulumi.yaml").write_text("name: interrupted\nruntime: python\n")
    for name, text in CHART.items():
        path = tmp_path / "chart" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("IMAGE", images.reference("pause")))
    started: list[Command] = []

    def start(color: str) -> Command:
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path), color, "-m lab up"]
        started.append(Command(arguments, tmp_path, {}))
        return started[-1]

    yield start
    for command in started:
        command.end()
    last = start("none")
    assert last.popen.wait(timeout=180) == 0, last.said


def test_a_release_that_was_half_made_is_made(update: Callable[[str], Command]) -> None:
    def again(color: str) -> str:
        command = update(color)
        assert command.popen.wait(timeout=180) == 0, command.said
        return command.said

    def upgrades() -> bool:
        return is_half_made(NAMESPACE, "pending-upgrade")

    interrupted(update("red"), lambda: is_half_made(NAMESPACE, "pending-install"), "kill -9 python")
    said = again("red")
    assert "cancelled the update of a process that is gone (pid " in said
    assert "1 operations were cut off" in said
    interrupted(update("green"), upgrades, "kill -9 python")
    assert "cancelled the update of a process that is gone (pid " in again("green")
    for kill in ("Ctrl-C", "kill python"):
        interrupted(update("blue"), upgrades, kill)
        assert "cancelled" not in again("green")
    query = ("-n", NAMESPACE, "get", "pod", "-o", "jsonpath={.items[*].metadata.labels.color}")
    assert cluster.kubectl(*query) == "green"


@pytest.fixture
def make_up(tmp_path: Path) -> Iterator[Callable[[bool], Command]]:
    """Return a function that starts `make up`, with a change of the runner's chart or without."""
    needs_lab()
    chart = tmp_path / "gitlab-runner"
    shutil.copytree(STAND_IN, chart)
    template = chart / "templates/deployment.yaml"
    where = "  template:\n    metadata:\n"
    assert where in template.read_text()
    template.write_text(template.read_text().replace(where, f"  minReadySeconds: 15\n{where}"))
    started: list[Command] = []

    def start(changed: bool) -> Command:
        environment = {"GITLAB_RUNNER_CHART": str(chart)} if changed else {}
        arguments = ["make", "--old-file=setup", "up", f"PY={sys.executable}"]
        started.append(Command(arguments, tmp_path, environment))
        return started[-1]

    yield start
    for command in started:
        command.end()


@pytest.mark.parametrize(
    ("moment", "kill"),
    [
        ("tools", "Ctrl-C"),
        ("cluster", "kill -9 python"),
        ("starting Kubernetes", "kill make"),
        ("pulumi up ...", "Ctrl-C"),
        ("pulumi up ...", "kill -9 python"),
        ("pulumi up ...", "kill -9 make"),
    ],
)
def test_what_is_interrupted_can_be_done_again(
    moment: str, kill: str, make_up: Callable[[bool], Command]
) -> None:
    command = make_up(True)
    interrupted(command, lambda: moment in command.said, kill)
    again = make_up(False)
    assert again.popen.wait(timeout=300) == 0, again.said
    assert "ready: export KUBECONFIG=" in again.said
    state = engine.state_text(up.STACK, up.PROJECT)
    assert '"pending_operations"' not in state
