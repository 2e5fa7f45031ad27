"""Secrets of a stack's file: each can be set as one, is refused in plain text, and stays one."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from gitlab_runner_k8s import ArgsError, RunnerPlatform
from gitlab_runner_k8s.platform.settings import RunnerPlatformSettings
from gitlab_runner_k8s.validation.messages import camel, secret_fields
from pydantic import BaseModel

from stacks import settings
from tests.harness import Recorder, deploy, token, without_secrets
from tests.stackfiles import tokens
from tests.unit.test_settings import as_engine

ROOT = Path(__file__).parents[2]
TOKEN, ANOTHER = token(), token()
URL: dict[str, Any] = {"gitlabUrl": "https://gitlab.example.com"}
NAMED: dict[str, Any] = {**URL, "tokenSecretName": "token"}


def store(kind: str, **options: str) -> dict[str, Any]:
    return {**NAMED, "cache": {"backend": "external", "external": {kind: options}}}


# The settings beside the secrets, and the secrets by their paths.
CASES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "token": (URL, {"runnerToken": TOKEN}),
    "fleets": (
        {**URL, "fleets": {"small": {}, "big-1": {"runner": {"concurrent": 3}}}},
        {"fleets.small.runnerToken": TOKEN, "fleets.big-1.runnerToken": ANOTHER},
    ),
    "mirror": (
        {**NAMED, "registryMirror": {"username": "me"}},
        {"registryMirror.password": "pass-1a2b3c4d"},
    ),
    "s3": (
        store("s3", bucket="ci-cache", region="eu-central-1"),
        {
            "cache.external.s3.accessKey": "AKIA0123456789ABCDEF",
            "cache.external.s3.secretKey": "key-0123456789abcdef",
        },
    ),
    "gcs": (
        store("gcs", bucket="ci-cache"),
        {"cache.external.gcs.serviceAccountKey": '{"private_key": "key-0123456789"}'},
    ),
    "azure": (
        store("azure", accountName="account", container="cache"),
        {"cache.external.azure.accountKey": "key-fedcba9876543210"},
    ),
}
NESTED = [name for name in CASES if name != "token"]


def within(values: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return settings with each of what was found put in at its path."""
    whole: dict[str, Any] = json.loads(json.dumps(values))
    for path, value in found.items():
        *parents, name = path.split(".")
        place = whole
        for parent in parents:
            place = place[parent]
        place[name] = value
    return whole


def top(paths: dict[str, str]) -> set[str]:
    """Return the keys that the engine calls secret because something in them is."""
    return {path.partition(".")[0] for path in paths}


def parse(values: dict[str, Any], secret: set[str], file: dict[str, Any] | None = None) -> Any:
    return settings.parse(as_engine(values), secret, "dev", file)


def problems(
    values: dict[str, Any], secret: set[str], file: dict[str, Any] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ArgsError) as caught:
        parse(values, secret, file)
    assert caught.value.problems
    return caught.value.problems


def secret_paths(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Return the path of every secret setting; a fleet is called `*`."""
    for name, field in model.model_fields.items():
        place = f"{path}{camel(name)}"
        if name in secret_fields():
            yield place
        for option in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(option, type) and issubclass(option, BaseModel):
                is_named = "dict" in str(field.annotation)
                yield from secret_paths(option, f"{place}.*." if is_named else f"{place}.")


def test_every_secret_setting_is_a_case_here() -> None:
    tried = {path for _, secrets in CASES.values() for path in secrets}
    tried = {path.replace("small", "*") for path in tried if "big-1" not in path}
    assert tried == set(secret_paths(RunnerPlatformSettings))


@pytest.mark.parametrize("way", ["own keys", "within"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("preview", [True, False])
def test_a_secret_is_one_wherever_it_goes(name: str, way: str, preview: bool) -> None:
    values, secrets = CASES[name]
    if way == "own keys":
        args = parse({**values, **secrets}, set(secrets))
    else:
        args = parse(within(values, secrets), top(secrets))
    recorder = deploy(lambda: RunnerPlatform("ci", args), preview=preview)
    for text in secrets.values():
        assert reaches_a_secret(recorder, text)
        assert not is_readable(recorder, text)


def texts(value: Any) -> Iterator[str]:
    """Return every text in a value, the keys of maps too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def reaches_a_secret(recorder: Recorder, text: str) -> bool:
    return any(text in found for made in recorder.of_type(":Secret") for found in texts(made.plain))


def is_readable(recorder: Recorder, text: str) -> bool:
    """Tell whether a text is anywhere in what was registered or put out, but as a secret."""
    sent = [made.inputs for made in recorder.registrations] + list(recorder.outputs.values())
    return any(text in found for one in sent for found in texts(without_secrets(one)))


@pytest.mark.parametrize("name", CASES)
def test_a_key_of_its_own_in_plain_text_is_refused(name: str) -> None:
    values, secrets = CASES[name]
    found = problems({**values, **secrets}, set())
    assert found == tuple(
        f"{path}: must be a secret; set it with 'pulumi config set --secret {path}'"
        for path in sorted(secrets, key=list(secrets).index)
    )


@pytest.mark.parametrize("name", NESTED)
def test_plain_text_within_a_value_is_refused(name: str) -> None:
    values, secrets = CASES[name]
    found = problems(within(values, secrets), set())
    assert sorted(found) == sorted(
        f"{path}: must be a secret; set it with 'pulumi config set --secret --path {path}'"
        for path in secrets
    )


@pytest.mark.parametrize("plain", CASES["fleets"][1])
def test_one_secret_does_not_cover_another_that_is_plain(plain: str) -> None:
    values, secrets = CASES["fleets"]
    sealed = {path: {"secure": "v1:…"} for path in secrets if path != plain}
    file = within(values, {**secrets, **sealed})
    (found,) = problems(within(values, secrets), {"fleets"}, file)
    assert found.startswith(f"{plain}: must be a secret; set it with")
    sealed[plain] = {"secure": "v1:…"}
    parse(within(values, secrets), {"fleets"}, within(values, sealed))


def test_one_of_two_keys_in_plain_text_is_refused() -> None:
    values, secrets = CASES["fleets"]
    (found,) = problems({**values, **secrets}, {"fleets.small.runnerToken"})
    assert found.startswith("fleets.big-1.runnerToken: must be a secret")


def test_a_secret_is_text_whatever_it_looks_like() -> None:
    for text in ("12345678", "true", '{"a": 1}', "[]"):
        values = {**CASES["mirror"][0], "registryMirror.password": text}
        args = parse(values, {"registryMirror.password"})
        found: list[str] = []

        def program(args: Any = args, found: list[str] = found) -> None:
            args.registry_mirror.password.apply(found.append)

        deploy(program)
        assert found == [text]


def test_the_token_of_a_fleet_that_is_gone_does_not_bring_it_back() -> None:
    values = {**URL, "fleets": {"small": {}}, "fleets.small.runnerToken": TOKEN}
    values["fleets.gone.runnerToken"] = ANOTHER
    (found,) = problems(values, {"fleets.small.runnerToken", "fleets.gone.runnerToken"})
    assert found == (
        "fleets.gone.runnerToken: there is no map 'fleets.gone' that it belongs to; add it, or "
        "remove the secret with 'pulumi config rm fleets.gone.runnerToken'"
    )


@pytest.mark.parametrize("name", ["password", "labels", "tags", "tolerations", "zones", "a"])
def test_a_fleet_with_the_name_of_a_setting_is_one_of_the_fleets(name: str) -> None:
    values = {**URL, "fleets": {name: {"runnerToken": TOKEN}}}
    (found,) = problems(values, set())
    assert found.startswith(f"fleets.{name}.runnerToken: must be a secret")
    args = parse(values, {"fleets"})
    assert isinstance(args.fleets[name].runner_token, pulumi.Output)


def test_a_secret_set_twice_is_refused() -> None:
    values = {**URL, "fleets": {"small": {"runnerToken": TOKEN}}}
    values["fleets.small.runnerToken"] = ANOTHER
    (found,) = problems(values, {"fleets", "fleets.small.runnerToken"})
    assert found.startswith("fleets.small.runnerToken: is set twice; remove one with")
    assert TOKEN not in found


def test_what_cannot_be_kept_secret_is_refused_as_a_secret() -> None:
    hidden = "https://internal.example.com"
    values: dict[str, Any] = {**NAMED, "network": {"clusterDomain": "hidden.example"}}
    values |= {"gitlabUrl": hidden, "fleets": "glrt-not-a-map"}
    found = problems(values, {"gitlabUrl", "network", "fleets"})
    for key in ("gitlabUrl", "network", "fleets"):
        assert any(line.startswith(f"{key}: must not be a secret") for line in found)
    for text in (hidden, "hidden.example", "glrt-not-a-map"):
        assert text not in "\n".join(found)


@pytest.mark.parametrize("key", ["runnerTokn", "runner_token"])
def test_nobody_is_told_to_write_a_misspelt_secret_in_plain_text(key: str) -> None:
    found = problems({**URL, key: TOKEN}, {key})
    assert any(
        line.startswith(f"{key}: unknown key; did you mean 'runnerToken'?") for line in found
    )
    assert "without --secret" not in "".join(found)
    assert TOKEN not in "".join(found)


def test_what_is_encrypted_beside_a_secret_is_refused_too() -> None:
    values = {**URL, "fleets": {"small": {"runnerToken": TOKEN, "zone": "hidden-zone"}}}
    sealed = {"secure": "v1:…"}
    file = {"fleets": {"small": {"runnerToken": sealed, "zone": sealed}}}
    (found,) = problems(values, {"fleets"}, file)
    assert found.startswith("fleets.small.zone: must not be a secret")


def test_a_path_is_a_key_for_secrets_alone() -> None:
    (found,) = problems({**NAMED, "runner.concurrent": 3}, set())
    assert found.startswith("runner.concurrent: only secrets (accessKey, accountKey, ")
    assert found.endswith("use 'pulumi config set --path'")


@pytest.mark.parametrize("name", CASES)
def test_no_message_shows_a_secret(name: str) -> None:
    values, secrets = CASES[name]
    for path, text in secrets.items():
        bad = {**secrets, path: f" {text} "}
        own = problems({**values, **bad}, set(bad))
        inner = problems(within(values, bad), top(bad))
        assert text not in "\n".join([*own, *inner])


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    for name in NESTED:
        values, secrets = CASES[name]
        whole = within(values, dict.fromkeys(secrets, 424242424242))
        assert "424242" not in "\n".join(problems(whole, top(secrets)))


def test_the_program_reads_the_stacks_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, secrets = CASES["fleets"]
    prefix = "gitlab-runner-k8s:"
    given = as_engine(within(values, secrets))
    config = {f"{prefix}{key}": text for key, text in given.items()}
    sealed: dict[str, Any] = {path: {"secure": "v1:…"} for path in secrets}
    monkeypatch.setattr(settings, "FOLDER", tmp_path)

    def write(file: dict[str, Any]) -> None:
        named = {f"{prefix}{key}": value for key, value in file.items()}
        (tmp_path / "Pulumi.test.yaml").write_text(yaml.safe_dump({"config": named}))

    def program() -> None:
        pulumi.runtime.set_all_config(config, [f"{prefix}fleets"])
        runpy.run_path(str(ROOT / "__main__.py"))

    try:
        write(within(values, sealed))
        recorder = deploy(program)
        assert all(not is_readable(recorder, text) for text in secrets.values())
        write(within(values, {**sealed, "fleets.small.runnerToken": TOKEN}))
        with pytest.raises(ArgsError, match=r"fleets\.small\.runnerToken: must be a secret"):
            deploy(program)
    finally:
        pulumi.runtime.set_all_config({}, [])


PAGE = (ROOT / "docs/environments.md").read_text()


def test_the_page_names_every_secret_setting_and_no_other() -> None:
    told = set(re.findall(r"pulumi config set (?:--stack \w+ )?--secret (\S+)", PAGE))
    assert {re.sub(r"^fleets\.\w+", "fleets.*", path) for path in told} == set(
        secret_paths(RunnerPlatformSettings)
    )


def test_the_page_s_files_are_what_pulumi_reads() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    keys = [sorted(block) for block in blocks]
    # The engine itself reads the first and the last in tests/engine/test_environments.py.
    assert keys == [["encryptedkey", "secretsprovider"], ["values"], ["environment"]]
    given = blocks[1]["values"]["pulumiConfig"]
    paths = {key.removeprefix("gitlab-runner-k8s:") for key in given}
    assert paths == set(tokens("prod"))
