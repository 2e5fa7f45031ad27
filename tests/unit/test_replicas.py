"""Several daemons of one zone: each project has one of them, and keeps it."""

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s import BuildKitDaemon, GitLabRunner, RunnerPlatform, SharedDockerDaemon
from gitlab_runner_k8s.meta import script
from gitlab_runner_k8s.runner.connections import MAXIMUM_REPLICAS

from tests import builders
from tests.harness import Recorder, deploy
from tests.jump_hash import jump

HOST = "tcp://ci-docker.docker.svc.cluster.local:2376"
OTHER = "tcp://ci-docker-1.docker.svc.cluster.local:2376"
PROJECTS = range(1, 301)
DAEMONS: dict[str, Callable[[Any], Any]] = {
    "docker": lambda options: SharedDockerDaemon("build", {"accept_shared_nodes": True} | options),
    "buildkit": lambda options: BuildKitDaemon("build", options),
}
every_kind = pytest.mark.parametrize("kind", DAEMONS)


def chosen(shell: str, replicas: int, projects: Any = PROJECTS) -> list[int]:
    """Return the number of each project's daemon, as a job's shell works it out."""
    one = f"(\n{script('runner/choose_daemon.sh')})\necho ."
    texts = "".join(f"CI_PROJECT_ID={project}\n{one}\n" for project in projects)
    ended = subprocess.run(
        [shell],
        input=f"set -e\nreplicas={replicas}\n{texts}",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *found, _ = ended.stdout.split(".\n")
    return [int(text.strip().removeprefix("-") or 0) for text in found]


@pytest.mark.parametrize("replicas", [2, 3, MAXIMUM_REPLICAS])
def test_the_choice_is_that_of_the_paper(shell: str, replicas: int) -> None:
    large = [2**31 - 1, 2**31, 2**40 + 7, 10**15 - 1]
    found = chosen(shell, replicas, [*PROJECTS, *large])
    assert found == [jump(project, replicas) for project in [*PROJECTS, *large]]


@pytest.mark.parametrize("replicas", [2, 5, MAXIMUM_REPLICAS])
def test_every_daemon_gets_its_share(replicas: int) -> None:
    counts = Counter(chosen("dash", replicas, range(1, 2001)))
    assert set(counts) == set(range(replicas))
    fair = 2000 / replicas
    assert max(counts.values()) < 1.3 * fair
    assert min(counts.values()) > 0.7 * fair


@pytest.mark.parametrize("replicas", range(1, 6))
def test_one_daemon_more_moves_projects_to_it_alone(replicas: int) -> None:
    before, after = chosen("dash", replicas), chosen("dash", replicas + 1)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {replicas}
    assert len(moved) < 1.5 * len(PROJECTS) / (replicas + 1)


@pytest.mark.parametrize(
    "project", ["", "none", "1;exit 1", "$(exit 1)", "08", "007", "-1", f"{10**15}", "9" * 30]
)
def test_what_is_no_number_goes_to_the_same_daemon(shell: str, project: str) -> None:
    ended = choice(shell, script("runner/choose_daemon.sh"), project)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, expected(jump(0, 4)), "")


def test_a_shell_that_cannot_tell_takes_the_first(shell: str) -> None:
    text = script("runner/choose_daemon.sh")
    # Stand-in: what a shell that calculates with 32 bits makes of it.
    narrow = text.replace("$((1 << 31))", "-2147483648")
    assert narrow != text
    project = str(next(number for number in PROJECTS if jump(number, 4)))
    assert choice(shell, text, project).stdout != ""
    ended = choice(shell, narrow, project)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def choice(shell: str, text: str, project: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell, "-c", f"set -e\nreplicas=4\n{text}"],
        env={"CI_PROJECT_ID": project, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )


def expected(number: int) -> str:
    return f"-{number}\n" if number else ""


def commands(**fields: Any) -> str:
    script: str = builders.runner_table(**fields)["pre_build_script"]
    return script


def job(
    folder: Path,
    shell: str,
    text: str,
    host: str,
    variable: str = "DOCKER_HOST",
    up: tuple[str, ...] = (HOST, OTHER),
) -> subprocess.CompletedProcess[str]:
    """Run a job's start with a stand-in client, which says whom it was to ask.

    Those that are up answer it. The job's project is on the second of two.
    """
    for name in ("docker", "buildctl"):
        tool = folder / name
        tool.write_text(
            f'#!/bin/sh\n[ "$1" != volume ] || exit 1\necho "asked ${variable}" >> {folder}/asked\n'
            f'case "{" ".join(up)}" in *"${variable}"*) ;; *) echo no such host; exit 1 ;; esac\n'
        )
        tool.chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "CI_PROJECT_ID": str(next(number for number in PROJECTS if jump(number, 2) == 1)),
        "GITLAB_ENV": str(folder / "env"),
        "BUILDKIT_CERT_PATH": "/buildkit-certs",
        variable: host,
    }
    return subprocess.run(
        [shell, "-c", f"set -e\n{builders.clock(folder)}{text}\nprintenv {variable}\n"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def job_of_two(
    folder: Path, shell: str, kind: str, *, up: tuple[str, ...], **fields: Any
) -> subprocess.CompletedProcess[str]:
    """Start a job where there are two daemons of a kind."""
    text = commands(**builders.daemon(kind, HOST, 2), **fields)
    return job(folder, shell, text, HOST, f"{kind.upper()}_HOST", up=up)


def asked(folder: Path) -> list[str]:
    """Return whom the client was to ask, without repetitions."""
    return list(dict.fromkeys((folder / "asked").read_text().split("asked ")[1:]))


@every_kind
def test_a_job_uses_and_waits_for_its_own_daemon(tmp_path: Path, shell: str, kind: str) -> None:
    variable = f"{kind.upper()}_HOST"
    ended = job_of_two(tmp_path, shell, kind, up=(OTHER,))
    assert ended.stdout == f"This project's daemon, one of 2: {OTHER}\n{OTHER}\n"
    assert (ended.returncode, ended.stderr) == (0, "")
    assert asked(tmp_path) == [f"{OTHER}\n"]
    assert (tmp_path / "env").read_text() == f"{variable}={OTHER}\n"


@every_kind
def test_a_job_whose_daemon_was_taken_away_takes_the_first(
    tmp_path: Path, shell: str, kind: str
) -> None:
    ended = job_of_two(tmp_path, shell, kind, up=(HOST,), daemon_wait_seconds=1)
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == HOST
    assert ended.stderr.splitlines() == [
        "WARNING: the shared daemon has not answered for 1 s: no such host",
        "using the first of the 2 daemons, which has no layers of this project: "
        "this build starts cold",
    ]
    assert asked(tmp_path) == [f"{OTHER}\n", f"{HOST}\n"]
    assert (tmp_path / "env").read_text() == f"{kind.upper()}_HOST={HOST}\n"


@every_kind
def test_a_job_fails_where_the_first_does_not_answer_either(
    tmp_path: Path, shell: str, kind: str
) -> None:
    ended = job_of_two(tmp_path, shell, kind, up=(), daemon_wait_seconds=1)
    assert ended.returncode == 1
    assert asked(tmp_path) == [f"{OTHER}\n", f"{HOST}\n"]
    error = "ERROR: the shared daemon has not answered for 1 s: no such host"
    assert ended.stderr.splitlines()[-1] == error
    assert f"\n{HOST}\n" not in ended.stdout


def test_a_job_of_the_first_daemon_waits_for_no_other(tmp_path: Path, shell: str) -> None:
    text = commands(**builders.daemon("docker", HOST, 2), daemon_wait_seconds=1)
    text = f"CI_PROJECT_ID={next(number for number in PROJECTS if not jump(number, 2))}\n{text}"
    ended = job(tmp_path, shell, text, HOST, up=(OTHER,))
    assert ended.returncode == 1
    assert ended.stderr == "ERROR: the shared daemon has not answered for 1 s: no such host\n"
    assert asked(tmp_path) == [f"{HOST}\n"]


def test_a_job_that_waits_for_nothing_chooses_all_the_same(tmp_path: Path, shell: str) -> None:
    text = commands(**builders.daemon("docker", HOST, 2), daemon_wait_seconds=0)
    assert job(tmp_path, shell, text, HOST).stdout.splitlines()[-1] == OTHER
    assert not (tmp_path / "asked").exists()


def test_a_daemon_of_the_jobs_own_is_left_alone(tmp_path: Path, shell: str) -> None:
    text = commands(**builders.daemon("docker", HOST, 2))
    own = "tcp://docker:2376"
    ended = job(tmp_path, shell, text, own)
    assert ended.stdout == f"{own}\n"
    assert ended.stderr == (
        "this job does not use the shared daemon: .gitlab-ci.yml or a CI/CD variable sets "
        f"DOCKER_HOST to {own}\n"
    )
    assert not (tmp_path / "env").exists()
    assert not (tmp_path / "asked").exists()


def test_one_daemon_is_no_choice() -> None:
    text = commands(**builders.daemon("docker", HOST))
    assert "replicas" not in text
    assert text == commands(**builders.daemon("docker", HOST, 1))


def services(recorder: Recorder) -> dict[str, dict[str, str]]:
    """Return the selectors of the Services by their names."""
    found = [made.plain for made in recorder.of_type(":Service")]
    return {made["metadata"]["name"]: made["spec"]["selector"] for made in found}


def indexes(recorder: Recorder) -> dict[str, str]:
    """Return which of the pods each Service is for."""
    found = services(recorder)
    return {name: one["apps.kubernetes.io/pod-index"] for name, one in found.items()}


@every_kind
def test_each_daemon_has_a_name_a_volume_and_a_place(kind: str) -> None:
    recorder = deploy(lambda: DAEMONS[kind]({"replicas": 3}))
    assert indexes(recorder) == {"build": "0", "build-1": "1", "build-2": "2"}
    made = recorder.one(":StatefulSet")
    spec = made.plain["spec"]
    assert spec["replicas"] == 3
    # One that does not start keeps no other from it. What is there cannot be changed.
    assert spec["podManagementPolicy"] == "Parallel"
    assert "spec.podManagementPolicy" in made.request.ignoreChanges
    (apart,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["whenUnsatisfiable"] == "ScheduleAnyway"
    assert apart["labelSelector"] == spec["selector"]
    patches = recorder.of_type(":PersistentVolumeClaimPatch")
    claims = [made.plain["metadata"]["name"] for made in patches]
    assert claims == ["data-build-0", "data-build-1", "data-build-2"]
    assert all(made.request.retainOnDelete for made in patches)


@every_kind
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_service_is_for_the_same_pod_whatever_their_number(kind: str, replicas: int) -> None:
    """One that drains, as there are fewer, gets none of the first one's jobs."""
    recorder = deploy(lambda: DAEMONS[kind]({"replicas": replicas}))
    assert indexes(recorder)["build"] == "0"


def test_a_service_is_for_the_pod_of_either_isolation() -> None:
    def made(isolation: str) -> dict[str, dict[str, str]]:
        options = {"replicas": 2, "isolation": isolation}
        return services(deploy(lambda: DAEMONS["docker"](options)))

    assert made("privileged") == made("rootless")


def server_names(recorder: Recorder) -> list[str]:
    found: list[str] = recorder.one(":CertRequest", "build-server").plain["dnsNames"]
    return found


@every_kind
def test_the_certificate_is_good_for_every_number_of_daemons(kind: str) -> None:
    of = {
        replicas: server_names(deploy(lambda: DAEMONS[kind]({"replicas": replicas})))  # noqa: B023
        for replicas in (1, 2, MAXIMUM_REPLICAS)
    }
    last = f"build-{MAXIMUM_REPLICAS - 1}."
    assert any(name.startswith(last) for name in of[2])
    # What is deployed with one daemon is not touched.
    assert not any(name.startswith("build-") for name in of[1])
    assert of[2] == of[MAXIMUM_REPLICAS]


@every_kind
def test_one_daemon_is_declared_as_ever(kind: str) -> None:
    recorder = deploy(lambda: DAEMONS[kind]({}))
    assert indexes(recorder) == {"build": "0"}
    pod = recorder.one(":StatefulSet").pod
    assert "topologySpreadConstraints" not in pod
    (patch,) = recorder.of_type(":PersistentVolumeClaimPatch")
    assert patch.name == "build-daemon-volume"


@every_kind
def test_an_update_has_time_for_one_daemon_after_the_other(kind: str) -> None:
    options = {"termination_grace_period_seconds": 3600, "replicas": 4}
    timeouts = deploy(lambda: DAEMONS[kind](options)).one(":StatefulSet").request.customTimeouts
    assert int(timeouts.update.removesuffix("s")) >= 4 * (3600 + 600)


def pre_build_scripts(recorder: Recorder) -> dict[str, str]:
    return {
        release.plain["name"]: release.runner.get("pre_build_script", "")
        for release in recorder.of_type(":Release")
    }


def test_the_platform_tells_the_jobs_of_each_zone_how_many_there_are() -> None:
    token = {"token_secret_name": "a"}
    args: Any = {
        "gitlab_url": builders.GITLAB["gitlab_url"],
        "docker_daemon": {"accept_shared_nodes": True, "replicas": 3},
        "zones": {"other": {"buildkit_daemon": {"replicas": 2}}, "last": {"buildkit_daemon": {}}},
        "fleets": {
            "one": token,
            "two": {"token_secret_name": "b", "zone": "other"},
            "three": {"token_secret_name": "c", "zone": "last"},
        },
    }
    found = pre_build_scripts(deploy(lambda: RunnerPlatform("ci", args)))
    assert "replicas=3\n" in found["ci-one"]
    assert "replicas=2\n" in found["ci-two"]
    assert "BUILDKIT_HOST=tcp://ci-other-buildkit" in found["ci-two"]
    assert "replicas=" not in found["ci-three"]


def test_an_alert_counts_them() -> None:
    def alert(replicas: int) -> dict[str, Any]:
        args: Any = {
            **builders.GITLAB,
            "docker_daemon": {"accept_shared_nodes": True, "replicas": replicas},
            "monitoring": {"enable_pod_monitor": True, "enable_alert_rules": True},
        }
        recorder = deploy(lambda: RunnerPlatform("ci", args))
        (rules,) = [made for made in recorder.registrations if made.type.endswith("PrometheusRule")]
        found = [rule for group in rules.plain["spec"]["groups"] for rule in group["rules"]]
        (one,) = [rule for rule in found if rule["alert"] == "DockerDaemonDown"]
        assert isinstance(one, dict)
        return one

    assert alert(1)["expr"].startswith("absent(up{")
    several = alert(3)
    assert several["expr"].startswith("(count(count by (pod) (up{")
    assert several["expr"].endswith("== 1)) or vector(0)) < 3")
    assert several["annotations"]["summary"].startswith("One of the 3 shared docker daemons ")
    assert "Jobs of the projects on this daemon wait" in several["annotations"]["description"]
    assert "get pods; the log of each job names the daemon" in several["annotations"]["description"]


def test_a_runner_alone_can_be_told_of_several() -> None:
    args: Any = {
        **builders.GITLAB,
        "docker": {"host": HOST, "client_secret_name": "client", "replicas": 2},
    }
    (text,) = pre_build_scripts(deploy(lambda: GitLabRunner("ci", args))).values()
    assert "replicas=2\n" in text
