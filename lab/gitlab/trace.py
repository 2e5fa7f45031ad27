"""Reads a job's log as the runner sends it: timestamps, section markers, colours."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from lab.gitlab.model import Line

# A time, a stream, and "+" where the entry goes on with the stream's line before it.
_ENTRY = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z) ([0-9a-f]{2}[OE])([ +])")
_MARKER = re.compile(rb"section_(start|end):(\d+):([^\r\[]+)(?:\[[^\]]*\])?\r\x1b\[0K")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# The runner divides a line without an end after so many bytes.
_LONG = 8000

_CACHE = re.compile(r"(Checking|Creating) cache (?:for )?(.+?)\.\.\.")
_CACHE_RESULTS = {
    "Successfully extracted cache": ("Checking", True),
    "Failed to extract cache": ("Checking", False),
    "Created cache": ("Creating", True),
    "Failed to create cache": ("Creating", False),
}
_POD = re.compile(r"Running on (\S+) via ")


@dataclass
class _Row:
    seconds: float
    data: bytearray = field(default_factory=bytearray)
    section: str = ""
    marked: bool = False

    @property
    def coloured(self) -> str:
        """The line as a terminal ends up showing it."""
        text = self.data.decode(errors="replace").replace("\x1b[0K", "")
        return next((part for part in reversed(text.split("\r")) if part), "")

    @property
    def text(self) -> str:
        """The line without colours."""
        return _COLOUR.sub("", self.coloured)


class Trace:
    """A log that is read as it grows.

    Args:
        started: The time that the lines' seconds count from.
        show: Called with each line.
    """

    def __init__(self, started: float, show: Callable[[str], object] | None = None) -> None:
        self._started = started
        self._show = show
        self._rest = b""
        self._rows: list[_Row] = []
        self._open: dict[bytes, _Row] = {}
        self._now = 0.0
        self._begins: dict[str, float] = {}
        self._cache = {"Checking": "", "Creating": ""}
        self.raw = bytearray()
        self.seconds: dict[str, float] = {}
        self.restored: dict[str, bool] = {}
        self.saved: dict[str, bool] = {}
        self.pod = ""

    def feed(self, data: bytes) -> None:
        """Add a part of the log."""
        self.raw += data
        *entries, self._rest = (self._rest + data).split(b"\n")
        for entry in entries:
            self._add(entry)

    def close(self) -> None:
        """End the log: no line goes on."""
        if self._rest:
            self._add(self._rest)
        self._rest = b""
        for stream in list(self._open):
            self._end(stream)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines, without those that hold markers alone."""
        return tuple(Line(row.seconds, row.text) for row in self._visible())

    def headed(self) -> Iterator[tuple[str, str]]:
        """Return each line with its colours, and the section that it is the heading of."""
        return ((row.coloured, row.section) for row in self._visible())

    def _visible(self) -> Iterator[_Row]:
        return (row for row in self._rows if row.text or not row.marked)

    def _add(self, entry: bytes) -> None:
        stream, appended = b"", False
        if head := _ENTRY.match(entry):
            moment = datetime.fromisoformat(head[1].decode().replace("Z", "+00:00"))
            self._now = moment.timestamp() - self._started
            stream, appended = head[2], head[3] == b"+"
            entry = entry[head.end() :]
        if not appended:
            self._end(stream)
        row = self._open.get(stream)
        if row is None:
            row = self._open[stream] = _Row(self._now)
            self._rows.append(row)
        for kind, moment_text, name in _MARKER.findall(entry):
            row.marked = True
            self._mark(kind == b"start", name.decode(), float(moment_text), bool(stream), row)
        part = _MARKER.sub(b"", entry)
        if not row.text:
            row.seconds = self._now
        row.data += part
        if b"\r" not in entry and len(entry) < _LONG:
            self._end(stream)

    def _mark(self, start: bool, name: str, moment: float, timed: bool, row: _Row) -> None:
        if not timed:
            self._now = moment - self._started
        if start:
            self._begins[name] = self._now
            row.section = name
        elif name in self._begins:
            duration = self._now - self._begins.pop(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + duration

    def _end(self, stream: bytes) -> None:
        row = self._open.pop(stream, None)
        if row is None or (row.marked and not row.text):
            return
        text = row.text
        if found := _POD.match(text):
            self.pod = self.pod or found[1]
        if found := _CACHE.match(text):
            self._cache[found[1]] = found[2]
        for message, (kind, value) in _CACHE_RESULTS.items():
            if message in text and self._cache[kind]:
                (self.restored if kind == "Checking" else self.saved)[self._cache[kind]] = value
        if self._show:
            self._show(text)
