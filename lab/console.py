"""What the lab prints: steps with their time, and clear errors."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class LabError(Exception):
    """Something that the user has to know, and can do something about."""


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a step and, when it has ended, how long it took."""
    say(f"  {title} ...")
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    if seconds >= 1:
        say(f"  {title}: {seconds:.0f} s")


def fail(text: str) -> None:
    """Print an error."""
    print(f"error: {text}", file=sys.stderr, flush=True)
