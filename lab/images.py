"""The lab's container images: programs that it built, and Debian root file systems.

The platform's own images cannot be pulled without a network. Each image here is named after the
image that it stands in for, below `lab.invalid/`.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitlab_runner_k8s import pins

from lab import language, oci, packages, process, toolchain
from lab.console import LabError, say, step
from lab.paths import BIN, CONTAINERD_SOCKET, DEBIAN, IMAGES, ROOT, replace

REGISTRY = "lab.invalid"
MIRROR = "http://deb.debian.org/debian"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a container never reads.
_DROPPED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/perl",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/zoneinfo",
)

PAUSE_SOURCE = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void stop(int signal) { (void)signal; _exit(0); }
static void reap(int signal) { (void)signal; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
    signal(SIGINT, stop); signal(SIGTERM, stop); signal(SIGCHLD, reap);
    for (;;) pause();
}
"""


@dataclass(frozen=True)
class Image:
    """An image to build.

    `files` maps a path in the image to the file on this machine, `links` are symbolic links;
    `suite` and `include` name a Debian root file system and its packages, `setup` is run in it;
    `user`, `environment` and `stop_signal` are those of its containers.
    """

    key: str
    tag: str
    files: Callable[[], dict[str, Path]] = dict
    suite: str | None = None
    include: tuple[str, ...] = ()
    setup: str = ""
    links: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    environment: tuple[str, ...] = ()
    stop_signal: str = ""
    busybox: bool = False
    compressed: bool = False

    @property
    def name(self) -> str:
        """Return the image's name without its digest."""
        return f"{REGISTRY}/{self.key}:{self.tag}"

    @property
    def archive(self) -> Path:
        """Return where the packed image is."""
        return IMAGES / f"{self.key}.tar"


def _runner_files() -> dict[str, Path]:
    folder = ROOT / "lab/runner"
    return {
        "entrypoint": folder / "entrypoint",
        "usr/bin/gitlab-runner": BIN / "gitlab-runner",
        "usr/bin/gitlab-runner-build": folder / "gitlab-runner-build",
    }


def _pause_files() -> dict[str, Path]:
    binary = IMAGES / "pause"
    if not binary.exists():
        source = IMAGES / "pause.c"
        source.write_text(PAUSE_SOURCE)
        partial = binary.with_suffix(".partial")
        command = ["gcc", "-static", "-Os", "-o", str(partial), str(source)]
        if shutil.which("gcc") is None:
            raise LabError("gcc is missing: install gcc (the pods' pause program is built with it)")
        subprocess.run(command, check=True)
        partial.rename(binary)
    return {"pause": binary}


_HELPER = (("usr/bin/gitlab-runner-helper", "gitlab-runner"),)
_TOOLS: dict[str, Any] = {
    "suite": "bookworm",
    # Python is for GitLab's stand-in, and for the CLI in tests of previews.
    "include": ("git", "git-lfs", "dumb-init", "procps", "ca-certificates", "python3"),
    "setup": """
        useradd --uid 100 --gid nogroup --create-home gitlab-runner
        git lfs install --system --skip-repo
        """,
}
"""The root file system of the runner's images, of GitLab's stand-in and of the CLI's image."""

ALL = (
    Image("pause", "1", _pause_files, entrypoint=("/pause",)),
    Image(
        "coredns", "1.13.2", lambda: {"coredns": BIN / "lab-kubernetes"}, entrypoint=("/coredns",)
    ),
    Image(
        "minio",
        "7aac2a2c5b7c",
        lambda: {"usr/bin/minio": BIN / "lab-minio"},
        links=(("usr/bin/mc", "minio"),),
        entrypoint=("minio",),
        busybox=True,
    ),
    # As GitLab makes its two images, of Debian in place of Alpine.
    Image(
        "gitlab-runner",
        pins.RUNNER_VERSION,
        _runner_files,
        **_TOOLS,
        links=_HELPER,
        entrypoint=("dumb-init", "/entrypoint"),
        stop_signal="SIGQUIT",
    ),
    Image(
        "gitlab-runner-helper",
        pins.RUNNER_VERSION,
        _runner_files,
        **_TOOLS,
        links=_HELPER,
        entrypoint=("dumb-init", "/entrypoint"),
    ),
    Image(
        "registry-mirror",
        "3.1.1",
        lambda: {"usr/bin/registry": BIN / "lab-registry"},
        entrypoint=("registry",),
    ),
    Image(
        "docker",
        "28.5.2",
        lambda: {
            "usr/local/bin/dockerd-entrypoint.sh": ROOT / "lab/docker/dockerd-entrypoint.sh",
        },
        suite="sid",
        include=(
            "docker.io",
            "docker-cli",
            "docker-buildx",
            "docker-compose",
            "git",
            "curl",
            "ca-certificates",
            "iptables",
            "docker-registry",
            "rootlesskit",
            "slirp4netns",
            "uidmap",
            "iproute2",
        ),
        # The user of docker:dind-rootless.
        setup="""
            useradd --uid 1000 --create-home rootless
            grep -q '^rootless:' /etc/subuid
            mkdir -p /run/user
            chmod 1777 /run/user
            """,
        entrypoint=("dockerd-entrypoint.sh",),
    ),
    Image("base", "12", suite="bookworm", include=("gcc", "libc6-dev", "make"), compressed=True),
)
"""What `make up` needs; `base` is what docker builds in the lab start from, in the lab's
registry."""

_HOME = "/home/user"
_RUNTIME = "/run/user/1000"


_IN_CLI = (
    *("__init__", "console", "paths", "language/__init__", "language/host"),
    *(f"providers/{name}" for name in ("__init__", "__main__", "base", "random")),
)
"""The lab's own modules in the CLI's image: the host for Python and the provider `random`."""


def _pulumi_files() -> dict[str, Path]:
    """Return the CLI, its host for Python, the provider `random`, and what they import."""
    files = {
        "usr/bin/pulumi": BIN / "pulumi",
        "opt/lab/.cache/bin/pulumi-language-python-exec": language.executor(),
        "opt/lab/lab/language/bin/pulumi-language-python": ROOT
        / "lab/language/bin/pulumi-language-python",
        **{f"opt/lab/lab/{name}.py": ROOT / f"lab/{name}.py" for name in _IN_CLI},
    }
    for path in packages.python_files("pulumi", "pulumi-random"):
        files[f"usr/lib/python3/dist-packages/{path}"] = Path(str(path.locate()))
    return files


EXTRAS = (
    # As pulumi/pulumi-python is, with stand-ins for the language host and the provider `random`.
    Image(
        "pulumi",
        "3.250.0",
        _pulumi_files,
        **_TOOLS,
        links=(
            (
                "usr/local/bin/pulumi-language-python",
                "/opt/lab/lab/language/bin/pulumi-language-python",
            ),
        ),
        environment=("PYTHONPATH=/opt/lab",),
    ),
    # As moby/buildkit:rootless is made, of Debian in place of Alpine.
    Image(
        "buildkit",
        "v0.30.0-rootless",
        lambda: {
            f"usr/bin/{name}": BIN / name for name in ("buildkitd", "buildctl", "rootlesskit")
        },
        suite="trixie",
        include=("runc", "uidmap", "git", "ca-certificates", "libcap2-bin"),
        # A pod's root may not map ids, which its user may: no setuid, but one capability each.
        setup=f"""
            chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap
            setcap cap_setuid=ep /usr/bin/newuidmap
            setcap cap_setgid=ep /usr/bin/newgidmap
            useradd --create-home --home-dir {_HOME} --uid 1000 user
            echo user:100000:65536 | tee /etc/subuid > /etc/subgid
            mkdir -p {_RUNTIME} {_HOME}/.local/tmp {_HOME}/.local/share/buildkit
            chown -R user {_RUNTIME} {_HOME}
            """,
        entrypoint=("rootlesskit", "buildkitd"),
        user="1000:1000",
        environment=(
            f"HOME={_HOME}",
            "USER=user",
            f"XDG_RUNTIME_DIR={_RUNTIME}",
            f"TMPDIR={_HOME}/.local/tmp",
            f"BUILDKIT_HOST=unix://{_RUNTIME}/buildkit/buildkitd.sock",
        ),
    ),
    Image(
        "seaweedfs",
        "4.53",
        lambda: {
            "usr/bin/weed": BIN / "weed",
            "etc/seaweedfs/filer.toml": toolchain.module_file(
                "seaweedfs", "github.com/seaweedfs/seaweedfs", "docker/filer.toml"
            ),
        },
        suite="trixie",
        include=("curl",),
        entrypoint=("weed",),
    ),
)
"""What the tests on the lab need beside that."""


def _rootfs_key(image: Image) -> str:
    parts = [image.suite, image.include, image.setup]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _rootfs_layer(image: Image) -> Path:
    """Return the layer with the image's Debian packages; images with the same ones share it."""
    layer = IMAGES / f"rootfs-{_rootfs_key(image)}.tar"
    if not layer.exists():
        rootfs = _debootstrap(image)
        oci.write_rootfs(rootfs, layer, without=_DROPPED)
        shutil.rmtree(rootfs)
    return layer


def _debootstrap(image: Image) -> Path:
    """Make a Debian root file system with the image's packages; needs root."""
    target = IMAGES / f"rootfs-{image.key}"
    # What an interrupted run left may still be mounted.
    for point in ("proc", "sys"):
        umount = ["umount", "--lazy", "--recursive", str(target / point)]
        subprocess.run(umount, capture_output=True, check=False)
    shutil.rmtree(target, ignore_errors=True)
    share = DEBIAN / "root/usr/share/debootstrap"
    log = IMAGES / f"rootfs-{image.key}.log"
    command = process.bound(
        "sh",
        packages.binary("debootstrap"),
        "--variant=minbase",
        f"--include={','.join(image.include)}",
        str(image.suite),
        target,
        MIRROR,
    )
    with log.open("w") as output:
        result = subprocess.run(
            command,
            env={**os.environ, "DEBOOTSTRAP_DIR": str(share)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if result.returncode != 0:
        end = "\n".join(log.read_text().splitlines()[-5:])
        raise LabError(f"making the root file system of {image.name} failed ({log}):\n{end}")
    if image.setup:
        subprocess.run(
            process.bound("chroot", target, "/bin/sh", "-ec", image.setup),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            check=True,
        )
    return target


def _files_layer(image: Image) -> Path | None:
    """Return the layer with the image's own files, None where it has none."""
    files = image.files()
    links = dict(image.links)
    if image.busybox:
        busybox = packages.binary("busybox")
        files["bin/busybox"] = busybox
        applets = subprocess.run(
            [busybox, "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        links |= {f"bin/{applet}": "busybox" for applet in set(applets) - {"busybox"}}
    if image.suite and not files and not links:
        return None
    layer = IMAGES / f"{image.key}.layer"
    oci.write_files(files, links, layer, is_base=not image.suite)
    return layer


def _fingerprint(image: Image) -> str:
    parts: list[Any] = [image.name, image.entrypoint, image.links, image.user, image.environment]
    parts += [image.stop_signal, image.compressed, _rootfs_key(image)]
    parts += [
        [name, hashlib.sha256(path.read_bytes()).hexdigest()]
        for name, path in sorted(image.files().items())
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _built(image: Image) -> dict[str, str]:
    stamp = image.archive.with_suffix(".json")
    if not (stamp.exists() and image.archive.exists()):
        return {}
    known: dict[str, str] = json.loads(stamp.read_text())
    return known


def build_all(wanted: Sequence[Image] = ALL) -> None:
    """Build every image that is missing or whose contents have changed."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for image in wanted:
        fingerprint = _fingerprint(image)
        if _built(image).get("fingerprint") == fingerprint:
            continue
        stamp = image.archive.with_suffix(".json")
        # Without it, an archive that is only half written is never taken for a whole one.
        stamp.unlink(missing_ok=True)
        with step(f"building image {image.name}"):
            rootfs = _rootfs_layer(image) if image.suite else None
            files = _files_layer(image)
            layers = [layer for layer in (rootfs, files) if layer]
            config = {
                "Entrypoint": list(image.entrypoint),
                "Env": [f"PATH={_PATH}", *image.environment],
                **({"User": image.user} if image.user else {}),
                **({"StopSignal": image.stop_signal} if image.stop_signal else {}),
            }
            digest = oci.write_archive(
                image.name, config, layers, image.archive, compressed=image.compressed
            )
            if files:
                files.unlink()
        size = image.archive.stat().st_size / 1e6
        say(f"  built image {image.name}: {size:.0f} MB")
        replace(stamp, json.dumps({"fingerprint": fingerprint, "digest": digest}))


def find(key: str) -> Image:
    """Return an image by its key."""
    return next(image for image in (*ALL, *EXTRAS) if image.key == key)


def reference(key: str) -> str:
    """Return an image's full reference, `name:tag@digest`."""
    image = find(key)
    digest = _built(image).get("digest")
    if digest is None:
        first = "python -m lab extras" if image in EXTRAS else "make up"
        raise LabError(f"the image {image.name} is not built yet; run '{first}' first")
    return f"{image.name}@{digest}"


def ctr(*arguments: str, check: bool = True) -> str:
    """Run containerd's client on the node's images and containers.

    Raises:
        LabError: it failed, unless `check` is off.
    """
    command = [
        *process.BOUND,
        str(packages.binary("ctr")),
        "-a",
        str(CONTAINERD_SOCKET),
        "-n",
        "k8s.io",
    ]
    result = subprocess.run(
        [*command, *arguments],
        env=packages.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if check and result.returncode != 0:
        raise LabError(f"ctr {arguments[0]} {arguments[1]} failed: {result.stderr.strip()[-500:]}")
    return result.stdout


def load_all(wanted: Sequence[Image] = ALL) -> None:
    """Import every image that the node does not have yet."""
    present = set(ctr("images", "list", "-q").split())
    for image in wanted:
        # The node looks images up without their tag when there is a digest.
        repository, _, digest = reference(image.key).partition("@")
        by_digest = f"{repository.rpartition(':')[0]}@{digest}"
        if image.key == "base" or by_digest in present:
            continue
        with step(f"loading image {image.name}"):
            ctr("images", "import", str(image.archive))
            ctr("images", "tag", "--force", image.name, by_digest)
