"""What NetworkPolicies say about pods, and that as rules of nftables: pure functions.

The objects are those of the API, as they come in its JSON.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses, ip_network
from typing import Any, Literal

Object = Mapping[str, Any]
Direction = Literal["Ingress", "Egress"]

TABLE = "lab-netpol"
_PEERS = {"Ingress": "from", "Egress": "to"}
_REMOTE = {"Ingress": "saddr", "Egress": "daddr"}


@dataclass(frozen=True)
class Match:
    """Connections that are admitted; what is None is not looked at."""

    networks: tuple[IPv4Network, ...] | None = None
    """Where the other end is."""
    excluded: tuple[IPv4Network, ...] = ()
    """Where it is not, within `networks`."""
    protocol: str | None = None
    ports: tuple[int, int] | None = None
    """First and last port of the destination."""


@dataclass(frozen=True)
class Cluster:
    """The objects that decide who may reach whom."""

    pods: Sequence[Object]
    namespaces: Sequence[Object]
    policies: Sequence[Object]

    def reachable(self) -> list[Object]:
        """Return the pods that have an address of their own, each address once.

        A pod that has ended keeps its address in the API, which by then may be another's.
        """
        found: dict[str, Object] = {}
        for pod in sorted(self.pods, key=lambda pod: "deletionTimestamp" not in pod["metadata"]):
            status = pod.get("status", {})
            ended = status.get("phase") in {"Succeeded", "Failed"}
            if status.get("podIP") and not ended and not pod["spec"].get("hostNetwork"):
                found[status["podIP"]] = pod
        return [found[address] for address in sorted(found)]


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches; an empty one matches all."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case unknown:
            raise ValueError(f"{unknown} is not an operator of a label selector")


def admitted(cluster: Cluster, pod: Object, direction: Direction) -> list[Match] | None:
    """Return which connections a pod may have; None where no policy isolates it."""
    policies = [policy for policy in cluster.policies if _applies(policy, pod, direction)]
    if not policies:
        return None
    # No policy keeps a pod from itself, as by its own Service.
    matches = [Match((_address(pod),))]
    for policy in policies:
        namespace = policy["metadata"]["namespace"]
        for rule in policy["spec"].get(direction.lower()) or ():
            matches += _matches(cluster, pod, direction, namespace, rule)
    return list(dict.fromkeys(matches))


def _applies(policy: Object, pod: Object, direction: Direction) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
    return (
        direction in types
        and policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and selects(spec.get("podSelector") or {}, _labels(pod))
    )


def _matches(
    cluster: Cluster, pod: Object, direction: Direction, namespace: str, rule: Object
) -> Iterator[Match]:
    """Return what one rule admits: any of its peers, on any of its ports."""
    peers: Sequence[Object | None] = rule.get(_PEERS[direction]) or [None]
    ports: Sequence[Object | None] = rule.get("ports") or [None]
    for peer in peers:
        for port in ports:
            name = port and port.get("port")
            if port and isinstance(name, str):
                yield from _named(cluster, pod, direction, namespace, peer, port)
                continue
            networks, excluded = _networks(cluster, namespace, peer)
            if networks is None or networks:
                yield Match(networks, excluded, *_numbers(port))


def _numbers(port: Object | None) -> tuple[str | None, tuple[int, int] | None]:
    if port is None:
        return None, None
    protocol, first = port.get("protocol", "TCP").lower(), port.get("port")
    return protocol, None if first is None else (first, port.get("endPort", first))


def _networks(
    cluster: Cluster, namespace: str, peer: Object | None
) -> tuple[tuple[IPv4Network, ...] | None, tuple[IPv4Network, ...]]:
    """Return the addresses of a peer and those taken out of them; None is everywhere."""
    if peer is None:
        return None, ()
    if block := peer.get("ipBlock"):
        return _ipv4([block["cidr"]]), _ipv4(block.get("except") or ())
    pods = (pod for pod in cluster.reachable() if _is_peer(cluster, namespace, peer, pod))
    return tuple(_address(pod) for pod in pods), ()


def _ipv4(blocks: Iterable[str]) -> tuple[IPv4Network, ...]:
    networks = (ip_network(block, strict=False) for block in blocks)
    # The lab's pods have no address of another kind. nft refuses a set whose members overlap.
    return tuple(collapse_addresses(net for net in networks if isinstance(net, IPv4Network)))


def _is_peer(cluster: Cluster, namespace: str, peer: Object, pod: Object) -> bool:
    """Tell whether a peer's selectors, both of them where both are given, match a pod."""
    its_namespace = pod["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        labels = next(
            (_labels(n) for n in cluster.namespaces if n["metadata"]["name"] == its_namespace), None
        )
        if labels is None or not selects(peer["namespaceSelector"] or {}, labels):
            return False
    elif its_namespace != namespace:
        return False
    return selects(peer.get("podSelector") or {}, _labels(pod))


def _named(
    cluster: Cluster,
    pod: Object,
    direction: Direction,
    namespace: str,
    peer: Object | None,
    port: Object,
) -> Iterator[Match]:
    """Return what a port given by name admits: each destination has its own number for it."""
    protocol = port.get("protocol", "TCP")
    networks, excluded = _networks(cluster, namespace, peer)
    if direction == "Ingress":
        if networks is None or networks:
            for number in _numbers_of(pod, port["port"], protocol):
                yield Match(networks, excluded, protocol.lower(), (number, number))
        return
    for other in cluster.reachable():
        address = _address(other)
        within = networks is None or any(address.subnet_of(net) for net in networks)
        if within and not any(address.subnet_of(net) for net in excluded):
            for number in _numbers_of(other, port["port"], protocol):
                yield Match((address,), (), protocol.lower(), (number, number))


def _numbers_of(pod: Object, name: str, protocol: str) -> list[int]:
    return [
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("name") == name and port.get("protocol", "TCP") == protocol
    ]


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _address(pod: Object) -> IPv4Network:
    return IPv4Network(pod["status"]["podIP"])


def render(cluster: Cluster, pod_cidr: str) -> str:
    """Return the table that enforces the policies, to be put in place of the one before.

    Its hooks see the addresses of pods, since they come after kube-proxy's translation. What
    the node itself sends passes neither of them, so probes and the API server reach every pod.
    A pod that is not known yet reaches nothing: it is isolated before it is started.
    """
    pods = cluster.reachable()
    chains: list[str] = []
    jumps: dict[str, list[str]] = {"Ingress": [], "Egress": []}
    directions: tuple[Direction, ...] = ("Egress", "Ingress")
    for pod in pods:
        for direction in directions:
            matches = admitted(cluster, pod, direction)
            if matches is not None:
                address = pod["status"]["podIP"]
                chain = f"{direction.lower()}-{address}"
                jumps[direction].append(f"{address} : jump {chain}")
                chains.append(_chain(chain, pod, direction, matches))
    known = _set(_address(pod) for pod in pods)
    checks = {d: _checks(pod_cidr, known, _REMOTE[_other(d)], jumps[d]) for d in directions}
    return "\n".join(
        [
            # Made first, so that it can be deleted whether or not it was there.
            f"table ip {TABLE}",
            f"delete table ip {TABLE}",
            f"table ip {TABLE} {{",
            *chains,
            _base("forward", [], checks["Egress"] + checks["Ingress"]),
            # To the node's own addresses, of which the API server has one.
            _base("input", ['iifname "lo" accept'], checks["Egress"]),
            "}",
            "",
        ]
    )


def _other(direction: Direction) -> Direction:
    return "Egress" if direction == "Ingress" else "Ingress"


def _base(hook: str, first: list[str], rules: list[str]) -> str:
    lines = [
        f"type filter hook {hook} priority filter + 10; policy accept;",
        *first,
        "ct state established,related accept",
        *rules,
    ]
    return _block(hook, lines)


def _checks(pod_cidr: str, known: str | None, side: str, jumps: list[str]) -> list[str]:
    """Return the rules for the pods on one side of a connection."""
    others = f" ip {side} != {known}" if known else ""
    drop = f'ip {side} {pod_cidr}{others} counter drop comment "a pod that is not known yet"'
    return [drop, *([f"ip {side} vmap {{ {', '.join(jumps)} }}"] if jumps else [])]


def _chain(name: str, pod: Object, direction: Direction, matches: list[Match]) -> str:
    who = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"[:120]
    rules = [_rule(match, _REMOTE[direction]) for match in matches]
    return _block(name, [*rules, f'counter drop comment "{who}"'])


def _rule(match: Match, side: str) -> str:
    parts = []
    if match.networks is not None and IPv4Network("0.0.0.0/0") not in match.networks:
        parts.append(f"ip {side} {_set(match.networks)}")
    if match.excluded:
        parts.append(f"ip {side} != {_set(match.excluded)}")
    if match.ports:
        first, last = match.ports
        parts.append(f"{match.protocol} dport {first if first == last else f'{first}-{last}'}")
    elif match.protocol:
        parts.append(f"meta l4proto {match.protocol}")
    return " ".join([*parts, "return"])


def _set(networks: Iterable[IPv4Network]) -> str | None:
    members = ", ".join(str(network) for network in collapse_addresses(networks))
    return f"{{ {members} }}" if members else None


def _block(name: str, lines: list[str]) -> str:
    return "\n".join([f"  chain {name} {{", *(f"    {line}" for line in lines), "  }"])
