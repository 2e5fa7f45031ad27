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
