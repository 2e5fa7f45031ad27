"""Each environment as its users have it: the real CLI, `make preview`, a state, secrets."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from lab import engine
from lab.paths import ROOT
from lab.providers import aws
from lab.providers.__main__ import serve
from lab.providers.kept import KeptObject
from tests import stackfiles
from tests.harness import token

pytestmark = pytest.mark.engine

REGION = "eu-central-1"
KEY = f"awskms://alias/pulumi-prod?region={REGION}"


@pytest.fixture(scope="module")
def providers(kept: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment of stand-ins for every provider that a stack's file needs."""
    provider = aws.provider()
    # moto has none; a preview makes none either.
    provider.resources["aws:eks/podIdentityAssociation:PodIdentityAssociation"] = KeptObject(
        lambda _: {}
    )
    server, port = serve(provider)
    addresses = f"{kept['PULUMI_DEBUG_PROVIDERS']},aws:{port}"
    yield {**kept, "PULUMI_DEBUG_PROVIDERS": addresses}
    server.stop(grace=2)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the repository, as far as `make preview` needs it."""
    for name in ("Makefile", "Pulumi.yaml", "__main__.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "stacks", tmp_path / "stacks")
    return tmp_path


def pulumi(project: Path, environment: dict[str, str], *arguments: str) -> str:
    done = engine.cli(project, environment, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_preview(
    project: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run `make preview`, with the Python environment of these tests for the one it would make."""
    return subprocess.run(
        ["make", "--old-file=setup", "preview", *arguments],
        cwd=project,
        env=engine.cli_environment(project, environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("name", stackfiles.ENVIRONMENTS)
def test_make_preview(name: str, project: Path, providers: dict[str, str]) -> None:
    pulumi(project, providers, "stack", "init", name)
    secrets = stackfiles.tokens(name)
    for path, secret in secrets.items():
        pulumi(project, providers, "config", "set", "--stack", name, "--secret", path, secret)
    done = make_preview(project, providers, f"STACK={name}")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "gitlab-runner-k8s:index:RunnerPlatform" in said
    assert "error" not in said
    steps = json.loads(pulumi(project, providers, "preview", "--json", "--stack", name))["steps"]
    assert {step["op"] for step in steps} == {"create"}
    kinds = [step["newState"]["type"] for step in steps]
    assert kinds.count("kubernetes:helm.sh/v3:Release") == len(secrets)
    assert ("aws:s3/bucket:Bucket" in kinds) == (name != "dev")
    for secret in secrets.values():
        assert secret not in said + json.dumps(steps)


@pytest.mark.parametrize("option", [(), ("--path",)])
def test_a_token_in_plain_text_stops_the_preview(
    option: tuple[str, ...], project: Path, providers: dict[str, str]
) -> None:
    pulumi(project, providers, "stack", "init", "staging")
    setting = ("config", "set", "--stack", "staging", *option)
    pulumi(project, providers, *setting, "--secret", "fleets.general.runnerToken", token())
    secret = token()
    # The CLI warns of what looks like a secret, and can be told not to.
    pulumi(project, providers, *setting, "--plaintext", "fleets.release.runnerToken", secret)
    done = make_preview(project, providers, "STACK=staging")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    # Of the two within one value the engine says that it is secret; the file says which is not.
    command = " ".join(["pulumi config set --secret", *option, "fleets.release.runnerToken"])
    assert f"fleets.release.runnerToken: must be a secret; set it with '{command}'" in said
    assert "1 problem, nothing was registered" in said
    assert secret not in said


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((), {}, "name the stack: make preview STACK=dev"),
        (("STACK=nope",), {}, "there is no stacks/Pulumi.nope.yaml"),
        (("STACK=dev",), {"PATH": "/usr/bin:/bin"}, "the Pulumi CLI is not installed"),
        (("STACK=dev",), {"PULUMI_BACKEND_URL": ""}, "run 'pulumi login' with yours"),
        (("STACK=dev",), {}, "make the stack once: pulumi stack init dev"),
    ],
)
def test_what_is_missing_is_said(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    message: str,
    project: Path,
    providers: dict[str, str],
) -> None:
    # A home of its own, in which nobody has logged in.
    home = {"PULUMI_HOME": str(project / "home")}
    done = make_preview(project, {**providers, **home, **environment}, *arguments)
    assert done.returncode != 0
    assert message in done.stderr


def client(service: str, server: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=server,
        region_name=REGION,
        aws_access_key_id="admin",
        aws_secret_access_key="admin",
    )


def test_the_state_in_s3_and_the_secrets_by_kms(
    project: Path, providers: dict[str, str], server: str
) -> None:
    client("s3", server).create_bucket(
        Bucket="pulumi-state", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    key = client("kms", server).create_key()["KeyMetadata"]["KeyId"]
    client("kms", server).create_alias(AliasName="alias/pulumi-prod", TargetKeyId=key)
    backend = f"s3://pulumi-state?region={REGION}&endpoint={server}&s3ForcePathStyle=true"
    own = {"PULUMI_BACKEND_URL": "", "PULUMI_CREDENTIALS_PATH": str(project / "home")}
    keys = {"AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "admin"}
    environment = {**providers, **own, **keys, "AWS_ENDPOINT_URL_KMS": server}
    environment |= {"PULUMI_CONFIG_PASSPHRASE": ""}
    pulumi(project, environment, "login", backend)
    pulumi(project, environment, "stack", "init", "prod", "--secrets-provider", KEY)
    secrets = stackfiles.tokens("prod")
    for path, secret in secrets.items():
        pulumi(project, environment, "config", "set", "--stack", "prod", "--secret", path, secret)
    file = yaml.safe_load((project / "stacks/Pulumi.prod.yaml").read_text())
    assert file["secretsprovider"] == KEY
    assert "encryptionsalt" not in file
    done = make_preview(project, environment, "STACK=prod")
    assert done.returncode == 0, done.stdout + done.stderr
    objects = client("s3", server).list_objects_v2(Bucket="pulumi-state")["Contents"]
    assert [
        one["Key"] for one in objects if one["Key"].endswith("stacks/gitlab-runner-k8s/prod.json")
    ]
    # Whoever has the state and the file, and not the key, has nothing.
    locked = {**environment, "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    assert make_preview(project, locked, "STACK=prod").returncode != 0
    for secret in secrets.values():
        assert secret not in (project / "stacks/Pulumi.prod.yaml").read_text()


def test_esc_is_for_the_backend_that_has_it(project: Path, providers: dict[str, str]) -> None:
    pulumi(project, providers, "stack", "init", "prod")
    path = project / "stacks/Pulumi.prod.yaml"
    path.write_text(path.read_text() + "environment:\n  - gitlab-runner-k8s/prod\n")
    done = engine.cli(project, providers, "preview", "--stack", "prod")
    assert done.returncode != 0
    assert "does not support environments" in done.stdout + done.stderr
