"""A job, as `.gitlab-ci.yml` describes it, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field

URL = "http://gitlab.lab.svc.cluster.local:8080"
PROJECT = "demo/app"
PROJECT_ID = 42
REPOSITORY = f"{URL}/{PROJECT}.git"


@dataclass(frozen=True)
class Variable:
    """A CI/CD variable. A raw variable's value is not expanded."""

    key: str
    value: str = field(repr=False)
    public: bool = True
    masked: bool = False
    file: bool = False
    raw: bool = False


@dataclass(frozen=True)
class Service:
    """A container beside the job's own."""

    name: str
    alias: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    pull_policy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cache:
    """An entry of `cache:`. GitLab adds the suffix for unprotected branches to its keys."""

    key: str
    paths: tuple[str, ...]
    policy: str = "pull-push"
    when: str = "on_success"
    fallback_keys: tuple[str, ...] = ()
    untracked: bool = False


@dataclass(frozen=True)
class Artifacts:
    """An entry of `artifacts:`: the archive, or a report of another type."""

    paths: tuple[str, ...]
    name: str = ""
    when: str = "on_success"
    expire_in: str = ""
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    type: str = "archive"
    format: str = "zip"


@dataclass(frozen=True)
class Git:
    """The commit that a pipeline is for."""

    sha: str
    ref: str = "main"
    depth: int = 20


@dataclass(frozen=True)
class Job:
    """A job before it has a number. `dependencies` are the jobs whose artifacts it downloads."""

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
    artifacts: tuple[Artifacts, ...] = ()
    dependencies: tuple[int, ...] = ()
    timeout_seconds: int = 3600
    stage: str = "test"
    entrypoint: tuple[str, ...] = ()
    pull_policy: tuple[str, ...] = ()
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A line of the job's log, and its time in seconds since a runner got the job."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Result:
    """How a job ended.

    Attributes:
        number: The job's number.
        status: success, failed or canceled.
        failure_reason: The runner's reason, such as script_failure; empty for a success.
        exit_code: The script's exit code, where the runner reported one.
        trace: The log's lines, without timestamps, section markers and colours.
        raw: The log as the runner sent it.
        seconds: Duration by section of the log, such as get_sources.
        restored: For each cache key, whether the runner extracted an archive.
        saved: For each cache key, whether the runner created the archive.
        queued: Seconds until a runner got the job.
        job_seconds: Seconds from then until the runner reported the job's end.
        pod: Name of the job's pod, from the log.
    """

    number: int
    status: str
    failure_reason: str
    exit_code: int
    trace: tuple[Line, ...]
    raw: bytes = field(repr=False)
    seconds: Mapping[str, float]
    restored: Mapping[str, bool]
    saved: Mapping[str, bool]
    queued: float
    job_seconds: float
    pod: str

    @property
    def succeeded(self) -> bool:
        """Whether the job succeeded."""
        return self.status == "success"

    @property
    def text(self) -> str:
        """The log as plain text."""
        return "".join(f"{line.text}\n" for line in self.trace)
