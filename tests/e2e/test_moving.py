"""Each line of docs/moving.md, by jobs on the shared daemon of the lab.

tests/e2e/test_daemon.py has those about a Compose project's end, bind mounts and base images.
"""

import pytest

from lab import gitlab, images
from lab.gitlab import Result, Service, Variable
from tests.e2e.held import job
from tests.e2e.test_daemon import IMAGE
from tests.required import needs_lab

pytestmark = pytest.mark.lab
SERVER = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5) or die;"
    " while (my $c = $s->accept) { print $c qq(served\\n); close $c }"
)
COMPOSE = f"""
services:
  web:
    image: {IMAGE}
    command: [perl, -e, '{SERVER.replace("$", "$$")}']
    ports: ["8080:80"]
    configs: [{{source: setting, target: /setting}}]
  built:
    build: .
    command: [cat, /made]
configs:
  setting:
    content: of-the-job
"""
FILES = {
    "compose.yaml": COMPOSE.encode(),
    "Dockerfile": f"FROM {IMAGE}\nRUN echo made-here > /made\n".encode(),
    "source.txt": b"the job's own file\n",
}
ASK = "bash -c 'exec 3<>/dev/tcp/{}/{} && cat <&3'"


REGISTRY = "registry.lab.svc.cluster.local:5000/moving"


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    needs_lab()


def run(*commands: str, **fields: object) -> Result:
    return gitlab.run(job(*commands, files=FILES, **fields))


def test_what_works_as_before() -> None:
    result = run(
        "docker build --tag works:$CI_JOB_ID . && docker buildx build --tag works2:$CI_JOB_ID .",
        "docker save works:$CI_JOB_ID > image.tar && docker image rm works:$CI_JOB_ID",
        f"docker load < image.tar && docker tag works:$CI_JOB_ID {REGISTRY}/works:$CI_JOB_ID",
        f"docker push {REGISTRY}/works:$CI_JOB_ID && docker pull {REGISTRY}/works:$CI_JOB_ID",
        "docker network create n-$CI_JOB_ID && docker volume create v-$CI_JOB_ID",
        "docker run -d --name c-$CI_JOB_ID --network n-$CI_JOB_ID -v v-$CI_JOB_ID:/v"
        " works:$CI_JOB_ID sh -c 'echo logged; sleep 60'",
        "docker exec c-$CI_JOB_ID cat /made && docker cp source.txt c-$CI_JOB_ID:/v/",
        "docker exec c-$CI_JOB_ID cat /v/source.txt && docker logs c-$CI_JOB_ID",
        "docker rm --force c-$CI_JOB_ID && docker network rm n-$CI_JOB_ID",
        "docker volume rm v-$CI_JOB_ID",
        "docker compose build && docker compose up --detach web && docker compose logs web",
        "docker compose exec web cat /setting && docker compose run --rm built",
        "docker compose down",
    )
    assert result.succeeded, result.text
    # Not the commands that the runner shows, nor the steps of a build.
    lines = [line for line in result.text.splitlines() if not line.startswith(("$", "#"))]
    for said in ("made-here", "the job's own file", "logged", "of-the-job"):
        assert any(said in line for line in lines), said


def test_a_password_stays_in_the_jobs_container() -> None:
    first = run(
        'mkdir -p ~/.docker && echo \'{"auths": {"a.example.com": {"auth": "eDp5"}}}\''
        " > ~/.docker/config.json && docker version > /dev/null"
    )
    assert first.succeeded, first.text
    second = run("test ! -e ~/.docker/config.json")
    assert second.succeeded, second.text


def test_the_jobs_files_are_copied_in_place_of_a_mount() -> None:
    result = run(
        f'docker run --rm -v "$PWD:/src" {IMAGE} cat /src/source.txt || echo refused-as-said',
        f"docker create --name files-$CI_JOB_ID {IMAGE} cat /src/source.txt",
        "docker cp . files-$CI_JOB_ID:/src",
        "docker start -a files-$CI_JOB_ID && docker rm files-$CI_JOB_ID",
    )
    assert result.succeeded, result.text
    assert "refused-as-said" in result.text.splitlines()
    assert "the job's own file" in result.text


def test_a_published_port_is_reached_from_the_containers_network() -> None:
    result = run(
        "docker compose up --detach web && sleep 1",
        f"{ASK.format('localhost', 8080)} || echo nothing-here",
        f"docker compose exec web {ASK.format('localhost', 80)}",
        f"docker run --rm --network ci-${{CI_JOB_ID}}_default {IMAGE} {ASK.format('web', 80)}",
    )
    assert result.succeeded, result.text
    assert "nothing-here" in result.text.splitlines()
    assert result.text.count("\nserved") == 2


def test_a_container_does_not_find_the_jobs_services() -> None:
    service = Service(images.reference("docker"), "side", command=("sleep", "60"))
    result = run(
        f"docker run --rm {IMAGE} getent hosts side || echo not-found", services=(service,)
    )
    assert result.succeeded, result.text
    assert "not-found" in result.text.splitlines()


def test_two_jobs_need_two_names() -> None:
    left = run(f"docker run -d --name same {IMAGE} sleep 60")
    assert left.succeeded, left.text
    result = run(f"docker run --name same {IMAGE} true || true", "docker rm --force same")
    assert result.succeeded, result.text
    assert "is already in use by container" in result.text


def test_another_jobs_prune_takes_an_image() -> None:
    made = run("docker build --tag pruned:1 .")
    assert made.succeeded, made.text
    result = run(
        "docker image prune --all --force > /dev/null; docker image inspect pruned:1 2>&1 || true"
    )
    assert "No such image: pruned:1" in result.text
    pushed = run(f"docker build --push --tag {REGISTRY}/pushed:1 .")
    assert pushed.succeeded, pushed.text


def test_a_job_that_sets_a_daemon_does_not_find_it() -> None:
    old = (Variable("DOCKER_HOST", "tcp://docker:2375"), Variable("DOCKER_TLS_VERIFY", ""))
    result = run("docker version 2>&1 || true", variables=old)
    assert "this job does not use the shared daemon" in result.text
    assert "lookup docker" in result.text


def test_a_private_registry_and_an_old_client_say_what_the_page_says() -> None:
    result = run("DOCKER_API_VERSION=1.20 docker version 2>&1 || true")
    assert "client version 1.20 is too old" in result.text
