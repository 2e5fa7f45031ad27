"""Which nodes pods run on, and which they keep away from."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

_GENERAL = re.compile(r"(^|\.)(kubernetes|k8s)\.io$")
_MOST_TERMS = 100


def own_tolerations(node_selector: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tolerations of taints that have the same keys and values as the labels of nodes."""
    return [
        {"key": key, "operator": "Equal", "value": value} for key, value in node_selector.items()
    ]


def excluded(
    nodes: Sequence[Mapping[str, str]], node_selector: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return the nodes that a pod keeps away from.

    They are not those that its own selector asks for, and not those that only a label of Kubernetes
    itself tells apart, such as `kubernetes.io/arch`: nearly all nodes may have it.
    """
    found: list[dict[str, str]] = []
    for labels in nodes:
        is_own = any(not _GENERAL.search(key.partition("/")[0]) for key in labels)
        if is_own and not labels.items() <= node_selector.items() and dict(labels) not in found:
            found.append(dict(labels))
    return found


def _terms(nodes: Sequence[Mapping[str, str]], key: str) -> list[dict[str, Any]]:
    """Return alternatives, each with labels that a node must not have.

    A node is not among the excluded ones if it lacks at least one label of each of them.

    Args:
        nodes: Labels of the excluded nodes.
        key: Key of a term's expressions, as the reader of the terms spells it.
    """
    if math.prod(len(labels) for labels in nodes) > _MOST_TERMS:
        # With one label of each, a pod keeps away from more nodes.
        nodes = [dict([min(labels.items())]) for labels in nodes]
    return [
        {key: [{"key": label, "operator": "NotIn", "values": [value]} for label, value in labels]}
        for labels in itertools.product(*(labels.items() for labels in nodes))
    ]


def affinity(nodes: Sequence[Mapping[str, str]], *, is_preferred: bool = False) -> dict[str, Any]:
    """Return the `affinity` of a pod's spec that keeps it away from nodes with these labels.

    A pod whose volume may be on such a node only prefers another one.
    """
    if not nodes:
        return {}
    terms = _terms(nodes, "matchExpressions")
    required: dict[str, Any] = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
    }
    preferred: dict[str, Any] = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": term} for term in terms
        ]
    }
    return {"affinity": {"nodeAffinity": preferred if is_preferred else required}}


def executor_affinity(nodes: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Return the same as `affinity`, as the key of `[runners.kubernetes]`."""
    if not nodes:
        return None
    required = "required_during_scheduling_ignored_during_execution"
    terms = _terms(nodes, "match_expressions")
    return {"node_affinity": {required: {"node_selector_terms": terms}}}
