"""What GitLab does with a .gitlab-ci.yml before a runner sees the job, as far as the lab needs."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from lab.jobs.model import Cache, Git, Job, Service, Variable
from lab.jobs.variables import expand

_KNOWN = {"image", "variables", "services", "cache", "before_script", "script", "after_script"}
_IGNORED = {
    *("stage", "rules", "needs", "tags", "timeout", "artifacts", "parallel", "environment"),
    *("interruptible", "extends"),
}


def _lines(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    # `!reference` and anchors leave lists in lists.
    return tuple(line for item in value for line in _lines(item))


def _variables(table: Mapping[str, Any] | None) -> tuple[Variable, ...]:
    return tuple(Variable(key, str(value)) for key, value in (table or {}).items())


def _named(value: Any) -> str:
    return str(value["name"]) if isinstance(value, Mapping) else str(value or "")


def _service(value: Any) -> Service:
    if not isinstance(value, Mapping):
        return Service(str(value))
    return Service(
        value["name"],
        value.get("alias", ""),
        tuple(value.get("entrypoint", ())),
        tuple(value.get("command", ())),
        _variables(value.get("variables")),
    )


def _caches(value: Any, known: Mapping[str, str]) -> tuple[Cache, ...]:
    entries = value if isinstance(value, list) else [value] if value else []
    # GitLab keeps what unprotected branches wrote away from protected ones.
    suffix = "-non_protected"

    def key(text: Any) -> str:
        if isinstance(text, Mapping):
            # GitLab takes the last commit of the files; `default` is where there are none.
            text = f"{text['prefix']}-default" if "prefix" in text else "default"
        return expand(str(text), known) + suffix

    return tuple(
        Cache(
            key(entry.get("key", "default")),
            tuple(expand(path, known) for path in entry.get("paths", ())),
            entry.get("policy", "pull-push"),
            entry.get("when", "on_success"),
            tuple(key(text) for text in entry.get("fallback_keys", ())),
        )
        for entry in entries
    )


def _matrix(own: Mapping[str, Any], cell: str) -> tuple[Variable, ...]:
    """Return the variables of one job of `parallel:matrix`, which its name tells in brackets."""
    values = cell.split(", ") if cell else []
    for entry in own.get("parallel", {}).get("matrix", ()):
        choices = {k: v if isinstance(v, list) else [v] for k, v in entry.items()}
        if len(values) == len(choices) and all(
            value in map(str, allowed)
            for value, allowed in zip(values, choices.values(), strict=True)
        ):
            return _variables(dict(zip(choices, values, strict=True)))
    if values or "parallel" in own:
        raise ValueError(f"parallel:matrix has no job '[{cell}]'")
    return ()


def _slug(ref: str) -> str:
    """Return CI_COMMIT_REF_SLUG, as GitLab makes it."""
    return re.sub(r"[^a-z0-9]", "-", ref.lower())[:63].strip("-")


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(base[key], over[key])
        for key in {*base} & {*over}
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**base, **over, **both}


def _extended(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a job with what it extends: tables are merged, all else is replaced."""
    own: Mapping[str, Any] = file[name] or {}
    bases = own.get("extends", [])
    made: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        made = _merged(made, _extended(file, base))
    return _merged(made, own)


def job(
    text: str,
    name: str,
    git: Git,
    *,
    identity: int,
    project_id: int,
    project_path: str,
    variables: tuple[Variable, ...] = (),
    timeout_seconds: int = 3600,
) -> Job:
    """Return a job of a .gitlab-ci.yml as the coordinator would hand it to the runner.

    Args:
        text: The file.
        name: Name of the job in it; of a matrix as GitLab shows it: `name: [value, value]`.
        git: What the pipeline is for.
        identity: Number of the job.
        project_id: Number of the project.
        project_path: The project's path with its group.
        variables: Variables of the pipeline: they override those of the file.
        timeout_seconds: The job's timeout.

    Raises:
        ValueError: the job uses a keyword that this does not know, or is not in the matrix.
    """
    file: Mapping[str, Any] = yaml.safe_load(text)
    base, _, cell = name.partition(": [")
    own = {**file.get("default", {}), **_extended(file, base)}
    if unknown := sorted(set(own) - _KNOWN - _IGNORED):
        raise ValueError(f"job '{name}' has keywords that the lab does not know: {unknown}")
    predefined = {
        "CI": "true",
        "CI_JOB_ID": str(identity),
        "CI_JOB_NAME": name,
        "CI_JOB_STAGE": own.get("stage", "test"),
        "CI_PIPELINE_ID": str(identity),
        "CI_COMMIT_SHA": git.sha,
        "CI_COMMIT_SHORT_SHA": git.sha[:8],
        "CI_COMMIT_BRANCH": git.ref,
        "CI_COMMIT_REF_NAME": git.ref,
        "CI_COMMIT_REF_SLUG": _slug(git.ref),
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_ID": str(project_id),
        "CI_PROJECT_PATH": project_path,
        "CI_PROJECT_NAME": project_path.rpartition("/")[2],
    }
    ordered = (
        *(Variable(key, value) for key, value in predefined.items()),
        *_variables(file.get("variables")),
        *_variables(own.get("variables")),
        *_matrix(own, cell.removesuffix("]")),
        *variables,
    )
    known = {variable.key: variable.value for variable in ordered}
    return Job(
        id=identity,
        name=name,
        git=git,
        project_id=project_id,
        project_path=project_path,
        script=(*_lines(own.get("before_script")), *_lines(own.get("script"))),
        after_script=_lines(own.get("after_script")),
        image=expand(_named(own.get("image")), known),
        variables=ordered,
        services=tuple(_service(service) for service in own.get("services", ())),
        cache=_caches(own.get("cache"), known),
        timeout_seconds=timeout_seconds,
    )
