"""What GitLab does with a .gitlab-ci.yml before a runner gets the job, as far as the lab needs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab.gitlab.model import (
    PROJECT,
    PROJECT_ID,
    URL,
    Artifacts,
    Cache,
    Git,
    Job,
    Service,
    Variable,
)
from lab.gitlab.variables import expanded

_KNOWN = {
    *("image", "variables", "services", "cache", "before_script", "script", "after_script"),
    *("artifacts", "dependencies", "needs", "timeout", "hooks", "stage", "parallel", "extends"),
}
_DEFAULTS = ("image", "services", "cache", "before_script", "after_script")
_IGNORED = {"rules", "tags", "environment", "interruptible"}
# GitLab keeps what unprotected branches wrote away from protected ones.
_SUFFIX = "-non_protected"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# Reports that GitLab wants compressed, and the names of some files.
_COMPRESSED = {"dotenv", "junit", "cobertura", "coverage_report", "cyclonedx", "annotations"}
_REPORT_NAMES = {"dotenv": ".env", "junit": "junit.xml", "terraform": "tfplan.json"}
_RENAMED = {"type": "artifact_type", "format": "artifact_format"}
_FAILURES = (
    *("unknown_failure", "script_failure", "runner_system_failure", "job_execution_timeout"),
    *("image_pull_failure", "runner_configuration_error", "runner_external_dependency_failure"),
    "runner_interrupted",
)


def _lines(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    # `!reference` and anchors leave lists in lists.
    return tuple(line for item in value for line in _lines(item))


def _variables(table: Mapping[str, Any] | None) -> tuple[Variable, ...]:
    def variable(key: str, given: Any) -> Variable:
        options = given if isinstance(given, Mapping) else {"value": given}
        value = options["value"]
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return Variable(key, text, raw=not options.get("expand", True))

    return tuple(variable(key, value) for key, value in (table or {}).items())


def _named(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        return {"name": str(value or "")}
    if unknown := sorted({"docker", "kubernetes"} & {*value}):
        raise ValueError(f"the lab does not know the options {unknown} of an image")
    return value


def _service(value: Any) -> Service:
    given = _named(value)
    return Service(
        given["name"],
        given.get("alias", ""),
        _lines(given.get("entrypoint")),
        _lines(given.get("command")),
        _variables(given.get("variables")),
        _lines(given.get("pull_policy")),
    )


def _caches(value: Any) -> tuple[Cache, ...]:
    entries = value if isinstance(value, list) else [value] if value else []

    def key(text: Any) -> str:
        if isinstance(text, Mapping):
            # GitLab takes the last commit of the files; `default` is where there are none.
            text = f"{text['prefix']}-default" if "prefix" in text else "default"
        return f"{text}{_SUFFIX}"

    return tuple(
        Cache(
            key(entry.get("key", "default")),
            tuple(entry.get("paths", ())),
            entry.get("policy", "pull-push"),
            entry.get("when", "on_success"),
            tuple(key(text) for text in entry.get("fallback_keys", ())),
            entry.get("untracked", False),
        )
        for entry in entries
    )


def _artifacts(value: Mapping[str, Any] | None) -> Iterator[Artifacts]:
    given = value or {}
    expire_in = given.get("expire_in", "")
    if given.get("paths") or given.get("untracked"):
        yield Artifacts(
            tuple(given.get("paths", ())),
            given.get("name", ""),
            given.get("when", "on_success"),
            expire_in,
            tuple(given.get("exclude", ())),
            given.get("untracked", False),
        )
    for kind, paths in given.get("reports", {}).items():
        yield Artifacts(
            _lines(paths["path"] if isinstance(paths, Mapping) else paths),
            _REPORT_NAMES.get(kind, f"{kind}.json"),
            "always",
            expire_in,
            type=kind,
            format="gzip" if kind in _COMPRESSED else "raw",
        )


def _matrix(own: Mapping[str, Any], cell: str) -> tuple[Variable, ...]:
    """Return the variables of one job of `parallel:matrix`, which its name tells in brackets."""
    values = cell.split(", ") if cell else []
    parallel = own.get("parallel", {})
    if not isinstance(parallel, Mapping):
        raise ValueError("the lab knows `parallel` with `matrix` alone")
    for entry in parallel.get("matrix", ()):
        choices = {k: v if isinstance(v, list) else [v] for k, v in entry.items()}
        if len(values) == len(choices) and all(
            value in map(str, allowed)
            for value, allowed in zip(values, choices.values(), strict=True)
        ):
            return _variables(dict(zip(choices, values, strict=True)))
    if values or "parallel" in own:
        raise ValueError(f"parallel:matrix has no job '[{cell}]'")
    return ()


def _needed(own: Mapping[str, Any], earlier: Mapping[str, int]) -> tuple[int, ...]:
    """Return the earlier jobs whose artifacts a job downloads: by default those of all."""
    names = set(earlier)
    if "needs" in own:
        needs = [need if isinstance(need, Mapping) else {"job": need} for need in own["needs"]]
        names = {need["job"] for need in needs if need.get("artifacts", True)}
    if "dependencies" in own:
        names = set(own["dependencies"])
    return tuple(number for name, number in earlier.items() if name in names)


def _timeout(text: str) -> int:
    unit = r"(\d+)\s*(s|m|h|d)(?:ec|in|our|ay|inute|econd)?s?(?![a-z])"
    units = re.findall(unit, text)
    if re.sub(unit, "", text).strip():
        raise ValueError(f"the lab does not understand the timeout '{text}'")
    return sum(int(number) * _SECONDS[unit] for number, unit in units)


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


def _predefined(job: Job) -> tuple[Variable, ...]:
    """Return GitLab's variables for a job, but for those that its number decides."""
    git, server = job.git, urlsplit(URL)
    namespace, _, project = job.project_path.rpartition("/")
    values = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_API_V4_URL": f"{URL}/api/v4",
        "CI_SERVER_FQDN": server.netloc,
        "CI_SERVER_HOST": server.hostname or "",
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_PORT": str(server.port or 80),
        "CI_SERVER_PROTOCOL": server.scheme,
        "CI_SERVER_URL": URL,
        "CI_JOB_NAME": job.name,
        "CI_JOB_NAME_SLUG": _slug(job.name),
        "CI_JOB_STAGE": job.stage,
        "CI_JOB_TIMEOUT": str(job.timeout_seconds),
        "CI_NODE_TOTAL": "1",
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_SHA": git.sha,
        "CI_COMMIT_SHORT_SHA": git.sha[:8],
        "CI_COMMIT_BEFORE_SHA": "0" * 40,
        "CI_COMMIT_BRANCH": git.ref,
        "CI_COMMIT_REF_NAME": git.ref,
        "CI_COMMIT_REF_SLUG": _slug(git.ref),
        "CI_COMMIT_REF_PROTECTED": "false",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_ID": str(job.project_id),
        "CI_PROJECT_NAME": project,
        "CI_PROJECT_NAMESPACE": namespace,
        "CI_PROJECT_PATH": job.project_path,
        "CI_PROJECT_PATH_SLUG": _slug(job.project_path),
        "CI_PROJECT_ROOT_NAMESPACE": namespace.partition("/")[0],
        "CI_PROJECT_URL": f"{URL}/{job.project_path}",
        "CI_PROJECT_VISIBILITY": "private",
    }
    return tuple(Variable(key, value) for key, value in values.items())


def job(
    text: str,
    name: str,
    git: Git,
    *,
    project_id: int = PROJECT_ID,
    project_path: str = PROJECT,
    variables: Iterable[Variable] = (),
    timeout_seconds: int = 3600,
    earlier: Mapping[str, int] | None = None,
) -> Job:
    """Return a job of a .gitlab-ci.yml.

    Args:
        text: The file.
        name: Name of the job in it; of a matrix as GitLab shows it: `name: [value, value]`.
        git: The commit that the pipeline is for.
        project_id: Number of the project.
        project_path: The project's path with its group.
        variables: Variables of the pipeline: they override those of the file.
        timeout_seconds: The project's timeout, for jobs without one of their own.
        earlier: Numbers of the pipeline's earlier jobs by name, for artifacts.

    Raises:
        ValueError: the job uses a keyword that this does not know, or is not in the matrix.
    """
    file: Mapping[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
    base, _, cell = name.partition(": [")
    # The older way to write `default:`.
    default = {key: file[key] for key in _DEFAULTS if key in file}
    own = {**default, **file.get("default", {}), **_extended(file, base)}
    if unknown := sorted(set(own) - _KNOWN - _IGNORED):
        raise ValueError(f"job '{name}' has keywords that the lab does not know: {unknown}")
    image = _named(own.get("image"))
    made = Job(
        name=name,
        git=git,
        project_id=project_id,
        project_path=project_path,
        script=(*_lines(own.get("before_script")), *_lines(own.get("script"))),
        after_script=_lines(own.get("after_script")),
        image=image["name"],
        services=tuple(_service(service) for service in own.get("services", ())),
        cache=_caches(own.get("cache")),
        artifacts=tuple(_artifacts(own.get("artifacts"))),
        dependencies=_needed(own, earlier or {}),
        timeout_seconds=_timeout(own["timeout"]) if "timeout" in own else timeout_seconds,
        stage=own.get("stage", "test"),
        entrypoint=tuple(image.get("entrypoint", ())),
        pull_policy=_lines(image.get("pull_policy")),
        hooks={kind: _lines(script) for kind, script in own.get("hooks", {}).items()},
    )
    given = (
        *_variables(file.get("variables")),
        *_variables(own.get("variables")),
        *_matrix(own, cell.removesuffix("]")),
        *variables,
    )
    return replace(made, variables=(*_predefined(made), *given))


def _image(name: str, entrypoint: tuple[str, ...], pull_policy: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": name,
        "entrypoint": entrypoint or None,
        "pull_policy": pull_policy,
        "executor_opts": {},
    }


def _sent(variables: Iterable[Variable]) -> list[dict[str, Any]]:
    return [vars(variable) for variable in variables]


def payload(job: Job) -> dict[str, Any]:
    """Return a job as GitLab's API sends it, without its number and token."""
    variables = expanded((*_predefined(job), *job.variables))
    known = {variable.key: variable.value for variable in variables}
    depth = int(known.get("GIT_DEPTH") or job.git.depth)
    # GitLab numbers pipelines; here the commit is a pipeline's only name.
    pipeline = f"refs/pipelines/{job.git.sha}"
    step = {"timeout": job.timeout_seconds}
    registry = {
        "url": known.get("CI_REGISTRY"),
        "username": known.get("CI_REGISTRY_USER"),
        "password": known.get("CI_REGISTRY_PASSWORD"),
    }
    return {
        "allow_git_fetch": True,
        "job_info": {
            "name": job.name,
            "stage": job.stage,
            "project_id": job.project_id,
            "project_name": job.project_path.rpartition("/")[2],
            "project_full_path": job.project_path,
            "namespace_id": 1,
            "root_namespace_id": 1,
            "organization_id": 1,
            "user_id": 1,
            "project_jobs_running_on_instance_runners_count": "0",
        },
        "git_info": {
            "repo_object_format": "sha1",
            "ref": job.git.ref,
            "ref_type": "branch",
            "sha": job.git.sha,
            "before_sha": "0" * 40,
            "refspecs": [
                f"+{pipeline}:{pipeline}",
                *(
                    [f"+refs/heads/{job.git.ref}:refs/remotes/origin/{job.git.ref}"]
                    if depth
                    else ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
                ),
            ],
            "depth": depth,
            "protected": False,
        },
        "runner_info": {"timeout": job.timeout_seconds},
        "inputs": [],
        "variables": _sent(variables),
        "steps": [
            {"name": "script", "script": job.script, "when": "on_success", **step},
            *(
                {"name": "after_script", "script": script, "when": "always", **step}
                | {"allow_failure": True}
                for script in [job.after_script]
                if script
            ),
        ],
        "image": _image(job.image, job.entrypoint, job.pull_policy) if job.image else None,
        "services": [
            _image(service.name, service.entrypoint, service.pull_policy)
            | {
                "alias": service.alias,
                "command": service.command or None,
                "variables": _sent(service.variables),
            }
            for service in job.services
        ],
        "cache": [vars(cache) for cache in job.cache],
        "artifacts": [
            {_RENAMED.get(key, key): value for key, value in vars(entry).items()}
            for entry in job.artifacts
        ],
        "credentials": [{"type": "registry", **registry}] if all(registry.values()) else [],
        "features": {
            "trace_sections": True,
            "token_mask_prefixes": ["glpat-", "glcbt-", "glrt-"],
            "failure_reasons": _FAILURES,
        },
        "hooks": [{"name": kind, "script": script} for kind, script in job.hooks.items()],
    }
