"""The note is kept through the API of notes: against the lab's stand-in, which checks requests."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from preview import events, note
from preview.__main__ import NOTE, main
from preview.gitlab import NoteError, Notes
from tests.notes import Server, State
from tests.preview.test_converter import recorded

TOKEN = "glpat-0123456789abcdefghij"
WHERE = ("42", "5")
OTHER = {"id": 8, "username": "mallory"}
MARKER = note.About("dev").marker
BODY = f"text\n\n{MARKER}\n"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), State(TOKEN))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def state(server: Server) -> State:
    return server.state


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def notes(server: Server, waits: list[float]) -> Notes:
    return Notes(address(server), *WHERE, TOKEN, waits.append)


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/api/v4"


def sent(state: State) -> list[str]:
    return [
        f"{request['method']} {request['path'].partition('?')[0]}" for request in state.requests
    ]


def test_the_second_run_updates_the_note_of_the_first(notes: Notes, state: State) -> None:
    assert notes.keep(BODY, MARKER) == "created"
    assert notes.keep(BODY + "more", MARKER) == "updated"
    assert [found["body"] for found in state.notes[WHERE]] == [BODY + "more"]
    path = "/api/v4/projects/42/merge_requests/5/notes"
    assert sent(state) == [
        *(f"GET {path}", f"POST {path}"),
        *(f"GET {path}", "GET /api/v4/user", f"PUT {path}/1"),
    ]


def test_each_stack_has_its_own(notes: Notes, state: State) -> None:
    other = note.About("prod").marker
    notes.keep(BODY, MARKER)
    notes.keep(f"prod {other}", other)
    notes.keep(f"again {other}", other)
    assert [found["body"] for found in state.notes[WHERE]] == [BODY, f"again {other}"]


def test_the_marker_of_another_stack_in_a_note_is_not_its_own(notes: Notes, state: State) -> None:
    """A resource may be named so. It cannot reach the end of the note, which tells whose it is."""
    other = note.About("staging")
    step = events.Step("create", "a:b:C", other.marker)
    mine = note.render(events.Preview((step,), counts={"create": 1}), note.About("dev"))
    assert other.marker in mine
    assert notes.keep(mine, MARKER) == "created"
    theirs = note.render(events.Preview(), other)
    assert notes.keep(theirs, other.marker) == "created"
    assert notes.keep(theirs, other.marker) == "updated"
    assert [found["body"] for found in state.notes[WHERE]] == [mine, theirs]


def test_a_note_is_found_where_blanks_at_its_end_were_taken_off(notes: Notes, state: State) -> None:
    state.add(WHERE, BODY.rstrip())
    assert notes.keep(BODY, MARKER) == "updated"


@pytest.mark.parametrize("lower_case", [False, True])
def test_the_note_is_found_on_a_later_page(lower_case: bool, notes: Notes, state: State) -> None:
    state.lower_case = lower_case
    for number in range(250):
        state.add(WHERE, f"talk {number}", OTHER)
    mine = state.add(WHERE, BODY)
    assert notes.keep("new " + BODY, MARKER) == "updated"
    assert mine["body"] == "new " + BODY
    assert len(state.notes[WHERE]) == 251


def test_a_marker_that_somebody_else_wrote_is_not_ours(notes: Notes, state: State) -> None:
    theirs = state.add(WHERE, BODY, OTHER)
    assert notes.keep("new " + BODY, MARKER) == "created"
    assert theirs["body"] == BODY


def test_nothing_is_begun_where_nothing_is_wanted(notes: Notes, state: State) -> None:
    assert notes.keep(BODY, MARKER, create=False) == "nothing to do"
    assert not state.notes[WHERE]
    state.add(WHERE, BODY)
    assert notes.keep("new " + BODY, MARKER, create=False) == "updated"


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_passing_failure_is_tried_again(
    status: int, notes: Notes, state: State, waits: list[float]
) -> None:
    state.failures = [status, status]
    assert notes.keep(BODY, MARKER) == "created"
    assert waits == [1, 2]


def test_a_lasting_failure_is_told_and_the_token_is_not(notes: Notes, state: State) -> None:
    state.failures = [503] * 9
    with pytest.raises(NoteError, match="it answered 503") as caught:
        notes.keep(BODY, MARKER)
    assert not caught.value.refused
    assert len(state.requests) == 4
    assert TOKEN not in f"{caught.value}{notes!r}"


def test_a_server_that_is_not_there_is_told(waits: list[float]) -> None:
    with pytest.raises(NoteError, match="could not be reached") as caught:
        Notes("http://127.0.0.1:1/api/v4", *WHERE, TOKEN, waits.append).keep(BODY, MARKER)
    assert not caught.value.refused


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "expired or been revoked"),
        (403, "needs the scope 'api' and the role Reporter"),
        (404, "may not see its project"),
        (400, "did not take the request"),
        (302, "a redirect, which is not followed"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, words: str, notes: Notes, state: State) -> None:
    state.failures = [status]
    with pytest.raises(NoteError, match=words) as caught:
        notes.keep(BODY, MARKER)
    assert caught.value.refused
    assert f"({status} on GET projects/42/merge_requests/5/notes)" in str(caught.value)
    assert len(state.requests) == 1


def test_a_note_without_the_right_token_is_refused(server: Server) -> None:
    with pytest.raises(NoteError, match="401"):
        Notes(address(server), *WHERE, "glpat-wrong").keep(BODY, MARKER)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://gitlab.example.com", "42", "5", TOKEN),
        ("file:///etc/passwd", "42", "5", TOKEN),
        ("https://gitlab.example.com", "42/../43", "5", TOKEN),
        ("https://gitlab.example.com", "42", "", TOKEN),
        ("https://gitlab.example.com", "42", "5", "two words"),
        ("https://gitlab.example.com", "42", "5", "a\nX-Header: b"),
    ],
)
def test_what_makes_no_request_is_refused(arguments: tuple[str, str, str, str]) -> None:
    with pytest.raises(NoteError) as caught:
        Notes(*arguments)
    assert arguments[3] not in str(caught.value)


@pytest.fixture
def command(server: Server, tmp_path: Any) -> Any:
    """Return a function that runs the whole command on a recorded case."""

    def run(case: str, **environment: str) -> int:
        source = tmp_path / "events"
        source.write_text(recorded(case))
        known = {
            "CI_API_V4_URL": address(server),
            "CI_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_IID": "5",
            "NOTE_TOKEN": TOKEN,
        }
        return main(
            [str(source), "--stack=dev", "--token-variable=NOTE_TOKEN"], {**known, **environment}
        )

    return run


def test_without_a_token_there_is_no_request(command: Any, state: State) -> None:
    assert command("create", NOTE_TOKEN="") == 0
    assert command("create", CI_MERGE_REQUEST_IID="") == 0
    assert not state.requests


def test_no_changes_are_quiet_but_an_old_note_is_updated(command: Any, state: State) -> None:
    command("unchanged")
    assert not state.notes[WHERE]
    command("replace")
    command("unchanged")
    (kept,) = state.notes[WHERE]
    assert kept["body"].startswith("### Pulumi preview of `dev`: no changes\n")


def test_a_refused_note_fails_the_job_and_the_token_is_not_shown(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("create", NOTE_TOKEN="glpat-of-somebody-else") == NOTE
    shown = capsys.readouterr()
    assert "error: no note: the token is not valid" in shown.err
    assert "glpat" not in shown.err + shown.out


def test_a_fork_has_its_note_where_its_merge_request_is(command: Any, state: State) -> None:
    state.merge_requests = {("1", "5")}
    assert command("create", CI_MERGE_REQUEST_PROJECT_ID="1") == 0
    assert state.notes[("1", "5")]


def test_the_token_is_in_no_note(command: Any, state: State) -> None:
    for case in ("create", "error", "policy"):
        command(case)
    assert TOKEN not in json.dumps(state.requests)
