"""A merge request's preview, run for real: the template's job in a pod, with the real CLI."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from lab import cluster, engine, gitlab, images
from lab.gitlab import Git, Result, Variable, ci
from lab.gitlab.component import render
from lab.paths import ROOT
from preview.note import About
from tests.harness import token
from tests.required import missing, needs_lab

pytestmark = pytest.mark.lab
TEMPLATE = ROOT / "templates/pulumi-preview/template.yml"
PATH = "/api/v4/projects/42/merge_requests/5/notes"
PASSPHRASE = "a-passphrase-of-the-test"
API_KEY = "the-key-of-a-payment-provider"
BRANCH = "more-replicas"
PROGRAM = """
import pulumi
import pulumi_random as random

config = pulumi.Config()
random.RandomPassword("database", length=config.require_int("length"), special=False)
for number in range(config.require_int("replicas")):
    random.RandomId(f"replica-{number}", byte_length=4)
random.RandomId("payment", byte_length=4, prefix=config.require_secret("apiKey"))
if config.get_bool("broken"):
    raise ValueError("the zone is missing")
"""
# A user's image has the provider's plugin; here a stand-in of it is served beside the CLI. Were its
# output the job's, the job would not end.
SERVE = """
python3 -m lab.providers random > /tmp/providers 2> /tmp/providers.log < /dev/null &
until [ -s /tmp/providers ]; do sleep 0.2; done
export PULUMI_DEBUG_PROVIDERS=random:$(cat /tmp/providers)
"""


def note_token() -> str:
    """Return a token of the form that GitLab gives; it is nobody's."""
    return token().replace("glrt-", "glpat-")


@pytest.fixture(scope="module")
def cli() -> None:
    """Give the node the image of the Pulumi CLI."""
    needs_lab()
    wanted = (images.find("pulumi"),)
    if not wanted[0].archive.exists():
        missing("the image of the Pulumi CLI is not built (python -m lab extras)")
    images.load_all(wanted)


@pytest.fixture(scope="module")
def secret(cli: None) -> Iterator[str]:
    """Start GitLab's API of notes, a stand-in that keeps state; return the token that it takes."""
    value, labels, name = note_token(), {"app": "notes"}, "notes"
    container = {
        "name": name,
        "image": images.reference("pulumi"),
        "command": ["python3", "/config/notes.py", "8080", "/config/token"],
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "config", "secret": {"secretName": name}}],
    }
    server = (ROOT / "tests/notes.py").read_text()
    # One that a killed run left has another token, and notes.
    cluster.kubectl("-n", gitlab.NAMESPACE, "delete", f"deployment/{name}", "--ignore-not-found")
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": gitlab.NAMESPACE},
            "stringData": {"token": value, "notes.py": server},
        },
        cluster.deployment(name, gitlab.NAMESPACE, labels, pod),
        cluster.service(name, gitlab.NAMESPACE, labels, [{"port": 8080}]),
    )
    cluster.rollout(gitlab.NAMESPACE, f"deployment/{name}")
    yield value
    for kind in ("deployment", "service", "secret"):
        cluster.kubectl("-n", gitlab.NAMESPACE, "delete", kind, name, "--wait=false")


def requests() -> list[dict[str, Any]]:
    """Return what the stand-in for the API of notes was asked."""
    script = (
        "import urllib.request as r;"
        "print(r.urlopen('http://127.0.0.1:8080/stand-in/requests').read().decode())"
    )
    text = cluster.kubectl(
        *("-n", gitlab.NAMESPACE, "exec", "deployment/notes", "--", "python3", "-c", script)
    )
    found: list[dict[str, Any]] = json.loads(text)
    return found


def stack_file(text: str, **settings: int | str) -> str:
    """Return a stack's file with other settings."""
    data = yaml.safe_load(text)
    data["config"] |= {f"shop:{key}": value for key, value in settings.items()}
    return yaml.safe_dump(data)


@pytest.fixture(scope="module")
def project(cli: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Deploy the stacks `dev` and `prod` of a small project; return its files, state included."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (folder / "__main__.py").write_text(PROGRAM)
    environment = {**engine.environment(), "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE}
    for stack in ("dev", "prod"):
        for arguments in (
            ("stack", "init", stack),
            ("config", "set", "length", "20"),
            ("config", "set", "replicas", "2"),
            ("config", "set", "--secret", "apiKey", API_KEY),
            ("up", "--yes", "--skip-preview"),
        ):
            done = engine.cli(folder, environment, *arguments)
            assert done.returncode == 0, done.stdout + done.stderr
    for leftover in ("__pycache__", ".state/.pulumi/backups", ".state/.pulumi/history"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def preview(cli: None, secret: str, project: dict[str, str]) -> Callable[..., Result]:
    """Return a function that runs the template's job for a branch of a merge request."""
    gitlab.push({name: text.encode() for name, text in project.items()}, "the project")

    def start(
        files: Mapping[str, str],
        *,
        stack: str = "dev",
        inputs: Mapping[str, Any] | None = None,
        **variables: str,
    ) -> Result:
        given = {"image": images.reference("pulumi"), "stacks": [stack], **(inputs or {})}
        pipeline = yaml.safe_load(render(TEMPLATE.read_text(), given))
        pipeline["pulumi-preview"]["before_script"] = [SERVE]
        branch = {**project, **files, ".gitlab-ci.yml": yaml.safe_dump(pipeline)}
        encoded = {name: text.encode() for name, text in branch.items()}
        sha = gitlab.push(encoded, "a change", BRANCH)
        known = {
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": "5",
            "CI_MERGE_REQUEST_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "42",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": BRANCH,
            "CI_COMMIT_REF_PROTECTED": "false",
            "CI_API_V4_URL": "http://notes.lab.svc.cluster.local:8080/api/v4",
            "CI_JOB_URL": "https://gitlab.example.com/demo/app/-/jobs/901",
            "PULUMI_BACKEND_URL": "file://$CI_PROJECT_DIR/.state",
            **variables,
        }
        hidden = {"PULUMI_CONFIG_PASSPHRASE": PASSPHRASE, "PULUMI_PREVIEW_TOKEN": secret}
        job = ci.job(
            branch[".gitlab-ci.yml"],
            f"pulumi-preview: [{stack}]",
            Git(sha, BRANCH),
            variables=(
                *(Variable(key, value) for key, value in known.items()),
                *(
                    # Not masked: what the log shows is the template's own doing.
                    Variable(key, value, public=False)
                    for key, value in hidden.items()
                    if key not in variables
                ),
            ),
            timeout_seconds=240,
        )
        return gitlab.run(job)

    return start


def test_the_second_run_updates_the_note_of_the_first(
    preview: Callable[..., Result], project: dict[str, str], secret: str
) -> None:
    old = project["Pulumi.dev.yaml"]
    first = preview({"Pulumi.dev.yaml": stack_file(old, length=24, replicas=1)})
    assert first.succeeded, first.text
    assert "dev: 1 to delete, 1 to replace" in first.text
    assert "note: created" in first.text
    asked = requests()
    assert [f"{r['method']} {r['path'].partition('?')[0]}" for r in asked] == [
        f"GET {PATH}",
        f"POST {PATH}",
    ]
    body = json.loads(asked[-1]["body"])["body"]
    assert body.startswith("### Pulumi preview of `dev`: **1 to delete, 1 to replace**\n")
    assert ":warning: **DELETE** `replica-1`" in body
    assert ":warning: **REPLACE** `database`" in body
    assert "+     length: 24  # forces the replacement" in body
    assert "(https://gitlab.example.com/demo/app/-/jobs/901)" in body
    assert About("dev").marker in body

    second = preview({"Pulumi.dev.yaml": stack_file(old, replicas=3)})
    assert second.succeeded, second.text
    assert "note: updated" in second.text
    asked = requests()[len(asked) :]
    assert [f"{r['method']} {r['path'].partition('?')[0]}" for r in asked] == [
        f"GET {PATH}",
        "GET /api/v4/user",
        f"PUT {PATH}/1",
    ]
    body = json.loads(asked[-1]["body"])["body"]
    assert body.startswith("### Pulumi preview of `dev`: 1 to create\n")
    for shown in (first.text, second.text, json.dumps(requests())):
        for value in (secret, PASSPHRASE, API_KEY):
            assert value not in shown


def test_a_program_that_fails_fails_the_job_and_says_why_in_the_note(
    preview: Callable[..., Result], project: dict[str, str]
) -> None:
    broken = stack_file(project["Pulumi.dev.yaml"], broken="true")
    result = preview({"Pulumi.dev.yaml": broken})
    assert (result.failure_reason, result.exit_code) == ("script_failure", 1), result.text
    body = json.loads(requests()[-1]["body"])["body"]
    assert body.startswith("### Pulumi preview of `dev`: **failed**: 1 error")
    assert "ValueError: the zone is missing" in body


def test_the_report_needs_no_token(preview: Callable[..., Result], project: dict[str, str]) -> None:
    before = len(requests())
    inputs = {"note-token-variable": "NO_SUCH_TOKEN"}
    result = preview({"Pulumi.dev.yaml": project["Pulumi.dev.yaml"]}, inputs=inputs)
    assert result.succeeded, result.text
    assert "dev: no changes" in result.text
    assert len(requests()) == before


@pytest.mark.parametrize(
    ("stack", "inputs", "variables", "words"),
    [
        ("prod", {"protected": True}, {}, "the stack 'prod' is protected"),
        ("dev", {}, {"PREVIEW_STACK": "prod"}, "'prod' is not one of this job's"),
        (
            "dev",
            {"protected-variables": ["PROD_KEY"]},
            {"PROD_KEY": "a-key-of-production"},
            "an unprotected branch can read PROD_KEY",
        ),
        ("dev", {"backend-url-variable": "STATE"}, {}, "the variable STATE is empty"),
    ],
    ids=["protected stack", "changed stack", "open variable", "no backend"],
)
def test_what_must_not_be_previewed_is_refused_before_the_engine_starts(
    preview: Callable[..., Result],
    stack: str,
    inputs: dict[str, Any],
    variables: dict[str, str],
    words: str,
) -> None:
    result = preview({}, stack=stack, inputs=inputs, **variables)
    assert result.failure_reason == "script_failure"
    assert words in result.text
    assert "Previewing update" not in result.text


def test_a_protected_branch_may_preview_a_protected_stack(
    preview: Callable[..., Result],
) -> None:
    result = preview({}, stack="prod", inputs={"protected": True}, CI_COMMIT_REF_PROTECTED="true")
    assert result.succeeded, result.text
    assert "prod: no changes" in result.text
