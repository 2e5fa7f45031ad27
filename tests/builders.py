"""What tests build again and again: settings that are valid, from the few that matter."""

from pathlib import Path
from typing import Any

import tomli_w
from gitlab_runner_k8s.runner.config_toml import config
from gitlab_runner_k8s.runner.connections import RunnerBuildKitSettings, RunnerDockerSettings
from gitlab_runner_k8s.runner.settings import GitLabRunnerSettings

GITLAB: dict[str, Any] = {"gitlab_url": "https://gitlab.example.com", "token_secret_name": "token"}
"""The least that a runner or a platform needs."""


def daemon(kind: str, host: str, replicas: int = 1) -> dict[str, Any]:
    """Return a shared daemon, docker or buildkit, as an argument of a runner; any port will do."""
    settings: Any = {"docker": RunnerDockerSettings, "buildkit": RunnerBuildKitSettings}[kind]
    return {
        kind: settings.model_construct(host=host, client_secret_name="client", replicas=replicas)
    }


def clock(folder: Path) -> str:
    """Return the shell functions of a clock that only `sleep` moves, a second each time."""
    path = folder / "clock"
    path.touch()
    sleep = f'sleep() {{ [ "$1" -le 5 ] && echo >> {path}; }}'
    date = f'date() {{ [ "$1" = +%s ] && wc -l < {path}; }}'
    return f"{sleep}\n{date}\n"


def extra_config(**keys: Any) -> str:
    """Return `extra_config` with these keys of `[[runners]]`."""
    return tomli_w.dumps({"runners": [keys]})


def runner(**settings: Any) -> GitLabRunnerSettings:
    """Return a runner."""
    return GitLabRunnerSettings.model_validate({**GITLAB, **settings})


def runner_table(**settings: Any) -> dict[str, Any]:
    """Return the `[[runners]]` of a runner's config.toml, before it becomes text."""
    table: dict[str, Any]
    (table,) = config(runner(**settings), "ci")["runners"]
    return table


def sample(shape: Any) -> Any:
    """Return a value of a shape of `config_keys.json`."""
    if isinstance(shape, list):
        return [sample(shape[0])]
    if isinstance(shape, dict):
        return {key.replace("*", "name"): sample(below) for key, below in shape.items()}
    return {"any": "1", "boolean": True, "integer": 1, "string": "a"}[shape]
