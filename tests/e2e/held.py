"""Jobs that a test starts, and a job that runs until the test releases it."""

import threading
import uuid
from types import TracebackType
from typing import Any, Self

from lab import gitlab
from lab.gitlab import Git, Job, Result

_README = {"README.md": b"hello\n"}


def job(*commands: str, files: dict[str, bytes] | None = None, **fields: Any) -> Job:
    """Return a job of some commands, for a commit that has just some files."""
    made = {"timeout_seconds": 300, **fields}
    git = Git(gitlab.push(files or _README))
    return Job("fault", git, gitlab.PROJECT_ID, gitlab.PROJECT, commands, **made)


class Held:
    """A job that writes to its log until it finds a branch of its own.

    Args:
        runner: The runner that it waits for.
        timeout_seconds: The job's timeout.
        fields: More of the job.
    """

    def __init__(
        self, runner: str = "gitlab-runner", timeout_seconds: int = 600, **fields: Any
    ) -> None:
        self._branch = f"held-{uuid.uuid4().hex}"
        find = f"git ls-remote --exit-code --heads $CI_REPOSITORY_URL {self._branch} > /dev/null"
        script = f'n=0; until {find}; do n=$((n + 1)); echo "turn $n"; sleep 2; done'
        made = job(script, timeout_seconds=timeout_seconds, **fields)
        self._begun = threading.Event()
        self._results: list[Result] = []
        self.number = gitlab.submit(made, runner)
        self._thread = threading.Thread(
            target=lambda: self._results.append(
                gitlab.wait(self.number, 2 * timeout_seconds, self._note)
            ),
            daemon=True,
        )

    def __enter__(self) -> Self:
        """Wait until the job's script runs."""
        self._thread.start()
        assert self._begun.wait(180), f"job {self.number} is {gitlab.state(self.number)}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the job, unless it has ended."""
        gitlab.cancel(self.number)

    def _note(self, line: str) -> None:
        if line.startswith("turn "):
            self._begun.set()

    def release(self) -> None:
        """Let the job end."""
        gitlab.push(_README, branch=self._branch)

    def result(self) -> Result:
        """Wait for the job's end; nothing of its log is lost or there twice."""
        self._thread.join()
        (result,) = self._results
        turns = [line.text for line in result.trace if line.text.startswith("turn ")]
        assert turns == [f"turn {n + 1}" for n in range(len(turns))], result.text
        return result
