"""A daemon that restarts: it waits for its clients, and jobs wait for it."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pulumi
import pytest
from gitlab_runner_k8s import (
    BuildKitDaemon,
    GitLabRunner,
    RunnerPlatform,
    SharedDockerDaemon,
    meta,
    pins,
)

from tests import builders
from tests.harness import deploy

DAEMONS: dict[str, Callable[[Any], Any]] = {
    "docker": lambda options: SharedDockerDaemon("build", {"accept_shared_nodes": True} | options),
    "buildkit": lambda options: BuildKitDaemon("build", options),
}


@pytest.mark.parametrize("kind", [*DAEMONS, "rootless"])
def test_every_script_is_where_it_is_called(kind: str) -> None:
    options = {"isolation": "rootless"} if kind == "rootless" else {}
    recorder = deploy(lambda: DAEMONS.get(kind, DAEMONS["docker"])(options))
    found = recorder.one(":StatefulSet").pod
    files = recorder.one(":ConfigMap").plain["data"]
    containers = [*found.get("initContainers", []), *found["containers"]]
    commands = [(one, one["command"]) for one in containers if "command" in one] + [
        (one, one["lifecycle"]["preStop"]["exec"]["command"])
        for one in containers
        if "lifecycle" in one
    ]
    assert commands
    for container, (shell, path, *_) in commands:
        assert shell == "/bin/sh"
        folder, _, name = path.rpartition("/")
        assert files[name].startswith("# ")
        (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == folder]
        (volume,) = [one for one in found["volumes"] if one["name"] == mount["name"]]
        assert volume["configMap"]["name"] == "build-config"


@pytest.mark.parametrize(("kind", "port"), [("docker", "2376"), ("buildkit", "1234")])
def test_the_daemon_has_time_to_stop_after_the_drain(kind: str, port: str) -> None:
    recorder = deploy(lambda: DAEMONS[kind]({"termination_grace_period_seconds": 100}))
    found = recorder.one(":StatefulSet").pod
    assert found["terminationGracePeriodSeconds"] == 100
    (container,) = found["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][2:4] == [port, "80"]


@pytest.mark.parametrize("kind", DAEMONS)
def test_an_update_waits_for_the_drain(kind: str) -> None:
    recorder = deploy(lambda: DAEMONS[kind]({"termination_grace_period_seconds": 3600}))
    timeouts = recorder.one(":StatefulSet").request.customTimeouts
    assert int(timeouts.update.removesuffix("s")) >= 3600 + 600
    assert timeouts.create == timeouts.delete == timeouts.update


ROOTLESS: dict[str, Any] = {"isolation": "rootless", "accept_shared_nodes": True}


def test_the_rootless_daemon_is_not_root() -> None:
    recorder = deploy(lambda: DAEMONS["docker"](ROOTLESS))
    found = recorder.one(":StatefulSet").pod
    security = found["securityContext"]
    assert (security["runAsUser"], security["runAsNonRoot"]) == (1000, True)
    assert (security["fsGroup"], security["fsGroupChangePolicy"]) == (1000, "OnRootMismatch")
    (container,) = found["containers"]
    for one in (container, *found["initContainers"]):
        assert one["image"] == pins.DOCKER_ROOTLESS_IMAGE
        assert "runAsUser" not in one["securityContext"]
    modes = [one["secret"]["defaultMode"] for one in found["volumes"] if "secret" in one]
    assert modes == [0o440, 0o440]


def test_the_rootless_daemon_is_reached_by_mutual_tls_alone() -> None:
    recorder = deploy(lambda: DAEMONS["docker"]({**ROOTLESS, "mtu": 1400}))
    (container,) = recorder.one(":StatefulSet").pod["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment["DOCKERD_ROOTLESS_ROOTLESSKIT_MTU"] == "1400"
    assert environment["DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS"] == "--publish=0.0.0.0:2376:2376/tcp"
    arguments = container["args"]
    socket = f"unix://{environment['XDG_RUNTIME_DIR']}/docker.sock"
    assert [text for text in arguments if text.startswith("--host=")] == [
        f"--host={socket}",
        "--host=tcp://0.0.0.0:2376",
    ]
    assert "--tlsverify" in arguments
    assert f"--host={socket}" in container["livenessProbe"]["exec"]["command"]
    # A daemon that hangs must not wait for its clients.
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] < 60
    mounts = [one["mountPath"] for one in container["volumeMounts"]]
    for flag in ("config-file", "data-root", "tlscacert", "tlscert", "tlskey"):
        (path,) = [text.partition("=")[2] for text in arguments if text.startswith(f"--{flag}=")]
        assert path.rpartition("/")[0] in mounts


def test_the_rootless_daemons_metrics_leave_its_network() -> None:
    options = {**ROOTLESS, "metrics_namespaces": ["monitoring"]}
    (container,) = deploy(lambda: DAEMONS["docker"](options)).one(":StatefulSet").pod["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert "9323:9323/tcp" in environment["DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS"]


def test_another_isolation_gets_another_volume_and_the_same_address() -> None:
    names, services = set(), set()
    for options in ({"accept_shared_nodes": True}, ROOTLESS):
        recorder = deploy(lambda options=options: DAEMONS["docker"](options))  # type: ignore[misc]
        names.add(recorder.one("PersistentVolumeClaimPatch").plain["metadata"]["name"])
        services.add(recorder.one(":Service").plain["metadata"]["name"])
        assert recorder.one(":StatefulSet").plain["spec"]["serviceName"] == "build"
    assert names == {"data-build-0", "data-build-rootless-0"}
    assert services == {"build"}


HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
LISTENS = "   0: 00000000:0948 00000000:0000 0A 0:0 00:0 0 0\n"
CLIENT = "   1: 0B00F40A:0948 0C00F40A:C350 01 0:0 00:0 0 0\n"
NOT_CLIENTS = {
    "the daemon's probe": "   1: 0100007F:0948 0100007F:C350 01 0:0 00:0 0 0\n",
    "its probe, mapped": "   1: 0000000000000000FFFF00000100007F:0948 "
    "0000000000000000FFFF00000100007F:C350 01 0:0 00:0 0 0\n",
    "its probe by IPv6": "   1: 00000000000000000000000001000000:0948 "
    "00000000000000000000000001000000:C350 01 0:0 00:0 0 0\n",
    "a connection that ends": CLIENT.replace(" 01 ", " 06 "),
    "one to a registry": "   1: 0B00F40A:C350 0C00F40A:0948 01 0:0 00:0 0 0\n",
}
CLIENTS = {
    "a job": CLIENT,
    "a job by IPv6": "   1: B80D0120000000000000000001000000:0948 "
    "B80D012000000000000000000200007F:C350 01 0:0 00:0 0 0\n",
}


def drain(
    folder: Path, shell: str, looks: list[str], seconds: int = 60, *, busy: Sequence[str] = ()
) -> tuple[int, str]:
    """Run the script on what it sees at each look, the last for ever; return looks and log."""
    tools, log, seen = folder / "bin", folder / "log", folder / "seen"
    tools.mkdir()
    for n, text in enumerate(looks):
        (folder / str(n)).write_text(HEADER + LISTENS + text)
    # Stand-ins: the files of the test in place of the kernel's, and no time passes.
    stand_ins = {
        "cat": f'n=$(wc -l < {seen}); echo >> {seen}; [ "$n" -lt {len(looks)} ] '
        f"|| n={len(looks) - 1}; exec /bin/cat {folder}/$n",
        "sleep": "true",
    }
    for name, text in stand_ins.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    seen.write_text("")
    script = meta.script("daemon/drain.sh")
    assert "/proc/1/fd/2" in script
    subprocess.run(
        [
            *(shell, "-c", script.replace("/proc/1/fd/2", str(log)), "drain.sh", "2376"),
            *(str(seconds), *busy),
        ],
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        check=True,
        timeout=30,
    )
    return len(seen.read_text().splitlines()), log.read_text()


# Not in busybox, whose own `cat` comes before any stand-in.
@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("text", ["", *NOT_CLIENTS.values()], ids=["nothing", *NOT_CLIENTS])
def test_without_clients_the_daemon_stops_after_two_looks(
    tmp_path: Path, shell: str, text: str
) -> None:
    looks, log = drain(tmp_path, shell, [text])
    assert looks == 2
    assert "no client is connected" in log


@pytest.mark.parametrize("text", CLIENTS.values(), ids=list(CLIENTS))
def test_the_daemon_waits_for_its_clients(tmp_path: Path, text: str) -> None:
    looks, log = drain(tmp_path, "sh", [text, text, "", text, "", ""])
    assert looks == 6
    assert "no client is connected" in log


def test_the_drain_ends_with_its_time(tmp_path: Path) -> None:
    looks, log = drain(tmp_path, "sh", [CLIENT], seconds=10)
    assert looks == 5
    assert "time is up" in log


def test_a_daemon_that_has_started_is_prepared(tmp_path: Path, shell: str) -> None:
    """The kernel kills one process of it, and jobs no longer wait for its successor."""
    calls, group = tmp_path / "calls", tmp_path / "memory.oom.group"
    docker = tmp_path / "docker"

    def started(answer: str) -> int:
        docker.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{answer}\n')
        docker.chmod(0o755)
        arguments = ("started.sh", "unix:///a.sock", "draining", str(tmp_path))
        return subprocess.run(
            [shell, "-c", meta.script("daemon/started.sh"), *arguments],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            check=False,
            timeout=30,
        ).returncode

    assert started("exit 0") == 0
    group.write_text("1\n")
    assert started("exit 1") == 1
    assert group.read_text() == "1\n"
    assert started('[ "$2" = version ]') == 0
    assert group.read_text() == "0\n"
    assert calls.read_text().splitlines()[-2:] == [
        "--host=unix:///a.sock version",
        "--host=unix:///a.sock volume rm --force draining",
    ]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_new_jobs_are_told_to_wait_after_half_of_the_time(tmp_path: Path, shell: str) -> None:
    told = tmp_path / "told"
    busy = ["sh", "-c", f"cp {tmp_path}/seen {told}"]
    looks, _ = drain(tmp_path, shell, [CLIENT], seconds=20, busy=busy)
    assert looks == 10
    assert len(told.read_text().splitlines()) == 6


def test_nobody_is_told_where_the_daemon_is_soon_idle(tmp_path: Path) -> None:
    told = tmp_path / "told"
    drain(tmp_path, "sh", [CLIENT, CLIENT, ""], seconds=20, busy=["touch", str(told)])
    assert not told.exists()


HOST = "tcp://docker.docker.svc.cluster.local:2376"
NO_VOLUME = "Error response from daemon: get gitlab-runner-draining: no such volume"
REFUSED = "Cannot connect to the Docker daemon at tcp://docker: connection refused"


def script(**fields: Any) -> str | None:
    script: str | None = builders.runner_table(**fields).get("pre_build_script")
    return script


def job(
    folder: Path, shell: str, answers: list[str], *, host: str = HOST, **fields: Any
) -> subprocess.CompletedProcess[str]:
    """Run a job's start with a stand-in client that says, call by call, an error or nothing."""
    tools, calls = folder / "bin", folder / "calls"
    tools.mkdir()
    calls.write_text("")
    for n, text in enumerate(answers):
        (folder / f"answer-{n}").write_text(text)
    last = len(answers) - 1
    stand_in = (
        f'n=$(wc -l < {calls}); echo "$*" >> {calls}; [ "$n" -le {last} ] || n={last}\n'
        f"cat {folder}/answer-$n >&2; [ ! -s {folder}/answer-$n ]"
    )
    for name in ("docker", "buildctl") if answers else ():
        (tools / name).write_text(f"#!/bin/sh\n{stand_in}\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    commands = script(**fields)
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "DOCKER_HOST": host,
        "BUILDKIT_HOST": host,
        "BUILDKIT_CERT_PATH": "/buildkit-certs",
    }
    return subprocess.run(
        [shell, "-c", f"set -e\n{builders.clock(folder)}{commands}\necho the job goes on"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


WAITED = ["waiting for the shared daemon, which may be restarting...", "the job goes on"]
KINDS = [builders.daemon("docker", HOST), builders.daemon("buildkit", HOST)]


@pytest.mark.parametrize("fields", KINDS)
def test_a_job_goes_on_once_the_daemon_answers(
    tmp_path: Path, shell: str, fields: dict[str, Any]
) -> None:
    ended = job(tmp_path, shell, [REFUSED, REFUSED, "", NO_VOLUME], **fields)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == WAITED
    assert len((tmp_path / "calls").read_text().splitlines()) == (4 if "docker" in fields else 3)


def test_a_job_waits_for_the_successor_of_a_daemon_that_is_about_to_end(
    tmp_path: Path, shell: str
) -> None:
    """It has the volume at first, then is away, then is another one."""
    answers = ["", "", "", "", REFUSED, "", NO_VOLUME]
    ended = job(tmp_path, shell, answers, **KINDS[0])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == WAITED
    calls = (tmp_path / "calls").read_text().splitlines()
    look = ["version", "volume inspect gitlab-runner-draining"]
    assert calls == [*look, *look, "version", *look]


def test_a_daemon_that_does_not_end_in_time_is_used(tmp_path: Path, shell: str) -> None:
    ended = job(tmp_path, shell, [""], daemon_wait_seconds=4, **KINDS[0])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == WAITED


@pytest.mark.parametrize("fields", KINDS)
def test_a_job_fails_where_the_daemon_is_down_for_good(
    tmp_path: Path, shell: str, fields: dict[str, Any]
) -> None:
    ended = job(tmp_path, shell, [f"a warning\n{REFUSED}"], daemon_wait_seconds=1, **fields)
    assert ended.returncode == 1
    assert ended.stderr == f"ERROR: the shared daemon has not answered for 1 s: {REFUSED}\n"
    assert "the job goes on" not in ended.stdout


@pytest.mark.parametrize("fields", KINDS)
def test_jobs_that_have_nothing_to_wait_for_do_not(
    tmp_path: Path, shell: str, fields: dict[str, Any]
) -> None:
    for name, answers, host in (
        ("no client in the image", [], HOST),
        ("a daemon of the job's own", [REFUSED], "tcp://docker:2376"),
    ):
        folder = tmp_path / name.replace(" ", "-").replace("'", "")
        folder.mkdir()
        ended = job(folder, shell, answers, host=host, **fields)
        assert (ended.returncode, ended.stdout) == (0, "the job goes on\n")
        assert ("does not use the shared daemon" in ended.stderr) == (host != HOST)
        assert (folder / "calls").read_text() == ""


def test_an_error_that_the_daemon_responds_with_is_an_answer(tmp_path: Path) -> None:
    said = "Error response from daemon: client version 1.40 is too old"
    ended = job(tmp_path, "sh", [said], **builders.daemon("docker", HOST))
    assert (ended.returncode, ended.stdout) == (0, "the job goes on\n")


def test_the_users_own_commands_come_after() -> None:
    extra = builders.extra_config(pre_build_script="export MINE=1")
    joined = script(**builders.daemon("docker", HOST), extra_config=extra)
    assert joined is not None
    assert joined.endswith("\nfi\nexport MINE=1")
    assert script(extra_config=extra) == "export MINE=1"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {**builders.daemon("docker", HOST), "daemon_wait_seconds": 0},
        {**builders.daemon("docker", HOST), "extra_config": builders.extra_config(shell="pwsh")},
    ],
)
def test_there_are_jobs_without_a_wait(fields: dict[str, Any]) -> None:
    assert script(**fields) is None


def test_the_platforms_jobs_wait_for_its_daemon() -> None:
    args: Any = {
        **builders.GITLAB,
        "docker_daemon": {"accept_shared_nodes": True},
        "runner": {"daemon_wait_seconds": 77},
    }
    table = deploy(lambda: RunnerPlatform("ci", args)).one(":Release").runner
    assert 'if [ "${DOCKER_HOST:-}" = tcp://ci-docker.' in table["pre_build_script"]
    assert "seconds=77 " in table["pre_build_script"]


@pytest.mark.parametrize(
    ("fields", "dots"),
    [
        (builders.daemon("docker", "tcp://ci-docker.docker.svc.cluster.local:2376"), "4"),
        (builders.daemon("buildkit", "tcp://ci-buildkit.docker.svc.cluster.local:1234"), "4"),
        # With 3 dots the limit would be for names of other kinds too.
        (builders.daemon("buildkit", "tcp://ci-buildkit.docker.svc.cluster:1234"), None),
        (builders.daemon("docker", "tcp://ci-docker.docker.svc.k8s.example.com:2376"), None),
        (builders.daemon("docker", "tcp://docker.example.com:2376"), None),
        (builders.daemon("docker", "tcp://docker.svc.ci.example.com:2376"), None),
        (
            {
                **builders.daemon("docker", HOST),
                "extra_config": builders.extra_config(kubernetes={"dns_policy": "none"}),
            },
            None,
        ),
        (
            {
                **builders.daemon("docker", HOST),
                "extra_config": builders.extra_config(kubernetes={"dns_policy": "default"}),
            },
            None,
        ),
        (
            {
                **builders.daemon("docker", HOST),
                "extra_config": builders.extra_config(kubernetes={"dns_policy": "cluster-first"}),
            },
            "4",
        ),
        (builders.daemon("docker", "tcp://10.0.0.1:2376"), None),
        ({}, None),
    ],
)
def test_the_daemons_name_is_looked_up_at_once(fields: dict[str, Any], dots: str | None) -> None:
    table = builders.runner_table(**fields)
    wanted = {"options": [{"name": "ndots", "value": dots}]} if dots else None
    assert table["kubernetes"].get("dns_config") == wanted


@pytest.mark.parametrize("wrap", [str, pulumi.Output.from_input])
def test_a_limit_of_the_users_own_comes_last_and_counts(wrap: Callable[[str], Any]) -> None:
    """The address of a platform's daemon is an Output."""
    own = {
        "dns_config": {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "1"}]}
    }

    def program() -> None:
        daemon = {"host": wrap(HOST), "client_secret_name": "client"}
        extra = builders.extra_config(kubernetes=own)
        args: Any = {**builders.GITLAB, "docker": daemon, "extra_config": extra}
        GitLabRunner("ci", args)

    dns = deploy(program).one(":Release").runner["kubernetes"]["dns_config"]
    assert dns["nameservers"] == ["10.0.0.2"]
    assert [option["value"] for option in dns["options"]] == ["4", "1"]
