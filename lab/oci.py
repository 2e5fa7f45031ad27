"""Container images as OCI archives: layers written by this, without an image builder."""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_MEDIA = "application/vnd.oci.image"


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as source:
        return "sha256:" + hashlib.file_digest(source, "sha256").hexdigest()


def blob_path(digest: str) -> str:
    """Return where a blob is in an OCI archive."""
    return "blobs/" + digest.replace(":", "/")


def _entry(name: str, mode: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.type, info.mtime = mode, kind, 0
    return info


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = _entry(name, 0o644)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _add_file(tar: tarfile.TarFile, name: str, source: Path, mode: int = 0o755) -> None:
    info = _entry(name, mode)
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


def _paths(root: Path, without: Collection[str]) -> Iterator[Path]:
    for folder, directories, files in os.walk(root):
        directories.sort()
        relative = Path(folder).relative_to(root)
        directories[:] = [name for name in directories if str(relative / name) not in without]
        yield from (Path(folder) / name for name in sorted([*directories, *files]))


def write_rootfs(root: Path, target: Path, without: Collection[str] = ()) -> None:
    """Pack a root file system as a layer.

    Args:
        root: The folder that becomes `/`.
        target: The layer; it appears when it is whole.
        without: Folders to leave out, relative to `/`.
    """
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _paths(root, without):
            info = tar.gettarinfo(path, arcname=str(path.relative_to(root)))
            if info.isdev() or info.isfifo():
                continue  # the runtime makes /dev
            info.mtime = 0
            if info.isreg():
                info.pax_headers = _capabilities(path)
                with path.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    partial.rename(target)


def write_files(
    files: Mapping[str, Path], links: Mapping[str, str], target: Path, *, is_base: bool
) -> None:
    """Pack files and symbolic links as a layer.

    Args:
        files: The file on this machine by the path in the image.
        links: The link's target by its path in the image.
        target: The layer.
        is_base: Whether the layer is the image's first: it then has the usual folders and users.
    """
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        if is_base:
            for directory in ("bin", "etc", "usr", "usr/bin", "var"):
                tar.addfile(_entry(directory, 0o755, tarfile.DIRTYPE))
            tar.addfile(_entry("tmp", 0o1777, tarfile.DIRTYPE))
            _add_bytes(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
            _add_bytes(tar, "etc/group", b"root:x:0:\n")
        for name, source in sorted(files.items()):
            _add_file(tar, name, source.resolve())
        for name, link in sorted(links.items()):
            info = _entry(name, 0o777, tarfile.SYMTYPE)
            info.linkname = link
            tar.addfile(info)


def _compressed(layer: Path) -> Path:
    target = layer.with_suffix(".gz")
    # No name and no time in the header: the digest stays the same.
    with (
        layer.open("rb") as source,
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=3, mtime=0) as out,
    ):
        shutil.copyfileobj(source, out, 1 << 20)
    return target


def _descriptor(data: bytes, media: str) -> dict[str, Any]:
    return {"mediaType": media, "digest": _digest(data), "size": len(data)}


def write_archive(
    name: str,
    config: Mapping[str, Any],
    layers: Sequence[Path],
    target: Path,
    *,
    compressed: bool = False,
) -> str:
    """Pack layers as an OCI archive.

    Args:
        name: The image's name and tag.
        config: The `config` of the image: entry point, environment, user.
        layers: The layers, the lowest first.
        target: The archive.
        compressed: Whether the layers are compressed.

    Returns:
        The digest of the image's manifest.
    """
    blobs = [_compressed(layer) if compressed else layer for layer in layers]
    digests = [_file_digest(blob) for blob in blobs]
    described = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [_file_digest(layer) for layer in layers]},
        },
        sort_keys=True,
    ).encode()
    kind = f"{_MEDIA}.layer.v1.tar{'+gzip' if compressed else ''}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _descriptor(described, f"{_MEDIA}.config.v1+json"),
            "layers": [
                {"mediaType": kind, "digest": digest, "size": blob.stat().st_size}
                for digest, blob in zip(digests, blobs, strict=True)
            ],
        },
        sort_keys=True,
    ).encode()
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **_descriptor(manifest, f"{_MEDIA}.manifest.v1+json"),
                "annotations": {"io.containerd.image.name": name},
            }
        ],
    }
    with tarfile.open(target, "w") as tar:
        _add_bytes(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add_bytes(tar, "index.json", json.dumps(index, sort_keys=True).encode())
        for data in (described, manifest):
            _add_bytes(tar, blob_path(_digest(data)), data)
        for digest, blob in zip(digests, blobs, strict=True):
            _add_file(tar, blob_path(digest), blob, 0o644)
    if compressed:
        for blob in blobs:
            blob.unlink()
    return _digest(manifest)
