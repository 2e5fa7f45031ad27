"""Debian packages, downloaded and unpacked below the cache: nothing is installed."""

import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from lab import process
from lab.console import LabError, say, step
from lab.paths import DEBIAN

SERVERS = [
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",
]
LIBRARIES = [
    "libseccomp2",
    "libnftables1",
    "libnftnl11",
    "libmnl0",
    "libjansson4",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libgmp10",
    "libtinfo6",
]
IMAGE_CONTENTS = ["busybox-static", "debootstrap"]


def _run(command: list[str], cwd: Path | None = None) -> str:
    result = subprocess.run(
        process.bound(*command), cwd=cwd, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise LabError(f"{' '.join(command[:3])} failed:\n{result.stderr.strip()[-800:]}")
    return result.stdout


def ensure() -> None:
    """Download and unpack every package that is not there yet."""
    wanted = [*SERVERS, *LIBRARIES, *IMAGE_CONTENTS]
    stamp = DEBIAN / "packages.txt"
    if stamp.exists() and set(wanted) <= {line.split("_")[0] for line in _lines(stamp)}:
        return
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise LabError(
                f"{needed} is missing: the lab needs Debian 12 or a system like it; elsewhere, run "
                "'pulumi up --stack dev' on a cluster of yours (README, \"Use it on your cluster\")"
            )
    downloads = DEBIAN / "downloads"
    # An interrupted download may have left half of an archive.
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    with step(f"downloading {len(wanted)} Debian packages"):
        try:
            _run(["apt-get", "download", "-q", *wanted], downloads)
        except LabError:
            say("  the package lists are old or missing: apt-get update")
            _run(["apt-get", "update", "-q"])
            _run(["apt-get", "download", "-q", *wanted], downloads)
        archives = sorted(downloads.glob("*.deb"))
        for archive in archives:
            _run(["dpkg-deb", "-x", str(archive), str(DEBIAN / "root")])
    stamp.write_text("".join(f"{archive.name}\n" for archive in archives))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def binary(name: str) -> Path:
    """Return the path of a program from an unpacked package."""
    for directory in ("usr/sbin", "usr/bin", "sbin", "bin"):
        path = DEBIAN / "root" / directory / name
        if path.exists():
            return path
    raise LabError(f"{name} is not among the unpacked packages; remove {DEBIAN} and try again")


def environment() -> dict[str, str]:
    """Return the environment in which the unpacked programs find each other."""
    root = DEBIAN / "root"
    libraries = [root / "usr/lib/x86_64-linux-gnu", root / "lib/x86_64-linux-gnu"]
    return {
        "PATH": ":".join(
            [
                *(str(root / part) for part in ("usr/sbin", "usr/bin", "sbin", "bin")),
                os.environ["PATH"],
            ]
        ),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "HOME": os.environ.get("HOME", "/root"),
    }


def python_files(*names: str) -> list[metadata.PackagePath]:
    """Return the files of installed Python packages and of all that they require."""
    wanted, seen, files = list(names), set[str](), []
    while wanted:
        name = re.split(r"[^\w.-]", wanted.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        wanted += [line for line in found.requires or () if "extra ==" not in line]
        files += [
            path for path in found.files or () if ".." not in path.parts and path.suffix != ".pyc"
        ]
    return files
