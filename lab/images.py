"""The lab's container images: small stand-ins and Debian root file systems, packed by us.

The platform's own images cannot be pulled without a network. Each stand-in is named after
what it stands in for, below `lab.invalid/`.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import language, packages, toolchain
from lab.console import LabError, say, step
from lab.paths import BIN, CONTAINERD_SOCKET, DEBIAN, IMAGES, ROOT

REGISTRY = "lab.invalid"
MIRROR = "http://deb.debian.org/debian"
_OCI = "application/vnd.oci.image"

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
    `user` and `environment` are those of its containers.
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


def _manager_files() -> dict[str, Path]:
    folder = ROOT / "lab/manager"
    return {
        "entrypoint": folder / "entrypoint",
        "usr/bin/gitlab-runner": folder / "gitlab-runner",
        # What the official chart calls; busybox has the rest.
        "usr/bin/dumb-init": folder / "dumb-init",
        "usr/bin/pgrep": folder / "pgrep",
        "bin/bash": packages.binary("bash-static"),
    }


def _pause_files() -> dict[str, Path]:
    binary = IMAGES / "pause"
    if not binary.exists():
        source = IMAGES / "pause.c"
        source.write_text(PAUSE_SOURCE)
        command = ["gcc", "-static", "-Os", "-o", str(binary), str(source)]
        if shutil.which("gcc") is None:
            raise LabError("gcc is missing: install gcc (the pods' pause program is built with it)")
        subprocess.run(command, check=True)
    return {"pause": binary}


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
    Image(
        "gitlab-runner",
        "19.3.2",
        _manager_files,
        busybox=True,
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
            "git",
            "curl",
            "zip",
            "unzip",
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


def _pulumi_files() -> dict[str, Path]:
    """Return the CLI, its host for Python, the provider `random`, and what they import."""
    lab = ("__init__", "console", "paths", "toolchain", "language/__init__", "language/host")
    providers = (f"providers/{name}" for name in ("__init__", "__main__", "base", "random"))
    files = {
        "usr/bin/pulumi": BIN / "pulumi",
        "opt/lab/.cache/bin/pulumi-language-python-exec": language.executor(),
        "opt/lab/lab/language/bin/pulumi-language-python": ROOT
        / "lab/language/bin/pulumi-language-python",
        **{f"opt/lab/lab/{name}.py": ROOT / f"lab/{name}.py" for name in (*lab, *providers)},
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
        suite="bookworm",
        include=("python3", "git", "ca-certificates"),
        setup="ln -s /opt/lab/lab/language/bin/pulumi-language-python /usr/local/bin/",
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


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _entry(name: str, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.mtime = mode, kind, 0
    return info


def _add_file(tar: tarfile.TarFile, name: str, source: Path) -> None:
    info = _entry(name, 0o755)
    info.size = source.stat().st_size
    with source.open("rb") as content:
        tar.addfile(info, content)


def _capabilities(path: Path) -> dict[str, str]:
    """Return a file's capabilities as archives have them, if it has any."""
    name = "security.capability"
    if name not in os.listxattr(path):
        return {}
    # Bytes that are no UTF-8 pass through as surrogates.
    return {f"SCHILY.xattr.{name}": os.getxattr(path, name).decode("utf-8", "surrogateescape")}


def _rootfs_files(root: Path) -> Iterator[Path]:
    for folder, directories, files in os.walk(root):
        directories.sort()
        relative = Path(folder).relative_to(root)
        directories[:] = [name for name in directories if str(relative / name) not in _DROPPED]
        yield from (Path(folder) / name for name in sorted([*directories, *files]))


def _write_layer(image: Image, target: Path, rootfs: Path | None) -> None:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        if rootfs:
            for path in _rootfs_files(rootfs):
                info = tar.gettarinfo(path, arcname=str(path.relative_to(rootfs)))
                if info.isdev() or info.isfifo():
                    continue  # the runtime makes /dev
                info.mtime = 0
                if info.isreg():
                    info.pax_headers = _capabilities(path)
                    with path.open("rb") as content:
                        tar.addfile(info, content)
                else:
                    tar.addfile(info)
            return
        for directory in ("bin", "etc", "usr", "usr/bin", "var"):
            tar.addfile(_entry(directory, 0o755, tarfile.DIRTYPE))
        tar.addfile(_entry("tmp", 0o1777, tarfile.DIRTYPE))
        for name, text in {
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
            "gitlab-runner:x:100:65533::/home/gitlab-runner:/bin/sh\n",
            "etc/group": "root:x:0:\ngitlab-runner:x:65533:\n",
        }.items():
            info = _entry(name, 0o644)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        if image.busybox:
            busybox = packages.binary("busybox")
            _add_file(tar, "bin/busybox", busybox)
            applets = subprocess.run(
                [busybox, "--list"], capture_output=True, text=True, check=True
            ).stdout.split()
            for applet in sorted(set(applets) - {"busybox"}):
                info = _entry(f"bin/{applet}", 0o777, tarfile.SYMTYPE)
                info.linkname = "busybox"
                tar.addfile(info)
        for name, source in sorted(image.files().items()):
            _add_file(tar, name, source.resolve())
        for name, target_name in image.links:
            info = _entry(name, 0o777, tarfile.SYMTYPE)
            info.linkname = target_name
            tar.addfile(info)


def write_oci(image: Image, layer: Path, target: Path) -> str:
    """Pack one layer as an OCI archive; return the digest of its manifest."""
    diff_id = "sha256:" + hashlib.file_digest(layer.open("rb"), "sha256").hexdigest()
    blob, media = layer, f"{_OCI}.layer.v1.tar"
    if image.compressed:
        blob, media = layer.with_suffix(".gz"), f"{media}+gzip"
        # No name and no time in the header: the digest stays the same.
        with (
            layer.open("rb") as source,
            blob.open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=3, mtime=0) as out,
        ):
            shutil.copyfileobj(source, out, 1 << 20)
    blob_digest = "sha256:" + hashlib.file_digest(blob.open("rb"), "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(image.entrypoint),
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    *image.environment,
                ],
                **({"User": image.user} if image.user else {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        },
        sort_keys=True,
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(config, f"{_OCI}.config.v1+json"),
            "layers": [{"mediaType": media, "digest": blob_digest, "size": blob.stat().st_size}],
        },
        sort_keys=True,
    ).encode()
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **_descriptor(manifest, f"{_OCI}.manifest.v1+json"),
                "annotations": {"io.containerd.image.name": image.name},
            }
        ],
    }
    texts = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index, sort_keys=True).encode(),
        blob_path(_digest(config)): config,
        blob_path(_digest(manifest)): manifest,
    }
    with tarfile.open(target, "w") as tar:
        for name, data in texts.items():
            info = _entry(name, 0o644)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        info = _entry(blob_path(blob_digest), 0o644)
        info.size = blob.stat().st_size
        with blob.open("rb") as content:
            tar.addfile(info, content)
    if blob != layer:
        blob.unlink()
    return _digest(manifest)


def blob_path(digest: str) -> str:
    """Return where a blob is in an OCI archive."""
    return "blobs/" + digest.replace(":", "/")


def _descriptor(data: bytes, media: str) -> dict[str, Any]:
    return {"mediaType": media, "digest": _digest(data), "size": len(data)}


def _debootstrap(image: Image) -> Path:
    """Make a Debian root file system with the image's packages; needs root."""
    target = IMAGES / f"rootfs-{image.key}"
    shutil.rmtree(target, ignore_errors=True)
    share = DEBIAN / "root/usr/share/debootstrap"
    log = IMAGES / f"rootfs-{image.key}.log"
    command = [
        "sh",
        str(packages.binary("debootstrap")),
        "--variant=minbase",
        f"--include={','.join(image.include)}",
        str(image.suite),
        str(target),
        MIRROR,
    ]
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
    for name, source in image.files().items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target / name)
    if image.setup:
        subprocess.run(
            ["chroot", str(target), "/bin/sh", "-ec", image.setup],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            check=True,
        )
    return target


def _fingerprint(image: Image) -> str:
    parts: list[Any] = [image.name, image.suite, image.include, image.entrypoint, image.links]
    parts += [
        [name, hashlib.sha256(path.read_bytes()).hexdigest()]
        for name, path in sorted(image.files().items())
    ]
    parts += [image.setup] if image.setup else []
    # As it was before there were these: what has none of them is not built again.
    own = [image.user, image.environment]
    parts += own if any(own) else []
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
        with step(f"building image {image.name}"):
            rootfs = _debootstrap(image) if image.suite else None
            layer = IMAGES / f"{image.key}.layer"
            _write_layer(image, layer, rootfs)
            digest = write_oci(image, layer, image.archive)
            layer.unlink()
            if rootfs:
                shutil.rmtree(rootfs)
        size = image.archive.stat().st_size / 1e6
        say(f"  built image {image.name}: {size:.0f} MB")
        image.archive.with_suffix(".json").write_text(
            json.dumps({"fingerprint": fingerprint, "digest": digest})
        )


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
    command = [str(packages.binary("ctr")), "-a", str(CONTAINERD_SOCKET), "-n", "k8s.io"]
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
