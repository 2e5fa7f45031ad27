"""Where pods run: a shared daemon on nodes of its own, and the others away from them."""

from collections.abc import Mapping
from typing import Any

import pytest
from gitlab_runner_k8s import RunnerPlatform
from gitlab_runner_k8s.kubernetes import nodes

from tests import builders
from tests.harness import Recorder, Registration, deploy

BUILDERS, OTHERS = {"pool": "builders"}, {"pool": "others", "disk": "fast"}


def platform(**options: Any) -> Recorder:
    args: Any = {
        "gitlab_url": builders.GITLAB["gitlab_url"],
        "registry_mirror": {},
        "docker_daemon": {"node_selector": BUILDERS},
        "zones": {"team": {"docker_daemon": {"node_selector": OTHERS}}},
        "fleets": {
            "main": {"token_secret_name": "a"},
            "team": {"token_secret_name": "b", "zone": "team"},
        },
        **options,
    }
    return deploy(lambda: RunnerPlatform("ci", args))


def fits(affinity: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a pod with an affinity may run on a node, as Kubernetes does."""
    ((key, found),) = affinity["nodeAffinity"].items()
    if key.startswith("preferred"):
        terms = [one["preference"] for one in found]
    else:
        terms = found["nodeSelectorTerms"]
    for term in terms:
        expressions = term["matchExpressions"]
        assert {one["operator"] for one in expressions} == {"NotIn"}
        if all(labels.get(one["key"]) not in one["values"] for one in expressions):
            return True
    return False


NODES: list[dict[str, str]] = [
    {},
    {"pool": "general"},
    {"disk": "fast"},
    BUILDERS,
    {**BUILDERS, "disk": "slow"},
    OTHERS,
    {"pool": "others", "disk": "slow"},
]


def is_daemons(labels: Mapping[str, str], *daemons: Mapping[str, str]) -> bool:
    return any(daemon.items() <= labels.items() for daemon in daemons)


@pytest.mark.parametrize("labels", NODES)
def test_no_pod_of_the_platform_is_beside_jobs_that_are_root(labels: dict[str, str]) -> None:
    recorder = platform()
    pods = {
        made.name: made.pod["affinity"]
        for made in (*recorder.of_type(":StatefulSet"), *recorder.of_type(":Job"))
        if "docker" not in made.name
    }
    pods |= {
        f"manager of {made.name}": made.values["affinity"] for made in recorder.of_type(":Release")
    }
    assert len(pods) == 5, "the store, its Job, the mirror, and two managers"
    for name, affinity in pods.items():
        assert fits(affinity, labels) is not is_daemons(labels, BUILDERS, OTHERS), name


def release_of(recorder: Recorder, fleet: str) -> Registration:
    return next(one for one in recorder.of_type(":Release") if fleet in one.name)


def spelled(affinity: Any) -> Any:
    """Return an affinity of config.toml in Kubernetes' own spelling."""
    terms = affinity["node_affinity"]["required_during_scheduling_ignored_during_execution"]
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": term["match_expressions"]}
                    for term in terms["node_selector_terms"]
                ]
            }
        }
    }


@pytest.mark.parametrize("labels", NODES)
def test_jobs_keep_away_from_the_daemons_of_other_zones(labels: dict[str, str]) -> None:
    recorder = platform()
    for name, other in (("main", OTHERS), ("team", BUILDERS)):
        release = release_of(recorder, name)
        affinity = spelled(release.runner["kubernetes"]["affinity"])
        assert fits(affinity, labels) is not is_daemons(labels, other)


def test_a_selector_of_the_users_own_counts() -> None:
    text = builders.extra_config(kubernetes={"affinity": {"node_affinity": {}}})
    recorder = platform(
        runner={"manager_node_selector": BUILDERS, "job_node_selector": OTHERS},
        cache={"minio": {"node_selector": BUILDERS}},
        fleets={
            "main": {"token_secret_name": "a"},
            "team": {"token_secret_name": "b", "zone": "team", "runner": {"extra_config": text}},
        },
    )
    main, team = (release_of(recorder, name) for name in ("main", "team"))
    assert "affinity" not in main.runner["kubernetes"], "its jobs ask for those nodes"
    assert fits(main.values["affinity"], BUILDERS)
    assert not fits(main.values["affinity"], OTHERS)
    assert team.runner["kubernetes"]["affinity"] == {"node_affinity": {}}
    assert fits(recorder.one(":StatefulSet", "ci-cache-server").pod["affinity"], BUILDERS)


def test_shared_nodes_are_shared() -> None:
    recorder = platform(
        docker_daemon={"accept_shared_nodes": True},
        zones={},
        fleets={"main": {"token_secret_name": "a"}},
    )
    release = recorder.one(":Release")
    assert "affinity" not in release.values
    assert "affinity" not in release.runner["kubernetes"]
    assert "affinity" not in recorder.one(":StatefulSet", "ci-cache-server").pod


def test_the_label_of_the_daemons_nodes_may_be_their_taint() -> None:
    for options, expected in (
        ({}, [{"key": "pool", "operator": "Equal", "value": "builders"}]),
        ({"tolerations": [{"operator": "Exists"}]}, [{"operator": "Exists"}]),
    ):
        recorder = platform(
            docker_daemon={"node_selector": BUILDERS, **options},
            zones={},
            fleets={"main": {"token_secret_name": "a"}},
        )
        pod = recorder.one(":StatefulSet", "ci-docker-daemon").pod
        assert pod["tolerations"] == expected
        assert "affinity" not in pod


def test_a_pod_with_a_volume_is_never_kept_from_it() -> None:
    for name in ("ci-cache-server", "ci-mirror-server"):
        found = platform().one(":StatefulSet", name).pod["affinity"]["nodeAffinity"]
        assert list(found) == ["preferredDuringSchedulingIgnoredDuringExecution"]


def test_a_label_that_nearly_all_nodes_have_excludes_none() -> None:
    general = {"kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "a"}
    assert nodes.excluded([general, BUILDERS, BUILDERS], {}) == [BUILDERS]
    assert nodes.excluded([general | BUILDERS], {}) == [general | BUILDERS]


def test_there_are_never_too_many_alternatives() -> None:
    many = [{f"{letter}{n}": "x" for letter in "abc"} for n in range(10)]
    (term,) = nodes.executor_affinity(many)["node_affinity"][  # type: ignore[index]
        "required_during_scheduling_ignored_during_execution"
    ]["node_selector_terms"]
    assert [one["key"] for one in term["match_expressions"]] == [f"a{n}" for n in range(10)]


def test_nothing_is_kept_away_from_nothing() -> None:
    assert nodes.affinity([]) == {}
    assert nodes.executor_affinity([]) is None
    assert nodes.excluded([{}], {}) == []
