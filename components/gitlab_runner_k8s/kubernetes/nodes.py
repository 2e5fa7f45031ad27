"""Which nodes pods run on, and which they keep away from."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any


def own_tolerations(node_selector: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tolerations of taints that have the same keys and values as the labels of nodes."""
    return [
        {"key": key, "operator": "Equal", "value": value} for key, value in node_selector.items()
    ]


def excluded(
    nodes: Sequence[Mapping[str, str]], node_selector: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return the nodes that a pod keeps away from: not those that its own selector asks for."""
    return [
        dict(labels) for labels in nodes if labels and not labels.items() <= node_selector.items()
    ]


def _terms(nodes: Sequence[Mapping[str, str]]) -> list[list[tuple[str, str]]]:
    """Return alternatives, each a list of labels that a node must not have.

    A node is not among the excluded ones if it lacks at least one label of each of them.
    """
    return [list(labels) for labels in itertools.product(*(labels.items() for labels in nodes))]


def affinity(nodes: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the `affinity` of a pod's spec that keeps it away from nodes with these labels."""
    if not nodes:
        return {}
    terms = [
        {
            "matchExpressions": [
                {"key": key, "operator": "NotIn", "values": [value]} for key, value in labels
            ]
        }
        for labels in _terms(nodes)
    ]
    return {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
            }
        }
    }


def executor_affinity(nodes: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Return the same as `affinity`, as the key of `[runners.kubernetes]`."""
    if not nodes:
        return None
    terms = [
        {
            "match_expressions": [
                {"key": key, "operator": "NotIn", "values": [value]} for key, value in labels
            ]
        }
        for labels in _terms(nodes)
    ]
    required = "required_during_scheduling_ignored_during_execution"
    return {"node_affinity": {required: {"node_selector_terms": terms}}}
