"""The converter, on events that the real engine wrote (tests/preview/record.py)."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from preview import events, note
from preview.__main__ import FAILED, POLICY, USAGE, main
from preview.masking import MASK
from tests.preview.record import EVENTS, NEW_SECRET, SECRET

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "create": 0,
    "update": 0,
    "replace": 0,
    "delete": 0,
    "secret": 0,
    "error": FAILED,
    "unchanged": 0,
    "many": 0,
    "policy": POLICY,
    "mixed": 0,
}
JOB = {"CI_JOB_URL": "https://gitlab.example.com/shop/-/jobs/7", "CI_COMMIT_SHORT_SHA": "0a1b2c3d"}


def recorded(name: str) -> str:
    return gzip.decompress((EVENTS / f"{name}.jsonl.gz").read_bytes()).decode()


def read(name: str) -> events.Preview:
    return events.read(recorded(name).splitlines())


@pytest.fixture
def convert(tmp_path: Path) -> Any:
    """Return a function that runs the command: (exit code, note, report)."""

    def run(text: str | None, *more: str, **environment: str) -> tuple[int, str, Any]:
        source, body, report = (tmp_path / name for name in ("events", "note.md", "report.json"))
        if text is not None:
            source.write_text(text)
        code = main(
            [str(source), "--stack=dev", f"--note={body}", f"--report={report}", *more],
            {**JOB, **environment},
        )
        if code == USAGE:
            return code, "", None
        return code, body.read_text(), json.loads(report.read_text())

    return run


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, convert: Any) -> None:
    """To write them anew: `python -m tests.preview.golden`."""
    # 500 resources do not fit; all else does.
    more = ["--limit=3000"] if name == "many" else []
    code, body, _ = convert(recorded(name), *more)
    assert code == CASES[name]
    assert body == (GOLDEN / f"{name}.md").read_text()


def test_every_recording_has_its_case() -> None:
    assert {path.name.partition(".")[0] for path in EVENTS.iterdir()} == set(CASES)
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("create", (4, 0, 0)),
        ("update", (0, 1, 0)),
        ("replace", (1, 0, 1)),
        ("delete", (0, 0, 2)),
        ("unchanged", (0, 0, 0)),
        ("many", (502, 0, 0)),
        ("mixed", (2, 0, 5)),
    ],
)
def test_the_report_counts_a_replacement_as_create_and_delete(
    name: str, numbers: tuple[int, int, int]
) -> None:
    report = events.terraform_report(read(name))
    assert report == dict(zip(("create", "update", "delete"), numbers, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_steps_are_as_many_as_the_engine_counts(name: str) -> None:
    preview = read(name)
    counted = sum(number for kind, number in preview.counts.items() if kind != "same")
    assert len(preview.steps) == counted


@pytest.mark.parametrize("name", ["create", "secret", "mixed"])
def test_what_the_engine_masked_stays_masked(name: str, convert: Any) -> None:
    _, body, _ = convert(recorded(name))
    assert SECRET not in body
    assert NEW_SECRET not in body
    assert name == "mixed" or "[secret]" in body


def test_dangerous_steps_come_first_and_are_named() -> None:
    lines = note.render(read("mixed"), note.About("dev")).splitlines()
    assert lines[0] == "### Pulumi preview of `dev`: **3 to delete, 2 to replace**"
    marked = [line.split("**")[1] for line in lines if ":warning:" in line]
    assert marked == ["DELETE"] * 3 + ["REPLACE"] * 2


def test_a_cut_note_says_so_and_keeps_whole_resources(convert: Any) -> None:
    _, body, _ = convert(recorded("many"), "--limit=3000")
    assert len(body) <= 3000
    assert "truncated, see the job" in body
    assert body.count("+ create random:index/randomId") == body.count("byteLength")
    assert body.count("```") == 2
    _, whole, _ = convert(recorded("many"))
    assert "truncated" not in whole
    assert whole.count("+ create") == 502


def test_several_stacks_have_notes_of_their_own() -> None:
    preview = read("create")
    abouts = [
        note.About("dev"),
        note.About("prod"),
        note.About("dev", "other"),
    ]
    bodies = [note.render(preview, about) for about in abouts]
    for about, body in zip(abouts, bodies, strict=True):
        assert [other.marker in body for other in abouts].count(True) == 1
        assert about.marker in body
    assert "other: dev" in bodies[2]


def test_the_marker_does_not_change() -> None:
    """Otherwise a new version would begin a second note."""
    assert note.About("dev").marker == (
        "<!-- 6e6bcc09e26ab4836d7a9d20966f8d4df871c99a1950e9ef3468cbd05b4f7bd6 -->"
    )


def test_an_engine_that_fails_before_its_first_event_fails_the_job(convert: Any) -> None:
    code, body, report = convert(None, "--engine-exit-code=255")
    assert code == FAILED
    assert "**failed**" in body
    assert "see the job" in body
    assert report == {"create": 0, "update": 0, "delete": 0}


def test_events_without_a_summary_are_no_success(convert: Any) -> None:
    """The engine was killed: nothing says that these are all the changes."""
    cut = "\n".join(line for line in recorded("create").splitlines() if "summaryEvent" not in line)
    code, body, _ = convert(cut)
    assert code == FAILED
    assert "**failed**" in body


def test_the_streamed_form_is_read_as_well(convert: Any) -> None:
    lines = [json.loads(line) for line in recorded("replace").splitlines()]
    streamed = "".join(json.dumps({**line, "timestamp": 1}) + "\n\n" for line in lines)
    assert convert(streamed)[1] == convert(recorded("replace"))[1]


def test_colours_are_no_part_of_a_message() -> None:
    """The engine leaves its own marks in events where the log has colours."""
    message = "<{%reset%}>the <{%fg 1%}>zone<{%reset%}> is \x1b[31mmissing\x1b[0m\n"
    line = json.dumps({"diagnosticEvent": {"severity": "error", "message": message}})
    assert events.read([line]).errors == ("the zone is missing",)


def test_an_error_that_is_said_twice_is_shown_once() -> None:
    short = {"severity": "error", "message": "boom"}
    long = {"severity": "error", "message": "an unhandled error occurred: boom"}
    lines = [json.dumps({"diagnosticEvent": event}) for event in (long, short, short)]
    assert events.read(lines).errors == ("boom",)


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"resourcePreEvent": {"metadata": {}}}'])
def test_bad_events_are_named_by_their_line_alone(
    line: str, convert: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(f'{{"preludeEvent": {{}}}}\n{line}')[0] == USAGE
    shown = capsys.readouterr().err
    assert shown == "error: line 2 is not an event of the engine\n"


def test_a_value_too_short_to_mask_is_refused_without_showing_it(
    convert: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = convert(recorded("create"), "--mask-variable=PIN", PIN="x4q9")
    assert code == USAGE
    shown = capsys.readouterr().err
    assert "PIN" in shown
    assert "x4q9" not in shown


def test_values_that_are_given_and_values_with_a_secret_name_are_masked(convert: Any) -> None:
    given = {"GIVEN": "randomPassword", "SOME_TOKEN": "database"}
    _, body, _ = convert(recorded("replace"), "--mask-variable=GIVEN", **given)
    assert "randomPassword" not in body
    assert "database" not in body
    assert MASK in body


@pytest.mark.parametrize("limit", ["1999", "x", "0"])
def test_a_limit_that_is_too_small_is_refused(limit: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), "--stack=dev", f"--limit={limit}"], {})
    assert caught.value.code == USAGE
