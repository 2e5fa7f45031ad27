"""Every example previews, and every stack of this repository does."""

import json
import runpy
from pathlib import Path

import pytest
from gitlab_runner_k8s import COMPONENTS, RunnerPlatform

from tests.components import is_ours
from tests.harness import Recorder, deploy, token
from tests.stackfiles import ENVIRONMENTS, arguments, tokens

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in ROOT.glob("examples/*/__main__.py"))
CONFIG = {
    "runnerToken": token(),
    "smallToken": token(),
    "kubeconfig": "{}",
    "dockerHubToken": "dckr_pat_0123456789",
    "oidcProviderArn": "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1",
    "kmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/0123",
    "roleArn": "arn:aws:iam::123456789012:role/runner",
    "boundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "cephAccessKey": "ceph-access-key-1",
    "cephSecretKey": "ceph-secret-key-1",
    "azureAccountKey": "YXp1cmUtYWNjb3VudC1rZXktMQ==",
}


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    config = {f"gitlab-runner-k8s:{key}": value for key, value in CONFIG.items()}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    program = str(ROOT / "examples" / name / "__main__.py")
    return deploy(lambda: runpy.run_path(program), preview=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_previews(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = example(name, monkeypatch)
    assert any(is_ours(made.type) for made in recorder.registrations)
    assert len(recorder.registrations) > 15
    for key, text in CONFIG.items():
        if key.endswith(("Token", "Key")):
            assert text not in recorder.readable(), key


def test_the_daemon_alone_is_on_the_callers_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = example("daemon-only", monkeypatch)
    assert recorder.of_type(":index:RunnerPlatform") == []
    objects = [made for made in recorder.registrations if made.type.startswith("kubernetes:")]
    assert len(objects) > 8
    for made in objects:
        assert "pulumi:providers:kubernetes::cluster::" in made.request.provider, made.name


def test_two_platforms_share_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = example("two-platforms", monkeypatch)
    names = [
        (made.type, metadata.get("namespace"), metadata["name"])
        for made in recorder.registrations
        if "name" in (metadata := made.plain.get("metadata", {}))
    ]
    assert len(names) > 40
    assert len(names) == len(set(names))
    assert len(recorder.of_type(":Release")) == 2


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_stack_previews(name: str) -> None:
    secrets = tokens(name)
    args = arguments(name, secrets)
    recorder = deploy(lambda: RunnerPlatform("ci", args), preview=True)
    assert len(recorder.registrations) > 20
    for text in secrets.values():
        assert text not in recorder.readable()


def test_every_component_is_in_a_stack_or_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    for name in EXAMPLES:
        seen |= {made.type for made in example(name, monkeypatch).registrations}
    for name in ENVIRONMENTS:
        args = arguments(name, tokens(name))
        recorder = deploy(lambda args=args: RunnerPlatform("ci", args), preview=True)  # type: ignore[misc]
        seen |= {made.type for made in recorder.registrations}
    wanted = {f"gitlab-runner-k8s:index:{component.__name__}" for component in COMPONENTS}
    assert wanted <= seen, wanted - seen
