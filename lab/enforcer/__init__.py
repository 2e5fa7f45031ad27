"""Stand-in for a network that enforces NetworkPolicies: writes them as rules of nftables.

IPv4 alone, which is all that the lab's pods have. Traffic of a pod to the node's own addresses is
subject to its egress rules too: in the lab they are where the API server is.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from lab import packages, process
from lab.console import LabError
from lab.enforcer.rules import TABLE
from lab.paths import CACHE, ROOT, STATE

NAME = "networkpolicy-enforcer"
KINDS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
}
"""The kinds of objects from which the rules are made, with their paths in the API."""
APPLIED = STATE / "networkpolicies.json"
"""The resource version of every object behind the rules in force, by kind and uid."""
_SETTLED = 30

Versions = Mapping[str, Mapping[str, int]]


def up() -> None:
    """Start the server unless it runs; return when the rules are in force."""
    if process.pid(NAME) is None:
        # One that was killed has left it.
        APPLIED.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LAB_CACHE": str(CACHE)}
    process.start(NAME, [sys.executable, "-m", "lab.enforcer"], environment)
    process.wait_for("the NetworkPolicy enforcer", APPLIED.exists, 30, [NAME])


def nft(*arguments: str, stdin: str | None = None) -> str:
    """Run nft.

    Raises:
        LabError: it refused; with what it said.
    """
    result = subprocess.run(
        [*process.BOUND, packages.binary("nft"), *arguments],
        env=packages.environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise LabError(f"nft {' '.join(arguments)}: {result.stderr.strip()[-800:]}")
    return result.stdout


def remove() -> None:
    """Remove the rules: nothing is enforced any more."""
    # Made first, so that it can be deleted whether or not it was there.
    nft("-f", "-", stdin=f"table ip {TABLE}\ndelete table ip {TABLE}\n")
    APPLIED.unlink(missing_ok=True)


def applied() -> Versions:
    """Return what is enforced; empty before the first time."""
    try:
        versions: Versions = json.loads(APPLIED.read_text())
    except OSError:
        return {}
    return versions


def covers(done: Versions, kind: str, listing: Mapping[str, Any]) -> bool:
    """Tell whether what is enforced is not older than a listing of the API."""
    known = done.get(kind)
    if known is None:
        return False
    now = int(listing["metadata"]["resourceVersion"])
    wanted = {
        item["metadata"]["uid"]: int(item["metadata"]["resourceVersion"])
        for item in listing["items"]
    }
    # An object that is known but was not listed is newer than the listing, or gone.
    return all(known.get(uid, -1) >= version for uid, version in wanted.items()) and all(
        uid in wanted or version > now for uid, version in known.items()
    )


def settle() -> None:
    """Wait until everything that is in the API by now is enforced.

    Raises:
        LabError: it was not in time.
    """
    from lab import cluster

    listings = {
        kind: json.loads(cluster.kubectl("get", "--raw", path)) for kind, path in KINDS.items()
    }
    deadline = time.monotonic() + _SETTLED
    while not all(covers(applied(), kind, listing) for kind, listing in listings.items()):
        if time.monotonic() > deadline:
            raise LabError(f"NetworkPolicies were not enforced within {_SETTLED} s ({NAME}.log)")
        time.sleep(0.02)
