"""Asks the raw data: by cell, by phase, by resource. Nothing here measures or draws."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plan
from bench.stats import Spread, spread

Record = dict[str, Any]
MAIN = ("1g", "compiled")
"""The network and workload that the head of the report is about."""

KINDS: dict[plan.Mode, tuple[str, ...]] = {
    "full": ("paths", "arrivals", "disk", "rested", "restarted", "fleets", "at once"),
    "jobs": ("poll",),
    "quick": (),
}
"""The kinds of records of a run beside single builds."""
IMAGE = "image"
"""The name of what an image takes: `docker build` and the push, which some ways do in one."""


def cell_of(record: Record) -> plan.Cell:
    """Return the cell of a record of a build."""
    return plan.Cell(record["network"], record["workload"], record["way"], record["situation"])


def has_fields(record: Record, fields: Mapping[str, Any]) -> bool:
    """Tell whether a record has some fields."""
    return all(record.get(key) == value for key, value in fields.items())


def seconds_of(record: Record, name: str) -> float:
    """Return a duration of a build: one that was measured, or the sum IMAGE."""
    seconds = record["seconds"]
    parts = ("build", "push") if name == IMAGE else (name,)
    return float(sum(seconds.get(part, 0.0) for part in parts))


class Data:
    """The records of one run."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        self._builds: dict[plan.Cell, list[Record]] = {}
        for record in self.records:
            if record["kind"] in {"build", "first"}:
                self._builds.setdefault(cell_of(record), []).append(record)
        listed = [record for record in self.records if record["kind"] == "versions"]
        self.versions: dict[str, str] = listed[-1]["versions"] if listed else {}
        self.measurable: list[str] = listed[-1]["ways"] if listed else []
        """The ways that could be measured on the machine."""

    @classmethod
    def read(cls, path: Path) -> "Data":
        """Read a file of raw data."""
        return cls(json.loads(path.read_text())["records"])

    def builds(self, cell: plan.Cell) -> list[Record]:
        """Return the records of a cell; the situation `first` is the first build of all."""
        return self._builds.get(cell, [])

    def value(self, cell: plan.Cell, of: Callable[[Record], float]) -> Spread | None:
        """Return the spread of something over a cell's repetitions; None where it has none."""
        found = [of(record) for record in self.builds(cell)]
        return spread(found) if found else None

    def seconds(self, cell: plan.Cell, name: str = IMAGE) -> Spread | None:
        """Return the spread of a duration: `build`, `job`, `push`, a stage's name, or IMAGE."""
        return self.value(cell, lambda record: seconds_of(record, name))

    def cold(self, network: str, workload: str) -> Spread | None:
        """Return the baseline's seconds for an image, which are so in any situation."""
        return self.seconds(plan.Cell(network, workload, "baseline", "nothing"))

    def ratio(self, of: plan.Cell, to: plan.Cell, name: str = IMAGE) -> float | None:
        """Return how many times longer one cell takes than another, by their medians."""
        one, other = self.seconds(of, name), self.seconds(to, name)
        return one.median / other.median if one and other and other.median else None

    def ways(self, network: str, workload: str) -> list[plan.Way]:
        """Return the ways that have any number on a workload."""
        seen = {
            record["way"]
            for record in self.records
            if record["kind"] == "build"
            and (record["network"], record["workload"]) == (network, workload)
        }
        return [way for way in plan.WAYS if way.key in seen]

    def missing(self, mode: plan.Mode = "full") -> tuple[int, int]:
        """Return how many builds of a run were not measured, and how many it has."""
        wanted = {
            cell: plan.repetitions(cell, mode)
            for cell in plan.cells()
            if not self.measurable or cell.way in self.measurable
        }
        left = [max(0, times - len(self.builds(cell))) for cell, times in wanted.items() if times]
        return sum(left), sum(wanted.values())

    def missing_kinds(self, mode: plan.Mode = "full") -> list[str]:
        """Return the other kinds of records of a run that were not measured."""
        return [kind for kind in KINDS[mode] if not self.of_kind(kind)]

    def at_once(self, way: str) -> dict[int, list[Record]]:
        """Return the records of jobs at once on a way, by how many jobs there were."""
        found: dict[int, list[Record]] = {}
        for record in self.of_kind("at once", way=way):
            found.setdefault(record["jobs"], []).append(record)
        return dict(sorted(found.items()))

    def of_kind(self, kind: str, **fields: Any) -> list[Record]:
        """Return the records of a kind, with some fields."""
        return [
            record
            for record in self.records
            if record["kind"] == kind and has_fields(record, fields)
        ]
