"""What GitLab's stand-in makes of a .gitlab-ci.yml."""

from typing import Any

import pytest

from lab.gitlab import Artifacts, Cache, Git, Job, Variable, ci
from lab.gitlab.variables import expanded

GIT = Git("0" * 40)
CI = """
variables: {WHERE: file, OWN: job}
build:
  before_script: [first]
  script:
    - second
  cache:
    key: $CI_COMMIT_REF_SLUG
    paths: [vendor/]
"""


def values(job: Job) -> dict[str, str]:
    return {variable["key"]: variable["value"] for variable in ci.payload(job)["variables"]}


def test_a_job_is_what_its_pipeline_file_says() -> None:
    made = ci.job(CI, "build", GIT)
    assert made.script == ("first", "second")
    # The runner expands the key.
    assert made.cache == (Cache("$CI_COMMIT_REF_SLUG-non_protected", ("vendor/",)),)
    assert ci.payload(made)["cache"][0]["key"] == "$CI_COMMIT_REF_SLUG-non_protected"


def test_an_unknown_keyword_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not know: \\['trigger'\\]"):
        ci.job("build: {trigger: x}", "build", GIT)


def test_a_job_has_what_it_extends() -> None:
    text = """
    .base: {image: one, variables: {A: base, B: base}, script: [base]}
    build: {extends: .base, variables: {B: own}, script: [own]}
    """
    made = ci.job(text, "build", Git("0" * 40, "Feature/--x_"), project_path="a/b")
    known = values(made)
    assert (made.image, made.script) == ("one", ("own",))
    assert (known["A"], known["B"]) == ("base", "own")
    # As GitLab has it: each character is one dash.
    assert known["CI_COMMIT_REF_SLUG"] == "feature---x"
    assert known["CI_PROJECT_PATH"] == "a/b"


def test_variables_of_the_pipeline_win() -> None:
    made = ci.job(CI, "build", GIT, variables=(Variable("WHERE", "pipeline", masked=True),))
    assert values(made)["WHERE"] == "pipeline"
    (sent,) = (one for one in ci.payload(made)["variables"] if one["key"] == "WHERE")
    assert sent["masked"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"A": "$B-${C}", "B": "b$C", "C": "c"}, {"A": "bc-c"}),
        # The runner knows these, or replaces them by nothing.
        ({"A": "$CI_JOB_ID $$B", "B": "b"}, {"A": "$CI_JOB_ID $$B"}),
        ({"A": "$B", "B": "$A"}, {"A": "$B", "B": "$A"}),
        ({"A": "$A:more"}, {"A": "$A:more"}),
    ],
)
def test_variables_are_expanded_as_far_as_gitlab_does(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    found = {one.key: one.value for one in expanded(Variable(*pair) for pair in given.items())}
    assert expected.items() <= found.items()


def test_raw_and_file_variables_are_the_runners() -> None:
    given = (Variable("F", "content", file=True), Variable("R", "$A", raw=True))
    found = {one.key: one.value for one in expanded((*given, Variable("A", "$F $R")))}
    assert found == {"F": "content", "R": "$A", "A": "$F $R"}
    made = ci.job("build: {variables: {R: {value: $X, expand: false}}}", "build", GIT)
    assert made.variables[-1] == Variable("R", "$X", raw=True)


def test_steps_have_the_jobs_timeout() -> None:
    made = ci.job("build: {script: a, after_script: [b], timeout: 1h 30m}", "build", GIT)
    sent = ci.payload(made)
    assert sent["runner_info"]["timeout"] == 5400
    assert [(step["name"], step["when"]) for step in sent["steps"]] == [
        ("script", "on_success"),
        ("after_script", "always"),
    ]
    with pytest.raises(ValueError, match="timeout 'soon'"):
        ci.job("build: {script: a, timeout: soon}", "build", GIT)


def test_an_image_and_a_service_keep_their_options() -> None:
    text = """
    build:
      image: {name: $IMAGE, entrypoint: [""], pull_policy: always}
      services: [{name: docker, alias: d, command: [--mtu=1450], variables: {A: b}}, plain]
    """
    sent = ci.payload(ci.job(text, "build", GIT))
    assert sent["image"] == {
        "name": "$IMAGE",
        "entrypoint": ("",),
        "pull_policy": ("always",),
        "executor_opts": {},
    }
    docker, plain = sent["services"]
    assert (docker["alias"], docker["command"]) == ("d", ("--mtu=1450",))
    assert docker["variables"][0]["value"] == "b"
    assert plain["name"] == "plain"
    assert ci.payload(ci.job(CI, "build", GIT))["image"] is None


def test_artifacts_and_reports_are_sent_one_by_one() -> None:
    text = """
    build:
      artifacts:
        paths: [out/]
        when: always
        expire_in: 1 day
        reports: {dotenv: build.env, terraform: [plan.json]}
    """
    made = ci.job(text, "build", GIT)
    assert made.artifacts == (
        Artifacts(("out/",), "", "always", "1 day"),
        Artifacts(("build.env",), ".env", "always", "1 day", type="dotenv", format="gzip"),
        Artifacts(("plan.json",), "tfplan.json", "always", "1 day", type="terraform", format="raw"),
    )
    kinds = [entry["artifact_type"] for entry in ci.payload(made)["artifacts"]]
    assert kinds == ["archive", "dotenv", "terraform"]


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ("{}", (1, 2)),
        ("{dependencies: []}", ()),
        ("{dependencies: [one]}", (1,)),
        ("{needs: [two]}", (2,)),
        ("{needs: [{job: one, artifacts: false}, two]}", (2,)),
    ],
)
def test_which_artifacts_a_job_downloads(keywords: str, expected: Any) -> None:
    made = ci.job(f"build: {keywords}", "build", GIT, earlier={"one": 1, "two": 2})
    assert made.dependencies == expected


def test_depth_and_hooks() -> None:
    text = """
    build:
      variables: {GIT_DEPTH: 0}
      hooks: {pre_get_sources_script: [echo before]}
    """
    sent = ci.payload(ci.job(text, "build", GIT))
    assert sent["git_info"]["depth"] == 0
    assert "+refs/tags/*:refs/tags/*" in sent["git_info"]["refspecs"]
    assert sent["hooks"] == [{"name": "pre_get_sources_script", "script": ("echo before",)}]
