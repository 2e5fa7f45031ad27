"""What the node itself knows of pods: their links, and what they cost, by the kernel's counters."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.cluster import CGROUP
from lab.console import LabError

_CGROUPS = Path("/sys/fs/cgroup")
_IS_V2 = (_CGROUPS / "cgroup.controllers").exists()
_INTERVAL = 0.25
PYTHON = sys.executable


def run(*command: str) -> str:
    """Run a command of this machine; return what it wrote."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LabError(f"{' '.join(command)}: {result.stderr.strip()[-500:]}")
    return result.stdout


@dataclass(frozen=True)
class Link:
    """A pod's network: the node's end of its link, and its network namespace."""

    device: str
    namespace: str

    def shape(self, mbits: int) -> None:
        """Limit the link to a rate, both ways."""
        self.free()
        # Enough of a burst for the kernel's tick, and none that a download would feel.
        rate = ("tbf", "rate", f"{mbits}mbit", "burst", f"{max(64, mbits)}kb", "latency", "100ms")
        run("tc", "qdisc", "replace", "dev", self.device, "root", *rate)
        run("tc", "-n", self.namespace, "qdisc", "replace", "dev", "eth0", "root", *rate)

    def free(self) -> None:
        """Take the limit away."""
        for where in ((), ("-n", self.namespace)):
            device = "eth0" if where else self.device
            command = ["tc", *where, "qdisc", "delete", "dev", device, "root"]
            subprocess.run(command, capture_output=True, check=False)

    def counters(self) -> dict[str, int]:
        """Return the bytes that the pod has sent (`out`) and received (`in`) since it began."""
        folder = Path(f"/sys/class/net/{self.device}/statistics")
        # The node's end receives what the pod sends.
        return {
            "out": int((folder / "rx_bytes").read_text()),
            "in": int((folder / "tx_bytes").read_text()),
        }


def link(address: str) -> Link:
    """Return the link of the pod with an address.

    Raises:
        LabError: there is none on this node.
    """
    words = run("ip", "-o", "route", "get", address).split()
    device = words[words.index("dev") + 1]
    for path in sorted(Path("/run/netns").glob("cni-*")):
        shown = subprocess.run(
            ["ip", "-n", path.name, "-o", "-4", "addr", "show", "eth0"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        if f" {address}/" in shown:
            return Link(device, path.name)
    raise LabError(f"no network namespace on this node has the address {address}")


def _tree(controller: str) -> Path:
    return (_CGROUPS if _IS_V2 else _CGROUPS / controller) / CGROUP / "kubepods"


def _pods() -> dict[str, Path]:
    """Return every pod's place below the cgroup tree, by its uid."""
    tree = _tree("cpuacct")
    folders = [*tree.glob("pod*"), *tree.glob("*/pod*")]
    return {path.name.removeprefix("pod"): path.relative_to(tree) for path in folders}


def _cpu_seconds(place: Path) -> float:
    folder = _tree("cpuacct") / place
    if _IS_V2:
        rows = dict(row.split() for row in (folder / "cpu.stat").read_text().splitlines())
        return int(rows["usage_usec"]) / 1e6
    return int((folder / "cpuacct.usage").read_text()) / 1e9


def _memory_bytes(place: Path) -> int:
    """Return what the pod's processes hold, without the files that the kernel caches for them."""
    rows = (_tree("memory") / place / "memory.stat").read_text().splitlines()
    name = "anon" if _IS_V2 else "total_rss"
    return next(int(row.split()[1]) for row in rows if row.startswith(f"{name} "))


@dataclass
class Usage:
    """CPU seconds and peak memory in bytes by role; `job` is all pods that came meanwhile.

    The peak of a role with several pods is that of their sum.
    """

    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)


@contextmanager
def watched(roles: dict[str, str]) -> Iterator[Usage]:
    """Sample the pods' cgroups while something runs.

    Args:
        roles: The roles of pods that are there already, by uid.
    """
    before = _pods()
    start = {uid: _cpu_seconds(before[uid]) for uid in roles if uid in before}
    last: dict[str, float] = {}
    usage = Usage()
    done = threading.Event()

    def sample() -> None:
        held: dict[str, int] = {}
        for uid, place in _pods().items():
            if uid in before and uid not in roles:
                continue
            try:
                last[uid] = _cpu_seconds(place)
                role = roles.get(uid, "job")
                held[role] = held.get(role, 0) + _memory_bytes(place)
            except (OSError, StopIteration):
                continue  # it has gone
        for role, size in held.items():
            usage.peak_bytes[role] = max(usage.peak_bytes.get(role, 0), size)

    def loop() -> None:
        while not done.wait(_INTERVAL):
            sample()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        done.set()
        thread.join()
        sample()
        for uid, seconds in last.items():
            role = roles.get(uid, "job")
            spent = seconds - start.get(uid, 0.0)
            usage.cpu_seconds[role] = usage.cpu_seconds.get(role, 0.0) + spent


def disk_bytes(paths: Sequence[Path]) -> int:
    """Return what is on the disk below some folders."""
    return sum(int(run("du", "-sx", "--block-size=1", str(path)).split()[0]) for path in paths)


def cpu() -> dict[str, str]:
    """Return what machine this is."""
    rows = Path("/proc/cpuinfo").read_text().splitlines()
    models = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    total = next(
        int(row.split()[1])
        for row in Path("/proc/meminfo").read_text().splitlines()
        if row.startswith("MemTotal")
    )
    return {
        "kernel": os.uname().release,
        "cpu": f"{len(models)} x {models[0] if models else 'unknown'}",
        "memory": f"{total / 2**20:.0f} GiB",
    }
