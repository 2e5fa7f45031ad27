"""What all tests of the engine share."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pulumi import automation as auto

from lab import engine
from lab.providers import kept as kept_objects
from tests.required import needs_engine

PROJECT = "engine-test"


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    needs_engine()
    return engine.environment()


@pytest.fixture(scope="session")
def kept() -> Iterator[dict[str, str]]:
    """Yield the environment of providers that need no cluster: objects are in the state alone."""
    needs_engine()
    with kept_objects.environment() as served:
        yield served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto on a free port of the loopback interface."""
    log = tmp_path_factory.mktemp("moto") / "log"
    code = (
        "from moto.moto_server.threaded_moto_server import ThreadedMotoServer as Server\n"
        "import threading\n"
        "server = Server(ip_address='127.0.0.1', port=0, verbose=False)\n"
        "server.start()\n"
        "print(server.get_host_and_port()[1], flush=True)\n"
        "threading.Event().wait()\n"
    )
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def deploy(
    environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[Callable[[], None]], auto.Stack]]:
    """Return a function that gives a program to the stack; the stack is destroyed at the end."""
    (tmp_path / "Pulumi.yaml").write_text(
        f"name: {PROJECT}\nruntime: python\n"
        "config:\n  kubernetes:enableSecretMutable: {value: true}\n"
    )
    stacks: list[auto.Stack] = []

    def select(program: Callable[[], None]) -> auto.Stack:
        stack = engine.select_stack("test", program, tmp_path, PROJECT, environment)
        stacks.append(stack)
        return stack

    yield select
    if stacks:
        stacks[-1].destroy()
        stacks[-1].workspace.remove_stack("test")


def changes(result: auto.UpResult) -> dict[str, int]:
    """Return how many resources an update changed, by what it did."""
    return {str(key): value for key, value in (result.summary.resource_changes or {}).items()}
