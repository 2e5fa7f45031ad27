"""What is measured: ways, workloads, situations, networks, and how often each.

Everything here is data. A cell is one way on one workload in one situation on one network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WORKLOADS_FOLDER = Path(__file__).parent / "workloads"

Keeps = Literal["nothing", "dependencies", "final stage", "all layers"]


@dataclass(frozen=True)
class Way:
    """A way to build images.

    `fleet` names the bench's runner whose jobs build so; it is empty where no job does. `keeps`
    is what a later job can find of an earlier one. `base_host` is where base images are: in the
    registry that images are pushed to, in another one, or in another one behind the mirror.
    """

    key: str
    title: str
    short: str
    fleet: str
    keeps: Keeps
    script: tuple[str, ...]
    number: int
    base_host: Literal["registry", "hub", "mirror"] = "registry"
    daemon_arguments: tuple[str, ...] = ()
    cached_paths: tuple[str, ...] = ()
    needs_image: str = ""


@dataclass(frozen=True)
class Workload:
    """A project: `bench/workloads/<key>`; a change writes a new text into one of two files."""

    key: str
    title: str
    base: str
    source_file: str
    dependency_file: str
    comment: str

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return WORKLOADS_FOLDER / self.key


@dataclass(frozen=True)
class Network:
    """Rates in Mbit/s: outside of the cluster (registry, index), and inside (mirror, store)."""

    key: str
    title: str
    short: str
    outside: int
    inside: int


@dataclass(frozen=True)
class Cell:
    """What one number is about."""

    network: str
    workload: str
    way: str
    situation: str

    @property
    def name(self) -> str:
        """Its name in the raw data and on the terminal."""
        return f"{self.network}/{self.workload}/{self.way}/{self.situation}"


_BUILD = (
    "docker build --progress=plain --build-arg BASE=$BASE --build-arg INDEX=$INDEX"
    " --tag $IMAGE:$CI_COMMIT_REF_SLUG"
)
_PUSH = "docker push --quiet $IMAGE:$CI_COMMIT_REF_SLUG"
_INLINE = "--build-arg BUILDKIT_INLINE_CACHE=1"
_STAGE = f"{_BUILD.replace('--progress=plain', '--quiet')} --target dependencies --tag stage"
_CERTIFICATES = ",".join(
    f"{option}=$BUILDKIT_CERT_PATH/{file}.pem"
    for option, file in (("cacert", "ca"), ("cert", "cert"), ("key", "key"))
)

WAYS = (
    Way(
        "baseline",
        "docker daemon per job, no cache",
        "per job",
        "dind",
        "nothing",
        (f"{_BUILD} .", _PUSH),
        1,
    ),
    Way(
        "hub",
        "docker daemon per job, no cache, base images from another registry",
        "per job, base from a hub",
        "dind",
        "nothing",
        (f"{_BUILD} .", _PUSH),
        1,
        base_host="hub",
    ),
    Way(
        "inline",
        "per job, `--cache-from` with an inline cache",
        "per job, inline cache",
        "dind",
        "final stage",
        (
            f"{_BUILD} {_INLINE} --cache-from $IMAGE:$CI_COMMIT_REF_SLUG"
            " --cache-from $IMAGE:$CI_DEFAULT_BRANCH .",
            _PUSH,
        ),
        2,
    ),
    Way(
        "registry",
        "per job, registry cache with `mode=max`",
        "per job, registry cache",
        "dind",
        "all layers",
        (
            f"{_BUILD} --push"
            " --cache-from type=registry,ref=$IMAGE:cache-$CI_COMMIT_REF_SLUG"
            " --cache-from type=registry,ref=$IMAGE:cache-$CI_DEFAULT_BRANCH"
            " --cache-to type=registry,ref=$IMAGE:cache-$CI_COMMIT_REF_SLUG,mode=max .",
        ),
        3,
        # The docker driver exports a cache only from this store.
        daemon_arguments=("--feature=containerd-snapshotter=true",),
    ),
    Way(
        "mirror",
        "per job, registry mirror",
        "per job, mirror",
        "dind",
        "nothing",
        (f"{_BUILD} .", _PUSH),
        4,
        base_host="mirror",
    ),
    Way(
        "dependencies",
        "per job, dependencies in `cache:`",
        "per job, deps in cache:",
        "dind",
        "dependencies",
        (
            f"{_BUILD} .",
            _PUSH,
            f"test -e vendored/done || {{ {_STAGE} . && docker cp"
            " $(docker create stage true):/out/. vendored/ && touch vendored/done; }",
        ),
        5,
        cached_paths=("vendored/",),
    ),
    Way(
        "layers",
        "per job, layers as a tar in `cache:`",
        "per job, layers in cache:",
        "dind",
        "all layers",
        (
            "if test -e .layers/all.tar; then docker load --quiet --input .layers/all.tar; fi",
            f"{_BUILD} {_INLINE} --cache-from stage --cache-from $IMAGE:$CI_COMMIT_REF_SLUG"
            " --cache-from $IMAGE:$CI_DEFAULT_BRANCH .",
            _PUSH,
            f"{_STAGE} {_INLINE} .",
            "mkdir -p .layers && docker save --output .layers/all.tar stage"
            " $IMAGE:$CI_COMMIT_REF_SLUG",
        ),
        5,
        cached_paths=(".layers/",),
    ),
    Way(
        "shared",
        "shared daemon",
        "shared daemon",
        "shared",
        "all layers",
        (f"{_BUILD} .", _PUSH),
        6,
    ),
    Way(
        "shared-mirror",
        "shared daemon and registry mirror",
        "shared daemon, mirror",
        "shared",
        "all layers",
        (f"{_BUILD} .", _PUSH),
        7,
        base_host="mirror",
    ),
    Way(
        "buildkit",
        "shared rootless BuildKit",
        "shared BuildKit",
        "buildkit",
        "all layers",
        (
            "docker buildx create --name shared --driver remote"
            f" --driver-opt {_CERTIFICATES} $BUILDKIT_HOST",
            f"{_BUILD.replace('docker build', 'docker buildx build --builder shared')} --push .",
        ),
        8,
        needs_image="buildkit",
    ),
    Way(
        "limit",
        "the limit: `docker build` in the daemon's own pod",
        "the limit",
        "",
        "all layers",
        (f"{_BUILD} .",),
        9,
    ),
)

WORKLOADS = (
    Workload(
        "service",
        "(a) a small Python service",
        "python",
        "src/version.py",
        "deps/requirements.txt",
        "#",
    ),
    Workload(
        "compiled",
        "(b) a compiled program, two stages",
        "compiler",
        "src/version.h",
        "deps/version.h",
        "//",
    ),
    Workload("big", "(c) a big base image", "big", "src/version.sh", "deps/version.sh", "#"),
)

SITUATIONS = {
    "nothing": "nothing changed",
    "source": "one source line changed",
    "dependency": "a dependency changed",
    "base": "base image changed",
    "branch": "first build of a new branch",
}
"""In the order in which a round runs them: each builds upon what the one before left."""

NETWORKS = (
    Network("1g", "1 Gbit/s", "1 Gbit/s", 1000, 1000),
    Network("uplink", "100 Mbit/s outside, 1 Gbit/s inside", "100 Mbit/s outside", 100, 1000),
    Network("100m", "100 Mbit/s", "100 Mbit/s", 100, 100),
)

Mode = Literal["full", "jobs", "quick"]
MINUTES: dict[Mode, int] = {"full": 240, "jobs": 60, "quick": 6}
"""About what a run takes on two cores."""
FULL_GB = 40
"""Disk that a full run takes."""
POLLS = 10
"""Jobs that are measured with `poll_interval = 1`."""

TIMES = 5
"""How often a full run measures each cell, and as many jobs at once."""


@dataclass(frozen=True)
class Rule:
    """How often cells are measured; the first rule that a cell is in counts."""

    network: str
    workload: str
    ways: tuple[str, ...]
    situations: tuple[str, ...]
    times: int


_COLD = ("baseline", "hub", "mirror")
_WARM = tuple(way.key for way in WAYS if way.keeps != "nothing")
_OF_BIG = ("registry", "shared", "shared-mirror", "buildkit", "limit")
_CLOSE = ("shared", "shared-mirror", "buildkit", "limit")
_OFTEN = ("nothing", "source")

# Everything five times, and more often what all are compared with, and what happens every day by
# the ways that are compared by hundredths of a second. A way that keeps nothing does the same work
# in each situation, so one stands for all; but the mirror has a case of its own, a base image that
# it does not have yet. Of the big image, whose dependencies take no time worth a cache, the ways
# that move all of it in any case have one situation; slower networks have only what a rate changes.
RULES = (
    Rule("1g", "compiled", ("baseline",), ("nothing",), 2 * TIMES),
    Rule("1g", "compiled", ("hub", "mirror"), ("nothing",), TIMES),
    Rule("1g", "compiled", ("mirror",), ("base",), TIMES),
    Rule("1g", "compiled", _CLOSE, _OFTEN, 2 * TIMES),
    Rule("1g", "compiled", _WARM, tuple(SITUATIONS), TIMES),
    Rule("1g", "service", _COLD, ("nothing",), TIMES),
    Rule("1g", "service", ("mirror",), ("base",), TIMES),
    Rule("1g", "service", _WARM, tuple(SITUATIONS), TIMES),
    Rule("1g", "big", _COLD, ("nothing",), TIMES),
    Rule("1g", "big", ("mirror",), ("base",), TIMES),
    Rule("1g", "big", ("inline", "layers"), ("source",), TIMES),
    Rule("1g", "big", _OF_BIG, tuple(SITUATIONS), TIMES),
    Rule("100m", "compiled", ("baseline",), ("nothing",), TIMES),
    Rule("100m", "compiled", ("registry", "shared"), ("source",), TIMES),
    Rule("100m", "big", ("baseline",), ("nothing",), TIMES),
    Rule("100m", "big", ("registry", "shared"), ("source",), TIMES),
    Rule("uplink", "big", ("hub", "mirror"), ("nothing",), TIMES),
)
JOBS_RULES = (
    Rule("1g", "compiled", ("baseline",), ("nothing",), TIMES),
    Rule("1g", "compiled", ("inline", "registry", "buildkit"), ("source",), TIMES),
    Rule("1g", "compiled", ("shared",), _OFTEN, TIMES),
    Rule("1g", "compiled", ("limit",), (*_OFTEN, "dependency"), TIMES),
)
"""The README's table, and the targets."""
QUICK_RULES = (
    Rule("1g", "compiled", ("baseline",), ("nothing",), 1),
    Rule("1g", "compiled", ("shared",), _OFTEN, 2),
    Rule("1g", "compiled", ("registry", "limit"), ("nothing",), 1),
)
"""Enough for the sign of each ratio."""
RULES_OF: dict[Mode, tuple[Rule, ...]] = {"full": RULES, "jobs": JOBS_RULES, "quick": QUICK_RULES}


def way(key: str) -> Way:
    """Return a way by its key."""
    return next(one for one in WAYS if one.key == key)


def workload(key: str) -> Workload:
    """Return a workload by its key."""
    return next(one for one in WORKLOADS if one.key == key)


def network(key: str) -> Network:
    """Return a network by its key."""
    return next(one for one in NETWORKS if one.key == key)


def repetitions(cell: Cell, mode: Mode = "full") -> int:
    """Return how often a cell is wanted."""
    return next(
        (
            rule.times
            for rule in RULES_OF[mode]
            if (rule.network, rule.workload) == (cell.network, cell.workload)
            and cell.way in rule.ways
            and cell.situation in rule.situations
        ),
        0,
    )


def cells() -> Iterator[Cell]:
    """Return every cell there could be, in the order of a round before it is shuffled."""
    for net in NETWORKS:
        for project in WORKLOADS:
            for one in WAYS:
                for situation in SITUATIONS:
                    yield Cell(net.key, project.key, one.key, situation)


def must_reuse(cell: Cell) -> bool:
    """Tell whether a build must have reused steps of an earlier one, or something is broken."""
    keeps = way(cell.way).keeps
    if keeps == "all layers":
        return cell.situation in {"nothing", "source", "branch"}
    return keeps == "final stage" and cell.situation == "nothing"


def must_reuse_all(cell: Cell) -> bool:
    """Tell whether a build must have reused every step: nothing changed, and the daemon stayed."""
    return cell.situation == "nothing" and way(cell.way).fleet in {"shared", "buildkit", ""}


def must_build(cell: Cell) -> bool:
    """Tell whether a build must have run steps, or nothing was changed for it."""
    return cell.situation != "nothing"


def stands_for(one: Way, situation: str) -> str:
    """Return the situation in which a way is measured for another one.

    A way that keeps nothing does the same work in each.
    """
    return "nothing" if one.keeps == "nothing" else situation


def source_cell(network_key: str, workload_key: str, one: Way) -> Cell:
    """Return the cell of a changed source line, or the one that stands for it."""
    return Cell(network_key, workload_key, one.key, stands_for(one, "source"))


def is_warmed(one: Way) -> bool:
    """Tell whether a first build leaves something for the next ones: it is not one of them."""
    return one.keeps != "nothing" or one.base_host == "mirror"


def must_restore(cell: Cell) -> bool:
    """Tell whether the job must have got its `cache:`."""
    return bool(way(cell.way).cached_paths) and cell.situation in {"nothing", "source"}
