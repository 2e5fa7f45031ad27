"""`make verify` reads a job's log, and fails where a build is not warm."""

import dataclasses

import pytest

from lab.console import LabError
from lab.gitlab import Line, Result
from lab.verify import Build, problems, read_trace

TRACE = """$ docker build --progress=plain --tag app .
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#4 [dependencies 1/3] FROM registry/base:12@sha256:00
#4 CACHED
#5 [dependencies 2/3] COPY deps/ .
#5 CACHED
#6 [dependencies 3/3] RUN make
#6 0.3 cc
#6 DONE 9.0s
#7 [build 1/1] RUN cc app.c
#7 DONE 0.1s
$ docker run app"""


def result(text: str) -> Result:
    lines = tuple(Line(float(n), line) for n, line in enumerate(text.splitlines()))
    return Result(
        1,
        "success",
        "",
        0,
        lines,
        b"",
        {"step_script": 14.0},
        {"a": True},
        {"a": False},
        1,
        20,
        "p",
    )


def test_steps_are_counted_from_the_builders_own_words() -> None:
    build = read_trace(result(TRACE))
    assert (build.steps, build.reused) == (3, 1)
    assert build.build_seconds == 12
    assert build.job_seconds == 20
    assert build.cache_restored
    assert not build.cache_saved


def test_a_job_without_a_build_is_an_error() -> None:
    with pytest.raises(LabError, match="ran no docker build"):
        read_trace(result("$ true"))


GOOD = Build(20, 15, steps=7, reused=0, cache_restored=False, cache_saved=True)
WARM = Build(5, 0.5, steps=7, reused=4, cache_restored=True, cache_saved=True)


def test_a_warm_second_build_is_what_is_wanted() -> None:
    assert problems(GOOD, WARM, has_archive=True) == []


@pytest.mark.parametrize(
    ("cold", "warm", "has_archive", "text"),
    [
        (dataclasses.replace(GOOD, reused=1), WARM, True, "was not cold"),
        (GOOD, dataclasses.replace(WARM, reused=3), True, "reused 3 steps of the first: 4 were"),
        (dataclasses.replace(GOOD, cache_saved=False), WARM, True, "is not in the bucket"),
        (GOOD, WARM, False, "is not in the bucket"),
        (GOOD, dataclasses.replace(WARM, cache_restored=False), True, "did not get the cache"),
    ],
)
def test_what_is_not_warm_is_said(cold: Build, warm: Build, has_archive: bool, text: str) -> None:
    (found,) = problems(cold, warm, has_archive=has_archive)
    assert text in found
