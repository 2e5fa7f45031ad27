"""Read the engine's events, one JSON object per line.

`pulumi preview --event-log FILE` writes the events beside its own output. The Automation API uses
this flag, and the help shows it only with PULUMI_DEBUG_COMMANDS=true. `pulumi preview --json`
writes the same lines with PULUMI_ENABLE_STREAMING_JSON_PREVIEW=true. Without that variable, it
writes a single document without policy violations, and nothing at all if the engine fails early.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The key with which the engine marks a value that JSON cannot express.
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SPECIAL = {
    "1b47061264138c4ac30d75fd1eb44270": "[secret]",
    "c44067f5952c0a294b673a41bacd8c17": "[asset]",
    "0def7320c3a5731c473e5ecbe6d01bc7": "[archive]",
    "5cf8f73096256a8f31e491e813e4eb8e": "[resource]",
    "d0e6a833031e9bbcd3f4e8bde6ca49a4": "[output]",
}
_UNKNOWN = {
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
}
_VALUE_LIMIT = 300
_STYLE = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;?]*[A-Za-z]")
_BREAK = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NO_REASON = "preview failed"
"""Error that the engine adds to the violated policies."""
_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$-]*")

_LEVELS = ("mandatory", "remediate", "advisory", "disabled")

ORDER = ("delete", "replace", "update", "create", "import", "read", "refresh")
"""The kinds of steps that the note shows, with the dangerous kinds first."""

# Of the steps of a replacement, the note shows only `replace`.
_MEANING = {"import-replacement": "replace"}


class BadEvents(Exception):
    """The events are not what the engine writes."""


@dataclass(frozen=True)
class Change:
    """One property of a resource: its path and its value before and after, as text."""

    path: str
    old: str | None
    new: str | None
    replaces: bool = False


@dataclass(frozen=True)
class Step:
    """The step of a preview for one resource."""

    kind: str
    type: str
    name: str
    changes: tuple[Change, ...] = ()
    reasons: tuple[str, ...] = ()
    retained: bool = False


@dataclass(frozen=True)
class Violation:
    """A policy that a resource or the stack violates. `level` is one of `_LEVELS`."""

    level: str
    policy: str
    resource: str
    message: str


@dataclass(frozen=True)
class Preview:
    """A preview: its steps, its problems, and the number of resources by kind of step."""

    steps: tuple[Step, ...] = ()
    errors: tuple[str, ...] = ()
    violations: tuple[Violation, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False

    @property
    def changed(self) -> bool:
        """Whether any resource would change."""
        return any(self.counts.get(kind) for kind in ORDER if kind not in {"read", "refresh"})

    @property
    def refused(self) -> bool:
        """Whether a mandatory policy is violated."""
        return any(violation.level == "mandatory" for violation in self.violations)


def terraform_report(preview: Preview) -> dict[str, int]:
    """Return the counts for GitLab's report `terraform`: a replacement is a create and a delete."""
    count = preview.counts.get
    replaced = count("replace", 0)
    return {
        "create": count("create", 0) + replaced,
        "update": count("update", 0),
        "delete": count("delete", 0) + replaced,
    }


def normal(text: str) -> str:
    """Return text with one kind of line break, and `?` for invisible characters."""
    return _CONTROL.sub("?", _BREAK.sub("\n", text))


def _plain(value: Any) -> Any:
    """Return a value for JSON, without its secret, unknown and internal parts."""
    if isinstance(value, Mapping):
        if _SIGNATURE in value:
            if value.get("secret") is True:
                return "[secret]"
            return _SPECIAL.get(str(value[_SIGNATURE]), "[special]")
        return {k: _plain(item) for k, item in value.items() if not k.startswith("__")}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return "[unknown]" if isinstance(value, str) and value in _UNKNOWN else value


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by path, in the engine's notation: `a.b[0]["c.d"]`."""
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        parts = (
            (f"{path}.{key}" if path else key, item)
            if _PLAIN_KEY.fullmatch(key)
            else (f"{path}[{json.dumps(key)}]", item)
            for key, item in value.items()
        )
    elif isinstance(value, list):
        parts = ((f"{path}[{number}]", item) for number, item in enumerate(value))
    leaves: dict[str, Any] = {}
    for name, item in parts:
        leaves.update(_leaves(item, name))
    return leaves or {path: value}


class _Reader:
    """Reads events into a preview. It masks every text before it shortens the text."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self.raw = mask

    def mask(self, text: str) -> str:
        # Mask twice: normalising may change a part of a secret, or its result may be a secret.
        return self.raw(normal(self.raw(text)))

    def text(self, value: Any) -> str:
        masked = self.tree(value)
        shown = json.dumps(masked, ensure_ascii=False)
        if isinstance(masked, str) and masked in {*_SPECIAL.values(), "[unknown]", "[special]"}:
            shown = masked
        shown = self.mask(shown)
        if len(shown) <= _VALUE_LIMIT:
            return shown
        return f"{shown[:_VALUE_LIMIT]}… ({len(shown) - _VALUE_LIMIT} more characters)"

    def tree(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.raw(value)
        if isinstance(value, Mapping):
            return {self.raw(key): self.tree(item) for key, item in value.items()}
        return [self.tree(item) for item in value] if isinstance(value, list) else value

    def changes(self, kind: str, data: Mapping[str, Any]) -> tuple[Change, ...]:
        if kind in {"delete", "read", "refresh"}:
            return ()
        states = [data.get(when) or {} for when in ("old", "new")]
        old, new = (_leaves(_plain(state.get("inputs") or {})) for state in states)
        detailed: Mapping[str, Any] = data.get("detailedDiff") or {}
        keys = set(data.get("keys") or ())
        forcing = keys | {path for path, how in detailed.items() if "replace" in _kind_of(how)}

        def forces(path: str) -> bool:
            return kind == "replace" and any(_under(path, key) for key in forcing)

        paths = [path for path in {**old, **new} if path and old.get(path) != new.get(path)]
        # The inputs do not show every change: both values of a secret look alike in them.
        seen = keys | set(detailed) | set(data.get("diffs") or ())
        hidden = [key for key in sorted(seen) if not any(_under(path, key) for path in paths)]
        return tuple(
            Change(
                self.mask(path),
                self.text(old[path]) if path in old else None,
                self.text(new[path]) if path in new else None,
                forces(path),
            )
            for path in [*paths, *hidden]
        )

    def step(self, data: Mapping[str, Any]) -> Step | None:
        kind = _MEANING.get(data["op"], data["op"])
        if kind not in ORDER:
            return None
        kind_of, name = _type_and_name(data["urn"])
        if kind_of.startswith("pulumi:providers:") and name.startswith("default"):
            return None  # the engine creates it, and does not count it
        reasons = data.get("keys") or () if kind == "replace" else ()
        return Step(
            kind,
            self.mask(data.get("type") or kind_of),
            self.mask(name),
            self.changes(kind, data),
            tuple(self.mask(str(reason)) for reason in reasons),
            bool((data.get("old") or {}).get("retainOnDelete")),
        )

    def violation(self, data: Mapping[str, Any]) -> Violation:
        urn = data.get("resourceUrn") or ""
        pack = f"{data.get('policyPackName', '')}/{data.get('policyName', '')}"
        level = data.get("enforcementLevel")
        return Violation(
            level if level in _LEVELS else "mandatory",
            self.mask(pack),
            self.mask(_type_and_name(urn)[1] if urn else ""),
            self.message(data),
        )

    def message(self, data: Mapping[str, Any]) -> str:
        return self.mask(_STYLE.sub("", str(data.get("message", ""))).strip())


def _kind_of(difference: Mapping[str, Any]) -> str:
    return str(difference.get("diffKind") or difference.get("kind") or "")


def _under(path: str, key: str) -> bool:
    """Return whether a path is a key, or is below it."""
    return path == key or path.startswith((f"{key}.", f"{key}["))


def _type_and_name(urn: str) -> tuple[str, str]:
    """Return the type and the name in `urn:pulumi:<stack>::<project>::<types>::<name>`."""
    parts = urn.split("::", 3)
    if len(parts) < 4:
        return "", urn
    return parts[2].rpartition("$")[2], parts[3]


def _sort_key(step: Step) -> tuple[Any, ...]:
    """Return a step's sort key: dangerous steps first, and `a-2` before `a-10`."""
    parts = re.split(r"(\d+)", step.name)
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return ORDER.index(step.kind), step.type, natural


def _once(messages: Iterable[str]) -> tuple[str, ...]:
    """Return the messages, except those that contain another message."""
    unique = list(dict.fromkeys(message for message in messages if message))
    return tuple(
        message
        for message in unique
        if not any(other != message and other in message for other in unique)
    )


def read(lines: Iterable[str], mask: Callable[[str], str] = str) -> Preview:
    """Return the preview that the engine's events describe.

    Args:
        lines: The events, each a JSON object. Empty lines are skipped.
        mask: Function that masks the secrets in a text.

    Raises:
        BadEvents: a line is not an event. The message has its number, never its text.
    """
    reader = _Reader(mask)
    steps: dict[str, Step] = {}
    errors: list[str] = []
    violations: list[Violation] = []
    counts: Mapping[str, int] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            if data := event.get("resourcePreEvent"):
                if step := reader.step(data["metadata"]):
                    steps[data["metadata"]["urn"] + step.kind] = step
            elif data := event.get("diagnosticEvent"):
                message = reader.message(data)
                if data.get("severity") == "error" and message != _NO_REASON:
                    errors.append(message)
            elif data := event.get("policyEvent"):
                violations.append(reader.violation(data))
            elif data := event.get("summaryEvent"):
                counts = data.get("resourceChanges") or {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise BadEvents(f"line {number} is not an event of the engine") from error
    return Preview(
        tuple(sorted(steps.values(), key=_sort_key)),
        _once(errors),
        tuple(sorted(violations, key=lambda violation: violation.level != "mandatory")),
        Counter(step.kind for step in steps.values()) if counts is None else counts,
        complete=counts is not None,
    )
