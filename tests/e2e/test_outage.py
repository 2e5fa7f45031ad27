"""An outage of GitLab for ten minutes, for one runner alone: other tests may run beside it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab import cluster, enforcer, gitlab
from lab.console import LabError
from tests.e2e import runners
from tests.e2e.held import Held, job
from tests.e2e.test_faults import the_pod

pytestmark = [pytest.mark.lab, pytest.mark.alone]
NAME = "outage"
RUNNER = f"{NAME}-runner"
SECONDS = 600
ENDS_AFTER = 360
"""When a job ends in the outage. The runner reports it with pauses that double: one of its tries
comes soon after the outage."""


@contextmanager
def without_gitlab(address: str) -> Iterator[None]:
    """Reset every connection between a pod and GitLab."""
    query = ("-n", gitlab.NAMESPACE, "get", "pod", "-l", "app=gitlab")
    server = cluster.kubectl(*query, "-o", "jsonpath={.items[0].status.podIP}")
    chain = "type filter hook forward priority -200"
    rule = f"ip saddr {address} ip daddr {server} meta l4proto tcp reject with tcp reset"
    table = f"table ip {NAME} {{\nchain cut {{\n{chain};\n{rule}\n}}\n}}\n"
    enforcer.nft("-f", "-", stdin=table)
    try:
        yield
    finally:
        enforcer.nft("delete", "table", "ip", NAME)


def test_gitlab_is_unreachable_for_ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The manager stays up and its jobs go on; all of them is reported when GitLab is back."""
    with (
        runners.deployed(NAME, tmp_path_factory.mktemp(NAME)),
        Held(NAME, 1800) as goes_on,
        Held(NAME, 1800) as ends,
    ):
        pod = the_pod(RUNNER, "deployment", NAME)
        probe = ("exec", pod["metadata"]["name"], "--", "/bin/bash", "/configmaps/check-live")
        cluster.kubectl("-n", RUNNER, *probe)
        begun = time.monotonic()
        with without_gitlab(pod["status"]["podIP"]):
            # The chart's own probe, as the kubelet calls it, is red all the time.
            with pytest.raises(LabError):
                cluster.kubectl("-n", RUNNER, *probe)
            is_released = False
            while time.monotonic() - begun < SECONDS:
                now = the_pod(RUNNER, "deployment", NAME)
                assert now["metadata"]["uid"] == pod["metadata"]["uid"]
                (before,), (status,) = (
                    found["status"]["containerStatuses"] for found in (pod, now)
                )
                assert status["restartCount"] == before["restartCount"]
                if not is_released and time.monotonic() - begun > ENDS_AFTER:
                    ends.release()
                    is_released = True
                time.sleep(15)
            assert {gitlab.state(held.number) for held in (goes_on, ends)} == {"running"}
        goes_on.release()
        assert goes_on.result().succeeded
        assert gitlab.run(job("true"), NAME).succeeded
        assert ends.result().succeeded
