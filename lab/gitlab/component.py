"""What GitLab does with a CI/CD component before its jobs exist: checks and interpolates inputs."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_BLOCK = re.compile(r"\$\[\[\s*(inputs|component)\.([\w-]+)\s*\]\]")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "array": list,
}
_KEYS = {"type", "description", "default", "options", "regex"}
# The keywords that GitLab knows, of those that a component here may come to need.
_JOB = {
    *("script", "before_script", "after_script", "image", "services", "cache", "artifacts", "tags"),
    *("stage", "rules", "only", "except", "variables", "extends", "inherit", "needs", "when"),
    *("dependencies", "environment", "coverage", "retry", "parallel", "interruptible", "timeout"),
    *("allow_failure", "resource_group", "release", "secrets", "id_tokens", "hooks", "start_in"),
}
_PARTS = {
    "rules": {
        *("if", "changes", "exists", "when", "start_in", "allow_failure", "variables", "needs"),
        "interruptible",
    },
    "services": {
        *("name", "entrypoint", "command", "alias", "ports", "variables", "pull_policy", "docker"),
        "kubernetes",
    },
    "image": {"name", "entrypoint", "ports", "pull_policy", "docker", "kubernetes"},
    "cache": {"key", "paths", "untracked", "policy", "when", "unprotect", "fallback_keys"},
    "environment": {
        *("name", "url", "action", "on_stop", "auto_stop_in", "kubernetes", "deployment_tier"),
    },
}


def render(
    template: str, inputs: Mapping[str, Any], component: Mapping[str, str] | None = None
) -> str:
    """Return the jobs of a component as YAML text.

    Args:
        template: The component's file: a header with `spec:`, `---`, and the jobs.
        inputs: What the including pipeline gives.
        component: Values of the component context, such as `sha` and `version`; only those that
            the header asks for by `spec:component` are known.

    Raises:
        ValueError: with every problem of the header, of the inputs and of the jobs.
    """
    header, jobs = yaml.load_all(template, Loader=yaml.CSafeLoader)
    declared: Mapping[str, Mapping[str, Any] | None] = header["spec"].get("inputs") or {}
    wanted = header["spec"].get("component") or []
    problems = [f"{name}: there is no such input" for name in inputs if name not in declared]
    values: dict[str, Any] = {}
    for name, rule in declared.items():
        problems += _check_rule(name, rule or {})
        if name in inputs:
            values[f"inputs.{name}"] = inputs[name]
        elif rule and "default" in rule:
            values[f"inputs.{name}"] = rule["default"]
        else:
            problems.append(f"{name}: the input is required")
            continue
        problems += _check(name, values[f"inputs.{name}"], rule or {})
    values |= {
        f"component.{name}": (component or {}).get(name, f"component-{name}") for name in wanted
    }
    used = {
        f"{context}.{name}"
        for context, name in _BLOCK.findall(yaml.dump(jobs, Dumper=yaml.CSafeDumper, width=1 << 20))
    }
    problems += [
        f"{name}: used in the jobs, not in the header" for name in sorted(used - {*values})
    ]
    problems += [f"{name}: never used in the jobs" for name in sorted({*values} - used)]
    if problems:
        raise ValueError("\n".join(problems))
    made = _interpolated(jobs, values)
    problems = [*_check_jobs(made)]
    if problems:
        raise ValueError("\n".join(problems))
    return yaml.dump(made, Dumper=yaml.CSafeDumper, sort_keys=False, width=1 << 20)


def _check_rule(name: str, rule: Mapping[str, Any]) -> Iterator[str]:
    unknown = sorted(set(rule) - _KEYS)
    if unknown:
        yield f"{name}: unknown keys in the header: {', '.join(unknown)}"
    kind = rule.get("type", "string")
    if kind not in _TYPES:
        yield f"{name}: unknown type '{kind}'"
    if "regex" in rule and kind != "string":
        yield f"{name}: a regex is for a string alone"
    if "regex" in rule and re.search(r"\(\?(?:[=!>]|<[=!])|\\[1-9]", rule["regex"]):
        yield f"{name}: RE2 has no lookaround and no backreference: {rule['regex']}"
    if "options" in rule and kind not in {"string", "number"}:
        yield f"{name}: options are for a string or a number"


def _check_jobs(jobs: Mapping[str, Any]) -> Iterator[str]:
    """Check what GitLab refuses and the linters without a GitLab let pass.

    By `lib/gitlab/ci/config/entry/` of GitLab: hidden.rb, job.rb, processable.rb, rules/rule.rb,
    service.rb, image.rb, cache.rb and environment.rb; and by `extends`.
    """
    for name, job in jobs.items():
        if name.startswith(".") and not job:
            yield f"{name}: a hidden job must have something in it"
        if not isinstance(job, Mapping):
            continue
        unknown = {*job} - _JOB
        for key, known in _PARTS.items():
            parts = job.get(key, [])
            for part in parts if isinstance(parts, list) else [parts]:
                if isinstance(part, Mapping):
                    unknown |= {f"{key}:{one}" for one in {*part} - known}
        if unknown:
            yield f"{name}: GitLab knows no {', '.join(sorted(unknown))}"
        parents = job.get("extends", [])
        for parent in [parents] if isinstance(parents, str) else parents:
            if parent not in jobs:
                yield f"{name}: extends {parent}, which is not there"
        if "rules" in job and {"only", "except", "start_in"} & {*job}:
            yield f"{name}: rules stand beside no only, except or start_in"


def _check(name: str, value: Any, rule: Mapping[str, Any]) -> Iterator[str]:
    kind = rule.get("type", "string")
    # A boolean is an int for Python, and none for GitLab.
    if not isinstance(value, _TYPES.get(kind, object)) or (
        isinstance(value, bool) and kind == "number"
    ):
        yield f"{name}: must be of the type {kind}, got {value!r}"
        return
    if "options" in rule and value not in rule["options"]:
        yield f"{name}: must be one of {', '.join(map(str, rule['options']))}, got {value!r}"
    if "regex" in rule and not re.search(rule["regex"], str(value)):
        yield f"{name}: must match {rule['regex']}, got {value!r}"


def _interpolated(node: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(node, Mapping):
        return {_interpolated(k, values): _interpolated(v, values) for k, v in node.items()}
    if isinstance(node, list):
        return [_interpolated(item, values) for item in node]
    if not isinstance(node, str):
        return node
    if whole := _BLOCK.fullmatch(node):
        # A block that is all of a value keeps the input's type.
        return values[f"{whole[1]}.{whole[2]}"]
    return _BLOCK.sub(lambda found: _text(values[f"{found[1]}.{found[2]}"]), node)


def _text(value: Any) -> str:
    # GitLab writes what is no string as JSON.
    return value if isinstance(value, str) else json.dumps(value)
