"""What a job's trace tells of its time: by command, and by what the builder did."""

import re
from collections.abc import Sequence
from itertools import pairwise

from lab.jobs.model import Line

_VERTEX = re.compile(r"#(\d+) (.+)")
_DONE = re.compile(r"#(\d+) (?:DONE ([0-9.]+)s|CACHED)")
_STEP = re.compile(r"#\d+ \[(?!internal)[^\]]*\d+/\d+\] ")
_PHASES = (
    (re.compile(r"\[internal\] load build definition"), "read the Dockerfile"),
    (re.compile(r"\[internal\] load metadata"), "ask the registry for the base image"),
    (re.compile(r"\[internal\] load (build context|\.dockerignore)"), "send the context"),
    (re.compile(r"\[[^\]]*\] FROM"), "pull the base image"),
    (re.compile(r"(importing|inferred) cache"), "read the cache's manifest"),
    (re.compile(r"exporting cache"), "export the cache"),
    (re.compile(r"exporting to"), "export the image"),
    (re.compile(r"\[(?!internal)[^\]]*\d+/\d+\]"), "steps"),
)
_BUILD = re.compile(r"\$ .*docker (buildx )?build .*--progress=plain")


def _kind(command: str) -> str:
    if _BUILD.match(command):
        return "build"
    return "push" if "docker push" in command else "other"


def commands(trace: Sequence[Line]) -> dict[str, float]:
    """Return the seconds of the build, of pushing, and of the script's other commands."""
    shown = [line for line in trace if line.text.startswith("$ ")]
    seconds = {"build": 0.0, "push": 0.0, "other": 0.0}
    for line, following in pairwise(shown):
        seconds[_kind(line.text)] += following.seconds - line.seconds
    return seconds


def until_first_step(trace: Sequence[Line]) -> dict[str, float]:
    """Return the seconds from the job's start to the builder's first word and its first step."""

    def first(pattern: str | re.Pattern[str]) -> float | None:
        return next((line.seconds for line in trace if re.match(pattern, line.text)), None)

    found = {"builder": first(r"#\d+ "), "step": first(_STEP)}
    return {name: value for name, value in found.items() if value is not None}


def phases(trace: Sequence[Line]) -> dict[str, float]:
    """Return the seconds that the builder itself says each part of a build took.

    Parts run side by side, so that their sum may be more than the build's time.
    """
    names: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for line in trace:
        if done := _DONE.match(line.text):
            if done[2] and (name := names.get(done[1])):
                seconds[name] = seconds.get(name, 0.0) + float(done[2])
        elif vertex := _VERTEX.match(line.text):
            if vertex[1] in names:
                continue
            kind = next((title for pattern, title in _PHASES if pattern.match(vertex[2])), None)
            if kind:
                names[vertex[1]] = kind
    return seconds
