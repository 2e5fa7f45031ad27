"""Reads the times of a job's log: by command, and by the builder's own output.

The runner reads the log of a pod twice a second, so the times of its lines are too coarse for a
warm build. The script prints the time itself, between its commands.
"""

import re
from collections.abc import Mapping, Sequence

from lab.gitlab import Line

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
_CLOCK = "date +%s.%N"
_TIME = re.compile(r"\d{10}\.\d{9}")
_BUILD = re.compile(r"\$ .*docker (buildx )?build .*--progress=plain")


def _kind(command: str) -> str:
    if _BUILD.match(command):
        return "build"
    return "push" if "docker push" in command else "other"


def timed(script: Sequence[str]) -> list[str]:
    """Return a script that prints the time before, between and after its commands."""
    return [_CLOCK, *(line for command in script for line in (command, _CLOCK))]


def commands(trace: Sequence[Line]) -> dict[str, float]:
    """Return the seconds of the build, of the push, and of the script's other commands."""
    seconds = {"build": 0.0, "push": 0.0, "other": 0.0}
    kind, before = "", 0.0
    for line in trace:
        if _TIME.fullmatch(line.text):
            now = float(line.text)
            # The product's own commands come before the first time.
            if kind and before:
                seconds[kind] += now - before
            kind, before = "", now
        elif line.text.startswith("$ ") and line.text != f"$ {_CLOCK}":
            kind = _kind(line.text)
    return seconds


def pod_start(seconds: Mapping[str, float]) -> float:
    """Return the time of a pod's start, by the sections of the log in which the runner waits."""
    return seconds.get("prepare_executor", 0.0) + seconds.get("prepare_script", 0.0)


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
