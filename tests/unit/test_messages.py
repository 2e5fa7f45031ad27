"""No message of an error holds a secret, wherever the secret was put."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gitlab_runner_k8s import ArgsError
from gitlab_runner_k8s.platform.settings import RunnerPlatformSettings
from gitlab_runner_k8s.secrets import has_secret, masked
from gitlab_runner_k8s.validation.messages import camel, secret_fields, validate

from stacks import settings
from tests import builders

CANARY = "0canary0canary0canary0"
TOKENS = [f"glrt-{CANARY}", f"https://user:{CANARY}@example.com", f"https://u:{CANARY}@x y"]
# A place for every kind of field.
FULL: dict[str, Any] = {
    **builders.GITLAB,
    "runner_token": f"glrt-{CANARY}",
    "token_external_secret": {"store_name": "vault", "remote_key": "key"},
    "runner": {
        "concurrent": 3,
        "environment": {"A": "b"},
        "tags": ["x"],
        "job_node_selector": {"a": "b"},
        "manager_tolerations": [{"key": "a"}],
        "image_pull_secrets": ["x"],
        "extra_config": "[[runners]]",
        "chart": {"repository": "https://charts.gitlab.io"},
        "job_resources": {"cpu_request": "1"},
    },
    "fleets": {"a": {"runner_token": f"glrt-{CANARY}", "zone": "default"}},
    "zones": {"a": {"job_namespace": "a"}},
    "cache": {
        "backend": "external",
        "external": {
            "s3": {"bucket": "there", "access_key": CANARY, "secret_key": CANARY},
            "gcs": {"bucket": "there", "service_account_key": CANARY},
            "azure": {"account_name": "abc", "container": "abc", "account_key": CANARY},
        },
        "s3": {"region": "eu-central-1", "tags": {"a": "b"}},
    },
    "registry_mirror": {
        "remote_url": "https://registry.example.com",
        "username": "u",
        "password": CANARY,
    },
    "network": {"egress_cidrs": ["10.0.0.0/8"], "cluster_domain": "cluster.local"},
    "monitoring": {"labels": {"a": "b"}},
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Return every place in the arguments: maps and lists, and what is in them."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


def at(path: tuple[str | int, ...]) -> Any:
    found: Any = FULL
    for key in path:
        found = found[key]
    return found


def message(args: dict[str, Any]) -> str:
    with pytest.raises(ArgsError) as caught:
        validate(RunnerPlatformSettings, args, "test")
    return str(caught.value)


@pytest.mark.parametrize("path", list(places(FULL)), ids=lambda path: ".".join(map(str, path)))
def test_no_message_holds_a_secret(path: tuple[str | int, ...]) -> None:
    wrong: list[Any] = list(TOKENS)
    if isinstance(at(path), dict | list):
        wrong += [CANARY]  # text where a map or a list is wanted
    if path[-1] in secret_fields():
        wrong += [f"{CANARY} ", f" {CANARY}\n", [CANARY], {"a": CANARY}, CANARY.encode()]
    for value in wrong:
        assert CANARY not in message(put(FULL, path, value)), value


def test_the_check_can_fail() -> None:
    assert CANARY in message({**FULL, "network": {"cluster_domain": f"{CANARY}!"}})


def test_the_secrets_are_those_that_are_typed_so() -> None:
    keys = {"access_key", "secret_key", "service_account_key", "account_key"}
    assert secret_fields() == {"runner_token", "password", *keys}


def test_a_stack_file_tells_no_secret_either() -> None:
    texts = {
        "gitlabUrl": TOKENS[1],
        "tokenSecretName": TOKENS[0],
        **{camel(key): json.dumps(CANARY) for key in ("runner", "fleets", "cache")},
    }
    with pytest.raises(ArgsError) as caught:
        settings.parse(texts, [], "bad")
    assert len(caught.value.problems) >= 5
    assert CANARY not in str(caught.value)


def test_a_value_of_many_levels_is_refused() -> None:
    for text in (
        "[" * 20_000 + "]" * 20_000,
        "[" * 100 + "]" * 100,
        '{"a":' * 100 + "1" + "}" * 100,
    ):
        with pytest.raises(ArgsError, match="runner: must be a map, got text"):
            settings.parse({"gitlabUrl": "https://x.example", "runner": text}, [], "bad")


def test_what_looks_like_a_secret() -> None:
    for text in (*TOKENS, f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}", "AKIA0123456789ABCDEF"):
        assert has_secret(text)
        assert CANARY not in masked(text)
    for text in (
        "use its glrt- token",
        "https://example.com/a@b",
        "glossary-of-terms-that-is-long",
    ):
        assert not has_secret(text), text
        assert masked(text) == text
