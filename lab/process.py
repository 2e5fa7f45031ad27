"""Servers in the background, commands that end with their caller, and one command at a time."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.console import LabError, say
from lab.paths import CACHE, LOGS, STATE, replace

BOUND = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: the kernel kills it when the thread that started it ends."""


def bound(*command: str | Path) -> list[str]:
    """Return a command that the kernel kills, with all that it has started, when this process ends.

    Without root, only the command itself is killed, not its children.
    """
    namespace = ("unshare", "--pid", "--fork", "--kill-child") if os.geteuid() == 0 else ()
    return [*BOUND, *namespace, *map(str, command)]


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other command changes the lab, and keep others waiting inside."""
    path = CACHE / "lab.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # The kernel gives the lock back when this process ends, however it ends.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            say(f"waiting for another command of the lab to end (pid {file.read() or 'unknown'})")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _pid_file(name: str) -> Path:
    return STATE / "pids" / name


def _started(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None when it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def pid(name: str) -> int | None:
    """Return the pid of a server that runs; a pid that was given to another process is not it."""
    try:
        number, started = _pid_file(name).read_text().split()
    except (OSError, ValueError):
        return None
    return int(number) if _started(int(number)) == started else None


def start(
    name: str,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
) -> bool:
    """Start a server unless it runs; tell whether it was started."""
    if pid(name) is not None:
        return False
    LOGS.mkdir(parents=True, exist_ok=True)

    def remember() -> None:
        # By the server itself, before it is one: who starts it may be killed at any moment.
        replace(_pid_file(name), f"{os.getpid()} {_started(os.getpid())}")

    with (LOGS / f"{name}.log").open("ab") as log:
        subprocess.Popen(
            [str(part) for part in command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=remember,
        )
    return True


def stop(name: str, seconds: float = 20) -> None:
    """Stop a server by its pid: politely, then for certain."""
    number = pid(name)
    if number is not None:
        for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
            try:
                os.kill(number, sign)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + patience
            while pid(name) is not None and time.monotonic() < deadline:
                time.sleep(0.1)
            _reap(number)
            if pid(name) is None:
                break
    _pid_file(name).unlink(missing_ok=True)


def _reap(number: int) -> None:
    # A child of this very process stays a zombie until it is waited for.
    try:
        os.waitpid(number, os.WNOHANG)
    except ChildProcessError:
        return


def tail(name: str, lines: int = 15) -> str:
    """Return the last lines of a server's log."""
    try:
        return "\n".join((LOGS / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def wait_for(
    what: str, ready: Callable[[], bool], seconds: float, servers: Sequence[str] = ()
) -> None:
    """Wait until something is ready.

    Raises:
        LabError: it was not in time, or a server that it needs has died; with that one's log.
    """
    deadline = time.monotonic() + seconds
    while True:
        for server in servers:
            if pid(server) is None:
                raise LabError(f"{server} stopped; the end of its log:\n{tail(server)}")
        if ready():
            return
        if time.monotonic() > deadline:
            logs = "".join(f"\n{server}:\n{tail(server, 8)}" for server in servers)
            raise LabError(f"{what} was not ready within {seconds:.0f} s{logs}")
        time.sleep(0.3)
