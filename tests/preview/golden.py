"""Writes the golden notes anew: `python -m tests.preview.golden`. Read the difference."""

import tempfile
from pathlib import Path

from preview.__main__ import main
from tests.preview.test_converter import CASES, GOLDEN, JOB, recorded


def write() -> None:
    """Write every note."""
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "events"
        for name in CASES:
            source.write_text(recorded(name))
            more = ["--limit=3000"] if name == "many" else []
            main([str(source), "--stack=dev", f"--note={GOLDEN / f'{name}.md'}", *more], JOB)


if __name__ == "__main__":
    write()
