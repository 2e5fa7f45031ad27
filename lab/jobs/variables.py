"""A job's variables: in upstream's order, the last of a name wins, references expanded."""

import re
from collections.abc import Mapping
from typing import Any

from lab.jobs.model import Job, Variable

_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\$)")


def expand(text: str, known: Mapping[str, str]) -> str:
    """Return text with `$NAME` and `${NAME}` replaced; what is not known becomes empty."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return known.get(name, "") if name else "$"

    return _REFERENCE.sub(value, text)


def project_directory(runner: Mapping[str, Any], job: Job) -> str:
    """Return where the job's repository is checked out."""
    return f"{runner.get('builds_dir') or '/builds'}/{job.project_path}"


def all_of(runner: Mapping[str, Any], job: Job) -> list[Variable]:
    """Return the job's variables by name: the runner's own first, so that CI/CD's override them."""
    own = [Variable(*line.partition("=")[::2]) for line in runner.get("environment", [])]
    directory = project_directory(runner, job)
    defaults = {
        "CI_BUILDS_DIR": runner.get("builds_dir") or "/builds",
        "CI_PROJECT_DIR": directory,
        "CI_CONCURRENT_ID": "0",
        "CI_CONCURRENT_PROJECT_ID": "0",
        "CI_SERVER": "yes",
        "CI_DISPOSABLE_ENVIRONMENT": "true",
        "GITLAB_CI": "true",
    }
    ordered = [
        *own,
        *(Variable(key, value) for key, value in defaults.items()),
        *job.variables,
    ]
    last = {variable.key: variable for variable in ordered}
    known = {key: variable.value for key, variable in last.items()}
    # A file's content is passed on as it is.
    return [variable if variable.file else _expanded(variable, known) for variable in last.values()]


def _expanded(variable: Variable, known: Mapping[str, str]) -> Variable:
    others = {key: value for key, value in known.items() if key != variable.key}
    value = expand(variable.value, others)
    return Variable(variable.key, value, variable.public, variable.masked)
