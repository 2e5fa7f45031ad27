"""A command that a test interrupts, and what it leaves running."""

import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.paths import ROOT


class Command:
    """A command in a process group of its own, as a terminal starts it."""

    def __init__(
        self, arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.log = folder / f"{self.mark}.log"
        with self.log.open("wb") as output:
            self.popen = subprocess.Popen(
                # A shell that starts a command in the background has it ignore Ctrl-C.
                ["env", "--default-signal=INT", *(str(part) for part in arguments)],
                cwd=ROOT,
                env={**os.environ, **environment, "LAB_TEST": self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    @property
    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text()

    def running(self) -> dict[int, str]:
        """Return the processes that it started, directly or not, and that still run."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"LAB_TEST={self.mark}\0".encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def end(self) -> None:
        """Kill it where a test has left it running."""
        for pid in self.running():
            os.kill(pid, 9)
        self.popen.wait()
