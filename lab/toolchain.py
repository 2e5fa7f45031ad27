"""The programs that the lab needs, built once from pinned Go modules."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitlab_runner_k8s import pins

from lab import process
from lab.console import LabError, say
from lab.paths import BIN, LOGS, ROOT

MINIMUM_GO = (1, 26, 6)
MINIMUM_PULUMI = (3, 237)
_PULUMI = "3.250.0"
_KUBERNETES = "1.34.2"
_BUILDKIT = "0.30.0"
_VARIABLES = {
    "core": {
        "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{_PULUMI}",
        "k8s.io/component-base/version.gitVersion": f"v{_KUBERNETES}",
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": "34",
        "k8s.io/client-go/pkg/version.gitVersion": f"v{_KUBERNETES}",
        "gitlab.com/gitlab-org/gitlab-runner/common.VERSION": pins.RUNNER_VERSION,
        "gitlab.com/gitlab-org/gitlab-runner/common.REVISION": "fc1f1862",
    },
    "buildkit": {"github.com/moby/buildkit/version.Version": f"v{_BUILDKIT}"},
}
"""What the linker writes into the programs of a module: their versions."""


@dataclass(frozen=True)
class Part:
    """A program, its module in `lab/tools`, and its seconds on two cores without a cache.

    The name is the last element of the package's path, as `go build` has it.
    """

    name: str
    module: str
    package: str
    seconds: int
    links: tuple[str, ...] = ()


PARTS = (
    Part("pulumi", "core", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", 260),
    Part(
        "lab-kubernetes",
        "core",
        "./lab-kubernetes",
        325,
        (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
            "coredns",
            "etcd",
        ),
    ),
    Part(
        "gitlab-runner",
        "core",
        "./gitlab-runner",
        60,
        ("gitlab-runner-helper", "gitlab-runner-keys"),
    ),
    Part("lab-minio", "core", "./lab-minio", 120, ("minio", "mc")),
    Part("lab-registry", "core", "./lab-registry", 15),
    Part("pulumi-resource-kubernetes", "provider", ".", 150),
)
"""What `make up` needs. Seconds: estimates, with room for the downloads. The programs of a module
share most of their packages, so one program alone takes longer than its own seconds."""

EXTRAS = (
    # Renders the charts for the tests of what they declare.
    Part("helm", "core", "helm.sh/helm/v3/cmd/helm", 20),
    Part("buildkitd", "buildkit", "github.com/moby/buildkit/cmd/buildkitd", 100),
    Part("buildctl", "buildkit", "github.com/moby/buildkit/cmd/buildctl", 10),
    Part(
        "rootlesskit",
        "buildkit",
        "github.com/rootless-containers/rootlesskit/v3/cmd/rootlesskit",
        15,
    ),
    Part("weed", "seaweedfs", "github.com/seaweedfs/seaweedfs/weed", 240),
)
"""What the tests on the lab need beside that: `python -m lab extras`."""

LANGUAGES = (
    Part(
        "pulumi-language-yaml",
        "yaml",
        "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml",
        120,
    ),
    Part(
        "pulumi-language-nodejs",
        "language-nodejs",
        "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs",
        40,
    ),
    Part("pulumi-gen-nodejs", "nodejs", ".", 60),
)
"""What the tests of the plugin in other languages need beside that: `python -m lab languages`."""


def tool(name: str) -> Path:
    """Return the path of a program that `ensure` provided."""
    path = BIN / name
    if not path.exists():
        raise LabError(f"{name} is not built yet; run 'make up' first")
    return path


def _version(command: list[str]) -> tuple[int, ...] | None:
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", output)
    return tuple(int(number or 0) for number in match.groups()) if match else None


def _installed_pulumi() -> str | None:
    """Return the machine's own Pulumi CLI when it is recent enough."""
    # The lab's own may be in PATH too, and is not to be linked to itself.
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    others = [folder for folder in folders if Path(folder).resolve() != BIN.resolve()]
    found = shutil.which("pulumi", path=os.pathsep.join(others))
    version = _version([found, "version"]) if found else None
    return found if version and version >= MINIMUM_PULUMI else None


def module_file(folder: str, module: str, path: str) -> Path:
    """Return a file of a module of which a part is built, as its author has it."""
    command = [*process.BOUND, "go", "mod", "download", "-json", module]
    found = subprocess.run(
        command, cwd=ROOT / "lab/tools" / folder, capture_output=True, text=True, check=True
    )
    return Path(json.loads(found.stdout)["Dir"]) / path


def _sources(part: Part) -> Iterator[Path]:
    folder = ROOT / "lab/tools" / part.module
    yield from (folder / "go.mod", folder / "go.sum")
    if part.package.startswith("."):
        yield from sorted(path for path in (folder / part.package).rglob("*") if path.is_file())


def _flags(module: str) -> list[str]:
    variables = "".join(f" -X {name}={value}" for name, value in _VARIABLES.get(module, {}).items())
    # Nobody debugs the programs: without DWARF the compiler takes an eighth less time. Without
    # inlining it takes a third less; the programs are a little slower.
    return ["-trimpath", "-gcflags=all=-dwarf=false -l", "-ldflags", f"-s -w{variables}"]


def fingerprint(part: Part) -> str:
    """Return what changes when a part has to be built again."""
    hasher = hashlib.sha256(f"{part.package} {_flags(part.module)}".encode())
    for path in _sources(part):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


def _stamp(part: Part) -> Path:
    return BIN / f".{part.name}.built"


def _is_built(part: Part) -> bool:
    stamp = _stamp(part)
    built = stamp.exists() and stamp.read_text() == fingerprint(part)
    return built and (BIN / part.name).exists()


def _build(module: str, parts: Sequence[Part], remaining: int) -> None:
    """Build programs of one module with one command: both cores work while a big one is linked."""
    names = ", ".join(part.name for part in parts)
    log = LOGS / f"build-{module}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A build that fails or is killed leaves the old programs.
    built = BIN / f".new-{module}"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    packages = [part.package for part in parts]
    start = time.monotonic()
    with (
        log.open("w") as output,
        subprocess.Popen(
            process.bound("go", "build", *_flags(module), "-o", f"{built}/", *packages),
            cwd=ROOT / "lab/tools" / module,
            # Static: the same programs go into images without a C library.
            env={
                **os.environ,
                "GOFLAGS": "-mod=readonly -buildvcs=false",
                "GOTOOLCHAIN": "local",
                # Rarer garbage collections: the compiler takes an eighth less time.
                "GOGC": "400",
                "CGO_ENABLED": "0",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as build,
    ):
        try:
            while True:
                try:
                    build.wait(timeout=20)
                    break
                except subprocess.TimeoutExpired:
                    elapsed = int(time.monotonic() - start)
                    left = max(remaining - elapsed, 0)
                    say(f"  building {names}: {elapsed} s, at most about {left} s left in all")
        finally:
            build.kill()
    if build.returncode != 0:
        end = "\n".join(log.read_text().splitlines()[-10:])
        raise LabError(f"building {names} failed ({log}):\n{end}")
    for part in parts:
        (built / part.name).replace(BIN / part.name)
        for link in part.links:
            (BIN / link).unlink(missing_ok=True)
            (BIN / link).symlink_to(part.name)
        _stamp(part).write_text(fingerprint(part))
    shutil.rmtree(built)
    say(f"  built {names}: {time.monotonic() - start:.0f} s")


def ensure(parts: Sequence[Part] = PARTS) -> None:
    """Build what is missing or has changed.

    Args:
        parts: What is wanted.

    Raises:
        LabError: Go is missing or too old, or a build failed.
    """
    BIN.mkdir(parents=True, exist_ok=True)
    installed = _installed_pulumi()
    missing: dict[str, list[Part]] = {}
    for part in parts:
        if part.name == "pulumi" and installed:
            (BIN / "pulumi").unlink(missing_ok=True)
            (BIN / "pulumi").symlink_to(installed)
        elif not _is_built(part):
            missing.setdefault(part.module, []).append(part)
    if not missing:
        return
    wanted = ".".join(map(str, MINIMUM_GO))
    version = _version(["go", "env", "GOVERSION"])
    if version is None:
        raise LabError(f"go is missing: install Go {wanted} or newer (https://go.dev/doc/install)")
    if version < MINIMUM_GO:
        found = ".".join(map(str, version))
        raise LabError(f"go is {found}: the lab needs {wanted} or newer")
    remaining = sum(part.seconds for group in missing.values() for part in group)
    say(
        f"  building {', '.join(part.name for group in missing.values() for part in group)} from "
        f"source, once: up to {remaining // 60 + 1} min on 2 cores, much less with a warm Go cache"
    )
    for module, group in missing.items():
        _build(module, group, remaining)
        remaining -= sum(part.seconds for part in group)
