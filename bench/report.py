"""Writes docs/benchmarks.md of the raw data: every number in it comes from there."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from bench import plan
from bench.data import MAIN, Data, Record
from bench.stats import Spread, bytes_text, ratio_text, seconds_text, spread

PARTS = (
    "pod start",
    "git clone",
    "restore cache:",
    "pull the base image",
    "steps",
    "rest of docker build",
    "push",
    "other commands",
    "save cache:",
)
_WINS, _LOSES = 1.15, 0.87
_TARGET_LIMIT, _TARGET_BASELINE, _TARGET_START = 1.2, 20.0, 3.0
_CORES = 8
"""The limit of a daemon by default."""


def parts_of(record: Record) -> dict[str, float]:
    """Return where a job's time went; the parts add up to the job's seconds.

    What the builder did side by side is scaled to the time that the build took.
    """
    seconds, phases = record["seconds"], record["phases"]
    build = seconds["build"]
    pull, steps = phases.get("pull the base image", 0.0), phases.get("steps", 0.0)
    scale = min(1.0, build / (pull + steps)) if pull + steps else 1.0
    found = {
        "pod start": seconds.get("prepare", 0.0),
        "git clone": seconds.get("get_sources", 0.0),
        "restore cache:": seconds.get("restore_cache", 0.0),
        "pull the base image": pull * scale,
        "steps": steps * scale,
        "rest of docker build": max(0.0, build - (pull + steps) * scale),
        "push": seconds["push"],
        "save cache:": seconds.get("archive_cache", 0.0),
    }
    return {**found, "other commands": max(0.0, seconds["job"] - sum(found.values()))}


def parts(data: Data, cell: plan.Cell) -> dict[str, float]:
    """Return the mean of a cell's parts; empty where it was not measured."""
    found = [parts_of(record) for record in data.builds(cell)]
    return {part: mean(one[part] for one in found) for part in PARTS} if found else {}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: Spread | None) -> str:
    if value is None:
        return "–"
    middle = seconds_text(value.median)
    if value.count == 1:
        return f"{middle} <sub>n=1</sub>"
    low, high = seconds_text(value.low), seconds_text(value.high)
    return f"**{middle}** <sub>{low}–{high}, n={value.count}</sub>"


def _seconds(data: Data, network: str, workload: str, name: str) -> str:
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
    head = ["way", *[list(plan.SITUATIONS.values())[number - 1] for number in used]]
    return _table(head, [[row[0], *[row[number] for number in used]] for row in rows])


def targets(data: Data) -> list[tuple[str, str, bool]]:
    """Return what had to be shown, what was measured, and whether that is enough."""
    network, workload = MAIN

    def cell(way: str, situation: str = "nothing") -> plan.Cell:
        return plan.Cell(network, workload, way, situation)

    found = []
    to_limit = data.ratio(cell("shared"), cell("limit"))
    if to_limit:
        title = f"shared daemon, nothing changed: within {_TARGET_LIMIT}× of the limit"
        found.append((title, ratio_text(to_limit), to_limit <= _TARGET_LIMIT))
    to_cold = data.ratio(cell("baseline"), cell("shared"))
    if to_cold:
        title = f"at least {_TARGET_BASELINE:.0f}× faster than the baseline"
        found.append((title, ratio_text(to_cold), to_cold >= _TARGET_BASELINE))
    start = data.value(cell("shared"), lambda record: record["until"]["step"])
    if start:
        title = f"a job's start to its first build step: under {_TARGET_START:.0f} s"
        text = f"{seconds_text(start.median)} s"
        found.append((title, text, start.median <= _TARGET_START))
    return found


def _targets(data: Data) -> str:
    rows = [[title, text, "yes" if good else "**no**"] for title, text, good in targets(data)]
    return _table(["wanted, workload (b), 1 Gbit/s", "measured", "reached"], rows)


def _where(data: Data) -> str:
    network, workload = MAIN
    rows = []
    for way in data.ways(network, workload):
        situation = "nothing" if way.keeps == "nothing" else "source"
        found = parts(data, plan.Cell(network, workload, way.key, situation))
        if way.fleet and found:
            values = [seconds_text(found[part]) for part in PARTS]
            rows.append([way.short, *values, seconds_text(sum(found.values()))])
    return _table(["seconds, one source line changed", *PARTS, "job"], rows)


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
        situation = "nothing" if way.keeps == "nothing" else "source"
        cell = plan.Cell(network, workload, way.key, situation)
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
                traffic(cell, "mirror", "out") if way.uses_mirror else "–",
                traffic(cell, "store", "out") if way.cached_paths else "–",
                traffic(cell, "store", "in") if way.cached_paths else "–",
                seconds_text(job + shared * is_shared),
                # The highest of all: what is short may fall between two samples.
                bytes_text(_of_pod(data, cell, "peak_bytes", "job").high),
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
    """Return where a way's jobs are faster and slower than the baseline's, with how much."""
    wins, loses = [], []
    for project in plan.WORKLOADS:
        for situation, title in plan.SITUATIONS.items():
            network = MAIN[0]
            base = plan.Cell(network, project.key, "baseline", "nothing")
            own = plan.Cell(network, project.key, way.key, situation)
            ratio = data.ratio(base, own, "job")
            if ratio is None:
                continue
            text = f"{project.title[:3]} {title} {ratio_text(ratio)}"
            if ratio >= _WINS:
                wins.append((ratio, text))
            elif ratio <= _LOSES:
                loses.append((ratio, text))
    best = [text for _, text in sorted(wins, reverse=True)]
    worst = [text for _, text in sorted(loses)]
    return "; ".join(best[:4]) or "nowhere", "; ".join(worst[:4]) or "nowhere"


_HARMS = {
    "inline": "an intermediate stage is not in it: a change in the last stage builds all others",
    "registry": "each job of a branch pushes the whole cache; a registry without clean-up fills",
    "mirror": "nothing, but it keeps no layer: the build itself is as cold as before",
    "dependencies": "the archive is fetched and packed again by each job, used or not",
    "layers": "the tar has the base image and all layers, and travels twice in each job",
    "shared": "projects that do not trust each other; one disk, one daemon to fail",
    "shared-mirror": "as the shared daemon; the mirror is one more pod and volume",
    "buildkit": "jobs that run containers (`docker run`, compose): it only builds",
}


def _verdicts(data: Data) -> str:
    rows = []
    for way in data.ways(*MAIN):
        if way.key in _HARMS:
            rows.append([f"{way.number}. {way.title}", *verdict(data, way), _HARMS[way.key]])
    lines = _table(["way", "wins (job, against 1)", "loses", "harms"], rows)
    return lines.replace("---:", "---")


def _at_once(data: Data) -> str:
    counts = sorted({record["jobs"] for record in data.of_kind("at once")})
    rows = []
    for key in ("baseline", "shared"):
        found = {record["jobs"]: record for record in data.of_kind("at once", way=key)}
        rows.append(
            [
                plan.way(key).short,
                *[
                    f"{seconds_text(found[count]['wall_seconds'])} s,"
                    f" {bytes_text(sum(found[count]['peak_bytes'].values()))}"
                    if count in found
                    else "–"
                    for count in counts
                ],
            ]
        )
    head = ["until all are done, peak memory", *[f"{n} at once" for n in counts]]
    return _table(head, rows)


def _disk(data: Data) -> str:
    rows = []
    for role, title in (("docker", "collection not in reach"), ("tight", "collection in reach")):
        for record in data.of_kind("disk", daemon=role):
            start = record["used_bytes"][0]
            rows.append(
                [
                    title,
                    bytes_text(record["builds"] * record["layer_bytes"]),
                    bytes_text(max(record["used_bytes"]) - start),
                    bytes_text(max(0, record["settled_bytes"] - start)),
                ]
            )
    builds = next((record["builds"] for record in data.of_kind("disk")), 0)
    head = [f"{builds} builds, a new layer each", "built", "most on the disk", "a minute later"]
    return _table(head, rows)


def _rested(data: Data) -> str:
    return "".join(
        f"After the collector had run where it is not in reach, a build with one source line "
        f"changed still reused {record['reused']} of {record['steps']} steps.\n\n"
        for record in data.of_kind("rested")
    )


def _fleets(data: Data) -> str:
    rows = [
        [
            str(record["fleets"]),
            str(record["resources"]),
            *[seconds_text(record["seconds"][step]) for step in ("preview", "up", "up, unchanged")],
        ]
        for record in data.of_kind("fleets")
    ]
    head = ["fleets", "resources", "preview, s", "up, s", "up with no change, s"]
    return _table(head, rows)


def scale(data: Data) -> list[list[str]]:
    """Return what one daemon needs for so many jobs an hour; by what one build was measured to.

    Of five builds four change a source line and one a dependency, each on workload (b).
    """
    network, workload = MAIN

    def cpu(situation: str) -> float:
        found = data.value(
            plan.Cell(network, workload, "shared", situation),
            lambda record: record["cpu_seconds"].get("docker", 0.0),
        )
        return found.median if found else math.nan

    def length(situation: str) -> float:
        found = data.seconds(plan.Cell(network, workload, "shared", situation))
        return found.median if found else math.nan

    core = 0.8 * cpu("source") + 0.2 * cpu("dependency")
    build = 0.8 * length("source") + 0.2 * length("dependency")
    rows = []
    for jobs in (10, 100, 1000):
        cores, busy = jobs * core / 3600, jobs * build / 3600
        peak = busy + 2 * math.sqrt(busy)
        if math.isnan(peak):
            rows.append([str(jobs), *["–"] * 5])
            continue
        cores_at_peak = peak * core / build
        daemons = math.ceil(cores_at_peak / _CORES)
        rows.append(
            [
                str(jobs),
                f"{cores:.2f}",
                f"{busy:.2f}",
                f"{peak:.1f}",
                f"{cores_at_peak:.1f}",
                str(daemons),
            ]
        )
    return rows


def _scale(data: Data) -> str:
    head = [
        "jobs an hour",
        "cores busy, mean",
        "builds at once, mean",
        "at once, 95 %",
        "cores busy, 95 %",
        f"daemons of {_CORES} cores",
    ]
    return _table(head, scale(data))


def _throughput(data: Data) -> str:
    """Return what was measured of many jobs on this machine, as a rate."""
    rates = {}
    for key in ("shared", "baseline"):
        found = data.of_kind("at once", way=key)
        rates[key] = max((one["jobs"] * 3600 / one["wall_seconds"] for one in found), default=0)
    if not all(rates.values()):
        return ""
    most = max(record["jobs"] for record in data.of_kind("at once"))
    return (
        f"Measured: with up to {most} jobs of workload (a) at once, a source line changed in each, "
        f"this machine does {_rounded(rates['shared'])} jobs an hour on one shared daemon, their "
        f"pods included, and {_rounded(rates['baseline'])} with a daemon per job.\n\n"
    )


def _rounded(rate: float) -> str:
    """Return a rate with two digits."""
    size = 10 ** max(0, int(math.log10(rate)) - 1)
    return f"{round(rate / size) * size:,}".replace(",", " ")


def _cold(data: Data) -> str:
    rows = []
    for project in plan.WORKLOADS:
        shared = data.seconds(plan.Cell("1g", project.key, "shared", "first"))
        base = data.cold("1g", project.key)
        if shared and base:
            rows.append([project.title, _text(shared), _text(base)])
    head = ["seconds of docker build", "shared daemon, its very first", "baseline"]
    return _table(head, rows)


def _restarted(data: Data) -> str:
    return "".join(
        f"A restart is no cold start. Ended and started again on its volume, as an update of the "
        f"platform does it, the daemon was ready after {seconds_text(record['restart_seconds'])} s,"
        f" and the next build, with one source line changed, took "
        f"{seconds_text(record['seconds']['build'])} s and reused {record['reused']} of "
        f"{record['steps']} steps.\n\n"
        for record in data.of_kind("restarted")
    )


def _paths(data: Data) -> str:
    """Return what each part of the way to the daemon costs."""
    texts = ""
    for record in data.of_kind("paths"):
        found = {path: spread(values) for path, values in record["seconds"].items()}
        socket, tls, service = (found[path].median for path in ("socket", "tls", "service"))
        texts += (
            f"What a daemon that is elsewhere costs, by a small build with nothing changed in the "
            f"daemon's own pod, {found['tls'].count} times: {seconds_text(socket)} s by its "
            f"socket, {seconds_text(tls)} s by TLS, each of a build's half a dozen connections "
            f"with a handshake of its own, {seconds_text(service)} s by TLS and the Service's "
            f"name.\n\n"
        )
    return texts


def _changed(data: Data) -> str:
    """Return what was changed in the package because of measurements, with both numbers."""

    def cell(way: str, situation: str) -> plan.Cell:
        return plan.Cell(*MAIN, way, situation)

    rows = []
    before = [record["seconds"]["build"] for record in data.of_kind("before")]
    now = data.seconds(cell("shared", "nothing"))
    if before and now:
        what = "jobs look up the shared daemon's name at once (`ndots`): build, nothing changed"
        rows.append([what, _text(spread(before)), _text(now)])
    inline, registry = (data.seconds(cell(way, "source")) for way in ("inline", "registry"))
    if inline and registry:
        what = (
            "`templates/docker-build` keeps all layers in the registry where the builder is a "
            "daemon of the job's own (`mode: auto`): build, a source line changed"
        )
        rows.append([what, _text(inline), _text(registry)])
    rows += [
        [
            "the rule by which dockerd collects what is old (`unused-for`, which it reads; "
            "`keepDuration` it passed over, and emptied the cache): steps reused a minute later",
            "0",
            str(record["reused"]),
        ]
        for record in data.of_kind("rested")
    ]
    table = _table(["what, in seconds where nothing else is said", "before", "now"], rows)
    if not before:
        return table
    return (
        f"{table}\nThe rows of the shared daemons and of the limit, and the jobs at once, are "
        "from a second pass after the first of these changes, on the same machine.\n"
    )


def _versions(data: Data) -> str:
    rows = [[name, value] for name, value in data.versions.items()]
    return _table(["what", "version"], rows).replace("---:", "---")


def _missing(data: Data) -> str:
    left, total = data.missing()
    if not left:
        return ""
    return (
        f"**This run was not finished**: {left} of {total} builds are missing, and shown as –.\n"
        "The same command goes on from there.\n\n"
    )


def _headline(data: Data) -> str:
    network, workload = MAIN
    base = plan.Cell(network, workload, "baseline", "nothing")
    shared = plan.Cell(network, workload, "shared", "source")
    one, other = data.seconds(base), data.seconds(shared)
    if not one or not other:
        return "What the head of this report is about was not measured."
    return (
        f"A compiled program whose dependencies take {_dependency_seconds(data)} s to build, on a "
        f"1 Gbit/s network: `docker build` takes **{seconds_text(one.median)} s** with a daemon "
        f"per job and **{seconds_text(other.median)} s** with the shared daemon after a source "
        f"line changed, **{ratio_text(one.median / other.median)}** faster."
    )


def _dependency_seconds(data: Data) -> str:
    for situation in ("dependency", "first"):
        cell = plan.Cell(*MAIN, "limit", situation)
        found = data.value(cell, lambda record: record["phases"].get("steps", 0.0))
        if found:
            return seconds_text(found.median)
    return "–"


_RULE = """How often a cell is measured follows rules (`RULES` in `bench/plan.py`): on workload (b)
at 1 Gbit/s, nothing changed and one source line changed five times by every way, the other
situations once; a way that keeps nothing does the same work in each situation, so one stands for
all; the other workloads three times in one situation and once in the rest; slower networks twice,
and only what the rate changes. `n` stands beside each number."""

_METHOD = f"""Each way has a project of its own for each workload, with its own base image,
image name and cache, so no way finds what another one left. A round goes through the pairs of
workload and way in a shuffled order, and for each through the situations in the order of the
tables; each builds on what the one before left. The first build of all is not counted: it is the
table of the cold daemon.

A job is a real pod, made from the deployed `config.toml` by the lab's stand-in for the executor;
the platform is one of its own, deployed by the real engine from the package. Times are those of the
job's trace as its lines arrive. `docker build` is from that command's line to the next one;
"job" is everything until the last stage's end, without the pod's deletion, for which nobody waits.
Reused steps are counted from the builder's own output, and a run in which a warm build reused
nothing fails. Bytes are the kernel's counters of the link of the pod with the registry and the
package index; CPU seconds and memory are of the pods' cgroups (memory without the page cache,
sampled four times a second). Links are limited by tbf both ways: of the pod outside of the
cluster, the mirror and the store alike. {_RULE}"""

_LIMITS = """- One machine: daemon, registry, jobs and Kubernetes share its cores, so a build that
  compiles is slower than on nodes of their own, for all ways alike. There is no latency, only a
  rate.
- The daemon of a job runs without TLS and its image is on the node: the baseline is faster here
  than with the official image, which makes certificates first and may be pulled first.
- The executor is a stand-in (README): it watches the pod while it starts, where the runner asks
  every three seconds (`poll_interval`). There is no queue at GitLab.
- The base images of all ways but those with the mirror are in the registry that images are
  pushed to, where their layers need no upload. A daemon that is new uploads a base image of
  another registry again with each image: the rows of the per-job mirror show what that costs.
- GitLab's `cache:` is moved by curl and zip, not by the runner's own helper.
- The jobs' images are on the node, as they are on a node that has run a job.
- The ways 2 and 3 are the recipes of GitLab's documentation, 2 with no stage of its own for the
  dependencies.
- The network has no other traffic, and the registry no other clients."""

_RECOMMENDATION = """- **Projects of one team, that trust each other**: the shared daemon. It is the
  package's first choice, and off until you ask for it, since whoever may run a job is root there.
- **Jobs that only build**: rootless BuildKit, for the same cache without privilege.
- **Projects that do not trust each other**: a zone each (`zones`), each with a daemon of its own;
  where that is too many, the registry cache with `mode=max`.
- **Base images from Docker Hub**: the mirror beside any of them. It saves pulls from outside and
  the limits on them; within one network rate it saves no time.
- **`cache:`** for what jobs use outside of `docker build`. Not for layers."""


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

{_rested(data)}BuildKit collects at most once a minute: what is built within a minute is on the disk
beside what may stay. Leave that room: the package's rules let the cache have 70 % of the volume by
default.

"""
        )
    if data.of_kind("fleets"):
        found.append(f"## Size of a stack\n\n{_fleets(data)}\n")
    return "".join(found)


def markdown(data: Data) -> str:
    """Return the report."""
    network, workload = MAIN
    name = plan.network(network).title
    others = [
        (net, project)
        for net in plan.NETWORKS
        for project in plan.WORKLOADS
        if (net.key, project.key) != MAIN and data.ways(net.key, project.key)
    ]
    more = "\n".join(
        f"### {project.title}, {net.title}\n\nSeconds of `docker build`:\n\n"
        f"{_seconds(data, net.key, project.key, 'build')}\nSeconds of the whole job:\n\n"
        f"{_seconds(data, net.key, project.key, 'job')}"
        for net, project in others
    )
    others_text = f"## Other workloads and networks\n\n{more}\n" if others else ""
    costs = "\n".join(
        f"{project.title}:\n\n{_resources(data, project.key)}"
        for project in plan.WORKLOADS
        if data.ways(network, project.key)
    )
    return f"""<!-- Made by 'make bench' of docs/benchmarks/full.json: do not edit. -->
# Benchmarks

{_missing(data)}{_headline(data)}

![seconds of docker build by way](benchmarks/readme.svg)

{_targets(data)}
`make bench` measures all of this anew on a machine of your own, in the lab; it takes about
{plan.FULL_MINUTES} minutes and goes on where it was interrupted, or where `MINUTES=40` ended it.
`make bench QUICK=1` checks in four minutes that it works. Raw data:
[full.json](benchmarks/full.json).

## Every situation

Workload (b), {name}. Seconds of `docker build`: **median**, least to greatest, repetitions.

{_seconds(data, network, workload, "build")}
![every situation](benchmarks/situations.svg)

Seconds of the whole job, from the pod's creation to the end of its last stage:

{_seconds(data, network, workload, "job")}
## Where the time goes

{_where(data)}
![where a job's time goes](benchmarks/time.svg)

What remains of a warm job is the start of its pod: the scheduler, the pod's network, and its
containers one after the other. The kubelet looks at its containers once a second, so the same start
may take a second more.

{_paths(data)}
## What it costs

{costs}
## When each wins, loses or harms

Whole jobs against the baseline, at {name}, all workloads; a difference of less than a seventh is
none.

{_verdicts(data)}
A daemon that starts on an empty volume has to build everything once; it is as slow as the baseline
then, and no slower:

{_cold(data)}
{_restarted(data)}### What follows

{_RECOMMENDATION}

## What the measurements changed

{_changed(data)}
{others_text}{_more(data)}## How far one daemon goes

{_throughput(data)}On paper, from what was measured of one build of workload (b): of five builds
four change a source line, one a dependency. Mean and 95 % of Poisson arrivals (mean + 2√mean).

{_scale(data)}
What breaks first is the CPU: builds that compile share the daemon's cores, and the time of each
grows as soon as more of them run than there are cores. Then the disk: every changed layer stays
until it is collected, and with it the warmth of the projects that are built less often. Memory is
the sum of what the builds' own steps use. The network is last: only what is new is pulled and
pushed.

Give a daemon as many cores as are busy at 95 %. Where that is more than a node has, or the cache of
a day does not fit its volume, take several:

- **`replicas`** of the daemon, where the projects may share one. Each project keeps to one daemon,
  chosen from its id by jump consistent hash, so its layers are always there: with one daemon more,
  1/2, 1/3, 1/4 and so on of the projects move to it and start cold, and no other does. A load
  balancer in front would spread a project over all of them, and each would be cold as often as not.
- A **zone** (`zones`) each, where they may not: then a project's fleet decides.

## Method

{_METHOD}

## Limits

{_LIMITS}

## Versions

{_versions(data)}"""


_SHOWN = ("baseline", "inline", "registry", "shared", "buildkit")


def summary(data: Data) -> str:
    """Return the README's table: a changed source line by the ways to choose from."""
    base = plan.Cell(*MAIN, "baseline", "nothing")
    rows = []
    for key in _SHOWN:
        cell = plan.Cell(*MAIN, key, "nothing" if key == "baseline" else "source")
        build, job = data.seconds(cell), data.seconds(cell, "job")
        faster = data.ratio(base, cell)
        if build and job and faster:
            text = "today" if key == "baseline" else ratio_text(faster)
            values = [f"{seconds_text(value.median)} s" for value in (build, job)]
            rows.append([plan.way(key).title, values[0], f"**{text}**", values[1]])
    return _table(["one source line changed", "`docker build`", "faster", "whole job"], rows)


_BLOCK = re.compile(r"(<!-- make bench -->\n).*?(<!-- end -->\n)", re.DOTALL)


def readme(data: Data, text: str) -> str:
    """Return a README with its table made anew, between the two comments."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{summary(data)}\n{found[2]}", text)


def write(data: Data, target: Path, readme_file: Path) -> None:
    """Write the report, and the README's table."""
    target.write_text(markdown(data))
    readme_file.write_text(readme(data, readme_file.read_text()))
