"""What removes the jobs' leftovers at the shared daemon: its container, and its script."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s import RunnerPlatform, SharedDockerDaemon, pins
from gitlab_runner_k8s.meta import script

from lab import process
from tests import builders
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
    assert {one["name"] for one in mounts.values()} == {"data", "config", "probe", "prune"}
    assert {one["name"] for one in mounts.values() if not one.get("readOnly")} == {"prune"}
    environment = {one["name"]: one["value"] for one in prune["env"]}
    environment.pop("PROTECTED_IMAGES")
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
    chosen = made(prune_keep_hours=24, prune_above_percent=95, maximum_job_timeout_seconds=7200)
    prune = containers(chosen)["prune"]
    state = next(one["mountPath"] for one in prune["volumeMounts"] if one["name"] == "prune")
    assert prune["command"][2:] == ["/var/lib/docker", "7200", "24", "95", state, "600"]
    assert containers(made())["prune"]["command"][3:6] == ["3600", "72", "80"]


def test_the_platforms_daemon_knows_the_longest_timeout_of_its_zones_jobs() -> None:
    fleets = {
        "short": {"token_secret_name": "a"},
        "long": {"token_secret_name": "b", "runner": {"maximum_job_timeout_seconds": 9000}},
        "other": {
            "token_secret_name": "c",
            "zone": "team",
            "runner": {"maximum_job_timeout_seconds": 99000},
        },
    }
    daemon = {"accept_shared_nodes": True}
    args: Any = {
        "gitlab_url": builders.GITLAB["gitlab_url"],
        "fleets": fleets,
        "docker_daemon": daemon,
        "zones": {"team": {"docker_daemon": daemon}},
    }
    recorder = deploy(lambda: RunnerPlatform("p", args))
    found = {
        one.name: one.pod["initContainers"][1]["command"][3]
        for one in recorder.of_type(":StatefulSet")
        if "docker" in one.name
    }
    assert found == {"p-docker-daemon": "9000", "p-team-docker-daemon": "99000"}


def patterns(**options: Any) -> list[str]:
    prune = containers(made(**options))["prune"]
    found = {one["name"]: one["value"] for one in prune["env"]}
    return str(found.get("PROTECTED_IMAGES", "")).splitlines()


def test_the_names_of_base_images_are_protected_as_docker_shows_them() -> None:
    own = ["docker.io/library/own", "docker.io/group/base:*", "registry.example.com:5000/base/*"]
    found = patterns(protected_images=own)
    assert {"python", "debian"} <= set(found)
    assert found[-3:] == ["own", "group/base:*", "registry.example.com:5000/base/*"]
    assert patterns(enable_image_protection=False) == []


def test_pruning_can_be_left_out() -> None:
    recorder = made(enable_pruning=False, build_cache_percent=90)
    assert set(containers(recorder)) == {"make-room", "docker"}
    assert "prune.sh" not in recorder.one(":ConfigMap").plain["data"]


OLD, NEW = "2020-01-01T00:00:00.5Z", "2999-01-01T00:00:00.5Z"
PRUNES = [
    "ps --all --quiet --no-trunc",
    "inspect --format {{.Created}} {{.Id}} c0 c1",
    "rm --force --volumes c0",
    "network prune --force --filter until=600s",
    "volume ls --quiet --filter dangling=true",
    "volume inspect --format {{.CreatedAt}} {{.Name}} {{json .Labels}} v0 v1 v2 v3",
    "volume rm v0 anonymous buildx_buildkit_x0_state",
    "image ls --no-trunc --format {{.Repository}}:{{.Tag}} {{.ID}}",
]
UNUSED = [
    "image prune --force --all --filter until=600s",
    *PRUNES[4:6],
    "volume rm v0 anonymous buildx_buildkit_x0_state named",
]
ANSWERS = {
    "ps": "c0\nc1",
    "inspect": f"{OLD} c0\n{NEW} c1",
    "rm": "c0",
    "network prune": "Deleted Networks:\njob-1\nDeleted-not\n",
    "volume ls": "v0\nv1\nv2\nv3",
    "volume inspect": f'{OLD} v0 {{"a":"b c","com.docker.compose.project":"ci-17"}}\n'
    f'{NEW} v1 {{"com.docker.compose.project":"ci-18"}}\n'
    f'{OLD} anonymous {{"com.docker.volume.anonymous":""}}\n'
    f'{NEW} young {{"com.docker.volume.anonymous":""}}\n'
    f"{OLD} buildx_buildkit_x0_state null\n"
    f'{OLD} named {{"com.docker.compose.project":"other"}}',
    "volume rm": "v0",
    "image ls": "",
    "tag": "",
    "image rm": "",
    "image prune": "Deleted Images:\nuntagged: app:1\n\nTotal reclaimed space: 1.84GB",
}
SAID = "containers: 1; networks: 2; volumes of jobs: 1; image names: 0"


class Daemon:
    """Runs the script with stand-ins for `docker` and `df`, which say what they are told to."""

    def __init__(self, folder: Path) -> None:
        self.tools, self.calls, self.state = folder / "bin", folder / "calls", folder / "state"
        self.tools.mkdir()
        self.state.mkdir()
        self.calls.write_text("")
        self.full(50)
        self.answer()

    def _stand_in(self, name: str, text: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.tools / name).chmod(0o755)

    def full(self, percent: int) -> None:
        self._stand_in("df", f"echo header\necho disk 1000 {percent}0 0 {percent}% /a dir")

    def answer(
        self, answers: Mapping[str, str] | None = None, *, down: bool = False, **errors: str
    ) -> None:
        cases = [
            f"\"{kind}\"*) echo '{errors[kind]}' >&2; exit 1;;"
            if kind in errors
            else f'"{kind}"*) {{ cat << "END"\n{text}\nEND\n}} | grep -v ^$ || true;;'
            for kind, text in (ANSWERS | dict(answers or {})).items()
        ]
        version = "echo 'Client: 1'; echo 'no route' >&2; exit 1" if down else "echo 'Server: 1'"
        self._stand_in(
            "docker",
            f'echo "$*" >> {self.calls}\ncase $* in\nversion) {version};;\n'
            + "\n".join(cases)
            + "\n*) exit 9;;\nesac",
        )

    def age(self, seconds: int) -> None:
        """Make all names older, for the script."""
        names = [line.split() for line in (self.state / "names").read_text().splitlines()]
        (self.state / "names").write_text(
            "".join(f"{int(since) - seconds} {name} {id}\n" for since, name, id in names)
        )

    def sleep(self, text: str) -> None:
        """Stand in for the pauses between rounds, not for those of what listens to the daemon."""
        self._stand_in("sleep", f'[ "$1" != 1 ] || exec /bin/sleep 1\n{text}')

    @contextmanager
    def loop(self, shell: str, output: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the script in its loop, and end what it started, as the end of its container does."""
        with output.open("wb") as out:
            run = subprocess.Popen(
                self.command(shell, "3600"),
                env=self.environment | more,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            try:
                yield run
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
                run.wait(30)

    def command(self, shell: str, *more: str) -> list[str]:
        arguments = ("/data", "600", "72", "80", str(self.state), *more)
        return [shell, "-c", script("daemon/prune.sh"), "prune.sh", *arguments]

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
    assert done.stdout == f"prune: the volume is 80% full; {SAID}\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_unused_images_go_above_the_limit(daemon: Daemon, shell: str) -> None:
    daemon.full(81)
    done = daemon.once(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.called() == [*PRUNES, *UNUSED]
    assert done.stdout.endswith("; unused images: 1.84GB; unused volumes: 1; now 81% full\n")
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
    daemon.answer(rm="a warning\nremoval is already in progress")
    done = daemon.once()
    assert done.returncode == 1
    assert daemon.called() == [*PRUNES, *UNUSED]
    assert "containers: removal is already in progress; networks: 2" in done.stdout


NAMELESS = "untagged.invalid/image"
ID = "sha256:" + "0123456789ab" * 5 + "0123"


@pytest.mark.parametrize("shell", SHELLS)
def test_an_image_loses_its_name_and_later_its_last_one(daemon: Daemon, shell: str) -> None:
    """Names count from the round that first saw them, by name and image."""
    other = ID[:-1] + "f"
    listed = f"app:1 {ID}\n<none>:<none> {other}\nold:<none> {ID}\n{NAMELESS}:aa {ID}"
    daemon.answer({"image ls": listed})
    daemon.once(shell)
    assert not [call for call in daemon.called() if call.startswith(("tag", "image rm"))]
    hour = 3600
    daemon.age(601)
    daemon.calls.write_text("")
    daemon.answer({"image ls": f"{listed}\nnew:1 {ID}\napp:2 {other}", "image inspect": ID})
    daemon.once(shell)
    changes = [call for call in daemon.called() if call.startswith(("tag", "image rm"))]
    assert changes == [f"tag {ID} {NAMELESS}:0123456789ab", "image rm app:1"]
    daemon.age(72 * hour)
    daemon.calls.write_text("")
    daemon.answer({"image ls": f"{NAMELESS}:aa {ID}\n<none>:<none> {other}"})
    daemon.once(shell)
    changes = [call for call in daemon.called() if call.startswith(("tag", "image rm"))]
    assert changes == [f"image rm {NAMELESS}:aa", f"image rm {other}"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_name_that_a_job_gave_again_is_young(daemon: Daemon, shell: str) -> None:
    """The image may be the same: a build that reused every step."""
    daemon.answer({"image ls": f"app:1 {ID}\nold:1 {ID}", "image inspect": ID})
    daemon.once(shell)
    daemon.age(601)
    (daemon.state / "given").write_text("app:1\n")
    daemon.calls.write_text("")
    daemon.once(shell)
    assert [call for call in daemon.called() if "image rm" in call] == ["image rm old:1"]
    daemon.age(601)
    daemon.calls.write_text("")
    daemon.answer({"image ls": f"app:1 {ID}", "image inspect": "sha256:another"})
    daemon.once(shell)
    assert not [call for call in daemon.called() if "image rm" in call], "it has another image now"


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_in_use_or_gone_is_no_failure(daemon: Daemon, shell: str) -> None:
    daemon.answer({"image ls": f"app:1 {ID}"})
    daemon.once(shell)
    daemon.age(601)
    for error, code in (("No such image: app:1", 0), ("permission denied", 1)):
        daemon.answer({"image ls": f"app:1 {ID}", "image inspect": ID}, tag=f"Error: {error}")
        done = daemon.once(shell)
        assert done.returncode == code
        assert ("image names: 0" in done.stdout) == (code == 0), done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_protected_name_is_taken_away_at_once(daemon: Daemon, tmp_path: Path, shell: str) -> None:
    """What was there before counts too."""
    names = ["python:3.12", "pythonic:1", "registry.example.com:5000/base/a:1", "app:1"]
    events = "\n".join([*(f"{ID} {name}" for name in names), "pull python:3.10"])
    daemon.answer(
        {
            "events": events,
            "image ls": f"{ID} python:3.11\n{ID} app:2\n{ID} python:<none>",
        }
    )
    ended, output = tmp_path / "ended", tmp_path / "output"
    daemon._stand_in("sleep", f'[ "$1" != 1 ] || touch {ended}; exec /bin/sleep 60')
    protected = "python\nregistry.example.com:5000/base/*"
    with daemon.loop(shell, output, PROTECTED_IMAGES=protected):
        process.wait_for("the end of the events", ended.exists, 30)
    said = [line for line in output.read_text().splitlines() if line.startswith("protect:")]
    taken = ["python:3.11", "python:3.12", "registry.example.com:5000/base/a:1"]
    # A round may have read them already.
    given = [path for path in (daemon.state / "given", daemon.state / "read") if path.exists()]
    assert "python:3.10" in "".join(path.read_text() for path in given).splitlines()
    removed = [call for call in daemon.calls.read_text().splitlines() if "image rm" in call]
    assert removed == [f"image rm --force {name}" for name in taken]
    assert said == [f"protect: took the name {name} from an image" for name in taken]


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
    output = tmp_path / "output"
    with daemon.loop(shell, output) as run:
        assert run.wait(30) == 0
    assert naps.read_text().split() == ["60", "3600", "3600"]
    assert [line.split(";")[0] for line in output.read_text().splitlines()] == [
        "prune: the daemon does not answer: no route",
        "prune: the volume is 50% full",
        "prune: the volume is 50% full",
    ]


def test_a_full_volume_is_pruned_again_within_a_minute(daemon: Daemon, tmp_path: Path) -> None:
    naps = tmp_path / "naps"
    daemon.full(81)
    daemon.sleep(f'echo "$1" >> {naps}; [ "$(wc -l < {naps})" -lt 2 ] || kill -TERM $PPID')
    with daemon.loop("sh", tmp_path / "output") as run:
        assert run.wait(30) == 0
    assert naps.read_text().split() == ["60", "60"]


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
    with daemon.loop(shell, tmp_path / "output") as run:
        with fifo.open() as begun:
            assert begun.readline()
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 0
