"""A job's trace: lines with their time, masked values never among them."""

import time
from collections.abc import Callable, Iterable

from lab.jobs.model import Line, Variable

_MASK = "[MASKED]"


class Trace:
    """Collects a job's output."""

    def __init__(
        self, variables: Iterable[Variable], show: Callable[[str], object] | None = None
    ) -> None:
        self._start = time.monotonic()
        # The longest first: one may hold another.
        self._masked = sorted(
            {variable.value for variable in variables if variable.masked and variable.value},
            key=len,
            reverse=True,
        )
        self._show = show
        self._rest = ""
        self.lines: list[Line] = []

    @property
    def seconds(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._start

    def write(self, text: str) -> None:
        """Add output as it comes; what does not end a line waits for its end."""
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self._add(line)

    def say(self, text: str) -> None:
        """Add a line of the launcher's own."""
        self.flush()
        self._add(text)

    def flush(self) -> None:
        """Add what waits for its end: there comes no more of it."""
        if self._rest:
            self._add(self._rest)
            self._rest = ""

    def _add(self, line: str) -> None:
        line = line.rstrip("\r")
        for value in self._masked:
            line = line.replace(value, _MASK)
        self.lines.append(Line(self.seconds, line))
        if self._show:
            self._show(line)
