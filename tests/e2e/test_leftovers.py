"""What a lab that was killed leaves behind must not reach the next one."""

import subprocess
from pathlib import Path

import pytest

from lab import cluster
from tests.required import needs_lab

pytestmark = [pytest.mark.lab, pytest.mark.alone]

NAMESPACE = "cni-leftover-of-a-test"
LINK = "leftover0"
NETWORK = "10.243.7.0/24"


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def test_links_routes_and_namespaces_of_a_killed_lab_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs_lab()
    pods = ip("route")
    # As a CNI plugin does it: `ip netns add` would mount /run/netns over the pods' own.
    path = Path("/run/netns") / NAMESPACE
    path.touch()
    try:
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("addr", "add", "10.243.7.1/32", "dev", LINK)
        ip("-netns", NAMESPACE, "addr", "add", "10.243.7.2/24", "dev", "eth0")
        ip("link", "set", LINK, "up")
        ip("route", "add", "10.243.7.2", "dev", LINK)
        monkeypatch.setattr(cluster, "POD_CIDR", NETWORK)

        cluster.remove_networks()

        assert not path.exists()
        assert LINK not in ip("link", "show")
        assert ip("route") == pods, "the running pods keep their links"
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", LINK], capture_output=True, check=False)
