"""What must never come out, and what must never do anything in GitLab."""

import base64
import json
import re
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from preview import events, note
from preview.__main__ import _masker
from preview.masking import MASK, MINIMUM, Masker, in_file, named_like_secrets

SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=MINIMUM, max_size=60).filter(
    lambda text: text.strip() and text not in MASK * 3
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def preview_of(texts: dict[str, Any], mask: Masker) -> events.Preview:
    """Return a preview whose every field comes from outside."""
    urn = f"urn:pulumi:dev::shop::{texts['type']}::{texts['name']}"
    state = {"inputs": {texts["key"]: texts["value"], "list": [{"deep": texts["value"]}]}}
    metadata = {"op": "replace", "urn": urn, "type": texts["type"], "keys": [texts["key"]]}
    lines = [
        {"resourcePreEvent": {"metadata": {**metadata, "old": {"inputs": {}}, "new": state}}},
        {"diagnosticEvent": {"severity": "error", "message": texts["message"]}},
        {
            "policyEvent": {
                "message": texts["message"],
                "policyName": texts["name"],
                "policyPackName": "pack",
                "enforcementLevel": "mandatory",
                "resourceUrn": urn,
            }
        },
        {"summaryEvent": {"resourceChanges": {"replace": 1}}},
    ]
    return events.read(map(json.dumps, lines), mask)


FIELDS = ("type", "name", "key", "value", "message")


@given(
    secret=SECRETS,
    before=WORDS,
    after=WORDS,
    place=st.sampled_from(FIELDS),
    limit=st.integers(note.SMALLEST_LIMIT, 4000),
)
def test_no_secret_that_was_given_ever_comes_out(
    secret: str, before: str, after: str, place: str, limit: int
) -> None:
    mask = Masker([secret])
    texts = {**dict.fromkeys(FIELDS, "plain"), place: before + secret + after}
    about = note.About("dev")
    body = note.render(preview_of(texts, mask), about, mask, failed=True, limit=limit)
    assert secret not in body.replace(about.marker, "")
    assert len(body) <= limit


@given(secret=SECRETS, other=SECRETS, words=WORDS)
def test_overlapping_secrets_are_both_taken_out(secret: str, other: str, words: str) -> None:
    masked = Masker([secret, other])(secret[:-2] + other + words + secret)
    assert secret not in masked
    assert other not in masked


@given(secret=SECRETS)
def test_a_secret_is_masked_in_other_spellings(secret: str) -> None:
    mask = Masker([secret])
    spelled = (
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
        quote(secret, safe=""),
    )
    for text in spelled:
        assert text not in mask(f"value={text};")


@given(text=WORDS, secret=SECRETS)
def test_masking_never_makes_text_longer(text: str, secret: str) -> None:
    assert len(Masker([secret])(text + secret)) <= len(text + secret)


@pytest.mark.parametrize(
    "token",
    [
        *("glpat-xxxxxxxxxxxxxxxxxxxx", "glrt-t1_xxxxxxxxxxxxxxxxxxxx", "gldt-xxxxxxxxxxxxxxxx"),
        *("glcbt-64_xxxxxxxxxxxxxxxxxxxx", "glptt-0123456789abcdef0123", "GR1348941xxxxxxxxxxxx"),
        *("AKIAIOSFODNN7EXAMPLE", "pul-" + "a1" * 20, "ghp_" + "x" * 36),
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
    ],
)
def test_tokens_are_masked_though_nobody_gave_them(token: str) -> None:
    mask = Masker()
    assert mask(f"runnerToken: {token}.") in {f"runnerToken: {MASK}.", f"runnerToken: {MASK}"}
    body = note.render(preview_of(dict.fromkeys(FIELDS, token), mask), note.About("dev"), mask)
    assert token not in body
    assert json.dumps(token)[1:-1] not in body


@pytest.mark.parametrize("text", ["glass-half-full", "globals-are-bad", "the pulumi-preview job"])
def test_ordinary_words_stay(text: str) -> None:
    assert Masker()(text) == text


def test_lines_of_a_secret_are_masked_alone() -> None:
    assert Masker(["first-line-here\nsecond-line-here\n"])("x second-line-here y") == f"x {MASK} y"


CERTIFICATE = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBadbadbad\n-----END EC PRIVATE KEY-----\n"
FILES = {
    "a kubeconfig": (
        "apiVersion: v1\nkind: Config\nusers:\n- name: ci\n  user:\n"
        "    token: abcdefghijkl\n    password: 'correct horse'\n    username: robot-of-ci\n"
        f"    client-key-data: {base64.b64encode(CERTIFICATE.encode()).decode()}\n",
        ["abcdefghijkl", "correct horse", "MHcCAQEEIBadbadbad"],
        ["robot-of-ci", "ordinary"],
    ),
    "a key of a service account": (
        json.dumps({"type": "service_account", "private_key": CERTIFICATE, "client_id": "1234567"}),
        ["MHcCAQEEIBadbadbad", base64.b64encode(CERTIFICATE.encode()).decode()],
        ["service_account"],
    ),
    "AWS credentials": (
        "[default]\naws_access_key_id=notquiteone\n"
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\nregion = eu-central-1\n",
        ["notquiteone", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"],
        ["eu-central-1", "default"],
    ),
    "a .netrc": (
        "machine git.example.com login robot password hunter2hunter2 port 1\n",
        ["hunter2hunter2"],
        ["git.example.com"],
    ),
    "a token alone": ("correct-horse-battery\n", ["correct-horse-battery"], []),
    "a token among others": (
        "https://x/?sig=Abcdefghijklmnopqrst12 0123456789abcdef0123456789abcdef\n",
        ["Abcdefghijklmnopqrst12", "0123456789abcdef0123456789abcdef"],
        ["https://x/"],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_in_the_file_of_a_variable_is_masked(name: str, tmp_path: Path) -> None:
    text, secrets, plain = FILES[name]
    path = tmp_path / "KUBECONFIG"
    path.write_text(text)
    # By its name, and where it is only asked for.
    for names, environment in (([], {"KUBECONFIG": str(path)}), (["MINE"], {"MINE": str(path)})):
        mask = _masker(names, environment)
        for secret in secrets:
            assert mask(f"x {secret} y") == f"x {MASK} y"
        for word in plain:
            assert mask(f"x {word} y") == f"x {word} y"
        assert mask(str(path)) == MASK


@pytest.mark.parametrize(
    "value", ["no-such-file", "x" * 5000, "with\0zero", "/dev/zero", "/usr/bin"]
)
def test_a_value_that_is_no_file_is_a_value(value: str) -> None:
    assert in_file(value) == []
    assert _masker(["MINE"], {"MINE": value})(value) == MASK


def test_variables_named_like_secrets_are_found() -> None:
    environment = {
        **dict.fromkeys(("DB_PASSWORD", "CI_JOB_TOKEN", "AWS_SECRET_ACCESS_KEY"), "0123456789"),
        **dict.fromkeys(("PULUMI_CONFIG_PASSPHRASE", "DEPLOY_KEY"), "0123456789"),
        **dict.fromkeys(("CI_PROJECT_PATH", "HOME", "KEYBOARD"), "not-a-secret"),
        "SHORT_TOKEN": "x",
    }
    assert named_like_secrets(environment) == ["0123456789"] * 5


@pytest.mark.parametrize(
    "hostile",
    [
        "/merge",
        "x\n/approve",
        "```\n/close\n",
        "`` ` `` @all <img src=x> </details>",
        "\n\n/assign @mallory\n\n",
        "a\r/label ~x\r\n/due tomorrow",
        "~~~\n````\n/unlock",
        "\u2028/merge",
    ],
)
@pytest.mark.parametrize("place", FIELDS)
def test_nothing_that_a_merge_request_says_is_a_command_or_markup(hostile: str, place: str) -> None:
    mask = Masker()
    texts = {**dict.fromkeys(FIELDS, "plain"), place: hostile}
    body = note.render(preview_of(texts, mask), note.About("dev"), mask, failed=True)
    assert not re.search(r"(?m)^\s*/", body)
    outside = without_code(body)
    for part in ("@", "<img", "/merge", "/approve", "/close", "/assign", "/due", "/unlock"):
        assert part not in outside
    assert outside.count("</details>") == 1


def without_code(body: str) -> str:
    """Return what is not in code, as CommonMark reads it."""
    kept, fence = [], ""
    for line in body.splitlines():
        mark = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line.rstrip() == fence else fence
        elif mark:
            fence = mark[0]
        else:
            kept.append(line)
    assert not fence, "a block of code is not closed"
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", "\n".join(kept))


def outside(body: str) -> list[str]:
    """Return what a CommonMark parser takes for more than the note's own form and code."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True})
    found = []
    for token in parser.enable(["table", "strikethrough"]).parse(body):
        if token.type == "html_block" and not OWN_HTML.fullmatch(token.content):
            found.append(token.content)
        found += [token.type] * (
            token.type in {"table_open", "code_block", "hr", "blockquote_open"}
        )
        for child in token.children or []:
            own = child.type in {"text", "softbreak", "code_inline", "strong_open", "strong_close"}
            if not own or (child.type == "text" and re.search(r"@|evil|key-----", child.content)):
                found.append(f"{child.type}: {child.content}")
    return found


OWN_HTML = re.compile(r"(<details><summary>[^<]*</summary>|</details>|<!-- [0-9a-f]{64} -->)\n*")
EVIL = "z-----END X-----` @all ![x](https://evil.example/x.png) <b>"


@pytest.mark.parametrize(
    "names",
    [
        ("-----BEGIN\nPRIVATE KEY-----", "database-production", EVIL),
        ("-----BEGIN PRIVATE KEY-----", "database-production", EVIL),
        ("-----BEGIN\r\nEC\u2028PRIVATE KEY-----", "database-production", EVIL),
        ("-----BEGIN PRIVATE\tKEY-----", "database-production", EVIL),
        ("-----BEGIN", "PRIVATE KEY-----", "database-production", EVIL),
    ],
)
def test_a_key_that_begins_in_one_text_takes_nothing_of_another(names: tuple[str, ...]) -> None:
    mask = Masker()
    urn = "urn:pulumi:dev::shop::{0}::{0}"
    lines: list[dict[str, Any]] = [
        {"resourcePreEvent": {"metadata": {"op": "delete", "urn": urn.format(name), "type": name}}}
        for name in names
    ]
    lines += [
        {"policyEvent": {"policyName": name, "message": name, "enforcementLevel": name}}
        for name in names
    ]
    lines += [{"diagnosticEvent": {"severity": "error", "message": name}} for name in names]
    lines.append({"summaryEvent": {"resourceChanges": {"delete": len(names)}}})
    about = note.About(names[0], names[-1], "https://gitlab.example.com/-/jobs/7) @all", names[1])
    body = note.render(events.read(map(json.dumps, lines), mask), about, mask)
    assert body.count("- :warning: **DELETE** ") == len(names)
    assert body.count("- **Violation**: ") == len(names)
    assert "- :warning: **DELETE** `database-production` `database-production`" in body
    assert body.count("- delete ") == len(names)
    for part in ("@all", "![x]", "<b>"):
        assert part not in without_code(body)
    assert outside(body) == []


def test_a_key_is_masked_however_its_first_line_is_broken() -> None:
    for gap in (" ", "\n", "\r\n", "\t"):
        key = f"-----BEGIN{gap}PRIVATE{gap}KEY-----\nMHcCAQEE\n-----END{gap}PRIVATE{gap}KEY-----"
        assert Masker()(f"a {key} b") == f"a {MASK} b"


def test_a_secret_is_masked_where_its_line_breaks_are_shown_as_blanks() -> None:
    mask = Masker(["one two\nthree"])
    texts = {**dict.fromkeys(FIELDS, "plain"), "name": "x one\ntwo three y"}
    assert f"`x {MASK} y`" in note.render(preview_of(texts, mask), note.About("dev"), mask)


HOSTILE = st.lists(
    st.sampled_from(
        [
            *("`", "``", "```", "````", "~~~", "\n", "\r\n", "\r", "\t", " ", "\\", "|", "*", "$"),
            *(
                "/merge",
                "@all",
                "<b>",
                "<!--",
                "-->",
                "</details>",
                "\n---\n",
                "\n>>>\n",
                "\n|-|-|\n",
            ),
            *("![x](https://evil.example/x.png)", "[x](javascript:evil)", "https://evil.example/"),
            *("-----BEGIN", "PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "-----END X-----"),
            *("\u2028", "\x0b", "\x0c", "\x85", "\x1c", "\u202e", MASK, "word"),
        ]
    ),
    max_size=8,
).map("".join)


@given(
    texts=st.fixed_dictionaries(dict.fromkeys(FIELDS, HOSTILE)),
    limit=st.sampled_from([note.SMALLEST_LIMIT, note.DEFAULT_LIMIT]),
)
def test_a_parser_finds_no_markup_but_the_note_s_own(texts: dict[str, str], limit: int) -> None:
    mask = Masker()
    body = note.render(preview_of(texts, mask), note.About("dev"), mask, failed=True, limit=limit)
    assert "**REPLACE** " in body
    assert not re.search(r"(?m)^\s*/", body)
    assert outside(body) == []


@given(texts=st.fixed_dictionaries(dict.fromkeys(FIELDS, WORDS)))
def test_any_text_stays_in_its_code(texts: dict[str, str]) -> None:
    letters = set(string.ascii_letters) | set(" \n")
    assume(all(set(text) - letters for text in texts.values()))
    mask = Masker()
    body = note.render(preview_of(texts, mask), note.About("dev"), mask, failed=True)
    assert without_code(body).count("<") <= 5  # details, summary, their ends, and the marker


@given(
    count=st.integers(0, 60),
    size=st.integers(0, 3000),
    limit=st.integers(note.SMALLEST_LIMIT, 9000),
)
def test_a_note_is_never_longer_than_its_limit(count: int, size: int, limit: int) -> None:
    steps = tuple(
        events.Step("delete", "a:b:C", f"name-{n}" + "x" * size, reasons=("y" * 20,))
        for n in range(count)
    )
    errors = tuple(f"{n} `````\n```\n" + "e\n" * size for n in range(count))
    preview = events.Preview(steps, errors, (), {"delete": count}, complete=True)
    about = note.About("dev")
    body = note.render(preview, about, failed=True, limit=limit)
    assert len(body) <= limit
    assert body.endswith(f"{about.marker}\n")
    without_code(body)
    if len(note.render(preview, about, failed=True, limit=10**7)) > limit:
        assert "truncated, see the job" in body
