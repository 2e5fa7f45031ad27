"""Reads a stack's configuration into the platform's arguments: a closed schema, all errors at once.

Keys are those of `RunnerPlatformArgs` in camelCase, below the project's name; values may be
nested. The token is the only secret, and has to be set as one.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import pulumi
from gitlab_runner_k8s import ArgsError, RunnerPlatformArgs
from gitlab_runner_k8s._specs import RunnerPlatformSpec
from gitlab_runner_k8s._validation import camel, validate
from pulumi.runtime import config

SECRETS = ("runnerToken",)
# Below these the keys are names of the user's own, not of the schema.
_FREE = {"environment", "node_selector", "job_node_selector", "job_node_tolerations"}
_FREE |= {"manager_node_selector", "tags", "tolerations", "manager_tolerations", "feature_flags"}
_FREE |= {"job_pod_labels", "job_pod_annotations", "labels"}
# Below these the keys are names of the user's own, and what is below them is the schema's.
_NAMED = {"fleets", "zones"}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def _named(value: Any, path: str, problems: list[str]) -> Any:
    """Return a value with its keys in snake_case, as the arguments spell them."""
    if isinstance(value, list):
        return [_named(item, f"{path}[{n}]", problems) for n, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    named = {}
    for key, item in value.items():
        name, place = _snake(str(key)), f"{path}.{key}" if path else str(key)
        if camel(name) != key:
            problems.append(f"{place}: unknown key; did you mean '{camel(name)}'?")
        elif name in _NAMED and isinstance(item, Mapping):
            named[name] = {
                own: _named(inner, f"{place}.{own}", problems) for own, inner in item.items()
            }
        else:
            named[name] = item if name in _FREE else _named(item, place, problems)
    return named


def _parsed(text: str) -> Any:
    """Return a configuration value: the engine hands over everything as text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if _is_deep(value) else value


def _is_deep(value: Any, levels: int = 32) -> bool:
    """Tell whether a value has more levels than any setting."""
    below = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        held = (item.values() if isinstance(item, dict) else item for item in below)
        below = [inner for items in held for inner in items if isinstance(inner, dict | list)]
    return bool(below)


def parse(
    configuration: Mapping[str, str], secret_keys: Iterable[str], stack: str
) -> RunnerPlatformArgs:
    """Return the arguments of the platform.

    Args:
        configuration: The project's keys, without its name, to their values as text.
        secret_keys: Those of them that were set with `--secret`.
        stack: Name of the stack, for messages.

    Raises:
        ArgsError: with every problem of the stack's file.
    """
    where = f"stacks/Pulumi.{stack}.yaml"
    secrets = set(secret_keys)
    texts = ("gitlabUrl", "tokenSecretName", *SECRETS)
    values = {key: text if key in texts else _parsed(text) for key, text in configuration.items()}
    problems = [
        f"{key}: must be a secret; set it with 'pulumi config set --secret {key}'"
        for key in SECRETS
        if key in values and key not in secrets
    ]
    args = _named(values, "", problems)
    try:
        validate(RunnerPlatformSpec, args, where, spell=camel)
    except ArgsError as invalid:
        raise ArgsError(where, [*problems, *invalid.problems]) from None
    if problems:
        raise ArgsError(where, problems)
    return cast(RunnerPlatformArgs, args)


def load() -> RunnerPlatformArgs:
    """Return the arguments of the current stack's platform.

    Raises:
        ArgsError: with every problem of the stack's file.
    """
    prefix = f"{pulumi.get_project()}:"
    known = {**config.get_config_env(), **config.CONFIG.get()}
    configuration = {
        key.removeprefix(prefix): text for key, text in known.items() if key.startswith(prefix)
    }
    secret_keys = [key for key in configuration if config.is_config_secret(prefix + key)]
    args = parse(configuration, secret_keys, pulumi.get_stack())
    if "runner_token" in args:
        args["runner_token"] = pulumi.Output.secret(args["runner_token"])
    return args
