"""Numbers of a few repetitions."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and their least and greatest."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one number.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("there is nothing to summarise")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio_text(ratio: float) -> str:
    """Return a ratio for people: 34×, 3.4×, 0.34×."""
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×" if ratio >= 1 else f"{ratio:.2f}×"


def seconds_text(value: float) -> str:
    """Return seconds with as many digits as they are good for."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bytes_text(value: float) -> str:
    """Return a number of bytes for people, in decimal units."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            number = value / size
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"
    return f"{value:.0f} B"
