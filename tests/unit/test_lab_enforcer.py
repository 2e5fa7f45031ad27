"""The stand-in that enforces NetworkPolicies: what the policies mean, and the rules they become."""

from ipaddress import ip_address
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import enforcer
from lab.enforcer import rules
from lab.enforcer.rules import Cluster, Direction, Match, admitted, render, selects

Object = dict[str, Any]
CIDR = "10.244.0.0/24"
DOCKER = {"containerPort": 2376, "name": "docker-tls"}
_numbers = count(1)


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, **labels}}}


def pod(address: str, where: str, ports: tuple[Object, ...] = (), **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"pod-{next(_numbers)}", "namespace": where, "labels": labels},
        "spec": {"containers": [{"name": "main", "ports": list(ports)}]},
        "status": {"podIP": address, "phase": "Running"},
    }


def policy(where: str, **spec: Any) -> Object:
    return {"metadata": {"name": "policy", "namespace": where}, "spec": {"podSelector": {}, **spec}}


def in_namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


JOB = pod("10.244.0.10", "jobs", app="job")
OTHER_JOB = pod("10.244.0.11", "jobs", app="other")
DAEMON = pod("10.244.0.20", "docker", (DOCKER,), app="docker")
STRANGER = pod("10.244.0.30", "other", app="job")
PODS = [JOB, OTHER_JOB, DAEMON, STRANGER]
NAMESPACES = [namespace("jobs", zone="a"), namespace("docker"), namespace("other", zone="b")]


def cluster(*policies: Object) -> Cluster:
    return Cluster(PODS, NAMESPACES, policies)


def covers(match: Match, address: str, port: int, protocol: str) -> bool:
    """Read a match as nftables does."""
    number: Any = ip_address(address)
    return (
        (match.networks is None or any(number in network for network in match.networks))
        and not any(number in network for network in match.excluded)
        and match.protocol in {None, protocol}
        and (match.ports is None or match.ports[0] <= port <= match.ports[1])
    )


def may(
    found: Cluster,
    one: Object,
    direction: Direction,
    other: Object | str,
    port: int = 80,
    protocol: str = "tcp",
) -> bool:
    """Tell whether a pod's own rules let it have a connection with a pod or an address."""
    matches = admitted(found, one, direction)
    address = other if isinstance(other, str) else other["status"]["podIP"]
    return matches is None or any(covers(match, address, port, protocol) for match in matches)


def test_a_pod_without_a_policy_is_not_isolated() -> None:
    found = cluster(policy("other", policyTypes=["Ingress", "Egress"]))
    assert admitted(found, JOB, "Ingress") is None
    assert admitted(found, JOB, "Egress") is None


def test_a_policy_without_rules_denies_all_but_the_pod_itself() -> None:
    found = cluster(policy("jobs", policyTypes=["Ingress", "Egress"]))
    directions: tuple[Direction, ...] = ("Ingress", "Egress")
    for direction in directions:
        assert not may(found, JOB, direction, OTHER_JOB)
        assert not may(found, JOB, direction, "192.0.2.1")
        assert may(found, JOB, direction, JOB)


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        ({"policyTypes": ["Ingress"]}, ("Ingress",)),
        ({"policyTypes": ["Egress"]}, ("Egress",)),
        ({"ingress": []}, ("Ingress",)),
        ({"egress": []}, ("Ingress", "Egress")),
        # The rules of a direction that is not named count for nothing.
        ({"policyTypes": ["Egress"], "ingress": [{}]}, ("Egress",)),
    ],
)
def test_a_policy_isolates_in_its_directions(spec: Object, isolated: tuple[str, ...]) -> None:
    found = cluster(policy("jobs", **spec))
    directions: tuple[Direction, ...] = ("Ingress", "Egress")
    assert tuple(d for d in directions if admitted(found, JOB, d) is not None) == isolated


def test_a_policy_isolates_the_pods_that_it_selects_in_its_namespace() -> None:
    found = cluster(policy("jobs", podSelector={"matchLabels": {"app": "job"}}))
    assert admitted(found, JOB, "Ingress") is not None
    assert admitted(found, OTHER_JOB, "Ingress") is None
    assert admitted(found, STRANGER, "Ingress") is None


def test_both_selectors_in_one_peer_must_match() -> None:
    both = in_namespace("jobs") | {"podSelector": {"matchLabels": {"app": "job"}}}
    found = cluster(policy("docker", ingress=[{"from": [both]}]))
    admits = [may(found, DAEMON, "Ingress", other) for other in (JOB, OTHER_JOB, STRANGER)]
    assert admits == [True, False, False]


def test_selectors_in_two_peers_admit_either() -> None:
    jobs = pod("10.244.0.21", "docker", app="job")
    peers = [in_namespace("jobs"), {"podSelector": {"matchLabels": {"app": "job"}}}]
    found = Cluster([*PODS, jobs], NAMESPACES, [policy("docker", ingress=[{"from": peers}])])
    admits = [may(found, DAEMON, "Ingress", other) for other in (JOB, OTHER_JOB, STRANGER, jobs)]
    assert admits == [True, True, False, True]


def test_a_pod_selector_alone_is_of_the_policys_namespace() -> None:
    found = cluster(policy("jobs", ingress=[{"from": [{"podSelector": {}}]}]))
    assert may(found, JOB, "Ingress", OTHER_JOB)
    assert not may(found, JOB, "Ingress", STRANGER)


def test_an_empty_namespace_selector_is_every_pod_but_not_the_world() -> None:
    found = cluster(policy("docker", ingress=[{"from": [{"namespaceSelector": {}}]}]))
    assert may(found, DAEMON, "Ingress", STRANGER)
    assert not may(found, DAEMON, "Ingress", "192.0.2.1")


@pytest.mark.parametrize("rule", [{}, {"from": []}, {"from": [], "ports": []}])
def test_a_rule_without_peers_and_ports_admits_all(rule: Object) -> None:
    found = cluster(policy("docker", ingress=[rule]))
    assert may(found, DAEMON, "Ingress", "192.0.2.1", 9, "sctp")


def test_policies_and_their_rules_add_up() -> None:
    found = cluster(
        policy("docker", ingress=[]),
        policy("docker", ingress=[{"from": [in_namespace("jobs")], "ports": [{"port": 2376}]}]),
        policy("docker", ingress=[{"from": [in_namespace("other")]}]),
    )
    assert may(found, DAEMON, "Ingress", JOB, 2376)
    assert not may(found, DAEMON, "Ingress", JOB, 2375)
    assert may(found, DAEMON, "Ingress", STRANGER, 2375)


def test_a_block_is_admitted_but_for_what_is_taken_out_of_it() -> None:
    block = {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16", "169.254.0.0/16"]}
    found = cluster(policy("jobs", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": block}]}]))
    assert may(found, JOB, "Egress", "192.0.2.1")
    assert not may(found, JOB, "Egress", "169.254.169.254")
    assert not may(found, JOB, "Egress", DAEMON)


def test_what_one_block_leaves_out_another_may_admit() -> None:
    public = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}
    private = {"ipBlock": {"cidr": "10.244.0.20/32"}}
    found = cluster(policy("jobs", policyTypes=["Egress"], egress=[{"to": [public, private]}]))
    assert may(found, JOB, "Egress", DAEMON)
    assert not may(found, JOB, "Egress", STRANGER)


def test_a_block_of_the_other_family_admits_nothing() -> None:
    block = {"ipBlock": {"cidr": "::/0"}}
    found = cluster(policy("jobs", policyTypes=["Egress"], egress=[{"to": [block]}]))
    assert not may(found, JOB, "Egress", "192.0.2.1")


@pytest.mark.parametrize(
    ("port", "admitted_ports"),
    [
        ({"port": 80}, {("tcp", 80)}),
        ({"port": 80, "protocol": "UDP"}, {("udp", 80)}),
        ({"port": 80, "protocol": "SCTP"}, {("sctp", 80)}),
        ({"port": 80, "endPort": 81}, {("tcp", 80), ("tcp", 81)}),
        ({"protocol": "UDP"}, {("udp", 79), ("udp", 80), ("udp", 81), ("udp", 82)}),
        ({"port": "docker-tls"}, set()),
    ],
)
def test_ports(port: Object, admitted_ports: set[tuple[str, int]]) -> None:
    found = cluster(policy("docker", ingress=[{"ports": [port]}]))
    tried = [(protocol, n) for protocol in ("tcp", "udp", "sctp") for n in range(79, 83)]
    passed = {(p, n) for p, n in tried if may(found, DAEMON, "Ingress", JOB, n, p)}
    assert passed == admitted_ports


def test_a_named_port_of_ingress_is_the_pods_own() -> None:
    found = cluster(policy("docker", ingress=[{"ports": [{"port": "docker-tls"}]}]))
    assert may(found, DAEMON, "Ingress", JOB, 2376)
    assert not may(found, DAEMON, "Ingress", JOB, 2376, "udp")
    assert not may(found, DAEMON, "Ingress", JOB, 2375)


def test_a_named_port_of_egress_is_each_destinations() -> None:
    second = pod("10.244.0.21", "docker", ({"containerPort": 9, "name": "docker-tls"},))
    to = [in_namespace("docker")]
    spec: Object = {"to": to, "ports": [{"port": "docker-tls"}]}
    egress = policy("jobs", policyTypes=["Egress"], egress=[spec])
    found = Cluster([*PODS, second], NAMESPACES, [egress])
    assert may(found, JOB, "Egress", DAEMON, 2376)
    assert may(found, JOB, "Egress", second, 9)
    assert not may(found, JOB, "Egress", second, 2376)


def test_a_selector_that_finds_no_pod_admits_nothing() -> None:
    nobody = {"podSelector": {"matchLabels": {"app": "nobody"}}}
    found = cluster(policy("docker", ingress=[{"from": [nobody], "ports": [{"port": 2376}]}]))
    assert admitted(found, DAEMON, "Ingress") == [Match((rules._address(DAEMON),))]


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, [True, False, True]),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, [False, True, True]),
        ({"key": "zone", "operator": "Exists"}, [True, False, True]),
        ({"key": "zone", "operator": "DoesNotExist"}, [False, True, False]),
    ],
)
def test_expressions(expression: Object, matches: list[bool]) -> None:
    selector = {"matchExpressions": [expression]}
    assert [selects(selector, item["metadata"]["labels"]) for item in NAMESPACES] == matches
    found = cluster(policy("docker", ingress=[{"from": [{"namespaceSelector": selector}]}]))
    assert [may(found, DAEMON, "Ingress", other) for other in (JOB, STRANGER)] == matches[::2]


def test_an_unknown_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match="Gt is not an operator"):
        selects({"matchExpressions": [{"key": "zone", "operator": "Gt"}]}, {})


def test_labels_and_expressions_must_all_hold() -> None:
    selector = {
        "matchLabels": {"app": "job"},
        "matchExpressions": [{"key": "zone", "operator": "Exists"}],
    }
    assert selects(selector, {"app": "job", "zone": "a"})
    assert not selects(selector, {"app": "job"})
    assert not selects(selector, {"zone": "a"})


_LABELS = st.dictionaries(st.sampled_from("kl"), st.sampled_from("abc"))


@given(_LABELS, _LABELS)
def test_labels_are_expressions_of_one_value(wanted: dict[str, str], has: dict[str, str]) -> None:
    each = [{"key": k, "operator": "In", "values": [v]} for k, v in wanted.items()]
    assert selects({"matchLabels": wanted}, has) == selects({"matchExpressions": each}, has)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"podIP": "10.244.0.10", "phase": "Succeeded"}},
        {"status": {"podIP": "10.244.0.10", "phase": "Failed"}},
        {"status": {"phase": "Pending"}},
        {"spec": {"hostNetwork": True, "containers": []}},
    ],
    ids=["succeeded", "failed", "no address yet", "of the node's network"],
)
def test_a_pod_without_an_address_of_its_own_is_not_there(changes: Object) -> None:
    assert Cluster([{**JOB, **changes}], NAMESPACES, []).reachable() == []


def test_an_address_belongs_to_the_pod_that_stays() -> None:
    leaving = {**JOB, "metadata": {**JOB["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    heir = pod("10.244.0.10", "other")
    for pods in ([leaving, heir], [heir, leaving]):
        assert Cluster(pods, NAMESPACES, []).reachable() == [heir]
    # Until it is gone, what it still has to say is subject to the policies.
    assert Cluster([leaving], NAMESPACES, []).reachable() == [leaving]


def test_the_rules() -> None:
    ingress = {"from": [in_namespace("jobs")], "ports": [{"port": 2376}]}
    block = {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}
    egress = {"to": [{"ipBlock": block}], "ports": [{"port": 1, "endPort": 9, "protocol": "UDP"}]}
    both = policy("docker", policyTypes=["Ingress", "Egress"], ingress=[ingress], egress=[egress])
    name = DAEMON["metadata"]["name"]
    known = "{ 10.244.0.10/31, 10.244.0.20/32, 10.244.0.30/32 }"
    drop = 'counter drop comment "a pod that is not known yet"'
    assert (
        render(cluster(both), CIDR)
        == f"""table ip lab-netpol
delete table ip lab-netpol
table ip lab-netpol {{
  chain egress-10.244.0.20 {{
    ip daddr {{ 10.244.0.20/32 }} return
    ip daddr != {{ 10.0.0.0/8 }} udp dport 1-9 return
    counter drop comment "docker/{name}"
  }}
  chain ingress-10.244.0.20 {{
    ip saddr {{ 10.244.0.20/32 }} return
    ip saddr {{ 10.244.0.10/31 }} tcp dport 2376 return
    counter drop comment "docker/{name}"
  }}
  chain forward {{
    type filter hook forward priority filter + 10; policy accept;
    ct state established,related accept
    ip saddr 10.244.0.0/24 ip saddr != {known} {drop}
    ip saddr vmap {{ 10.244.0.20 : jump egress-10.244.0.20 }}
    ip daddr 10.244.0.0/24 ip daddr != {known} {drop}
    ip daddr vmap {{ 10.244.0.20 : jump ingress-10.244.0.20 }}
  }}
  chain input {{
    type filter hook input priority filter + 10; policy accept;
    iifname "lo" accept
    ct state established,related accept
    ip saddr 10.244.0.0/24 ip saddr != {known} {drop}
    ip saddr vmap {{ 10.244.0.20 : jump egress-10.244.0.20 }}
  }}
}}
"""
    )


def test_a_deleted_policy_leaves_no_rule() -> None:
    text = render(cluster(), CIDR)
    assert "jump" not in text
    assert "return" not in text
    assert render(cluster(policy("docker")), CIDR) != text


def test_without_pods_every_address_of_pods_is_unknown() -> None:
    text = render(Cluster([], NAMESPACES, [policy("jobs")]), CIDR)
    assert "ip saddr 10.244.0.0/24 counter drop" in text
    assert "vmap" not in text


LISTING = {
    "metadata": {"resourceVersion": "50"},
    "items": [{"metadata": {"uid": "a", "resourceVersion": "40"}}],
}


@pytest.mark.parametrize(
    ("versions", "covered"),
    [
        (None, False),
        ({}, False),
        ({"a": 39}, False),
        ({"a": 40}, True),
        ({"a": 60}, True),
        ({"a": 40, "made since": 51}, True),
        ({"a": 40, "deleted before": 45}, False),
    ],
)
def test_what_is_enforced_covers_a_listing(versions: dict[str, int] | None, covered: bool) -> None:
    done = {} if versions is None else {"pods": versions}
    assert enforcer.covers(done, "pods", LISTING) is covered
