"""Base images and wheels: made once by rule, and a base again with another digest per change.

A base image is one layer, so a changed one is pulled and unpacked whole, as a rebuilt
`debian:12` is. The layer is a row of gzip members, which together are one stream: a change
costs a small member at its start.
"""

import gzip
import hashlib
import io
import json
import random
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from lab import gitlab, images, oci
from lab.console import step
from lab.paths import CACHE

FOLDER = CACHE / "bench"
PYTHON = images.Image(
    "bench-python", "12", suite="bookworm", include=("python3", "python3-pip"), compressed=True
)
PARTS = {"compiler": ("base",), "python": ("bench-python",), "big": ("data", "base")}
"""The parts of each base image's layer; all but the last are without an end-of-archive mark."""
_DATA_FILES, _DATA_BYTES = 16, 32 << 20
_OCI = "application/vnd.oci.image"
WHEELS = 12


def _files(part: str) -> tuple[Path, Path]:
    """Return a part as it is and compressed."""
    return FOLDER / f"{part}.part", FOLDER / f"{part}.part.gz"


def _root(key: str) -> None:
    """Take the layer out of an image of the lab."""
    plain, packed = _files(key)
    image = PYTHON if key == PYTHON.key else images.find(key)
    images.build_all([image])
    with tarfile.open(image.archive) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        path = oci.blob_path(index["manifests"][0]["digest"])
        manifest = json.load(archive.extractfile(path))  # type: ignore[arg-type]
        layer = archive.extractfile(oci.blob_path(manifest["layers"][0]["digest"]))
        assert layer is not None
        with packed.open("wb") as target:
            shutil.copyfileobj(layer, target, 1 << 20)
    with gzip.open(packed) as source, plain.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _member(name: str, data: bytes) -> bytes:
    """Return a file as it stands in a tar archive."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    return info.tobuf() + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _data() -> None:
    """Write 512 MiB that cannot be compressed, the same at every place and time."""
    plain, packed = _files("data")
    numbers = random.Random(20)
    with plain.open("wb") as one, gzip.open(packed, "wb", compresslevel=1) as two:
        for file in range(_DATA_FILES):
            member = _member(f"opt/data/{file:02}", numbers.randbytes(_DATA_BYTES))
            one.write(member)
            two.write(member)


def prepare(keys: set[str]) -> None:
    """Make the parts of base images that are not there yet."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for part in sorted({part for key in keys for part in PARTS[key]}):
        done = FOLDER / f"{part}.done"
        if not done.exists():
            with step(f"making the base image's part '{part}'"):
                if part == "data":
                    _data()
                else:
                    _root(part)
            done.touch()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            yield block


def _digest(first: bytes, files: list[Path]) -> str:
    value = hashlib.sha256(first)
    for path in files:
        for block in _blocks(path):
            value.update(block)
    return f"sha256:{value.hexdigest()}"


def _send(server: HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> str:
    server.request(method, path, body, headers)
    answer = server.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise OSError(f"{method} {path}: {answer.status} {text[:300]!r}")
    return answer.headers.get("Location", "")


def push(port: int, key: str, change: str, repository: str, tags: list[str]) -> None:
    """Push a base image to the registry on a port of this network namespace."""
    first = _member("etc/bench-change", change.encode())
    first_packed = gzip.compress(first, mtime=0)
    plain = [_files(part)[0] for part in PARTS[key]]
    packed = [_files(part)[1] for part in PARTS[key]]
    layer, size = _digest(first_packed, packed), len(first_packed)
    size += sum(path.stat().st_size for path in packed)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(first, plain)]},
        }
    ).encode()

    def described(media: str, digest: str, length: int) -> dict[str, Any]:
        return {"mediaType": f"{_OCI}.{media}", "digest": digest, "size": length}

    config_digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": described("config.v1+json", config_digest, len(config)),
            "layers": [described("layer.v1.tar+gzip", layer, size)],
        }
    ).encode()

    def content() -> Iterator[bytes]:
        yield first_packed
        for path in packed:
            yield from _blocks(path)

    server = HTTPConnection("127.0.0.1", port, timeout=120)
    for digest, length, body in (
        (layer, size, content()),
        (config_digest, len(config), config),
    ):
        place = _send(server, "POST", f"/v2/{repository}/blobs/uploads/", b"")
        place = place.partition("://")[2].partition("/")[2] if "://" in place else place[1:]
        _send(
            server,
            "PUT",
            f"/{place}{'&' if '?' in place else '?'}digest={digest}",
            body,
            **{"Content-Length": str(length), "Content-Type": "application/octet-stream"},
        )
    for tag in tags:
        media = {"Content-Type": f"{_OCI}.manifest.v1+json"}
        _send(server, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, **media)
    server.close()


def _wheel(number: int) -> bytes:
    """Return a package of 40 modules, the same at every place and time."""
    numbers, name = random.Random(number), f"package{number}"
    files = {f"{name}/__init__.py": f'"""Package {number}."""\n'}
    for module in range(40):
        functions = [
            f"def f{n}(x):\n    return (x * {numbers.randrange(1 << 30)}) ^ {n}\n\n\n"
            for n in range(120)
        ]
        text = f"{''.join(functions)}def answer(x):\n    return f{module}(x)\n"
        files[f"{name}/module{module}.py"] = text
    info = f"{name}-1.0.dist-info"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in files.items():
            archive.writestr(zipfile.ZipInfo(file, (2020, 1, 1, 0, 0, 0)), text)
        # What a compiled extension would weigh.
        weight = zipfile.ZipInfo(f"{name}/data.bin", (2020, 1, 1, 0, 0, 0))
        archive.writestr(weight, numbers.randbytes(500_000))
    return packed.getvalue()


def index() -> bytes:
    """Return a package index (PEP 503) as a tar archive of a web server's files."""
    files: dict[str, bytes] = {}
    for number in range(WHEELS):
        wheel = f"package{number}-1.0-py3-none-any.whl"
        files[f"simple/package{number}/{wheel}"] = _wheel(number)
        files[f"simple/package{number}/index.html"] = f'<a href="{wheel}">{wheel}</a>\n'.encode()
    return gitlab.packed(files)


if __name__ == "__main__":
    _, port_, key_, change_, repository_, *tags_ = sys.argv
    push(int(port_), key_, change_, repository_, tags_)
