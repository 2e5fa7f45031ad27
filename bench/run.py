"""The whole measurement: resumable, in rounds that are shuffled, with progress on the way."""

import itertools
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import bases, extras, measure, plan, stack
from bench.data import MAIN, Record, cell_of, has_fields
from lab import cluster
from lab.console import LabError, say

_GUESS = 20.0
_LEAST_GB = 10
"""Below this much free disk a run goes on with a new platform."""


class OutOfTime(Exception):
    """The time that was given is used up; what was measured is kept."""


class OutOfDisk(Exception):
    """Images and layers fill the disk. The next run continues, on a new platform."""


class Journal:
    """Everything that was measured, a line of JSON each; a later run goes on with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        # A line that was cut off is no record.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        self.records: list[Record] = [json.loads(line) for line in whole.splitlines()]

    def add(self, record: Record) -> None:
        """Keep a record."""
        record = {**record, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def count(self, **fields: Any) -> int:
        """Return how many records have some fields."""
        return sum(has_fields(record, fields) for record in self.records)

    def has(self, **fields: Any) -> bool:
        """Tell whether there is a record with some fields."""
        return self.count(**fields) > 0

    def done(self) -> Counter[plan.Cell]:
        """Return how often each cell was measured."""
        return Counter(cell_of(record) for record in self.records if record["kind"] == "build")


def problems(cell: plan.Cell, sample: Record) -> list[str]:
    """Return what is wrong with a build: a warm one that reused nothing is no measurement."""
    wrong = []
    if plan.must_reuse(cell) and not sample["reused"]:
        wrong.append(f"{cell.name}: reused 0 of {sample['steps']} steps; the cache does not work")
    if plan.must_reuse_all(cell) and sample["reused"] < sample["steps"]:
        wrong.append(
            f"{cell.name}: reused {sample['reused']} of {sample['steps']} steps, and nothing "
            "changed"
        )
    if plan.must_build(cell) and sample["reused"] >= sample["steps"]:
        wrong.append(f"{cell.name}: reused all {sample['steps']} steps; nothing was changed")
    if plan.must_restore(cell) and not sample["restored"]:
        wrong.append(f"{cell.name}: the job did not get its cache: from the store")
    if plan.way(cell.way).keeps == "nothing" and sample["reused"]:
        wrong.append(f"{cell.name}: reused {sample['reused']} steps, and should know of none")
    return wrong


def schedule(
    count_of: Callable[[plan.Cell], int], done: Counter[plan.Cell], ways: Sequence[plan.Way]
) -> Iterator[tuple[str, list[tuple[str, str, list[plan.Cell]]]]]:
    """Return what is still to do: network by network, round by round.

    Args:
        count_of: How often each cell is wanted.
        done: How often each was measured.
        ways: The ways that can be measured here.

    Yields:
        A network and a round: pairs of workload and way, shuffled, with their cells in the order
        of the situations.
    """
    keys = {way.key for way in ways}
    todo = {cell: count_of(cell) for cell in plan.cells() if cell.way in keys and count_of(cell)}
    for network in plan.NETWORKS:
        for number in range(max(todo.values(), default=0)):
            pairs: dict[tuple[str, str], list[plan.Cell]] = {}
            for cell, count in todo.items():
                if cell.network == network.key and done[cell] <= number < count:
                    pairs.setdefault((cell.workload, cell.way), []).append(cell)
            order = [(*pair, pairs[pair]) for pair in sorted(pairs)]
            random.Random(number).shuffle(order)
            if order:
                yield network.key, order


class Progress:
    """Says what was done, and when it will all be."""

    def __init__(self, records: Sequence[Record], total: int, deadline: float) -> None:
        self._known: dict[tuple[str, str, str], list[float]] = {}
        self._deadline = deadline
        self.total, self.count = total, 0
        for record in records:
            if record["kind"] == "build":
                self._learn(cell_of(record), record["wall_seconds"])

    def _learn(self, cell: plan.Cell, seconds: float) -> None:
        for key in ((cell.workload, cell.way, cell.situation), (cell.workload, cell.way, "")):
            self._known.setdefault(key, []).append(seconds)

    def guess(self, cell: plan.Cell) -> float:
        """Return how long a cell may take, by what the like took."""
        for key in ((cell.workload, cell.way, cell.situation), (cell.workload, cell.way, "")):
            if known := self._known.get(key):
                return sum(known) / len(known)
        return _GUESS

    def check(self) -> None:
        """Raise OutOfTime where the time is used up, OutOfDisk where the disk nearly is."""
        if time.monotonic() > self._deadline:
            raise OutOfTime
        if _free_gb() < _LEAST_GB:
            raise OutOfDisk

    def tell(self, cell: plan.Cell, sample: Record, left: Sequence[plan.Cell]) -> None:
        """Print a line about a build."""
        self._learn(cell, sample["wall_seconds"])
        self.count += 1
        minutes = sum(map(self.guess, left)) / 60
        seconds = sample["seconds"]
        say(
            f"  [{self.count}/{self.total}] {cell.name:<44} build {seconds['build']:6.2f} s,"
            f" job {seconds['job']:6.2f} s, reused {sample['reused']}/{sample['steps']}"
            f"  (about {minutes:.0f} min left)"
        )


class Run:
    """One run on the platform that is up."""

    def __init__(
        self, bench: stack.Bench, journal: Journal, deadline: float, mode: plan.Mode
    ) -> None:
        self.bench, self.journal, self.mode = bench, journal, mode
        self.wanted = partial(plan.repetitions, mode=mode)
        self.ways = [way for way in plan.WAYS if not way.needs_image or stack.has_buildkit()]
        self.bank = measure.Bank(bench, f"{int(time.time()):x}")
        left = self._left()
        self.progress = Progress(journal.records, len(left), deadline)

    def _left(self) -> list[plan.Cell]:
        done = self.journal.done()
        keys = {way.key for way in self.ways}
        return [
            cell
            for cell in plan.cells()
            if cell.way in keys
            for _ in range(self.wanted(cell) - done[cell])
        ]

    def _warm(self, cell: plan.Cell) -> measure.Project:
        """Return a cell's project, of which what a later build may find is built.

        That first build is kept, too: it is what a cold cache costs.
        """
        way = plan.way(cell.way)
        project, is_new = self.bank.project(way, plan.workload(cell.workload))
        if is_new and plan.is_warmed(way):
            self._build(replace(cell, situation="nothing"), "first")
        return project

    def _build(self, cell: plan.Cell, kind: str = "build", **more: float) -> Record:
        project = self._warm(cell)
        if kind == "build":
            self.progress.check()
        start = time.monotonic()
        sample = self.bank.build(project, cell.situation)
        sample["wall_seconds"] = round(time.monotonic() - start, 3)
        place = {"network": cell.network, "workload": cell.workload, "way": cell.way}
        situation = "first" if kind == "first" else cell.situation
        if kind == "first" and sample["reused"]:
            raise LabError(f"{cell.name}: its very first build reused {sample['reused']} steps")
        if kind != "first" and (wrong := problems(cell, sample)):
            raise LabError("\n".join(wrong))
        self.journal.add({"kind": kind, **place, "situation": situation, **sample, **more})
        if kind == "build":
            self.progress.tell(cell, sample, self._left())
        return sample

    def cells(self, networks: Sequence[str]) -> None:
        """Measure every cell of some networks that is still wanted."""
        for network, order in schedule(self.wanted, self.journal.done(), self.ways):
            if network in networks:
                self._shape(plan.network(network))
                for _, _, cells in order:
                    for cell in cells:
                        self._build(cell)

    def _shape(self, network: plan.Network) -> None:
        rates = {"outside": network.outside, "mirror": network.inside, "store": network.inside}
        for role, rate in rates.items():
            self.bench.pods[role].link.shape(rate)

    def extras(self) -> None:
        """Measure what is not about one build."""
        self._shape(plan.network("1g"))
        self._once("paths", lambda: {"seconds": extras.paths(self.bench)})
        source = plan.Cell(*MAIN, "shared", "source")
        self._once("arrivals", lambda: extras.arrivals(self.bench, self._warm(source)))
        for role, pauses in extras.DISKS.items():
            self._once("disk", partial(self._disk, source, role, pauses), daemon=role)
        if not self.journal.has(kind="restarted"):
            self._warm(source)
            seconds = extras.restart(self.bench)
            self.bench = self.bank.bench = stack.connect()
            self._build(source, "restarted", restart_seconds=seconds)
        if not self.journal.has(kind="fleets", fleets=extras.FLEETS[-1]):
            self.progress.check()
            for taken in extras.fleets():
                say(f"  {taken['fleets']} fleets: {taken['seconds']}")
                if not self.journal.has(kind="fleets", fleets=taken["fleets"]):
                    self.journal.add({"kind": "fleets", **taken})

    def _disk(self, source: plan.Cell, role: str, pauses: tuple[int, ...]) -> Record:
        """Measure how a volume grows; where the collector has run, what is warm must still be."""
        if role != "docker":
            return extras.disk(self.bench, role, pauses)
        self._warm(source)
        taken = extras.disk(self.bench, role, pauses)
        self._build(source, "rested")
        return taken

    def polls(self) -> None:
        """Measure a warm job of a runner whose executor looks at its pods each second."""
        self._shape(plan.network("1g"))
        project = self._warm(plan.Cell(*MAIN, "shared", "source"))
        for _ in range(plan.POLLS - self.journal.count(kind="poll")):
            self.progress.check()
            sample = self.bank.build(project, "source", fleet="poll")
            self.journal.add({"kind": "poll", **sample})

    def at_once(self, times: int) -> None:
        """Measure many jobs at once so many times, round by round."""
        self._shape(plan.network("1g"))
        for number, count, key in itertools.product(
            range(times), extras.AT_ONCE, ("shared", "baseline")
        ):
            if self.journal.count(kind="at once", way=key, jobs=count) <= number:
                self.progress.check()
                project = self._warm(plan.Cell("1g", "service", key, "nothing"))
                taken = extras.at_once(self.bench, project, count)
                self.journal.add({"kind": "at once", "way": key, "jobs": count, **taken})
                say(f"  {count} jobs at once, {key}: {taken['wall_seconds']:.1f} s")

    def _once(self, kind: str, measured: Callable[[], Record], **fields: str) -> None:
        """Measure something that there is no record of."""
        if not self.journal.has(kind=kind, **fields):
            self.progress.check()
            say(f"  {' '.join((kind, *fields.values()))} ...")
            self.journal.add({"kind": kind, **fields, **measured()})

    def everything(self) -> None:
        """Measure all that is wanted; the versions first."""
        self.journal.add(
            {
                "kind": "versions",
                "versions": measure.versions(self.bench),
                "ways": [way.key for way in self.ways],
            }
        )
        if self.mode != "full":
            self.cells(["1g"])
            if self.mode == "jobs":
                self.polls()
            return
        # Once of each before what takes long, so that a run that is cut short has all kinds.
        self.extras()
        self.at_once(1)
        self.cells([network.key for network in plan.NETWORKS])
        self.at_once(plan.TIMES)


def run(mode: plan.Mode, minutes: float) -> list[Record]:
    """Measure the cells that are left, until the time is used up; return all records.

    Raises:
        LabError: the lab does not run, a build failed, or a warm build reused nothing.
    """
    if not cluster.runs():
        raise LabError("the lab is not running; run 'make up' first")
    journal = Journal(journal_path(mode))
    _check_machine(plan.FULL_GB if mode == "full" and not journal.records else 2 * _LEAST_GB)
    measured = {cell.workload for cell in plan.cells() if plan.repetitions(cell, mode)}
    bases.prepare({plan.workload(key).base for key in measured})
    deadline = time.monotonic() + minutes * 60
    while True:
        with stack.platform() as bench:
            session, before = Run(bench, journal, deadline, mode), len(journal.records)
            say(f"measuring: {session.progress.total} builds")
            try:
                session.everything()
            except OutOfTime:
                say(f"  {minutes:.0f} minutes are used up: the same command goes on from here")
            except OutOfDisk:
                # The versions are one.
                if len(journal.records) <= before + 1:
                    raise LabError(f"{_free_gb():.0f} GB of disk are free: too little") from None
                say("  the disk is nearly full: it goes on with a new platform")
                continue
        return journal.records


def _free_gb() -> float:
    return shutil.disk_usage(bases.FOLDER.parent).free / 1e9


def _check_machine(needed_gb: float) -> None:
    """Refuse a machine on which a run would end midway, with every reason at once."""
    wrong = [
        f"{tool} is missing: install {package}"
        for tool, package in (("tc", "iproute2"), ("nsenter", "util-linux"))
        if shutil.which(tool) is None
    ]
    if _free_gb() < needed_gb:
        free = f"{_free_gb():.0f} GB free"
        wrong.append(f"{bases.FOLDER.parent} has {free}: {needed_gb} GB are needed")
    if wrong:
        raise LabError(
            "the benchmark cannot run here:\n" + "\n".join(f"  - {one}" for one in wrong)
        )


def journal_path(mode: plan.Mode) -> Path:
    """Return the file of a run's records."""
    return bases.FOLDER / f"{mode}.jsonl"
