"""Stand-in for GitLab's API of notes on merge requests: it checks requests and keeps state.

Only the standard library is used: it runs in tests, and in a pod as
`python3 notes.py PORT TOKEN-FILE`. What GitLab has not, it has below `/stand-in/`: the requests
that came, without the token.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ME = {"id": 7, "username": "project_42_bot"}
_NOTES = re.compile(r"/api/v4/projects/(\d+)/merge_requests/(\d+)/notes(?:/(\d+))?")
_MOST_CHARACTERS = 1_000_000


@dataclass
class State:
    """What the stand-in knows.

    Attributes:
        token: The one token that it takes.
        merge_requests: The merge requests that are there, as (project, number).
        notes: The notes of each, as the API shows them.
        requests: What came: method, path, and body.
        failures: Status codes that the next requests get.
        lower_case: Whether headers come in lower case, as HTTP/2 and some proxies make them.
    """

    token: str
    merge_requests: set[tuple[str, str]] = field(default_factory=lambda: {("42", "5")})
    notes: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    lower_case: bool = False

    def add(self, where: tuple[str, str], body: str, author: dict[str, Any] = ME) -> dict[str, Any]:
        """Add a note, of somebody else where an author is given."""
        number = 1 + sum(len(notes) for notes in self.notes.values())
        note = {"id": number, "body": body, "author": author, "system": False}
        self.notes.setdefault(where, []).append(note)
        return note


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """The server; its address is `http://127.0.0.1:<server_port>` where it runs in a test."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], state: State) -> None:
        """Listen; port 0 takes a free one."""
        super().__init__(address, _Handler)
        self.state = state


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _handle(self) -> None:
        state, url = self.server.state, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if url.path == "/stand-in/requests":
            self._answer(200, state.requests)
            return
        seen = {"method": self.command, "path": self.path, "body": data.decode()}
        state.requests.append(seen)
        headers: dict[str, str] = {}
        try:
            if state.failures:
                raise _Refused(state.failures.pop(0), "as the test wants")
            if self.headers.get("PRIVATE-TOKEN") != state.token:
                raise _Refused(401, "401 Unauthorized")
            status, answer = self._route(state, url.path, parse_qs(url.query), data, headers)
        except _Refused as refused:
            status, answer = refused.status, {"message": str(refused)}
            if 300 <= status < 400:
                headers["Location"] = f"http://{self.headers['Host']}/elsewhere"
        self._answer(status, answer, headers)

    def _route(
        self,
        state: State,
        path: str,
        query: dict[str, list[str]],
        data: bytes,
        headers: dict[str, str],
    ) -> tuple[int, Any]:
        if (self.command, path) == ("GET", "/api/v4/user"):
            return 200, ME
        found = _NOTES.fullmatch(path)
        if not found or (found[1], found[2]) not in state.merge_requests:
            raise _Refused(404, "404 Not found")
        where = (found[1], found[2])
        notes = state.notes.setdefault(where, [])
        if self.command == "GET" and not found[3]:
            size, page = (int(query[name][0]) for name in ("per_page", "page"))
            if not 1 <= size <= 100:
                raise _Refused(400, "per_page does not have a valid value")
            start = (page - 1) * size
            headers["X-Next-Page"] = str(page + 1) if start + size < len(notes) else ""
            return 200, notes[start : start + size]
        if self.command == "POST" and not found[3]:
            return 201, state.add(where, self._body(data))
        if self.command == "PUT" and found[3]:
            note = next((note for note in notes if note["id"] == int(found[3])), None)
            if note is None:
                raise _Refused(404, "404 Note Not Found")
            if note["author"] != ME:
                raise _Refused(403, "403 Forbidden")
            note["body"] = self._body(data)
            return 200, note
        raise _Refused(405, "405 Method Not Allowed")

    def _body(self, data: bytes) -> str:
        if self.headers.get("Content-Type") != "application/json":
            raise _Refused(415, "the content type is not application/json")
        try:
            sent = json.loads(data)
        except ValueError:
            raise _Refused(400, "the body is no JSON") from None
        if not isinstance(sent, dict) or set(sent) != {"body"} or not isinstance(sent["body"], str):
            raise _Refused(400, "body is missing, or there is more than it")
        if not 0 < len(sent["body"]) <= _MOST_CHARACTERS:
            raise _Refused(400, "body is empty or too long")
        return sent["body"]

    def _answer(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name.lower() if self.server.state.lower_case else name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the requests are kept."""


def main(port: str, token_file: str) -> None:
    """Serve in a pod."""
    Server(("0.0.0.0", int(port)), State(Path(token_file).read_text().strip())).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
