"""Reads a stack's configuration into the platform's arguments: a closed schema, all errors at once.

Keys are those of `RunnerPlatformArgs` in camelCase, below the project's name; values may be
nested. A secret has a key of its own, which is its path (`pulumi config set --secret
fleets.small.runnerToken`), or stands encrypted in what it is a part of (with `--path`). In plain
text it is refused.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pulumi
import yaml
from gitlab_runner_k8s import RunnerPlatformArgs
from gitlab_runner_k8s._specs import RunnerPlatformSpec
from gitlab_runner_k8s._validation import camel, secret_fields, validate
from pulumi.runtime import config

FOLDER = Path(__file__).parent
_TEXTS = {"gitlabUrl", "tokenSecretName", "runnerToken"}
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


def _map_at(values: Any, path: list[str]) -> dict[str, Any] | None:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else None


def _put(values: dict[str, Any], key: str, text: str) -> Iterator[str]:
    """Put a secret that has a key of its own where its path leads; return what is wrong."""
    *parents, name = key.split(".")
    place = _map_at(values, parents)
    if _snake(name) not in secret_fields():
        known = ", ".join(sorted(map(camel, secret_fields())))
        yield (
            f"{key}: only secrets ({known}) have keys of their own; use 'pulumi config set --path'"
        )
    elif place is None:
        # A secret that was left behind must not bring back the fleet that it was for.
        yield (
            f"{key}: there is no map '{'.'.join(parents)}' that it belongs to; add it, or remove "
            f"the secret with 'pulumi config rm {key}'"
        )
    elif name in place:
        yield f"{key}: is set twice; remove one with 'pulumi config rm {key}'"
    else:
        place[name] = text


def _secrets(args: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Return every secret of the arguments: its path, and the map and the key where it stands."""
    for name, value in args.items():
        place = f"{path}{camel(name)}"
        if name in secret_fields() and value is not None:
            yield place, args, name
        elif isinstance(value, dict) and name not in _FREE:
            yield from _secrets(value, f"{place}.")


def _encrypted(value: Any, path: str = "") -> Iterator[str]:
    """Return the paths in a stack's file at which something encrypted stands."""
    if isinstance(value, Mapping):
        if set(value) == {"secure"}:
            yield path
        else:
            for key, item in value.items():
                yield from _encrypted(item, f"{path}.{key}" if path else str(key))


def _in_plain(
    paths: Iterable[str], configuration: Mapping[str, str], marked: set[str], file: dict[str, Any]
) -> Iterator[str]:
    """Return a problem for each secret that was not set as one."""
    written = _secrets(_named(file, "", []))
    plain = {path for path, held, name in written if not isinstance(held[name], Mapping)}
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
) -> RunnerPlatformArgs:
    """Return the arguments of the platform; what is secret in them is a secret Output.

    Args:
        configuration: The project's keys, without its name, to their values as text.
        secret_keys: Those of them that were set with `--secret`, or hold something that was.
        stack: Name of the stack, for messages.
        file: The same keys as the stack's file has them, where what is encrypted is a map of
            `secure`: the engine does not say which part of a value is secret. Default: not known.

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
    own = [key for key in configuration if "." in key]
    for key in own:
        problems += _put(values, key, configuration[key])
    paths = [path for path, _, _ in _secrets(_named(values, "", []))]
    problems += _in_plain(paths, configuration, marked, file or {})
    for key in sorted({*marked, *_encrypted(file or {})} - set(own)):
        if not any(path == key or path.startswith(f"{key}.") for path in paths):
            *parents, name = key.split(".")
            problems.append(f"{key}: {_not_secret(parents, name)}")
            (_map_at(values, parents) or {}).pop(name, None)  # so that no message shows it
    args = _named(values, "", problems)
    validate(RunnerPlatformSpec, args, where, spell=camel, also=problems)
    for _, held, name in list(_secrets(args)):
        held[name] = pulumi.Output.secret(held[name])
    return cast(RunnerPlatformArgs, args)


def _not_secret(parents: list[str], name: str) -> str:
    """Return what is wrong with a secret that no setting keeps secret."""
    known = sorted(camel(field) for field in RunnerPlatformSpec.model_fields)
    if not parents and name not in known:
        # What is misspelt was meant to be a secret: nobody is told to write it in plain text.
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key; {fix}"
    return "must not be a secret, for what is made of it is plain text; set it without --secret"


def _file(stack: str, prefix: str) -> dict[str, Any]:
    """Return the project's keys in a stack's file, which lies beside this one."""
    path = FOLDER / f"Pulumi.{stack}.yaml"
    written = yaml.safe_load(path.read_text()) if path.exists() else None
    found = (written or {}).get("config") or {}
    return {
        key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)
    }


def load() -> RunnerPlatformArgs:
    """Return the arguments of the current stack's platform.

    Raises:
        ArgsError: with every problem of the stack's file.
    """
    prefix, stack = f"{pulumi.get_project()}:", pulumi.get_stack()
    known = {**config.get_config_env(), **config.CONFIG.get()}
    configuration = {
        key.removeprefix(prefix): text for key, text in known.items() if key.startswith(prefix)
    }
    secret_keys = [key for key in configuration if config.is_config_secret(prefix + key)]
    return parse(configuration, secret_keys, stack, _file(stack, prefix))
