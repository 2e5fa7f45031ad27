"""Git over HTTP: git's own backend does the work."""

import subprocess
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import IO


def answer(
    repositories: Path,
    method: str,
    path: str,
    query: str,
    headers: Message,
    body: IO[bytes],
) -> tuple[int, dict[str, str], Iterator[bytes]]:
    """Return the status, the headers and the parts of the backend's answer.

    Args:
        repositories: The directory of the repositories.
        method: The request's method.
        path: Its path.
        query: Its query.
        headers: Its headers.
        body: Its body.
    """
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "GIT_PROJECT_ROOT": str(repositories),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(body.seek(0, 2)),
        "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
    }
    body.seek(0)
    # The input is a file: a pipe both ways would block on a big answer.
    backend = subprocess.Popen(
        ["git", "http-backend"], env=environment, stdin=body, stdout=subprocess.PIPE
    )
    output = backend.stdout
    assert output
    status = 200
    fields: dict[str, str] = {}
    while line := output.readline().decode().strip():
        name, _, value = line.partition(":")
        if name == "Status":
            status = int(value.split()[0])
        else:
            fields[name] = value.strip()

    def parts() -> Iterator[bytes]:
        with backend:
            while part := output.read(1 << 16):
                yield part

    return status, fields, parts()
