"""What a lab that was killed leaves behind must not reach the next one."""

import subprocess

import pytest

from lab import cluster
from tests.required import missing

pytestmark = pytest.mark.lab

NAMESPACE = "cni-leftover-of-a-test"
LINK = "leftover0"
NETWORK = "10.243.7.0/24"


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def test_links_routes_and_namespaces_of_a_killed_lab_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not cluster.runs():
        missing("the lab is not running (make up)")
    pods = ip("route")
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("addr", "add", "10.243.7.1/32", "dev", LINK)
        ip("-netns", NAMESPACE, "addr", "add", "10.243.7.2/24", "dev", "eth0")
        ip("link", "set", LINK, "up")
        ip("route", "add", "10.243.7.2", "dev", LINK)
        monkeypatch.setattr(cluster, "POD_CIDR", NETWORK)

        cluster.remove_networks()

        assert NAMESPACE not in ip("netns", "list")
        assert LINK not in ip("link", "show")
        assert ip("route") == pods, "the running pods keep their links"
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", LINK], capture_output=True, check=False)
