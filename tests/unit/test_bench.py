"""The benchmark's pure parts: what is planned, read from traces, and written."""

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import bases, plan, report, run, stack, stats, trace
from bench.__main__ import SIGNS, committed, signs
from bench.data import IMAGE, Data, Record
from bench.measure import Project, Sources
from bench.run import Journal, problems, schedule
from lab import cluster
from lab.console import LabError
from lab.gitlab import Line
from lab.paths import ROOT

TRACE = """$ # Wait for the shared daemon # collapsed multi-line command
$ date +%s.%N
1764250000.000000000
$ docker load --input x
$ date +%s.%N
1764250001.500000000
$ docker build --progress=plain --tag app .
#1 [internal] load build definition from Dockerfile
#1 DONE 0.1s
#2 [internal] load metadata for registry/base:12
#2 DONE 0.2s
#4 [dependencies 1/3] FROM registry/base:12@sha256:00
#4 DONE 3.0s
#5 [dependencies 2/3] COPY deps/ .
#5 CACHED
#6 [dependencies 3/3] RUN make
#6 0.3 cc
#6 DONE 9.0s
#7 exporting to image
#7 DONE 0.5s
$ date +%s.%N
1764250015.250000000
$ docker push --quiet app
$ date +%s.%N
1764250016.250000000"""
LINES = [Line(float(n), text) for n, text in enumerate(TRACE.splitlines())]


def test_commands_are_timed_by_the_clock_of_the_job() -> None:
    assert trace.commands(LINES) == {"build": 13.75, "push": 1.0, "other": 1.5}


def test_a_script_prints_the_time_around_each_command() -> None:
    clock = "date +%s.%N"
    assert trace.timed(["a", "b"]) == [clock, "a", clock, "b", clock]


def test_the_time_of_each_part_is_the_builders_own_word() -> None:
    assert trace.phases(LINES) == {
        "read the Dockerfile": 0.1,
        "ask the registry for the base image": 0.2,
        "pull the base image": 3.0,
        "steps": 9.0,
        "export the image": 0.5,
    }


def test_the_first_word_and_the_first_step_are_found() -> None:
    assert trace.until_first_step(LINES) == {"builder": 7.0, "step": 11.0}
    assert trace.until_first_step(LINES[:2]) == {}


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert stats.spread([3, 1, 10]) == stats.Spread(3, 1, 10, 3)
    with pytest.raises(ValueError, match="nothing"):
        stats.spread([])


@pytest.mark.parametrize(("value", "text"), [(33.6, "34×"), (3.44, "3.4×"), (0.5, "0.50×")])
def test_ratios_for_people(value: float, text: str) -> None:
    assert stats.ratio_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1500, "1.5 kB"), (101e6, "101 MB"), (2.5e9, "2.5 GB")]
)
def test_bytes_for_people(value: float, text: str) -> None:
    assert stats.bytes_text(value) == text


def test_every_cell_is_measured_five_times_or_more() -> None:
    assert min(rule.times for rule in (*plan.RULES, *plan.JOBS_RULES)) == 5
    left_out = {
        cell
        for cell in plan.cells()
        if cell.network == "1g"
        and cell.situation == plan.stands_for(plan.way(cell.way), cell.situation)
        and not plan.repetitions(cell)
    }
    assert {(cell.workload, cell.way) for cell in left_out} == {
        ("big", "inline"),
        ("big", "dependencies"),
        ("big", "layers"),
    }


def test_every_workload_and_network_is_measured() -> None:
    measured = {(cell.network, cell.workload) for cell in plan.cells() if plan.repetitions(cell)}
    assert {("1g", workload.key) for workload in plan.WORKLOADS} <= measured
    assert {network for network, _ in measured} == {network.key for network in plan.NETWORKS}


def test_every_rule_names_what_there_is() -> None:
    cells = set(plan.cells())
    for rule in (*plan.RULES, *plan.JOBS_RULES, *plan.QUICK_RULES):
        for way in rule.ways:
            for situation in rule.situations:
                assert plan.Cell(rule.network, rule.workload, way, situation) in cells, rule


def test_the_baseline_is_measured_wherever_another_way_is() -> None:
    for cell in plan.cells():
        if plan.repetitions(cell):
            base = "hub" if plan.way(cell.way).base_host == "mirror" else "baseline"
            if cell.way != "hub":
                compared = plan.Cell(cell.network, cell.workload, base, "nothing")
                assert plan.repetitions(compared), cell


def test_the_quick_run_measures_what_its_signs_are_of() -> None:
    quick = {cell for cell in plan.cells() if plan.repetitions(cell, "quick")}
    assert quick == {
        cell
        for slow, way, situation in SIGNS
        for cell in (slow, replace(slow, way=way, situation=situation))
    }


@pytest.mark.parametrize("workload", plan.WORKLOADS, ids=lambda workload: workload.key)
def test_a_change_reaches_the_file_that_it_is_of(workload: plan.Workload) -> None:
    one = Sources("one", "one", "one").files(workload)
    source = Sources("two", "one", "one").files(workload)
    dependency = Sources("one", "two", "one").files(workload)
    assert "Dockerfile" in one
    assert {name for name in one if one[name] != source[name]} == {workload.source_file}
    assert {name for name in one if one[name] != dependency[name]} == {workload.dependency_file}


def test_a_project_changes_what_the_situation_says() -> None:
    project = Project(plan.way("shared"), plan.workload("compiled"), "run")
    start = project.main
    assert project.change("nothing") == start
    branch = project.change("branch")
    assert branch.branch != "main"
    assert branch.source != start.source
    assert project.main == start
    assert project.change("base").base != start.base
    assert (project.main.source, project.main.dependency) == (start.source, start.dependency)


def test_two_ways_share_nothing() -> None:
    workload = plan.workload("compiled")
    projects = [Project(way, workload, f"run-{way.key}") for way in plan.WAYS]
    for what in ("tag", "image", "base"):
        assert len({getattr(project, what) for project in projects}) == len(projects)


def test_rounds_go_on_where_they_were_interrupted() -> None:
    cell = plan.Cell("1g", "compiled", "shared", "nothing")
    other = plan.Cell("1g", "compiled", "limit", "source")
    wanted = {cell: 3, other: 1}

    def left(done: Counter[plan.Cell]) -> list[plan.Cell]:
        rounds = schedule(lambda one: wanted.get(one, 0), done, plan.WAYS)
        return [one for _, order in rounds for _, _, cells in order for one in cells]

    assert Counter(left(Counter())) == Counter({cell: 3, other: 1})
    assert left(Counter({cell: 2, other: 1})) == [cell]
    assert left(Counter({cell: 3, other: 1})) == []


def test_a_way_that_cannot_run_here_is_left_out() -> None:
    ways = [way for way in plan.WAYS if not way.needs_image]
    rounds = schedule(plan.repetitions, Counter(), ways)
    assert "buildkit" not in {way for _, order in rounds for _, way, _ in order}


def test_the_journal_remembers(tmp_path: Any) -> None:
    path = tmp_path / "run.jsonl"
    place = {"network": "1g", "workload": "big", "way": "shared", "situation": "base"}
    Journal(path).add({"kind": "build", **place})
    again = Journal(path)
    assert again.done() == Counter({plan.Cell(**place): 1})
    assert again.has(kind="build", way="shared")
    assert not again.has(kind="disk")
    path.write_text(f'{path.read_text()}{{"kind": "dis')
    assert len(Journal(path).records) == 1
    Journal(path).add({"kind": "disk"})
    assert Journal(path).count(kind="disk") == 1


@pytest.fixture
def of_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Record]]:
    """Let each platform measure the next of some lists of records, and then be out of disk."""
    todo: list[list[Record]] = []

    class Session:
        """In place of what measures on the lab."""

        def __init__(self, bench: Any, journal: Journal, deadline: float, mode: str) -> None:
            self.progress = SimpleNamespace(total=len(todo))
            self._journal = journal

        def everything(self) -> None:
            self._journal.add({"kind": "versions", "versions": {}, "ways": []})
            for record in todo.pop(0):
                self._journal.add(record)
            if todo:
                raise run.OutOfDisk

    monkeypatch.setattr(run, "Run", Session)
    monkeypatch.setattr(run, "journal_path", lambda mode: tmp_path / "run.jsonl")
    monkeypatch.setattr(run, "_free_gb", lambda: 50.0)
    monkeypatch.setattr(cluster, "runs", lambda: True)
    monkeypatch.setattr(bases, "prepare", lambda keys: None)
    monkeypatch.setattr(stack, "platform", nullcontext)
    return todo


def test_a_run_goes_on_with_a_new_platform_where_the_disk_is_full(
    of_full_disk: list[list[Record]],
) -> None:
    of_full_disk += [[{"kind": "paths"}], [{"kind": "disk"}, {"kind": "rested"}], []]
    kinds = [record["kind"] for record in run.run("full", minutes=1)]
    assert kinds == ["versions", "paths", "versions", "disk", "rested", "versions"]


def test_a_disk_that_is_too_small_for_anything_is_said(of_full_disk: list[list[Record]]) -> None:
    of_full_disk += [[], []]
    with pytest.raises(LabError, match="50 GB of disk are free: too little"):
        run.run("full", minutes=1)


def test_a_machine_without_the_tools_or_the_disk_is_refused(
    of_full_disk: list[list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_free_gb", lambda: 3.0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError) as raised:
        run.run("full", minutes=1)
    for text in ("tc is missing: install iproute2", "nsenter is missing", "3 GB free: 40 GB"):
        assert text in str(raised.value)


def test_a_warm_build_that_reused_nothing_is_a_failure() -> None:
    sample = {"reused": 0, "steps": 8, "restored": False}
    warm = plan.Cell("1g", "compiled", "shared", "source")
    (text,) = problems(warm, sample)
    assert "reused 0 of 8" in text
    assert problems(warm, {**sample, "reused": 3}) == []
    cached = plan.Cell("1g", "compiled", "dependencies", "nothing")
    assert "did not get its cache" in problems(cached, sample)[0]
    cold = plan.Cell("1g", "compiled", "baseline", "nothing")
    assert problems(cold, sample) == []
    assert "should know of none" in problems(cold, {**sample, "reused": 1})[0]


def record(way: str, situation: str, build: float, **more: Any) -> dict[str, Any]:
    return {
        "kind": "build",
        "network": "1g",
        "workload": "compiled",
        "way": way,
        "situation": situation,
        "seconds": {
            "job": build + 4,
            "prepare_executor": 2.0,
            "get_sources": 0.5,
            "build": build,
            "push": 1.0,
            "other": 0.0,
        },
        "until": {"builder": 2.6, "step": 2.8},
        "phases": {"pull the base image": build, "steps": build},
        "bytes": {"outside": {"out": 1_000_000, "in": 2_000}},
        "cpu_seconds": {"job": 1.0, "docker": 0.36},
        "peak_bytes": {"job": 50_000_000, "docker": 100_000_000},
        "steps": 8,
        "reused": 8,
        **more,
    }


DISK = {
    "kind": "disk",
    "daemon": "tight",
    "builds": 50,
    "layer_bytes": 16_000_000,
    "used_bytes": [[0, 100_000_000], [50, 700_000_000], [50, 400_000_000]],
}
RECORDS = [
    {"kind": "versions", "versions": {"docker": "28"}, "ways": []},
    *(record("baseline", "nothing", value) for value in (39.0, 40.0, 42.0)),
    record("limit", "nothing", 1.0),
    record("limit", "source", 1.2, phases={"steps": 0.5}),
    record("limit", "dependency", 24.0, phases={"steps": 24.5}),
    record("shared", "nothing", 1.1),
    record("shared", "source", 2.0),
    record("shared", "dependency", 25.0),
    record("layers", "source", 80.0),
    record("registry", "nothing", 10.0),
    record("shared", "source", 2.1, kind="restarted", restart_seconds=12.3),
    record("inline", "source", 38.0),
    record("registry", "source", 11.0),
    {
        "kind": "arrivals",
        "an_hour": 1000,
        "seconds": 240,
        "wall_seconds": 10.0,
        "cpu_seconds": {"docker": 10.0, "job": 5.0, "outside": 9.0},
        "jobs": [
            {"situation": situation, "build": build, "job": build + 2}
            for situation, build in (("source", 2.0), ("source", 4.0), ("dependency", 30.0))
        ],
    },
    {"kind": "paths", "seconds": {"socket": [0.2, 0.2], "tls": [0.25], "service": [0.3]}},
    *(
        {
            "kind": "at once",
            "way": way,
            "jobs": jobs,
            "wall_seconds": seconds,
            "peak_bytes": {"job": 5_000_000},
        }
        for way, jobs, seconds in (
            ("shared", 1, 5.0),
            ("shared", 4, 7.0),
            ("shared", 4, 9.0),
            ("shared", 4, 8.0),
            ("baseline", 4, 45.0),
        )
    ),
    DISK,
    {
        "kind": "fleets",
        "fleets": 5,
        "resources": 61,
        "seconds": {"preview": 3.0, "up": 20.0, "up, unchanged": 9.0},
    },
]


def markdown(records: Sequence[Record], jobs: Sequence[Record] | None = None) -> str:
    return report.markdown(Data(records), Data(jobs or records))


def test_the_report_is_made_of_the_data() -> None:
    text = markdown(RECORDS)
    assert "| 1. docker daemon per job, no cache | **41.0** <sub>40.0–43.0, n=3</sub> |" in text
    assert "whose dependencies take 24.0 s to build" in text
    assert "take **41.0 s** with a daemon per job and **3.00 s** with the shared daemon" in text
    assert "**14×** faster; the whole job 44.0 s and 6.00 s, **7.3×**" in text
    assert "| 6. shared daemon | 8 of 8 | 8 of 8 | 8 of 8 | – | – |" in text
    assert "| limit reached | 800 MB | 600 MB | 300 MB |" in text
    assert "| 5 (5 more) | 61 | 3.00 | 20.0 | – | 9.00 |" in text
    assert "| docker | 28 |" in text
    assert "was ready after 12.3 s, and the next build" in text
    assert "0.200 s over the daemon's socket. TLS adds 0.050 s" in text
    assert "| one source line changed | 2 | 2.00 <sub>n=1</sub> | **3.00** " in text
    assert "Daemon and jobs had 1.5 cores of it, and 3.6 builds ran at once on average" in text
    of_four = "**8.00** <sub>7.00–9.00, n=3</sub>, 5.0 MB"
    assert f"| shared daemon | 5.00 <sub>n=1</sub>, 5.0 MB | {of_four} |" in text
    assert "| per job | – | 45.0 <sub>n=1</sub>, 5.0 MB |" in text
    assert "Medians of 1–3 jobs." in text


def test_the_targets_are_judged_by_the_numbers() -> None:
    found = {title: (text, good) for title, text, good in report.targets(Data(RECORDS))}
    (limit, is_near), (cold, is_faster), (start, is_soon) = found.values()
    assert limit.startswith("1.10× (1.10 <sub>n=1</sub> s against 1.00 ")
    assert (cold, start.partition(" ")[0]) == ("20× (whole job 8.6×)", "2.80")
    # 41 / 2.1 is a little less than 20.
    assert (is_near, is_faster, is_soon) == (True, False, True)
    slow = [*RECORDS, *(record("shared", "nothing", 9.0) for _ in range(3))]
    assert [good for _, _, good in report.targets(Data(slow))] == [False, False, True]


def test_what_loses_is_said() -> None:
    wins, loses = report.verdict(Data(RECORDS), plan.way("layers"))
    assert wins == "nowhere"
    assert loses == "(b) source 0.52×"
    wins, loses = report.verdict(Data(RECORDS), plan.way("shared"))
    assert wins == "(b) nothing 8.6×; (b) source 7.3×; (b) dependency 1.5×"
    assert loses == "nowhere"


def test_the_parts_of_a_job_add_up_to_the_job() -> None:
    found = report.parts_of(record("shared", "source", 10.0))
    assert set(found) == set(report.PARTS)
    assert sum(found.values()) == pytest.approx(14.0)
    assert found["steps, layers found"] == found["pull the base image"] == 5.0
    assert found["other commands"] == pytest.approx(0.5)


def test_the_load_of_a_daemon_grows_with_the_jobs() -> None:
    rows = report.scale(Data(RECORDS))
    # A build takes 0.8 * 2 + 0.2 * 25 = 6.6 seconds.
    assert [row[2] for row in rows] == ["0.02", "0.18", "1.83"]
    # At 95 % there are no more than 4 builds, with 0.36 / 6.6 of a core each; 1,002 kB a job.
    assert rows[2][3:] == ["4", "0.2 of 8", "2.23", "–"]
    full = {**DISK, "daemon": "docker", "used_bytes": [[0, 0], [50, 850_000_000]]}
    assert report.scale(Data([*RECORDS, full]))[2][-1] == "17 GB, collected after 4 h"


@pytest.mark.parametrize(("mean", "most"), [(0.01, 0), (0.06, 1), (1.0, 3), (10.0, 15)])
def test_most_at_once_is_the_quantile_of_poisson(mean: float, most: int) -> None:
    assert report.quantile(mean) == most


def test_a_mirrors_jobs_are_compared_with_those_of_a_hub() -> None:
    more = [record("mirror", "nothing", 40.0), record("hub", "nothing", 84.0)]
    assert report.verdict(Data([*RECORDS, *more]), plan.way("mirror")) == (
        "(b) nothing 2.0×",
        "nowhere",
    )


STAGES = {"prepare_executor": 0.1, "prepare_script": 3.2, "step_script": 1.5, "queued": 1.1}


def of_the_runner(one: Record) -> Record:
    return {**one, "seconds": {**one["seconds"], **STAGES}}


JOBS = [
    {"kind": "versions", "versions": {"GitLab Runner": "19.4.0", "cpu": "2 x a"}, "ways": []},
    *(of_the_runner(one) for one in RECORDS if one["kind"] == "build"),
    *(of_the_runner(record("shared", "source", 1.0, kind="poll")) for _ in range(2)),
]


def test_a_run_of_the_runner_says_so_and_has_the_stages_of_a_warm_job() -> None:
    text = markdown(RECORDS, JOBS)
    assert "GitLab Runner 19.4.0 ran the jobs. 2 cores, a 1 Gbit/s network" in text
    assert "| shared daemon | 0.10 | 3.20 | 0.50 | 1.50 | 0.00 | 6.00 | 1.10 | 1 |" in text
    assert "`poll_interval = 1` | 0.10 | 3.20 | 0.50 | 1.50 | 0.00 | 5.00 | 1.10 | 2 |" in text
    assert "`poll_interval = 1` | **2.80** <sub>2.80–2.80, n=2</sub> s | yes |" in text


def test_a_run_without_the_runner_is_not_taken_for_one_with_it() -> None:
    mixed = markdown(RECORDS, JOBS)
    assert "Compare its figures only with each other." in mixed
    assert "earlier stand-in" not in markdown(JOBS, JOBS)


def test_signs_are_judged() -> None:
    assert signs(Data(RECORDS)) == []
    worse = [one for one in RECORDS if one.get("way") != "registry"]
    assert signs(Data(worse)) == [
        "registry against baseline, nothing: was not measured",
        "shared against registry, nothing: was not measured",
        "limit against registry, nothing: was not measured",
    ]
    slow = [*worse, record("registry", "nothing", 50.0)]
    assert signs(Data(slow)) == ["registry against baseline, nothing: is not faster (0.80×)"]


def test_an_unfinished_run_says_so() -> None:
    left, total = Data(RECORDS).missing()
    assert 0 < left < total
    assert f"{left} of {total} builds are missing" in markdown(RECORDS)
    whole = [
        record(cell.way, cell.situation, 1.0, network=cell.network, workload=cell.workload)
        for cell in plan.cells()
        for _ in range(plan.repetitions(cell))
    ]
    assert Data(whole).missing() == (0, total)
    assert Data(whole).missing("jobs")[0] == 0
    assert Data(whole).missing_kinds("jobs") == ["poll"]
    kinds = [one for one in RECORDS if one["kind"] != "build"]
    rested = record("shared", "source", 2.0, kind="rested")
    assert "Not measured: rested." in markdown([*whole, *kinds])
    jobs = [*whole, *(record("shared", "source", 1.0, kind="poll") for _ in range(2))]
    assert "not finished" not in markdown([*whole, *kinds, rested], jobs)


def test_the_committed_report_is_made_of_the_committed_data() -> None:
    full, jobs = committed("full"), committed("jobs")
    assert (ROOT / "docs/benchmarks.md").read_text() == report.markdown(full, jobs)
    readme = (ROOT / "README.md").read_text()
    assert report.summary(jobs) in readme
    assert report.readme(jobs, readme) == readme


def test_every_committed_cell_was_measured_five_times_or_more() -> None:
    data = committed("full")
    counts = {cell: len(data.builds(cell)) for cell in plan.cells()}
    assert {cell for cell, count in counts.items() if 0 < count < plan.TIMES} == set()
    assert data.missing()[0] == 0
    assert data.missing_kinds() == []


def test_what_reused_too_little_is_no_measurement() -> None:
    cell = plan.Cell("1g", "compiled", "shared", "nothing")
    assert problems(cell, {"reused": 8, "steps": 8, "restored": False}) == []
    assert problems(cell, {"reused": 1, "steps": 8, "restored": False}) == [
        "1g/compiled/shared/nothing: reused 1 of 8 steps, and nothing changed"
    ]


def test_the_conclusions_are_true_of_the_committed_data() -> None:
    data = committed("full")

    def faster(
        slow: str, fast: str, workload: str, situation: str, name: str = "job"
    ) -> float | None:
        cell = plan.Cell("1g", workload, slow, plan.stands_for(plan.way(slow), situation))
        return data.ratio(cell, replace(cell, way=fast, situation=situation), name)

    places = [(workload.key, key) for workload in plan.WORKLOADS for key in plan.SITUATIONS]
    # Layers in `cache:` lose to a registry cache everywhere.
    lost = [ratio for place in places if (ratio := faster("layers", "registry", *place))]
    assert len(lost) >= 11
    assert min(lost) > 1
    # The mirror saves nothing beside a daemon per job at 1 Gbit/s, and does on a slow way out.
    saved = [ratio for place in places if (ratio := faster("hub", "mirror", *place))]
    assert max(saved) < 1.15
    slow = plan.Cell("uplink", "big", "hub", "nothing")
    assert (data.ratio(slow, replace(slow, way="mirror"), "job") or 0) > 1.15
    # The shared daemon and BuildKit never lose; what their jobs take is alike.
    for way in ("shared", "buildkit"):
        kept = [ratio for place in places if (ratio := faster("baseline", way, *place))]
        assert min(kept) > 0.87
    alike = [ratio for place in places if (ratio := faster("shared", "buildkit", *place))]
    assert 0.8 < min(alike) < max(alike) < 1.25
    # BuildKit's builds are as fast or faster, but where a big base image changed.
    slower = {
        place
        for place in places
        if (ratio := faster("shared", "buildkit", *place, IMAGE)) and ratio < 0.99
    }
    assert slower == {("big", "base")}
