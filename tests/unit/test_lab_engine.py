"""What the lab does about an update that was killed, and about files that it was writing."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import engine, paths, process
from lab.console import LabError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engine, "STATE", tmp_path)
    return tmp_path / "pulumi/.pulumi"


def lock(state: Path, pid: int) -> Path:
    path = state / "locks/organization/project/local/one.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"pid": pid, "hostname": "lab", "username": "root"}))
    return path


class Stack:
    """Stand-in for a stack of the Automation API."""

    name = "local"

    def __init__(self, state: Path, deployment: dict[str, Any] | None = None) -> None:
        self.locks = state / "locks/organization/project/local"
        backend = {"PULUMI_BACKEND_URL": f"file://{state.parent}"}
        self.workspace = SimpleNamespace(env_vars=backend)
        self.deployment = deployment
        self.imported: list[Any] = []

    def cancel(self) -> None:
        for path in self.locks.glob("*"):
            path.unlink()

    def export_stack(self) -> Any:
        return SimpleNamespace(version=3, deployment=self.deployment)

    def import_stack(self, exported: Any) -> None:
        self.imported.append(exported.deployment)


def recover(stack: Stack) -> None:
    engine.recover(stack, "project")  # type: ignore[arg-type]


def test_a_lock_whose_process_is_gone_is_removed(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = lock(state, gone.pid)
    recover(Stack(state))
    assert not path.exists()
    assert f"cancelled the update of a process that is gone (pid {gone.pid})" in (
        capsys.readouterr().out
    )


def test_the_pid_of_another_program_is_no_update(state: Path) -> None:
    path = lock(state, os.getpid())
    recover(Stack(state))
    assert not path.exists()


def test_a_lock_of_a_running_update_stays(state: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin/pulumi"
    program.parent.mkdir()
    program.symlink_to("/bin/sleep")
    running = subprocess.Popen([program, "60"])
    try:
        # The kernel names the process a moment after its start.
        while Path(f"/proc/{running.pid}/comm").read_text() != "pulumi\n":
            time.sleep(0.01)
        path = lock(state, running.pid)
        with pytest.raises(LabError, match=rf"another update .* runs \(pid {running.pid}\)"):
            recover(Stack(state))
        assert path.exists()
    finally:
        running.kill()
        running.wait()


def test_operations_that_were_cut_off_are_forgotten(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = state / "stacks/project/local.json"
    file.parent.mkdir(parents=True)
    latest: dict[str, Any] = {"resources": [1], "pending_operations": [2, 3]}
    file.write_text(json.dumps({"checkpoint": {"latest": latest}}))
    stack = Stack(state, latest)
    recover(stack)
    assert stack.imported == [{"resources": [1]}]
    assert "2 operations were cut off" in capsys.readouterr().out
    file.write_text(json.dumps({"checkpoint": {"latest": {"resources": [1]}}}))
    recover(stack)
    assert len(stack.imported) == 1


@pytest.mark.parametrize("latest", [None, {}, {"secrets_providers": {"state": {"salt": "v1:a"}}}])
def test_the_salt_is_that_of_the_state(state: Path, latest: Any) -> None:
    assert engine.salt("local", "project") is None
    file = state / "stacks/project/local.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"checkpoint": {"latest": latest}}))
    assert engine.salt("local", "project") == ("v1:a" if latest else None)


def test_a_file_that_is_being_written_is_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    paths.replace(path, "old")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            paths.replace(path, "new")
    assert path.read_text() == "old"
    paths.replace(path, b"new", mode=0o600)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_server_writes_its_own_pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STATE", tmp_path)
    monkeypatch.setattr(process, "LOGS", tmp_path)
    assert process.start("server", ["sleep", "60"], {"PATH": os.environ["PATH"]})
    assert not process.start("server", ["sleep", "60"], {})
    number = process.pid("server")
    assert number is not None
    assert Path(f"/proc/{number}/comm").read_text() == "sleep\n"
    process.stop("server")
    assert process.pid("server") is None


def test_a_command_ends_with_the_process_that_started_it() -> None:
    mark = str(os.getpid() + 10_000_000)
    code = (
        "import subprocess, sys; from lab import process\n"
        f"run = process.bound('sh', '-c', 'sleep {mark} & sleep {mark}; true')\n"
        "subprocess.Popen(run); print(flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        ["python3", "-c", code],
        cwd=paths.ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(__import__("sys").path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    parent.stdout.readline()

    def sleeping() -> int:
        lines = [
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
        ]
        return sum(line.startswith(b"sleep") and mark.encode() in line for line in lines)

    process.wait_for("both", lambda: sleeping() == 2, 20)
    parent.kill()
    parent.wait()
    process.wait_for("the end of both", lambda: sleeping() == 0, 20)


HOLD = "from lab import process\nwith process.alone():\n    print('held', flush=True)\n    input()"


def test_a_command_waits_for_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "CACHE", tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=paths.ROOT,
        env={**os.environ, "LAB_CACHE": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout
        assert first.stdout.readline() == b"held\n"

        def second() -> None:
            with process.alone():
                print("held by the second", flush=True)

        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(1)
        assert capsys.readouterr().out == (
            f"waiting for another command of the lab to end (pid {first.pid})\n"
        )
        first.kill()
        waiting.join()
    assert "held by the second" in capsys.readouterr().out
