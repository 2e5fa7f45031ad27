"""Asks the raw data: by cell, by phase, by resource. Nothing here measures or draws."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import plan
from bench.stats import Spread, spread

Record = dict[str, Any]
MAIN = ("1g", "compiled")
"""The network and workload that the head of the report is about."""


class Data:
    """The records of one run."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        listed = [record for record in self.records if record["kind"] == "versions"]
        self.versions: dict[str, str] = listed[-1]["versions"] if listed else {}

    @classmethod
    def read(cls, path: Path) -> "Data":
        """Read a file of raw data."""
        return cls(json.loads(path.read_text())["records"])

    def builds(self, cell: plan.Cell) -> list[Record]:
        """Return the records of a cell; the situation `first` is the first build of all."""
        kind = "first" if cell.situation == "first" else "build"
        return [
            record
            for record in self.records
            if record["kind"] == kind
            and (record["network"], record["workload"], record["way"], record["situation"])
            == (cell.network, cell.workload, cell.way, cell.situation)
        ]

    def value(self, cell: plan.Cell, of: Callable[[Record], float]) -> Spread | None:
        """Return the spread of something over a cell's repetitions; None where it has none."""
        found = [of(record) for record in self.builds(cell)]
        return spread(found) if found else None

    def seconds(self, cell: plan.Cell, name: str = "build") -> Spread | None:
        """Return the spread of a duration: `build`, `job`, `push`, or a stage's name."""
        return self.value(cell, lambda record: record["seconds"].get(name, 0.0))

    def cold(self, network: str, workload: str) -> Spread | None:
        """Return the baseline's seconds of `docker build`, which are so in any situation."""
        return self.seconds(plan.Cell(network, workload, "baseline", "nothing"))

    def ratio(self, of: plan.Cell, to: plan.Cell, name: str = "build") -> float | None:
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

    def missing(self) -> tuple[int, int]:
        """Return how many builds of the full run were not measured, and how many it has."""
        wanted = {cell: plan.repetitions(cell) for cell in plan.cells()}
        left = [max(0, times - len(self.builds(cell))) for cell, times in wanted.items() if times]
        return sum(left), sum(wanted.values())

    def of_kind(self, kind: str, **fields: Any) -> list[Record]:
        """Return the records of a kind, with some fields."""
        return [
            record
            for record in self.records
            if record["kind"] == kind
            and all(record.get(key) == value for key, value in fields.items())
        ]
