"""A job, shaped after what GitLab's coordinator sends, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variable:
    """A CI/CD variable."""

    key: str
    value: str = field(repr=False)
    public: bool = True
    masked: bool = False
    file: bool = False


@dataclass(frozen=True)
class Service:
    """A container beside the job's own."""

    name: str
    alias: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True)
class Cache:
    """An entry of `cache:`, its key as GitLab sends it: with the suffix for unprotected refs."""

    key: str
    paths: tuple[str, ...]
    policy: str = "pull-push"
    when: str = "on_success"
    fallback_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Git:
    """What is checked out. The address carries a password, so it is never shown."""

    repo_url: str = field(repr=False)
    sha: str
    ref: str = "main"
    depth: int = 20


@dataclass(frozen=True)
class Job:
    """One job."""

    id: int
    name: str
    git: Git
    project_id: int
    project_path: str
    script: tuple[str, ...]
    after_script: tuple[str, ...] = ()
    image: str = ""
    variables: tuple[Variable, ...] = ()
    services: tuple[Service, ...] = ()
    cache: tuple[Cache, ...] = ()
    timeout_seconds: int = 3600


@dataclass(frozen=True)
class Line:
    """A line of the trace, and when it came, in seconds since the job began."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Result:
    """How a job ended.

    `failure_reason` is empty or one of those that the runner reports. `seconds` is by stage;
    the caches are by key, true where the transfer went well.
    """

    failure_reason: str
    exit_code: int
    trace: tuple[Line, ...]
    seconds: Mapping[str, float]
    restored: Mapping[str, bool]
    saved: Mapping[str, bool]

    @property
    def succeeded(self) -> bool:
        """Whether the job succeeded."""
        return not self.failure_reason

    @property
    def text(self) -> str:
        """The trace as text."""
        return "".join(f"{line.text}\n" for line in self.trace)
