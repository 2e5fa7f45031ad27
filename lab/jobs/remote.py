"""Runs a command in a container, by the API's exec."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from kubernetes.stream import stream


class TimedOut(Exception):
    """The command did not end in time."""


class Lost(Exception):
    """The connection ended before the command did: its container is gone."""


def execute(
    core: Any,
    namespace: str,
    pod: str,
    container: str | None,
    command: Sequence[str],
    output: Callable[[str], object],
    seconds: float,
    *,
    stdin: str | None = None,
) -> int:
    """Run a command and return its exit code.

    Args:
        core: The `CoreV1Api`; it decides who asks.
        namespace: Namespace of the pod.
        pod: Name of the pod.
        container: Name of the container; None for the only one.
        command: The command with its arguments, which the API server may log: no secrets.
        output: Called with what the command writes, as it comes.
        seconds: How long the command may run.
        stdin: Sent to the command, which must know by itself where it ends.

    Raises:
        TimedOut: the command did not end in time.
        Lost: the container ended before the command.
    """
    channel = stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        **({"container": container} if container else {}),
        command=list(command),
        stdin=stdin is not None,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    deadline = time.monotonic() + seconds

    def drain() -> None:
        for read in (channel.read_stdout, channel.read_stderr):
            if text := read(timeout=0):
                output(text)

    try:
        if stdin is not None:
            channel.write_stdin(stdin)
        while channel.is_open():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut
            # Not past the deadline: a second after it the pod's own ends the command as failed.
            channel.update(timeout=min(1, left))
            drain()
        drain()
        code: int | None = channel.returncode
    finally:
        channel.close()
    if code is None:
        raise Lost
    return code
