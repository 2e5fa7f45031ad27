"""Read a stack's configuration into the platform's arguments, and report all errors at once.

The keys are those of `RunnerPlatformArgs` in camelCase, below the project's name. Values may be
nested. You can set a secret in two ways: with its path as its own key (`pulumi config set --secret
fleets.small.runnerToken`), or encrypted inside a nested value (with `--path`). A secret in plain
text is refused.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pulumi
import yaml
from gitlab_runner_k8s import RunnerPlatformArgs
from gitlab_runner_k8s.platform.names import platform_name_problems
from gitlab_runner_k8s.platform.settings import RunnerPlatformSettings
from gitlab_runner_k8s.validation.base import Settings
from gitlab_runner_k8s.validation.messages import (
    alternatives,
    camel,
    is_model,
    secret_fields,
    spelled,
    validate,
)
from gitlab_runner_k8s.validation.rules.kubernetes import TolerationSettings
from pulumi.runtime import config

NAME = "gitlab-runner"
"""Name of the platform. It never changes, because volumes depend on it."""
FOLDER = Path(__file__).parent
_TEXTS = {"gitlabUrl", "tokenSecretName", "runnerToken"}


def _maps(model: type[Settings]) -> Iterator[tuple[str, bool]]:
    """Return the settings whose values have the user's own keys, which stay unchanged.

    With each, whether there are settings below such a key.
    """
    for name, field in model.model_fields.items():
        for kind in alternatives(field.annotation):
            arguments = get_args(kind)
            inside = alternatives(arguments[-1]) if arguments else [kind]
            models = [inner for inner in inside if is_model(inner)]
            if get_origin(kind) is dict:
                yield name, bool(models)
            elif TolerationSettings in models:  # they have the keys of Kubernetes
                yield name, False
            for inner in models:
                yield from _maps(inner)


_MAPS = dict(_maps(RunnerPlatformSettings))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


def _with_snake_case(value: Any, path: str, problems: list[str]) -> Any:
    """Return a value with its keys in snake_case, as in the arguments."""
    if isinstance(value, list):
        return [_with_snake_case(item, f"{path}[{n}]", problems) for n, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    renamed: dict[str, Any] = {}
    for key, item in value.items():
        name, place = _snake(str(key)), f"{path}.{key}" if path else str(key)
        if camel(name) != key:
            problems.append(f"{place}: unknown key; did you mean '{camel(name)}'?")
        elif _MAPS.get(name) and isinstance(item, Mapping):
            renamed[name] = {
                entry: _with_snake_case(inner, f"{place}.{entry}", problems)
                for entry, inner in item.items()
            }
        else:
            renamed[name] = item if name in _MAPS else _with_snake_case(item, place, problems)
    return renamed


def _parsed(text: str) -> Any:
    """Parse a configuration value, because the engine passes every value as text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if _is_deep(value) else value


def _is_deep(value: Any, levels: int = 32) -> bool:
    """Tell whether a value is nested deeper than any setting."""
    below = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        held = (item.values() if isinstance(item, dict) else item for item in below)
        below = [inner for items in held for inner in items if isinstance(inner, dict | list)]
    return bool(below)


def _map_at(values: Any, path: list[str]) -> dict[str, Any] | None:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else None


def _put(values: dict[str, Any], key: str, text: str) -> Iterator[str]:
    """Put a secret with its own key at its path in the values, and return the problems."""
    *parents, name = key.split(".")
    place = _map_at(values, parents)
    if _snake(name) not in secret_fields():
        names = ", ".join(sorted(map(camel, secret_fields())))
        yield (
            f"{key}: only secrets ({names}) have keys of their own; use 'pulumi config set --path'"
        )
    elif place is None:
        # A secret of a removed fleet must not bring back the fleet.
        yield (
            f"{key}: there is no map '{'.'.join(parents)}' that it belongs to; add it, or remove "
            f"the secret with 'pulumi config rm {key}'"
        )
    elif name in place:
        yield f"{key}: is set twice; remove one with 'pulumi config rm {key}'"
    else:
        place[name] = text


def _secrets(args: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Return every secret of the arguments: its path, and the map and key that contain it."""
    for name, value in args.items():
        place = f"{path}{camel(name)}"
        if isinstance(value, dict) and set(value) != {"secure"}:
            if _MAPS.get(name):
                # The keys are names of fleets or zones, which may be those of settings too.
                for entry, below in value.items():
                    if isinstance(below, dict):
                        yield from _secrets(below, f"{place}.{entry}.")
            elif name not in _MAPS:
                yield from _secrets(value, f"{place}.")
        elif name in secret_fields() and value is not None:
            yield place, args, name


def _encrypted(value: Any, path: str = "") -> Iterator[str]:
    """Return the paths of the encrypted values in a stack's file."""
    if isinstance(value, Mapping):
        if set(value) == {"secure"}:
            yield path
        else:
            for key, item in value.items():
                yield from _encrypted(item, f"{path}.{key}" if path else str(key))


def _in_plain(
    paths: Iterable[str], configuration: Mapping[str, str], marked: set[str], file: dict[str, Any]
) -> Iterator[str]:
    """Return a problem for each secret that is in plain text."""
    secrets = _secrets(_with_snake_case(file, "", []))
    plain = {path for path, parent, name in secrets if not isinstance(parent[name], Mapping)}
    for path in paths:
        key = path if path in configuration else path.partition(".")[0]
        if key not in marked or path in plain:
            option = "" if path == key else "--path "
            yield (
                f"{path}: must be a secret; set it with 'pulumi config set --secret {option}{path}'"
            )


def parse(
    configuration: Mapping[str, str],
    secret_keys: Iterable[str],
    stack: str,
    file: dict[str, Any] | None = None,
) -> RunnerPlatformSettings:
    """Return the validated settings of the platform, in which secrets are secret Outputs.

    Args:
        configuration: The project's configuration, from keys without its name to values as text.
        secret_keys: Keys that were set with `--secret`, or whose values contain a secret.
        stack: Name of the stack, for messages.
        file: The same keys with their values in the stack's file, where an encrypted value is a map
            with the key `secure`. The engine itself does not say which part of a value is secret.
            Default: not known.

    Raises:
        ArgsError: with every problem of the stack's file.
    """
    where = f"stacks/Pulumi.{stack}.yaml"
    marked, problems = set(secret_keys) & set(configuration), list[str]()
    values = {
        key: text if key in _TEXTS else _parsed(text)
        for key, text in configuration.items()
        if "." not in key
    }
    dotted = [key for key in configuration if "." in key]
    for key in dotted:
        problems += _put(values, key, configuration[key])
    paths = [path for path, _, _ in _secrets(_with_snake_case(values, "", []))]
    problems += _in_plain(paths, configuration, marked, file or {})
    for key in sorted({*marked, *_encrypted(file or {})} - set(dotted)):
        if not any(path == key or path.startswith(f"{key}.") for path in paths):
            *parents, name = key.split(".")
            problems.append(f"{key}: {_not_secret(parents, name)}")
            (_map_at(values, parents) or {}).pop(name, None)  # so that no message shows it
    args = _with_snake_case(values, "", problems)
    problems += [spelled(problem, camel) for problem in platform_name_problems(NAME, args)]
    for _, parent, name in list(_secrets(args)):
        if isinstance(parent[name], str):  # nothing else is valid
            parent[name] = pulumi.Output.secret(parent[name])
    return validate(RunnerPlatformSettings, args, where, spell=camel, also=problems)


def _not_secret(parents: list[str], name: str) -> str:
    """Return the problem of an encrypted value whose setting is not a secret."""
    names = sorted(camel(field) for field in RunnerPlatformSettings.model_fields)
    if not parents and name not in names:
        # The key may be a misspelt secret, so the message must not suggest plain text.
        near = difflib.get_close_matches(name, names, n=1)
        fix = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(names)}"
        return f"unknown key; {fix}"
    return "must not be a secret, because it is stored as plain text; set it without --secret"


def _file(stack: str, prefix: str) -> dict[str, Any]:
    """Return the project's keys in a stack's file, which is in this module's folder."""
    path = FOLDER / f"Pulumi.{stack}.yaml"
    file = yaml.safe_load(path.read_text()) if path.exists() else None
    configuration = (file or {}).get("config") or {}
    return {
        key.removeprefix(prefix): value
        for key, value in configuration.items()
        if key.startswith(prefix)
    }


def load() -> RunnerPlatformArgs:
    """Return the arguments of the current stack's platform, which are validated.

    Raises:
        ArgsError: with every problem of the stack's file.
    """
    prefix, stack = f"{pulumi.get_project()}:", pulumi.get_stack()
    values = {**config.get_config_env(), **config.CONFIG.get()}
    configuration = {
        key.removeprefix(prefix): text for key, text in values.items() if key.startswith(prefix)
    }
    secret_keys = [key for key in configuration if config.is_config_secret(prefix + key)]
    settings = parse(configuration, secret_keys, stack, _file(stack, prefix))
    arguments: RunnerPlatformArgs = settings.as_args()
    return arguments
