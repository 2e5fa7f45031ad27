"""Where the lab keeps things: all below one directory that git ignores."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("LAB_CACHE") or ROOT / ".cache").resolve()

BIN = CACHE / "bin"
"""Tools that the lab built."""
DEBIAN = CACHE / "debian"
"""Debian packages, unpacked: nothing is installed on the machine."""
IMAGES = CACHE / "images"
"""Container images that the lab built."""
STATE = CACHE / "lab"
"""What a running lab needs: pids, logs, certificates, volumes, Pulumi's state."""
LOGS = STATE / "logs"
KUBECONFIG = STATE / "kubeconfig"
CONTAINERD_SOCKET = STATE / "containerd" / "containerd.sock"


def replace(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    """Write a file as a whole or not at all: an interruption leaves no half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    new.replace(path)
