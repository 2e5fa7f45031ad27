"""What removes the jobs' leftovers at the shared daemon: its container, and its script."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s import SharedDockerDaemon, pins
from gitlab_runner_k8s.meta import script

from tests.harness import Recorder, deploy

SHELLS = ["dash", "bash"]
ISOLATIONS = {"privileged": pins.DOCKER_DAEMON_IMAGE, "rootless": pins.DOCKER_ROOTLESS_IMAGE}


def made(**options: Any) -> Recorder:
    args: Any = {"accept_shared_nodes": True, **options}
    return deploy(lambda: SharedDockerDaemon("build", args))


def containers(recorder: Recorder) -> dict[str, Any]:
    found = recorder.one(":StatefulSet").pod
    return {one["name"]: one for one in (*found["initContainers"], *found["containers"])}


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_container_has_the_daemons_client_and_no_privilege(isolation: str) -> None:
    found = containers(made(isolation=isolation))
    docker, prune = found["docker"], found["prune"]
    assert prune["image"] == docker["image"] == ISOLATIONS[isolation]
    assert prune["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert set(prune["resources"]["limits"]) == {"cpu", "memory"}
    mounts = {one["mountPath"]: one for one in prune["volumeMounts"]}
    assert all(one["readOnly"] for one in mounts.values())
    assert {one["name"] for one in mounts.values()} == {"data", "config", "probe"}
    environment = {one["name"]: one["value"] for one in prune["env"]}
    assert environment == {
        "DOCKER_HOST": "tcp://localhost:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/docker-client",
    }
    assert environment["DOCKER_CERT_PATH"] in mounts
    assert prune["command"][2] in mounts


def test_the_daemon_serves_until_its_end_with_the_container_beside_it() -> None:
    """An init container that goes on is told to end after the others; the pod stays ready."""
    spec = made().one(":StatefulSet").pod
    assert [one["name"] for one in spec["containers"]] == ["docker"]
    assert [(one["name"], one.get("restartPolicy")) for one in spec["initContainers"]] == [
        ("make-room", None),
        ("prune", "Always"),
    ]


def test_what_is_chosen_is_what_the_script_gets() -> None:
    prune = containers(made(prune_keep_hours=24, prune_above_percent=95))["prune"]
    assert prune["command"][2:] == ["/var/lib/docker", "24", "95", "3600"]
    assert containers(made())["prune"]["command"][3:5] == ["72", "80"]


def test_pruning_can_be_left_out() -> None:
    recorder = made(enable_pruning=False, build_cache_percent=90)
    assert set(containers(recorder)) == {"make-room", "docker"}
    assert "prune.sh" not in recorder.one(":ConfigMap").plain["data"]


PRUNES = [
    "container prune --force --filter until=72h",
    "network prune --force --filter until=72h",
    "volume prune --force",
    "image prune --force --filter until=72h",
]
UNUSED = "image prune --force --all --filter until=72h"
ANSWERS = {
    "container": "Deleted Containers:\nc0ffee\n\nTotal reclaimed space: 12.5MB",
    "network": "Deleted Networks:\njob-1\nDeleted-not\n",
    "volume": "Total reclaimed space: 0B",
    "image": "Deleted Images:\nuntagged: app:1\n\nTotal reclaimed space: 1.84GB",
}


class Daemon:
    """Runs the script with stand-ins for `docker` and `df`, which say what they are told to."""

    def __init__(self, folder: Path) -> None:
        self.tools, self.calls = folder / "bin", folder / "calls"
        self.tools.mkdir()
        self.calls.write_text("")
        self.full(50)
        self.answer()

    def _stand_in(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.tools / name).chmod(0o755)

    def full(self, percent: int) -> None:
        self._stand_in("df", f"echo header\necho disk 1000 {percent}0 0 {percent}% /a dir")

    def answer(self, *, down: bool = False, **errors: str) -> None:
        cases = [
            f"{kind}) echo '{errors[kind]}' >&2; exit 1;;"
            if kind in errors
            else f"{kind}) echo '{text}';;"
            for kind, text in ANSWERS.items()
        ]
        version = "echo 'Client: 1'; echo 'no route' >&2; exit 1" if down else "echo 'Server: 1'"
        self._stand_in(
            "docker",
            f'echo "$*" >> {self.calls}\ncase $1 in\nversion) {version};;\n'
            + "\n".join(cases)
            + "\n*) exit 9;;\nesac",
        )

    def sleep(self, text: str) -> None:
        self._stand_in("sleep", text)

    def command(self, shell: str, *more: str) -> list[str]:
        return [shell, "-c", script("daemon/prune.sh"), "prune.sh", "/data", "72", "80", *more]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.tools}:/usr/bin:/bin"}

    def once(self, shell: str = "sh") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(shell),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def called(self) -> list[str]:
        first, *rest = self.calls.read_text().splitlines()
        assert first == "version"
        return rest


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
def test_images_stay_while_there_is_room(daemon: Daemon, shell: str) -> None:
    daemon.full(80)
    done = daemon.once(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.called() == PRUNES
    assert done.stdout == (
        "prune: the volume is 80% full; stopped containers: 12.5MB; networks: 2; "
        "anonymous volumes: 0B; untagged images: 1.84GB\n"
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_unused_images_go_above_the_limit(daemon: Daemon, shell: str) -> None:
    daemon.full(81)
    done = daemon.once(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.called() == [*PRUNES, UNUSED]
    assert done.stdout.endswith("; unused images: 1.84GB; now 81% full\n")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_tried_while_the_daemon_is_down(daemon: Daemon, shell: str) -> None:
    daemon.answer(down=True)
    done = daemon.once(shell)
    assert done.returncode == 1
    assert done.stdout == "prune: the daemon does not answer: no route\n"
    assert daemon.called() == []


def test_what_fails_is_said_and_does_not_keep_the_rest(daemon: Daemon) -> None:
    daemon.full(99)
    daemon.answer(container="a warning\na prune operation is already running")
    done = daemon.once()
    assert done.returncode == 1
    assert daemon.called() == [*PRUNES, UNUSED]
    assert "stopped containers: a prune operation is already running; networks: 2" in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_rounds_go_on_whatever_happens(daemon: Daemon, tmp_path: Path, shell: str) -> None:
    """The daemon is down at first, then answers; at the third pause the test ends the script."""
    naps = tmp_path / "naps"
    up = tmp_path / "docker-up"
    up.write_text((daemon.tools / "docker").read_text())
    up.chmod(0o755)
    daemon.answer(down=True)
    daemon.sleep(
        f'echo "$1" >> {naps}; cp {up} {daemon.tools}/docker\n'
        f'[ "$(wc -l < {naps})" -lt 3 ] || kill -TERM $PPID'
    )
    done = subprocess.run(
        daemon.command(shell, "3600"),
        env=daemon.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert naps.read_text().split() == ["60", "3600", "3600"]
    assert [line.split(";")[0] for line in done.stdout.splitlines()] == [
        "prune: the daemon does not answer: no route",
        "prune: the volume is 50% full",
        "prune: the volume is 50% full",
    ]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("busy", ["docker", "sleep"])
def test_it_ends_when_told_whatever_it_does(
    daemon: Daemon, tmp_path: Path, shell: str, busy: str
) -> None:
    """What it waits for, a call or the next round, would go on for a minute."""
    fifo = tmp_path / "busy"
    subprocess.run(["mkfifo", fifo], check=True)
    (daemon.tools / busy).write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec /bin/sleep 60\n")
    (daemon.tools / busy).chmod(0o755)
    with subprocess.Popen(
        daemon.command(shell, "3600"),
        env=daemon.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as script:
        waited_for = int(fifo.read_text())
        script.send_signal(signal.SIGTERM)
        assert script.wait(30) == 0
        # In the container it ends with the script, which is process 1 there.
        subprocess.run(["kill", str(waited_for)], check=True)
