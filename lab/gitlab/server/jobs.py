"""The queue of jobs, with their logs and results. All of it but artifacts is in memory."""

import base64
import gzip
import hashlib
import hmac
import itertools
import re
import secrets
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FINISHED = {"success", "failed", "canceled"}


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, job_status: str = "") -> None:
        super().__init__(message)
        self.status, self.job_status = status, job_status


def runner_token(key: str, name: str) -> str:
    """Return the authentication token of the runner with this name."""
    mac = hmac.new(key.encode(), name.encode(), hashlib.sha256).hexdigest()[:20]
    return f"glrt-{mac}.{name}"


def runner_name(key: str, token: str) -> str:
    """Return the name of the runner that a token belongs to.

    Raises:
        RefusedError: the token is nobody's.
    """
    name = token.partition(".")[2]
    expected = runner_token(key, name).encode()
    if not name or not hmac.compare_digest(token.encode(), expected):
        raise RefusedError(403, "403 Forbidden")
    return name


@dataclass
class Artifact:
    """An uploaded file."""

    path: Path
    filename: str


@dataclass
class Job:
    """A job. Its payload is as the runner gets it, but for all that its number decides."""

    number: int
    runner: str
    payload: dict[str, Any] = field(repr=False)
    dependencies: tuple[int, ...]
    token: str = field(repr=False)
    created: float
    status: str = "pending"
    started: float = 0.0
    finished: float = 0.0
    failure_reason: str = ""
    exit_code: int = 0
    rewound: bool = False
    trace: bytearray = field(default_factory=bytearray, repr=False)
    artifacts: dict[str, Artifact] = field(default_factory=dict)

    @property
    def project(self) -> str:
        """The path of the job's project."""
        return str(self.payload["job_info"]["project_full_path"])

    @property
    def done(self) -> bool:
        """Whether the job has ended."""
        return self.status in _FINISHED

    def end(self, status: str, reason: str = "", exit_code: int = 0) -> None:
        """Set the job's result."""
        self.status, self.failure_reason, self.exit_code = status, reason, exit_code
        self.finished = time.time()


def _variable(key: str, value: str, public: bool = True, masked: bool = False) -> dict[str, Any]:
    return {"key": key, "value": value, "public": public, "masked": masked}


def _dotenv(path: Path) -> list[dict[str, Any]]:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    pairs = [re.fullmatch(r"\s*(\w+)\s*=\s*(.*?)\s*", line) for line in lines]
    return [_variable(pair[1], pair[2].strip("'\""), public=False) for pair in pairs if pair]


class Jobs:
    """All jobs, for many threads at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._changed = threading.Condition()
        self._jobs: dict[int, Job] = {}
        self._keys: dict[str, int] = {}
        # A server that starts again must not give out a number twice.
        self._numbers = itertools.count(int(time.time()))

    def submit(self, key: str, runner: str, payload: dict[str, Any], needs: list[int]) -> int:
        """Queue a job. The same key gives the same job, so that a caller may ask again."""
        with self._changed:
            for number in needs:
                self.get(number)
            if key not in self._keys:
                number = next(self._numbers)
                token = f"glcbt-{secrets.token_hex(16)}"
                self._jobs[number] = Job(number, runner, payload, tuple(needs), token, time.time())
                self._keys[key] = number
                self._changed.notify_all()
            return self._keys[key]

    def get(self, number: int) -> Job:
        """Return a job.

        Raises:
            RefusedError: there is no job with this number.
        """
        if number not in self._jobs:
            raise RefusedError(404, "404 Not Found")
        return self._jobs[number]

    def take(self, runner: str, seconds: float, connected: Callable[[], bool]) -> Job | None:
        """Wait for a job of a runner and mark it as running. Each job is taken once.

        Args:
            runner: The runner's name.
            seconds: How long to wait.
            connected: Says whether the runner still waits for the answer.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while connected():
                for job in self._jobs.values():
                    if job.runner == runner and job.status == "pending":
                        job.status, job.started = "running", time.time()
                        self._changed.notify_all()
                        return job
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 1))
            return None

    def request(self, job: Job) -> dict[str, Any]:
        """Return what the runner gets for a job."""
        scheme, _, host = self._url.partition("://")
        repository = f"{scheme}://gitlab-ci-token:{job.token}@{host}/{job.project}.git"
        number = str(job.number)
        needed = [self.get(dependency) for dependency in job.dependencies]
        reports = [n.artifacts["dotenv"].path for n in needed if "dotenv" in n.artifacts]
        return {
            **job.payload,
            "id": job.number,
            "token": job.token,
            "job_info": {
                **job.payload["job_info"],
                "pipeline_id": job.number,
                "time_in_queue_seconds": job.started - job.created,
            },
            "git_info": {**job.payload["git_info"], "repo_url": repository},
            "variables": [
                _variable("CI_PIPELINE_ID", number),
                _variable("CI_PIPELINE_IID", number),
                _variable("CI_PIPELINE_URL", f"{self._url}/{job.project}/-/pipelines/{number}"),
                _variable("CI_JOB_ID", number),
                _variable("CI_JOB_URL", f"{self._url}/{job.project}/-/jobs/{number}"),
                _variable("CI_JOB_TOKEN", job.token, public=False, masked=True),
                _variable("CI_REPOSITORY_URL", repository, public=False),
                *job.payload["variables"],
                *(variable for path in reports for variable in _dotenv(path)),
            ],
            "dependencies": [
                {
                    "id": other.number,
                    "token": job.token,
                    "name": other.payload["job_info"]["name"],
                    "artifacts_file": {"filename": archive.filename, "size": size}
                    if (archive := other.artifacts.get("archive"))
                    and (size := archive.path.stat().st_size)
                    else {"filename": "", "size": 0},
                }
                for other in needed
            ],
        }

    def running(self, number: int, token: str) -> Job:
        """Return the running job that a request is for.

        Raises:
            RefusedError: there is no such job, the token is another one's, or the job has ended.
        """
        job = self.get(number)
        if not hmac.compare_digest(job.token.encode(), token.encode()):
            raise RefusedError(403, "403 Forbidden")
        if job.status not in {"running", "canceling"}:
            raise RefusedError(403, "403 Forbidden - Job is not running", job.status)
        return job

    def by_token(self, token: str) -> Job | None:
        """Return the running job with this token."""
        return next(
            (
                job
                for job in list(self._jobs.values())
                if job.status in {"running", "canceling"}
                and hmac.compare_digest(job.token.encode(), token.encode())
            ),
            None,
        )

    def append(self, job: Job, start: int, data: bytes) -> bool:
        """Add to a job's trace; return False where the data do not begin at its end."""
        with self._changed:
            if start != len(job.trace):
                return False
            job.trace += data
            self._changed.notify_all()
            return True

    def update(self, job: Job, update: dict[str, Any]) -> int:
        """Take a runner's report about a job; return the status of the answer."""
        state = update.get("state")
        if state == "running":
            return 200
        if state not in {"success", "failed"}:
            raise RefusedError(400, "400 Bad request - Unknown state")
        output = update.get("output") or {}
        with self._changed:
            checksum = f"crc32:{zlib.crc32(job.trace):08x}"
            if output.get("checksum", checksum) != checksum and not job.rewound:
                job.rewound = True
                job.trace.clear()
                return 412
            if job.status == "canceling":
                job.end("canceled")
            elif state == "success":
                job.end("success")
            else:
                reason = update.get("failure_reason") or "unknown_failure"
                job.end("failed", reason, update.get("exit_code", 0))
            self._changed.notify_all()
        return 200

    def cancel(self, number: int) -> None:
        """Cancel a job; a running one ends when its runner says so."""
        with self._changed:
            job = self.get(number)
            if job.status == "pending":
                job.end("canceled")
            elif job.status == "running":
                job.status = "canceling"
            self._changed.notify_all()

    def observe(self, number: int, offset: int, seconds: float) -> dict[str, Any]:
        """Describe a job when it has ended or has more of a trace than the caller knows."""
        deadline = time.monotonic() + seconds
        with self._changed:
            job = self.get(number)
            while not job.done and len(job.trace) <= offset:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return {
                "status": job.status,
                "failure_reason": job.failure_reason,
                "exit_code": job.exit_code,
                "created": job.created,
                "started": job.started,
                "finished": job.finished,
                "trace": base64.b64encode(job.trace[max(offset, 0) :]).decode(),
            }
