"""Static analysis of what the components register: nothing new, nothing stale, below the bars."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.required import missing
from tests.static import render, scan
from tests.static.scan import Finding

EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")
BARS = {
    "Deployment.gitlab-runner.": 2,
    "gitlab-runner-cache.": 0,
    "StatefulSet.gitlab-runner-docker.": 9,
    "StatefulSet.gitlab-runner-docker-rootless.": 6,
    "StatefulSet.gitlab-runner-docker-images.": 6,
    "gitlab-runner-mirror.": 1,
    "AWS::S3::": 2,
}
"""How many findings a part may have at most, whatever the reasons; by a part of objects' names."""


@pytest.fixture(scope="session")
def objects() -> list[render.Object]:
    if not render.HELM.exists():
        missing("helm is not there (make builds)")
    return render.built_in(render.kubernetes_objects(render.platform()))


@pytest.fixture(scope="session")
def folder(objects: list[render.Object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    scan.needs_scanners()
    path = tmp_path_factory.mktemp("kubernetes")
    render.write_kubernetes(objects, path)
    return path


@pytest.fixture(scope="session")
def findings(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> set[Finding]:
    found, passed = scan.checkov(folder, "kubernetes")
    assert passed > 200
    for identity in render.IDENTITIES:
        template = tmp_path_factory.mktemp(identity) / "template.json"
        template.write_text(json.dumps(render.cloudformation(render.buckets(identity))))
        of_bucket, passed = scan.checkov(template.parent, "cloudformation")
        assert passed > 10
        found += of_bucket
    return set(found)


@pytest.fixture(scope="session")
def exceptions() -> list[dict[str, str]]:
    loaded: list[dict[str, str]] = yaml.safe_load(EXCEPTIONS.read_text())
    return loaded


def keys(exceptions: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
    return [(entry["check"], entry["object"]) for entry in exceptions]


def test_every_exception_is_whole_and_there_once(exceptions: list[dict[str, str]]) -> None:
    for entry in exceptions:
        assert set(entry) == {"check", "object", "reason"}
        assert len(entry["reason"]) > 20
    assert len(set(keys(exceptions))) == len(exceptions)


def test_nothing_new_is_found(findings: set[Finding], exceptions: list[dict[str, str]]) -> None:
    known = set(keys(exceptions))
    new = sorted(found for found in findings if (found.check, found.object) not in known)
    assert new == [], f"mend the component, or add it with a reason to {EXCEPTIONS.name}"


def test_no_exception_is_stale(findings: set[Finding], exceptions: list[dict[str, str]]) -> None:
    found = {(finding.check, finding.object) for finding in findings}
    stale = [key for key in keys(exceptions) if key not in found]
    assert stale == [], f"remove it from {EXCEPTIONS.name}: the object passes now"


@pytest.mark.parametrize("part", BARS)
def test_no_part_has_more_findings_than_its_bar(findings: set[Finding], part: str) -> None:
    found = sorted(finding for finding in findings if part in finding.object)
    assert len(found) <= BARS[part], found


@pytest.mark.parametrize("part", [part for part in BARS if not part.startswith("AWS")])
def test_every_bar_is_for_something(objects: list[render.Object], part: str) -> None:
    names = [
        f"{found['kind']}.{found['metadata'].get('namespace')}.{found['metadata']['name']}"
        for found in objects
    ]
    assert any(part in name for name in names)


def test_every_object_fits_kubernetes_own_schema(folder: Path, objects: list[Any]) -> None:
    judged = scan.kubernetes_validate(folder)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert judged.stdout.count(" passed ") == len(objects) == len(list(folder.iterdir()))


def test_the_scanners_find_what_is_wrong(tmp_path: Path) -> None:
    scan.needs_scanners()
    pod: Any = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bad", "namespace": "ns"},
        "spec": {
            "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}],
            "nodeSelektor": {},
        },
    }
    render.write_kubernetes([pod], tmp_path)
    found, _ = scan.checkov(tmp_path, "kubernetes")
    assert ("CKV_K8S_16", "Pod.ns.bad") in [(one.check, one.object) for one in found]
    judged = scan.kubernetes_validate(tmp_path)
    assert judged.returncode != 0
    assert "nodeSelektor" in judged.stdout + judged.stderr
