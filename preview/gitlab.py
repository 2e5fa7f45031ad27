"""Keep one note of a merge request up to date, with GitLab's notes API."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, NoReturn

_TRIES = 4
_TIMEOUT_SECONDS = 20
_LONGEST_WAIT_SECONDS = 30
_PAGES = 50


class NoteError(Exception):
    """The note could not be written. `refused` means that another attempt would not help."""

    def __init__(self, message: str, *, refused: bool) -> None:
        """Take the message, which never contains the token."""
        super().__init__(message)
        self.refused = refused


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, because a redirect would send the token to another address."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


@dataclass(frozen=True)
class Notes:
    """The notes of one merge request.

    Attributes:
        api_url: URL of GitLab's API, as in `CI_API_V4_URL`.
        project: Number of the merge request's project.
        merge_request: Number of the merge request in its project.
        token: A token with the scope `api` and at least the role Reporter.
        sleep: Function that waits between two attempts, in seconds.
    """

    api_url: str
    project: str
    merge_request: str
    token: str = field(repr=False)
    sleep: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        if not self.api_url.startswith(("https://", "http://")):
            raise NoteError("the address of GitLab's API is not an http(s) address", refused=True)
        if not (self.project.isdigit() and self.merge_request.isdigit()):
            raise NoteError("the project or the merge request is not a number", refused=True)
        if not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise NoteError("the token has characters that no token has", refused=True)

    def keep(self, body: str, marker: str, *, create: bool = True) -> str:
        """Create the note, or update the note that the same user wrote with the same marker.

        Args:
            body: Text of the note.
            marker: Last line of the note, which identifies it.
            create: Whether to create the note if it does not exist.

        Returns:
            `created`, `updated` or `nothing to do`.

        Raises:
            NoteError: GitLab refused, or could not be reached.
        """
        path = f"projects/{self.project}/merge_requests/{self.merge_request}/notes"
        user_id: Any = None
        for note in self._pages(path):
            # Only the last line counts: other lines of a note may look like a marker.
            if not note.get("body", "").rstrip().endswith(marker) or note.get("system"):
                continue
            # Anybody can write the marker, so only a note by the token's user counts.
            user_id = self._call("GET", "user")[0]["id"] if user_id is None else user_id
            if note["author"]["id"] == user_id:
                self._call("PUT", f"{path}/{note['id']}", {"body": body})
                return "updated"
        if not create:
            return "nothing to do"
        self._call("POST", path, {"body": body})
        return "created"

    def _pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        page = "1"
        for _ in range(_PAGES):
            notes, headers = self._call("GET", f"{path}?sort=asc&per_page=100&page={page}")
            yield from notes
            page = headers.get("X-Next-Page") or ""
            if not page.isdigit():
                return

    def _call(
        self, method: str, path: str, data: Mapping[str, Any] | None = None
    ) -> tuple[Any, Mapping[str, str]]:
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked
            f"{self.api_url.rstrip('/')}/{path}",
            data=None if data is None else json.dumps(data).encode(),
            method=method,
            headers={
                "PRIVATE-TOKEN": self.token,
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": "pulumi-preview",
            },
        )
        opener = urllib.request.build_opener(_NoRedirect)
        for attempt in range(1, _TRIES + 1):
            wait = 2.0 ** (attempt - 1)
            try:
                with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                    return json.load(answer), answer.headers
            except urllib.error.HTTPError as error:
                if error.code != 429 and error.code < 500:
                    _refuse(error.code, method, path)
                problem = f"it answered {error.code}"
                after = error.headers.get("Retry-After", "")
                wait = max(wait, float(after)) if after.isdigit() else wait
            except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
                problem = f"no answer ({type(error).__name__})"
            # If the answer was lost, GitLab may have created the note. Do not create it twice.
            if attempt < _TRIES and (method != "POST" or "answered" in problem):
                self.sleep(min(wait, _LONGEST_WAIT_SECONDS))
                continue
            break
        raise NoteError(f"GitLab could not be reached: {problem}", refused=False)


_WORDS = {
    401: "the token is not valid: it may have expired or been revoked",
    403: "the token may not do this: it needs the scope 'api' and the role Reporter or higher",
    404: "the merge request is not there, or the token may not see its project",
}


def _refuse(code: int, method: str, path: str) -> NoReturn:
    words = _WORDS.get(code, "GitLab did not take the request")
    if 300 <= code < 400:
        words = "GitLab answered with a redirect, which is not followed with a token"
    raise NoteError(f"{words} ({code} on {method} {path.partition('?')[0]})", refused=True)
