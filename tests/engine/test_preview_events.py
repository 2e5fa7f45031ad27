"""The recorded events of previews are what the engine still writes."""

import gzip
from pathlib import Path

import pytest

from preview import events
from tests.preview import record
from tests.preview.test_converter import read

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("name", ["mixed", "error"])
def test_a_new_recording_reads_as_the_old_one(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    before, after, _ = record.cases(tmp_path)[name]
    record.record(name, before, after, environment, target=tmp_path)
    text = gzip.decompress((tmp_path / f"{name}.jsonl.gz").read_bytes()).decode()
    new, old = events.read(text.splitlines()), read(name)
    assert (new.steps, new.counts, new.complete) == (old.steps, old.counts, old.complete)
    assert [error.splitlines()[-1] for error in new.errors] == [
        error.splitlines()[-1] for error in old.errors
    ]
