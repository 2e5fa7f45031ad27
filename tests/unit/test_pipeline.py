"""The project's own pipeline: one commit through the environments, one job at a time in each."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stackfiles import ENVIRONMENTS

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
KEYWORDS = {"stages", "workflow", "include", "variables"}
ON_BRANCH = "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"


def merged(base: Any, own: Any) -> Any:
    """Return what `extends` makes of two jobs: maps are joined, anything else is replaced."""
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in own.items()}}
    return own


def job(name: str) -> dict[str, Any]:
    own = FILE[name]
    bases = own.get("extends", [])
    whole: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        whole = merged(whole, job(base))
    return dict(merged(whole, {key: value for key, value in own.items() if key != "extends"}))


JOBS = {name: job(name) for name in FILE if name not in KEYWORDS and not name.startswith(".")}
OF_STACKS = {name: made for name, made in JOBS.items() if "STACK" in made.get("variables", {})}


def test_every_environment_has_its_jobs() -> None:
    wanted = {f"{kind}-{stack}" for kind in ("up", "drift", "renew") for stack in ENVIRONMENTS}
    assert set(OF_STACKS) == wanted
    for name, made in OF_STACKS.items():
        assert made["variables"]["STACK"] == name.partition("-")[2]


def test_two_jobs_of_a_stack_never_run_at_once() -> None:
    groups: dict[str, set[str]] = {}
    for made in OF_STACKS.values():
        groups.setdefault(made["variables"]["STACK"], set()).add(made["resource_group"])
        assert made["environment"]["name"] == made["variables"]["STACK"]
        assert made["interruptible"] is False
    assert all(len(names) == 1 for names in groups.values())
    assert len(set.union(*groups.values())) == len(ENVIRONMENTS)


def test_a_stack_waits_for_the_one_before_it() -> None:
    assert JOBS["up-dev"]["needs"] == ["check", "policy"]
    assert JOBS["up-staging"]["needs"] == ["up-dev"]
    assert JOBS["up-prod"]["needs"] == ["up-staging"]
    stages = FILE["stages"]
    places = [stages.index(JOBS[f"up-{stack}"]["stage"]) for stack in ("dev", "staging", "prod")]
    assert places == sorted(set(places))
    # An optional or a failed need would let the next stack through.
    assert not any("allow_failure" in made for made in JOBS.values())


def test_the_same_commit_goes_everywhere() -> None:
    for stack in ENVIRONMENTS:
        made = JOBS[f"up-{stack}"]
        assert made["script"] == JOBS["up-dev"]["script"]
        assert not any("git" in line for line in made["script"])
        assert not any(name.startswith("GIT_") for name in made["variables"])


def test_production_is_started_by_hand_alone() -> None:
    for stack in ENVIRONMENTS:
        (rule,) = JOBS[f"up-{stack}"]["rules"]
        assert rule["if"] == f'{ON_BRANCH} && $CI_PIPELINE_SOURCE != "schedule"'
        assert rule.get("when") == ("manual" if stack == "prod" else None)


@pytest.mark.parametrize("kind", ["drift", "renew"])
def test_schedules_start_their_jobs_and_no_others(kind: str) -> None:
    for name, made in JOBS.items():
        (rule,) = made["rules"]
        if name.startswith(f"{kind}-"):
            assert rule == {"if": f'$CI_PIPELINE_SOURCE == "schedule" && $SCHEDULE == "{kind}"'}
            assert made["needs"] == []
        elif not name.startswith(("drift-", "renew-")):
            assert '$CI_PIPELINE_SOURCE != "schedule"' in rule["if"]


def test_looking_for_drift_changes_nothing() -> None:
    for stack in ENVIRONMENTS:
        made = JOBS[f"drift-{stack}"]
        (command,) = [line for line in made["script"] if line.startswith("pulumi refresh")]
        assert "--preview-only" in command
        assert "--expect-no-changes" in command
        assert made["environment"]["action"] == "verify"  # no deployment is recorded


def test_certificates_are_renewed_from_what_is_deployed() -> None:
    for stack in ENVIRONMENTS:
        made = JOBS[f"renew-{stack}"]
        assert made["script"][0] == '.ci/checkout-deployed "$STACK"'
        assert made["variables"]["GIT_DEPTH"] == "0"
        assert made["script"][1:] == JOBS["up-dev"]["script"]


def test_every_stack_is_previewed_and_the_protected_ones_behind_protection() -> None:
    inputs = [one["inputs"] for one in FILE["include"]]
    by_protection = {made.get("protected", False): made["stacks"] for made in inputs}
    assert by_protection == {False: ["dev"], True: ["staging", "prod"]}
    assert len({made["job-name"] for made in inputs}) == 2
    for one in FILE["include"]:
        template = (ROOT / one["local"]).read_text()
        known = next(yaml.safe_load_all(template))["spec"]["inputs"]
        assert set(one["inputs"]) <= set(known)
        assert one["inputs"]["stage"] in FILE["stages"]


def test_every_command_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for made in JOBS.values():
        for line in made["script"]:
            if line.startswith("make "):
                assert f"\n{line.split()[1]}: " in makefile
            elif line.startswith(".ci/"):
                assert (ROOT / line.split()[0]).stat().st_mode & 0o111
