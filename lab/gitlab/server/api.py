"""The HTTP side: GitLab's API for runners and jobs, git, and the lab's own API under /lab/."""

import base64
import binascii
import hmac
import json
import re
import select
import shutil
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from . import git
from .jobs import Artifact, Job, Jobs, RefusedError, runner_name

_LONG_POLL_SECONDS = 10.0
# What GitLab asks of a runner while somebody looks at the job.
_TRACE_INTERVAL_SECONDS = 3
_CHUNK = 1 << 16


@dataclass
class Answer:
    """An answer; a body that is neither bytes nor a file is sent as JSON."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    """The stand-in.

    Args:
        address: Host and port to listen on.
        folder: Where the repositories are and the artifacts go.
        runner_key: The key of the runners' tokens.
        admin_token: The token of the lab's own API.
        url: The address that jobs know it by; by default the one that it listens on.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        folder: Path,
        runner_key: str,
        admin_token: str,
        url: str = "",
    ) -> None:
        super().__init__(address, Handler)
        self.folder, self.runner_key, self.admin_token = folder, runner_key, admin_token
        self.jobs = Jobs(url or f"http://{address[0]}:{self.server_address[1]}")
        self.managers: dict[str, dict[str, dict[str, Any]]] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong with a request, in one line where the other side left."""
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):
            print(f"{client_address[0]}: {error}", file=sys.stderr, flush=True)
        else:
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "GitLab-stand-in"
    # Longer than the runner keeps an idle connection, which would else break under its request.
    timeout = 120
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        """Answer a request."""
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        # All of the body is read: the next request follows it on the same connection.
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as self.body:
            try:
                self._read_body()
                answer = self._route(url.path, url.query)
            except RefusedError as refused:
                status = {"Job-Status": refused.job_status} if refused.job_status else {}
                answer = Answer(refused.status, {"message": str(refused)}, status)
            self._send(answer)

    def _read_body(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            self._copy(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            self._copy(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _copy(self, size: int) -> None:
        while size:
            part = self.rfile.read(min(size, _CHUNK))
            if not part:
                self.close_connection = True
                raise RefusedError(400, "400 Bad request - The body is not complete")
            self.body.write(part)
            size -= len(part)

    def _json(self) -> dict[str, Any]:
        self.body.seek(0)
        try:
            value = json.load(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RefusedError(400, "400 Bad request - The body is not a JSON object")
        return value

    def _send(self, answer: Answer) -> None:
        body, headers = answer.body, dict(answer.headers)
        parts: Iterable[bytes]
        if isinstance(body, Path):
            parts = _chunks(body)
            headers |= {"Content-Length": str(body.stat().st_size)}
            headers.setdefault("Content-Type", "application/octet-stream")
        elif isinstance(body, dict | list | None):
            # Without this content type the runner takes any answer for an error.
            data = b"" if answer.status == 204 else json.dumps(body).encode()
            parts = [data]
            headers["Content-Type"] = "application/json"
            if answer.status != 204:
                headers["Content-Length"] = str(len(data))
        else:
            parts = body
        chunked = "Content-Length" not in headers and answer.status != 204
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _route(self, path: str, query: str) -> Answer:
        if path.startswith("/lab/"):
            return self._control(path)
        if found := re.fullmatch(r"/(.+)\.git/(info/refs|git-upload-pack|git-receive-pack)", path):
            return self._git(found[1], path, query)
        match self.command, path.removeprefix("/api/v4/").split("/"):
            case "POST", ["runners", "verify"]:
                return self._verify()
            case "DELETE", ["runners"] | ["runners", "managers"]:
                return self._unregister()
            case "POST", ["jobs", "request"]:
                return self._request()
            case "PUT", ["jobs", number] if number.isdigit():
                return self._update(int(number))
            case "PATCH", ["jobs", number, "trace"] if number.isdigit():
                return self._trace(int(number))
            case "POST", ["jobs", number, "artifacts"] if number.isdigit():
                return self._upload(int(number))
            case "GET", ["jobs", number, "artifacts"] if number.isdigit():
                return self._download(int(number))
        raise RefusedError(404, "404 Not Found")

    # Runners.

    def _runner(self, body: dict[str, Any]) -> str:
        name = runner_name(self.server.runner_key, str(body.get("token", "")))
        info, system = body.get("info") or {}, str(body.get("system_id", ""))
        if system:
            self.server.managers.setdefault(name, {})[system] = {
                "version": info.get("version", ""),
                "seen": time.time(),
            }
        return name

    def _verify(self) -> Answer:
        body = self._json()
        identity = zlib.crc32(self._runner(body).encode()) or 1
        return Answer(200, {"id": identity, "token": body["token"], "token_expires_at": None})

    def _unregister(self) -> Answer:
        body = self._json()
        name = runner_name(self.server.runner_key, str(body.get("token", "")))
        self.server.managers.get(name, {}).pop(str(body.get("system_id", "")), None)
        return Answer(204)

    def _connected(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return not readable or self.connection.recv(1, socket.MSG_PEEK) != b""

    def _request(self) -> Answer:
        name = self._runner(self._json())
        job = self.server.jobs.take(name, _LONG_POLL_SECONDS, self._connected)
        if job is None:
            return Answer(204)
        self.log_message("job %d goes to the runner %s", job.number, name)
        return Answer(201, self.server.jobs.request(job))

    # Jobs.

    def _job(self, number: int, body: dict[str, Any] | None = None) -> Job:
        token = self.headers.get("JOB-TOKEN") or str((body or {}).get("token", ""))
        return self.server.jobs.running(number, token)

    def _status(self, job: Job) -> dict[str, str]:
        return {
            "Job-Status": job.status,
            "X-GitLab-Trace-Update-Interval": str(_TRACE_INTERVAL_SECONDS),
        }

    def _update(self, number: int) -> Answer:
        body = self._json()
        job = self._job(number, body)
        status = self.server.jobs.update(job, body)
        if job.done:
            self.log_message("job %d: %s %s", number, job.status, job.failure_reason)
        return Answer(status, {}, self._status(job))

    def _trace(self, number: int) -> Answer:
        job = self._job(number)
        content = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if content is None:
            raise RefusedError(400, "400 Missing header Content-Range")
        self.body.seek(0)
        data = self.body.read()
        start, end = int(content[1]), int(content[2])
        fits = end - start + 1 == len(data) and self.server.jobs.append(job, start, data)
        headers = {"Range": f"0-{len(job.trace)}", **self._status(job)}
        return Answer(202 if fits else 416, {}, headers)

    def _upload(self, number: int) -> Answer:
        job = self._job(number)
        kind = self.query.get("artifact_type", "archive")
        if not re.fullmatch(r"[a-z_]+", kind):
            raise RefusedError(400, "400 Bad request - Unknown artifact type")
        if kind in job.artifacts:
            raise RefusedError(400, "400 Bad request - The job has an artifact of this type")
        folder = self.server.folder / "artifacts"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number}-{kind}"
        with path.open("wb") as target:
            filename = _form_file(self.headers.get("Content-Type", ""), self.body, target)
        job.artifacts[kind] = Artifact(path, filename)
        return Answer(201, {"message": "201 Created"})

    def _download(self, number: int) -> Answer:
        artifact = self.server.jobs.get(number).artifacts.get("archive")
        job = self.server.jobs.by_token(self.headers.get("JOB-TOKEN", ""))
        if job is None or number not in {job.number, *job.dependencies}:
            raise RefusedError(403, "403 Forbidden")
        if artifact is None:
            raise RefusedError(404, "404 Not Found")
        return Answer(200, artifact.path)

    # Git.

    def _git(self, project: str, path: str, query: str) -> Answer:
        kind, _, encoded = self.headers.get("Authorization", "").partition(" ")
        try:
            user, _, token = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, token = "", ""
        job = self.server.jobs.by_token(token) if kind == "Basic" else None
        if job is None or user != "gitlab-ci-token":
            return Answer(
                401,
                {"message": "401 Unauthorized"},
                {"WWW-Authenticate": 'Basic realm="GitLab"'},
            )
        if job.project != project or "git-receive-pack" in path + query:
            raise RefusedError(403, "403 Forbidden")
        status, headers, parts = git.answer(
            self.server.folder, self.command, path, query, self.headers, self.body
        )
        return Answer(status, parts, headers)

    # The lab.

    def _control(self, path: str) -> Answer:
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.server.admin_token}".encode()):
            raise RefusedError(401, "401 Unauthorized")
        jobs = self.server.jobs
        match self.command, path.removeprefix("/lab/").split("/"):
            case "GET", ["runners"]:
                return Answer(200, self.server.managers)
            case "POST", ["jobs"]:
                body = self._json()
                number = jobs.submit(
                    body["key"], body["runner"], body["payload"], body["dependencies"]
                )
                return Answer(201, {"id": number})
            case "POST", ["jobs", number, "cancel"] if number.isdigit():
                jobs.cancel(int(number))
                return Answer(200, {})
            case "GET", ["jobs", number] if number.isdigit():
                return Answer(200, self._observe(int(number)))
            case "GET", ["jobs", number, "artifacts", kind] if number.isdigit():
                artifact = jobs.get(int(number)).artifacts.get(kind)
                if artifact:
                    return Answer(200, artifact.path)
        raise RefusedError(404, "404 Not Found")

    def _observe(self, number: int) -> dict[str, Any]:
        offset = int(self.query.get("offset", -1))
        return self.server.jobs.observe(number, offset, _LONG_POLL_SECONDS if offset >= 0 else 0)

    def log_message(self, format: str, *args: object) -> None:
        """Print a line, without what a query may hold."""
        print(f"{self.log_date_time_string()} {format % args}", file=sys.stderr, flush=True)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print a request and its result."""
        self.log_message("%s %s %s", self.command, urlsplit(self.path).path, code)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _form_file(content_type: str, body: IO[bytes], target: IO[bytes]) -> str:
    """Copy the one file of a multipart form; return its name.

    Raises:
        RefusedError: the body is not a form with one file.
    """
    boundary = re.fullmatch(r'multipart/form-data;\s*boundary="?([^"]+)"?', content_type)
    size = body.seek(0, 2)
    body.seek(0)
    start, end = body.readline(), f"\r\n--{boundary[1] if boundary else ''}--\r\n".encode()
    name = b""
    while line := body.readline().strip():
        found = re.search(rb'filename="([^"]*)"', line)
        name = found[1] if found else name
    begin = body.tell()
    body.seek(max(size - len(end), 0))
    if boundary is None or start.strip() != f"--{boundary[1]}".encode() or body.read() != end:
        raise RefusedError(400, "400 Bad request - Not a form with a file")
    body.seek(begin)
    shutil.copyfileobj(body, target)
    target.truncate(size - len(end) - begin)
    return name.decode(errors="replace")
