"""The note of one stack for a merge request, in Markdown.

Names, values and messages from outside are in code, where GitLab ignores mentions and markup. No
line begins with a slash, because GitLab would run it as a command.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from preview.events import ORDER, Change, Preview, Step, normal

DEFAULT_LIMIT = 60_000
"""Maximum characters of a note. GitLab accepts 1,000,000, but shows long notes slowly."""

SMALLEST_LIMIT = 2_000
_LISTED = 40
_FRAME = 300
"""Characters that are reserved for the text around the changes."""
_MESSAGE_LIMIT = 2_000
_TRUNCATED = "truncated, see the job"
_SIGNS = {"delete": "-", "replace": "!", "update": "~", "create": "+", "import": "="}
_ADDRESS = re.compile(r"https?://[^\s()<>\[\]\\]+")


@dataclass(frozen=True)
class About:
    """The preview that a note is for.

    `job` is the URL of the job, and `commit` is its short SHA. Each may be empty.
    """

    stack: str
    directory: str = "."
    job: str = ""
    commit: str = ""

    @property
    def marker(self) -> str:
        """The line that identifies the note of this stack. GitLab does not show it."""
        digest = hashlib.sha256(f"{self.directory}\0{self.stack}".encode()).hexdigest()
        return f"<!-- {digest} -->"


def _code(text: str) -> str:
    """Return text as inline code, with a delimiter that the text does not contain."""
    text = re.sub(r"[\n\t]", " ", normal(text)) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _block(kind: str, lines: Iterable[str]) -> list[str]:
    """Return lines as a code block that they cannot close. No line begins with a slash."""
    inside = [re.sub(r"^(\s*)/", "\\1\u200b/", normal(line)) for line in lines]
    runs = (len(run) for line in inside for run in re.findall("`+", line))
    fence = "`" * max(3, max(runs, default=0) + 1)
    return [f"{fence}{kind}", *inside, fence]


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def summary(preview: Preview, failed: bool) -> str:
    """Return the changes in one line, with the dangerous changes first."""
    counts = preview.counts
    parts = [f"{counts[kind]} to {kind}" for kind in ORDER[:5] if counts.get(kind)]
    if counts.get("delete") or counts.get("replace"):
        dangerous = 1 + bool(counts.get("delete") and counts.get("replace"))
        parts = [f"**{', '.join(parts[:dangerous])}**", *parts[dangerous:]]
    text = ", ".join(parts) or "no changes"
    broken = []
    if preview.refused:
        mandatory = sum(v.level == "mandatory" for v in preview.violations)
        broken.append(_plural(mandatory, "policy violation"))
    if preview.errors:
        broken.append(_plural(len(preview.errors), "error"))
    if failed or broken:
        return f"**failed**{': ' + ', '.join(broken) if broken else ''}" + (
            f" ({text})" if parts else ""
        )
    return text


def _dangers(steps: Iterable[Step]) -> list[str]:
    lines = []
    for step in steps:
        if step.kind not in {"delete", "replace"}:
            continue
        line = f"- :warning: **{step.kind.upper()}** {_code(step.name)} {_code(step.type)}"
        if step.reasons:
            line += f": {', '.join(_code(reason) for reason in step.reasons)} changes"
        if step.retained:
            line += " (what it stands for is kept: `retainOnDelete`)"
        lines.append(line)
    if len(lines) > _LISTED:
        lines[_LISTED:] = [f"- :warning: … and {len(lines) - _LISTED} more: {_TRUNCATED}"]
    return lines


def _problems(preview: Preview, failed: bool) -> list[str]:
    lines: list[str] = []
    for violation in preview.violations[:_LISTED]:
        where = f" on {_code(violation.resource)}" if violation.resource else ""
        title = "Violation" if violation.level == "mandatory" else violation.level.capitalize()
        message = _short(violation.message)
        lines.append(f"- **{title}**: {_code(violation.policy)}{where}: {_code(message)}")
    if len(preview.violations) > _LISTED:
        lines.append(f"- … and {len(preview.violations) - _LISTED} more: {_TRUNCATED}")
    for message in preview.errors[:5]:
        lines += [""] * bool(lines)
        lines += _block("text", _short(message).splitlines())
    if len(preview.errors) > 5:
        lines += ["", f"… and {len(preview.errors) - 5} more errors: {_TRUNCATED}"]
    if failed and not preview.errors and not preview.refused:
        lines.append("The engine stopped before it said why here: see the job.")
    return lines


def _short(message: str) -> str:
    """Return the end of a message, because the end of a traceback says what happened."""
    if len(message) <= _MESSAGE_LIMIT:
        return message
    return f"… ({_TRUNCATED})\n{message[-_MESSAGE_LIMIT:]}"


def _change(change: Change) -> list[str]:
    why = "  # forces the replacement" if change.replaces else ""
    if change.old is None and change.new is None:
        return [f"~     {change.path}{why}"]
    lines = []
    if change.old is not None:
        lines.append(f"-     {change.path}: {change.old}")
    if change.new is not None:
        lines.append(f"+     {change.path}: {change.new}{why}")
    elif why:
        lines[-1] += why
    return lines


def _diff(step: Step) -> list[str]:
    head = f"{_SIGNS.get(step.kind, ' ')} {step.kind} {step.type} {step.name}"
    return [head, *(line for change in step.changes for line in _change(change))]


def _details(steps: tuple[Step, ...], room: int) -> list[str]:
    """Return the collapsed diff of as many whole resources as there is room for."""
    shown = [step for step in steps if step.kind in _SIGNS]
    lines: list[str] = []
    taken = 0
    for step in shown:
        # A line break in a name must not begin another line.
        part = [normal(line).replace("\n", "\\n") for line in _diff(step)]
        size = sum(len(line) + 1 for line in part)
        if size > room:
            break
        room -= size
        lines += part
        taken += 1
    if not shown:
        return []
    left = len(shown) - taken
    title = f"Changes of {_plural(len(shown), 'resource')}"
    if left:
        title += f" ({taken} shown, {left} {_TRUNCATED})"
    if not lines:
        return ["", title]
    return [
        *("", f"<details><summary>{title}</summary>", ""),
        *_block("diff", lines),
        *("", "</details>"),
    ]


def render(
    preview: Preview,
    about: About,
    mask: Callable[[str], str] = str,
    *,
    failed: bool = False,
    limit: int = DEFAULT_LIMIT,
) -> str:
    """Return the note of a stack.

    Args:
        preview: The preview, whose texts are already masked.
        about: The preview that the note is for.
        mask: Function that masks the secrets in the texts of `about`. It must not run on the whole
            note: it could remove the end of a code block, and GitLab would then act on its text.
        failed: Whether the engine failed.
        limit: Maximum number of characters, at least `SMALLEST_LIMIT`.
    """
    name = mask(normal(about.stack))
    if about.directory != ".":
        name = f"{mask(normal(about.directory))}: {name}"
    parts = [
        [f"### Pulumi preview of {_code(name)}: {summary(preview, failed)}"],
        _dangers(preview.steps),
        _problems(preview, failed),
    ]
    body = "\n\n".join("\n".join(part) for part in parts if part)
    foot = _foot(preview, mask(about.job), mask(about.commit))
    room = limit - len(foot) - len(about.marker) - _FRAME
    if len(body) > room:
        body = f"{_closed(body[:room])}\n\n… {_TRUNCATED}"
        details = []
    else:
        details = _details(preview.steps, room - len(body))
    text = "\n".join([body, *details, "", foot])
    return f"{text}\n\n{about.marker}\n"


def _foot(preview: Preview, job: str, commit: str) -> str:
    link = f"[job]({job})" if _ADDRESS.fullmatch(job) else "job"
    of = f" of {_code(commit)}" if commit else ""
    unchanged = _plural(preview.counts.get("same", 0), "resource")
    return f"The {link}{of} has the whole output. {unchanged} unchanged."


def _closed(text: str) -> str:
    """Return a cut text up to its last whole line, and close its code block."""
    lines = text.split("\n")[:-1]
    fence = ""
    for line in lines:
        if fence:
            fence = "" if line == fence else fence
        elif mark := re.match("`{3,}", line):
            fence = mark[0]
    return "\n".join([*lines, fence] if fence else lines)
