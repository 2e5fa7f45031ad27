"""Writes docs/benchmarks.md and the README's table: every number comes from the raw data."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from string import Template

from bench import plan
from bench.data import IMAGE, MAIN, Data, Record
from bench.stats import Spread, bytes_text, ratio_text, seconds_text, spread

PARTS = (
    "pod start",
    "git clone",
    "restore cache:",
    "pull the base image",
    "steps, layers found",
    "rest of docker build",
    "push",
    "other commands",
    "save cache:",
)
_RUNNER = "GitLab Runner"
"""The version of a run whose jobs the runner itself ran."""
_STAGES = (
    "prepare_executor",
    "prepare_script",
    "get_sources",
    "step_script",
    "cleanup_file_variables",
)
_SIDE_BY_SIDE = ("pull the base image", "steps")
_TEXT = Path(__file__).with_name("report.md")
_WINS, _LOSES = 1.15, 0.87
_MEASURABLE = 0.005
"""Below this many seconds a difference says nothing."""
_TARGET_LIMIT, _TARGET_BASELINE, _TARGET_START = 1.2, 20.0, 3.0
_CORES, _VOLUME_GIB, _CACHE_PERCENT = 8, 100, 70
"""A daemon by default: its limit of CPU, its volume, and the part of it that layers may have."""


def parts_of(record: Record) -> dict[str, float]:
    """Return where a job's time went; the parts add up to the job's seconds.

    What the builder did side by side is scaled to the time that the build had for it.
    """
    seconds, phases = record["seconds"], record["phases"]
    build = seconds["build"]
    pull, steps = (phases.get(name, 0.0) for name in _SIDE_BY_SIDE)
    alone = sum(taken for name, taken in phases.items() if name not in _SIDE_BY_SIDE)
    scale = min(1.0, max(0.0, build - alone) / (pull + steps)) if pull + steps else 1.0
    found = {
        # The runner's log has the wait for the pod in the second of these sections.
        "pod start": sum(seconds.get(name, 0.0) for name in ("prepare_executor", "prepare_script")),
        "git clone": seconds.get("get_sources", 0.0),
        "restore cache:": seconds.get("restore_cache", 0.0),
        "pull the base image": pull * scale,
        # The builder counts the fetching of a layer that it found as the layer's step.
        "steps, layers found": steps * scale,
        "rest of docker build": max(0.0, build - (pull + steps) * scale),
        "push": seconds["push"],
        "save cache:": seconds.get("archive_cache", 0.0),
    }
    return {**found, "other commands": max(0.0, seconds["job"] - sum(found.values()))}


def parts(data: Data, cell: plan.Cell) -> dict[str, float]:
    """Return the mean of a cell's parts; empty where it was not measured."""
    found = [parts_of(record) for record in data.builds(cell)]
    return {part: mean(one[part] for one in found) for part in PARTS} if found else {}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "---:") -> str:
    lines = [head, ["---", *[align] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: Spread | None) -> str:
    """Return a spread for a table: the median in bold where it is one of several."""
    if value is None:
        return "–"
    middle = seconds_text(value.median)
    if value.count == 1:
        return f"{middle} <sub>n=1</sub>"
    low, high = seconds_text(value.low), seconds_text(value.high)
    return f"**{middle}** <sub>{low}–{high}, n={value.count}</sub>"


def _seconds(data: Data, network: str, workload: str, name: str, title: str) -> str:
    rows = []
    for way in data.ways(network, workload):
        cells = [plan.Cell(network, workload, way.key, key) for key in plan.SITUATIONS]
        values = [data.seconds(cell, name) for cell in cells]
        rows.append([f"{way.number}. {way.title}", *map(_text, values)])
    used = [
        number
        for number in range(1, len(plan.SITUATIONS) + 1)
        if any(row[number] != "–" for row in rows)
    ]
    head = [f"{title}, s", *[list(plan.SITUATIONS.values())[number - 1] for number in used]]
    return _table(head, [[row[0], *[row[number] for number in used]] for row in rows])


def _main(way: str, situation: str = "nothing") -> plan.Cell:
    return plan.Cell(*MAIN, way, situation)


def targets(jobs: Data) -> list[tuple[str, str, bool]]:
    """Return each target, the measured value, and whether it is reached."""
    found = []
    # Without the push, which the limit does not have.
    shared, limit = (jobs.seconds(_main(way), "build") for way in ("shared", "limit"))
    near = jobs.ratio(_main("shared"), _main("limit"), "build")
    if shared and limit and near:
        title = (
            f"shared daemon, nothing changed, `docker build`: within {_TARGET_LIMIT}× of the limit"
        )
        text = f"{near:.2f}× ({_text(shared)} s against {_text(limit)} s)"
        found.append((title, text, near <= _TARGET_LIMIT))
    faster = jobs.ratio(_main("baseline"), _main("shared"))
    whole = jobs.ratio(_main("baseline"), _main("shared"), "job")
    if faster and whole:
        title = f"nothing changed: at least {_TARGET_BASELINE:.0f}× faster than the baseline"
        text = f"{ratio_text(faster)} (whole job {ratio_text(whole)})"
        found.append((title, text, faster >= _TARGET_BASELINE))
    title = f"from a runner's taking a job to its first build step: under {_TARGET_START:.0f} s"
    start = jobs.value(_main("shared"), _until_step)
    if start:
        found.append((title, f"{_text(start)} s", start.median <= _TARGET_START))
    if polls := jobs.of_kind("poll"):
        start = spread([_until_step(record) for record in polls])
        text = f"{_text(start)} s"
        found.append((f"{title}, `poll_interval = 1`", text, start.median <= _TARGET_START))
    return found


def _until_step(record: Record) -> float:
    return float(record["until"]["step"])


def _targets(jobs: Data) -> str:
    rows = [[title, text, "yes" if good else "**no**"] for title, text, good in targets(jobs)]
    return _table(["target, workload (b), 1 Gbit/s", "measured", "reached"], rows)


def _stages(jobs: Data) -> str:
    """Return the stages of a warm job, which are the sections of its log."""
    rows = []
    for title, records in (
        ("shared daemon", jobs.builds(_main("shared", "source"))),
        ("shared daemon, `poll_interval = 1`", jobs.of_kind("poll")),
        ("shared BuildKit", jobs.builds(_main("buildkit", "source"))),
    ):
        if records and "queued" in records[0]["seconds"]:
            values = [
                spread([record["seconds"].get(stage, 0.0) for record in records])
                for stage in (*_STAGES, "job", "queued")
            ]
            rows.append(
                [title, *[seconds_text(value.median) for value in values], str(len(records))]
            )
    head = ["median seconds, one source line changed", *[f"`{stage}`" for stage in _STAGES]]
    return _table([*head, "whole job", "queued before", "n"], rows)


def _executor(data: Data) -> str:
    """Return the difference of a run whose jobs GitLab Runner did not start."""
    if _RUNNER in data.versions:
        return ""
    return (
        "**An earlier stand-in for the runner's executor started the jobs of this run, on another "
        "machine.** Compare its figures only with each other.\n\n"
    )


def _where(data: Data) -> str:
    rows = []
    for way in data.ways(*MAIN):
        found = parts(data, plan.source_cell(*MAIN, way))
        if way.fleet and found:
            values = [seconds_text(found[part]) for part in PARTS]
            rows.append([way.short, *values, seconds_text(sum(found.values()))])
    return _table(["mean seconds, one source line changed", *PARTS, "job"], rows)


def _of_pod(data: Data, cell: plan.Cell, of: str, role: str, field: str = "") -> Spread:
    """Return the spread of what a cell's builds have of a pod; nothing where there is none."""

    def value(record: Record) -> float:
        found = record[of].get(role, {} if field else 0)
        return float(found.get(field, 0) if field else found)

    return data.value(cell, value) or Spread(0, 0, 0, 0)


def _resources(data: Data, workload: str) -> str:
    network = MAIN[0]
    rows = []

    def traffic(cell: plan.Cell, role: str, direction: str) -> str:
        return bytes_text(_of_pod(data, cell, "bytes", role, direction).median)

    for way in data.ways(network, workload):
        cell = plan.source_cell(network, workload, way)
        if not data.builds(cell):
            continue
        daemon = "buildkit" if way.fleet == "buildkit" else "docker"
        is_shared = way.fleet != "dind"
        job, shared = (_of_pod(data, cell, "cpu_seconds", role).median for role in ("job", daemon))
        rows.append(
            [
                way.short,
                traffic(cell, "outside", "out"),
                traffic(cell, "outside", "in"),
                traffic(cell, "mirror", "out") if _is_of_hub(way) else "–",
                traffic(cell, "store", "out") if way.cached_paths else "–",
                traffic(cell, "store", "in") if way.cached_paths else "–",
                seconds_text(job + shared * is_shared),
                # The highest of all: what is short may fall between two samples.
                bytes_text(_of_pod(data, cell, "peak_bytes", "job").high) if way.fleet else "–",
                bytes_text(_of_pod(data, cell, "peak_bytes", daemon).high) if is_shared else "–",
            ]
        )
    head = [
        "one build, one source line changed",
        "pulled from outside",
        "pushed to outside",
        "from the mirror",
        "from the store",
        "to the store",
        "CPU s",
        "peak memory, job",
        "peak memory, daemon",
    ]
    return _table(head, rows)


def verdict(data: Data, way: plan.Way) -> tuple[str, str]:
    """Return where a way's jobs are faster and slower than the baseline's, with how much.

    A way with a mirror is compared with the baseline whose base images are not in the registry
    that images are pushed to either.
    """
    cold = "hub" if _is_of_hub(way) else "baseline"
    wins, loses = [], []
    for network, project in _PLACES:
        for situation in plan.SITUATIONS:
            base = plan.Cell(network.key, project.key, cold, "nothing")
            own = replace(base, way=way.key, situation=situation)
            ratio = data.ratio(base, own, "job")
            if ratio is None:
                continue
            where = "" if network.key == MAIN[0] else f", {network.short}"
            text = f"{project.title[:3]} {situation}{where} {ratio_text(ratio)}"
            if ratio >= _WINS:
                wins.append((ratio, text))
            elif ratio <= _LOSES:
                loses.append((ratio, text))
    best = [text for _, text in sorted(wins, reverse=True)]
    worst = [text for _, text in sorted(loses)]
    return "; ".join(best) or "nowhere", "; ".join(worst) or "nowhere"


def _is_of_hub(way: plan.Way) -> bool:
    return way.base_host == "mirror"


_PLACES = [(network, project) for network in plan.NETWORKS for project in plan.WORKLOADS]

_HARMS = {
    "inline": "the cache has no intermediate stage: a change in the last stage builds all others",
    "registry": "each branch's tag with layers stays in the registry until you remove it",
    "mirror": "it keeps no layers: builds stay cold, and each image's base is uploaded",
    "dependencies": "the kept files stay those of the old base image when that changes, "
    "unless its name is part of the cache key",
    "layers": "the tar has the base image and all layers, and each job moves it twice",
    "shared": "not for projects that do not trust each other; one disk and one daemon can fail",
    "shared-mirror": "as the shared daemon; the mirror is one more pod and volume",
    "buildkit": "not for jobs that run containers (`docker run`, compose): it only builds",
}


def _verdicts(data: Data) -> str:
    rows = []
    for way in data.ways(*MAIN):
        if way.key in _HARMS:
            best, worst = verdict(data, way)
            against = "against 1 with base images from another registry: " * _is_of_hub(way)
            title = f"{way.number}. {way.title}"
            rows.append([title, f"{against}{best}", worst, _HARMS[way.key]])
    return _table(["way", "wins (job, against 1)", "loses", "harms"], rows, "---")


def _at_once(data: Data) -> str:
    ways = {key: data.at_once(key) for key in ("baseline", "shared")}
    counts = sorted({count for found in ways.values() for count in found})
    rows = []
    for key, found in ways.items():
        roles = ("job", "docker") if key == "shared" else ("job",)
        texts = []
        for count in counts:
            records = found.get(count, [])
            walls = [record["wall_seconds"] for record in records]
            peaks = [sum(record["peak_bytes"].get(role, 0) for role in roles) for record in records]
            peak = f", {bytes_text(max(peaks))}" if peaks else ""
            texts.append(f"{_text(spread(walls) if walls else None)}{peak}")
        rows.append([plan.way(key).short, *texts])
    head = ["seconds until all jobs have ended, peak memory", *[f"{n} at once" for n in counts]]
    return _table(head, rows)


def grown(record: Record) -> list[tuple[int, float]]:
    """Return how much more is on a daemon's volume than at the start, by how many builds."""
    start = record["used_bytes"][0][1]
    return [(builds, used - start) for builds, used in record["used_bytes"]]


def _disk(data: Data) -> str:
    rows = []
    for role, title in (("docker", "limit not reached"), ("tight", "limit reached")):
        for record in data.of_kind("disk", daemon=role):
            more = [size for _, size in grown(record)]
            rows.append(
                [
                    title,
                    bytes_text(record["builds"] * record["layer_bytes"]),
                    bytes_text(max(more)),
                    bytes_text(max(0.0, more[-1])),
                ]
            )
    builds = next((record["builds"] for record in data.of_kind("disk")), 0)
    head = [f"{builds} builds, a new layer each", "built", "largest growth", "growth at the end"]
    return _table(head, rows)


def _rested(data: Data) -> str:
    return "".join(
        f"After a run of the collector below its limit, a build with one source line changed "
        f"still reused {record['reused']} of {record['steps']} steps.\n\n"
        for record in data.of_kind("rested")
    )


def _fleets(data: Data) -> str:
    steps = ("preview", "up", "preview, unchanged", "up, unchanged")
    rows, before = [], 0
    for record in data.of_kind("fleets"):
        more = record["fleets"] - before
        before = record["fleets"]
        seconds = record["seconds"]
        rows.append(
            [
                f"{before} ({more} more)",
                str(record["resources"]),
                *[seconds_text(seconds[step]) if step in seconds else "–" for step in steps],
            ]
        )
    return _table(["fleets", "resources", *[f"{step}, s" for step in steps]], rows)


def quantile(mean_count: float, share: float = 0.95) -> int:
    """Return how many at once are not exceeded for a share of the time, of Poisson arrivals."""
    count, term = 0, math.exp(-mean_count)
    total = term
    while total < share:
        count += 1
        term *= mean_count / count
        total += term
    return count


def _layer_growth(data: Data) -> float:
    """Return the bytes that a build with a new layer adds to a volume."""
    for record in data.of_kind("disk", daemon="docker"):
        return max(size for _, size in grown(record)) / float(record["builds"])
    return math.nan


def _mixed(data: Data, of: Callable[[Record], float]) -> float:
    """Return the mean of five builds: four of a source line, one of a dependency."""
    found = [data.value(_main("shared", key), of) for key in ("source", "dependency")]
    source, dependency = (one.median if one else math.nan for one in found)
    return 0.8 * source + 0.2 * dependency


def _seconds_of_build(record: Record) -> float:
    return float(record["seconds"]["build"])


def scale(data: Data) -> list[list[str]]:
    """Return what one daemon needs for so many jobs an hour; by what one build was measured to.

    Of five builds four change a source line and one a dependency, each on workload (b).
    """
    core = _mixed(data, lambda record: record["cpu_seconds"].get("docker", 0.0))
    build = _mixed(data, _seconds_of_build)
    link = _mixed(data, lambda record: float(sum(record["bytes"].get("outside", {}).values())))
    room = _VOLUME_GIB * 2**30 * _CACHE_PERCENT / 100
    rows = []
    for jobs in (10, 100, 1000):
        cores, busy = jobs * core / 3600, jobs * build / 3600
        if math.isnan(busy):
            rows.append([str(jobs), *["–"] * 6])
            continue
        peak = quantile(busy)
        at_peak = max(peak * core / build, cores)
        grows = jobs * _layer_growth(data)
        rows.append(
            [
                str(jobs),
                f"{cores:.2f}",
                f"{busy:.2f}",
                str(peak),
                f"{at_peak:.1f} of {_CORES}",
                f"{jobs * link * 8 / 3600 / 1e6:.2f}",
                "–"
                if math.isnan(grows)
                else f"{bytes_text(grows)}, collected after {room / grows:.0f} h",
            ]
        )
    return rows


def _scale(data: Data) -> str:
    growth = _layer_growth(data)
    layer = "" if math.isnan(growth) else f" with {bytes_text(growth)} of new layers each"
    head = [
        "jobs an hour",
        "cores busy, mean",
        "builds at once, mean",
        "at once, 95 %",
        "cores busy, 95 %",
        "Mbit/s, mean",
        f"disk an hour{layer}",
    ]
    return _table(head, scale(data))


def _arrivals(data: Data) -> str:
    """Return what a build takes where jobs come at random, beside what it takes alone."""
    texts = ""
    for record in data.of_kind("arrivals"):
        rows = []
        for situation in ("source", "dependency"):
            jobs = [job for job in record["jobs"] if job["situation"] == situation]
            alone = [data.seconds(_main("shared", situation), name) for name in ("build", "job")]
            rows.append(
                [
                    plan.SITUATIONS[situation],
                    str(len(jobs)),
                    _text(alone[0]),
                    _text(spread([job["build"] for job in jobs])),
                    _text(alone[1]),
                    _text(spread([job["job"] for job in jobs])),
                ]
            )
        head = ["seconds", "jobs", "build, alone", "build", "whole job, alone", "whole job"]
        cores = sum(record["cpu_seconds"].get(role, 0.0) for role in ("docker", "job"))
        paper = record["an_hour"] * _mixed(data, _seconds_of_build) / 3600
        texts += (
            f"The first table is measured: jobs of workload (b) come at random to one shared "
            f"daemon, {record['an_hour']} an hour for {record['seconds'] / 60:.0f} minutes. The "
            f"same machine also runs their pods, the registry and Kubernetes. Daemon and jobs had "
            f"{cores / record['wall_seconds']:.1f} cores of it, and "
            f"{sum(job['build'] for job in record['jobs']) / record['wall_seconds']:.1f} builds "
            f"ran at once on average. If no build slowed another down, it would be {paper:.1f}."
            f"\n\n{_table(head, rows)}\n"
        )
    return texts


def _cold(data: Data) -> str:
    rows, slower = [], False
    for project in plan.WORKLOADS:
        shared = data.seconds(plan.Cell("1g", project.key, "shared", "first"))
        base = data.cold("1g", project.key)
        if shared and base:
            slower = slower or shared.median > base.median / _LOSES
            rows.append([project.title, _text(shared), _text(base)])
    if not rows:
        return ""
    how = "slower than" if slower else "no slower than"
    head = ["seconds for an image", "shared daemon, first build", "baseline"]
    return (
        "A daemon that starts on an empty volume builds everything once. It is then "
        f"{how} the baseline:\n\n{_table(head, rows)}\n"
    )


def _restarted(data: Data) -> str:
    return "".join(
        f"A restart keeps the cache. The benchmark ended the daemon and started it again on its "
        f"volume, as an update of the platform does. The daemon was ready after "
        f"{seconds_text(record['restart_seconds'])} s, and the next build, with one source line "
        f"changed, took {seconds_text(record['seconds']['build'])} s and reused "
        f"{record['reused']} of {record['steps']} steps.\n\n"
        for record in data.of_kind("restarted")
    )


def _paths(data: Data) -> str:
    """Return what each part of the way to the daemon costs."""
    texts = ""
    for record in data.of_kind("paths"):
        found = {path: spread(values) for path, values in record["seconds"].items()}
        socket, tls, service = (found[path].median for path in ("socket", "tls", "service"))
        texts += (
            f"This is what the connection to the daemon costs. A small build with nothing changed "
            f"ran in the daemon's own pod, {found['tls'].count} times by each connection in turn: "
            f"{socket:.3f} s over the daemon's socket. TLS adds {_more_seconds(tls - socket)}: a "
            f"handshake for each of a build's several connections. The Service's name adds "
            f"{_more_seconds(service - tls)}. A job's build takes longer because of its pod: it "
            f"calls `docker` for the first time, and its output goes through the runner.\n\n"
        )
    return texts


def _more_seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if abs(seconds) >= _MEASURABLE else "nothing measurable"


def _reused(data: Data) -> str:
    """Return how many of a build's steps were reused."""
    rows = []
    for way in data.ways(*MAIN):
        texts = []
        for situation in plan.SITUATIONS:
            found = data.builds(_main(way.key, situation))
            seen = sorted({record["reused"] for record in found})
            of = max((record["steps"] for record in found), default=0)
            texts.append(
                f"{'–'.join(map(str, dict.fromkeys((seen[0], seen[-1]))))} of {of}" if seen else "–"
            )
        rows.append([f"{way.number}. {way.title}", *texts])
    return _table(["steps reused", *plan.SITUATIONS.values()], rows)


def _versions(data: Data) -> str:
    """Return what was measured with: of each the versions of all sittings."""
    listed = [record["versions"] for record in data.of_kind("versions")]
    rows = []
    for name in dict.fromkeys(name for one in listed for name in one):
        seen = dict.fromkeys(one.get(name, "not noted") for one in listed)
        rows.append([name, "; ".join(seen)])
    return _table(["what", "version"], rows, "---")


def _missing(data: Data, mode: plan.Mode) -> str:
    left, total = data.missing(mode)
    kinds = data.missing_kinds(mode)
    if not left and not kinds:
        return ""
    more = f" Not measured: {', '.join(kinds)}." if kinds else ""
    missing = f"{left} of {total} builds are missing.{more}" if left else more.strip()
    return f"**This run was not finished**: {missing}\n\n"


def _headline(jobs: Data) -> str:
    base, shared = _main("baseline"), _main("shared", "source")
    one, other = jobs.seconds(base), jobs.seconds(shared)
    whole = jobs.seconds(base, "job"), jobs.seconds(shared, "job")
    if not one or not other or not whole[0] or not whole[1]:
        return "The shared daemon or the baseline was not measured."
    return (
        f"A compiled program whose dependencies take {_dependency_seconds(jobs)} s to build, on a "
        f"1 Gbit/s network, after a source line changed: `docker build` and push take "
        f"**{seconds_text(one.median)} s** with a daemon per job and "
        f"**{seconds_text(other.median)} s** with the shared daemon, "
        f"**{ratio_text(one.median / other.median)}** faster; the whole job "
        f"{seconds_text(whole[0].median)} s and {seconds_text(whole[1].median)} s, "
        f"**{ratio_text(whole[0].median / whole[1].median)}**."
    )


def _dependency_seconds(data: Data) -> str:
    """Return the time of the steps that a change of a dependency adds to a build."""
    steps = [
        data.value(_main("limit", key), lambda record: record["phases"].get("steps", 0.0))
        for key in ("dependency", "source")
    ]
    return seconds_text(steps[0].median - steps[1].median) if steps[0] and steps[1] else "–"


def _more(data: Data) -> str:
    """Return the sections of what is not about one build, where they were measured."""
    found = []
    if data.of_kind("at once"):
        found.append(
            f"""## Many jobs at once

{_at_once(data)}
![many jobs at once](benchmarks/at-once.svg)

"""
        )
    if data.of_kind("disk"):
        found.append(
            f"""## Growth of the disk

{_disk(data)}
![growth of the disk](benchmarks/disk.svg)

{_rested(data)}BuildKit collects at most once a minute. Until then, the layers of new builds are on
the disk in addition to the layers that may stay. Leave room for them: the package lets the cache
have {_CACHE_PERCENT} % of the volume by default.

"""
        )
    if data.of_kind("fleets"):
        found.append(
            f"## Size of a stack\n\nThe benchmark adds fleets to one stack.\n\n{_fleets(data)}\n"
        )
    return "".join(found)


def markdown(data: Data, jobs: Data) -> str:
    """Return the report.

    Args:
        data: The full run.
        jobs: The run of the README's table.
    """
    network, workload = MAIN
    name = plan.network(network).title
    others = [
        (net, project)
        for net, project in _PLACES
        if (net.key, project.key) != MAIN and data.ways(net.key, project.key)
    ]
    more = "\n".join(
        f"### {project.title}, {net.title}\n\n"
        f"{_seconds(data, net.key, project.key, IMAGE, 'build and push')}\n"
        f"{_seconds(data, net.key, project.key, 'job', 'whole job')}"
        for net, project in others
    )
    others_text = f"## Other workloads and networks\n\n{more}\n" if others else ""
    costs = "\n".join(
        f"{project.title}:\n\n{_resources(data, project.key)}"
        for project in plan.WORKLOADS
        if data.ways(network, project.key)
    )
    return Template(_TEXT.read_text()).substitute(
        headline=_headline(jobs),
        unfinished=_missing(jobs, "jobs"),
        summary=summary(jobs),
        targets=_targets(jobs),
        stages=_stages(jobs),
        jobs_versions=_versions(jobs),
        missing=_missing(data, "full"),
        executor=_executor(data),
        paths=_paths(data),
        disk=plan.FULL_GB,
        hours=f"{plan.MINUTES['full'] / 60:g}",
        minutes=plan.MINUTES["jobs"],
        quick=plan.MINUTES["quick"],
        name=name,
        images=_seconds(data, network, workload, IMAGE, "`docker build` and push"),
        jobs=_seconds(data, network, workload, "job", "whole job"),
        reused=_reused(data),
        where=_where(data),
        costs=costs,
        verdicts=_verdicts(data),
        cold=_cold(data),
        restarted=_restarted(data),
        others_text=others_text,
        more=_more(data),
        arrivals=_arrivals(data),
        cores=_CORES,
        volume=_VOLUME_GIB,
        percent=_CACHE_PERCENT,
        scale=_scale(data),
        times=plan.TIMES,
        versions=_versions(data),
    )


_SHOWN = ("baseline", "inline", "registry", "shared", "buildkit")


def summary(data: Data) -> str:
    """Return the README's table: one source line changed, by way."""
    base = _main("baseline")
    cells = {key: plan.source_cell(*MAIN, plan.way(key)) for key in _SHOWN}
    rows = []
    for key, cell in cells.items():
        texts = []
        for name in (IMAGE, "job"):
            value, faster = data.seconds(cell, name), data.ratio(base, cell, name)
            if value and faster:
                strong = "**" * (faster >= _WINS)
                texts += [
                    f"{seconds_text(value.median)} s",
                    "1×" if key == "baseline" else f"{strong}{ratio_text(faster)}{strong}",
                ]
        if texts:
            rows.append([plan.way(key).title, *texts])
    head = ["one source line changed", "build and push", "faster", "whole job", "faster"]
    counts = sorted({len(data.builds(cell)) for cell in cells.values()} - {0})
    runner = (
        f"{_RUNNER} {data.versions[_RUNNER]} ran the jobs. " if _RUNNER in data.versions else ""
    )
    about = (
        f"{runner}{data.versions.get('cpu', '–').split()[0]} cores, a "
        f"{plan.network(MAIN[0]).title} network, a program in two stages whose dependencies take "
        f"{_dependency_seconds(data)} s to build. Each job has a fresh pod and a fresh clone. "
        f"Medians of {'–'.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} jobs."
    )
    return f"{about}\n\n{_table(head, rows)}"


_BLOCK = re.compile(r"(<!-- make bench -->\n).*?(<!-- end -->\n)", re.DOTALL)


def readme(data: Data, text: str) -> str:
    """Return a README with its table made anew, between the two comments."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{summary(data)}\n{found[2]}", text)
