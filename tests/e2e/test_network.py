"""Who reaches whom on the lab, by real connections: the platform's NetworkPolicies as deployed.

Zone B is a second trust zone: the policies of the platform, with namespaces of its own and
without the private ranges that the lab's stack allows. What has no policy at all, here the
stranger and the node, is the control: it reaches every listener, so a connection that fails from
elsewhere fails by a policy.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, enforcer, images, packages
from lab.paths import BIN, KUBECONFIG
from tests.required import needs_lab

pytestmark = pytest.mark.lab

MANAGER, JOBS, DOCKER, CACHE = (
    "gitlab-runner",
    "gitlab-runner-jobs",
    "gitlab-runner-docker",
    "gitlab-runner-cache",
)
STRANGER, JOBS_B, DOCKER_B = "netpol-stranger", "zone-b-jobs", "zone-b-docker"
STORE_POD = "gitlab-runner-cache-minio-0"
POD = "netpol-test"
ANY = 7000
"""A port that no policy names."""

WORLD = "cni-world-of-a-test"
WORLD_LINK = "world0"
WORLD_IP, GATEWAY_IP = "198.51.100.2", "198.51.100.1"
METADATA_IP = "169.254.169.254"
ROUTES = "7254"

Matrix = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Target:
    """Something that listens: where it is called, and where that leads."""

    address: str
    port: int
    leads_to: str


def get(*arguments: str) -> Any:
    return json.loads(cluster.kubectl("get", *arguments, "-o", "json"))


def policy_spec(namespace: str) -> Any:
    (policy,) = get("networkpolicy", "-n", namespace)["items"]
    return policy["spec"]


def policy(namespace: str, spec: Any) -> Any:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POD, "namespace": namespace},
        "spec": spec,
    }


def zone_b(namespace: str, spec: Any) -> Any:
    """Return a policy of the platform as that of the other zone, with no private range allowed."""
    text = json.dumps(spec).replace(f'"{JOBS}"', f'"{JOBS_B}"')
    found = json.loads(text.replace(f'"{DOCKER}"', f'"{DOCKER_B}"'))
    for rule in found["egress"]:
        if "to" in rule:
            rule["to"] = [peer for peer in rule["to"] if not is_allowed_range(peer)]
    return policy(namespace, found)


def is_allowed_range(peer: Any) -> bool:
    """Tell the ranges of `egressCidrs` from the internet, which has exceptions."""
    return "ipBlock" in peer and "except" not in peer["ipBlock"]


def pod(namespace: str, command: str, *ports: int, name: str = POD) -> Any:
    """Return a pod that the level `restricted` admits, with listeners."""
    listeners = "".join(f"httpd -p {port}; " for port in ports)
    container = {
        "name": "main",
        # One with busybox, which has both ends of a connection.
        "image": images.reference("minio"),
        "command": ["/bin/sh", "-c", listeners + command],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 100,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": POD}},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [container],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
        },
    }


def namespaces(*names: str) -> list[Any]:
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in names]


def pod_ip(namespace: str, *query: str) -> str:
    found = get("pods", "-n", namespace, "--field-selector=status.phase=Running", *query)["items"]
    return str(found[0]["status"]["podIP"])


def service_ip(namespace: str, name: str) -> str:
    return str(get("service", "-n", namespace, name)["spec"]["clusterIP"])


def run(*command: str, check: bool = True) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)
    return result.stdout


@contextmanager
def world() -> Iterator[None]:
    """Make a machine outside of the cluster that is on the internet and the metadata service.

    The routes to it are those of the pods alone: the node's own metadata service stays.
    """
    path = Path("/run/netns") / WORLD
    # As a CNI plugin does it: `ip netns add` would mount /run/netns over the pods' own.
    path.touch()
    listeners = []
    rule = ("from", cluster.POD_CIDR, "lookup", ROUTES)
    try:
        run("unshare", f"--net={path}", "true")
        run("ip", "link", "add", WORLD_LINK, "type", "veth", "peer", "eth0", "netns", WORLD)
        run("ip", "addr", "add", f"{GATEWAY_IP}/30", "dev", WORLD_LINK)
        run("ip", "link", "set", WORLD_LINK, "up")
        inside = ("ip", "-netns", WORLD)
        run(*inside, "addr", "add", f"{WORLD_IP}/30", "dev", "eth0")
        run(*inside, "addr", "add", f"{METADATA_IP}/32", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "route", "add", "default", "via", GATEWAY_IP)
        run("ip", "route", "add", METADATA_IP, "via", WORLD_IP, "table", ROUTES)
        run("ip", "rule", "add", *rule)
        for port in ("80", "443"):
            command = in_world("httpd", "-f", "-p", port)
            listeners.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        yield
    finally:
        for listener in listeners:
            listener.terminate()
            listener.wait()
        run("ip", "rule", "del", *rule, check=False)
        run("ip", "route", "flush", "table", ROUTES, check=False)
        run("ip", "link", "del", WORLD_LINK, check=False)
        run("ip", "netns", "del", WORLD, check=False)


def in_world(*command: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{WORLD}", str(packages.binary("busybox")), *command]


@contextmanager
def store_console() -> Iterator[None]:
    """Listen on the port of the store's console, which it serves only when told."""
    in_store = ("-n", CACHE, "exec", STORE_POD, "--", "/bin/sh", "-c")
    script = "httpd -f -p 9001 > /dev/null 2>&1 & echo $!"
    process = cluster.kubectl(*in_store, script).strip()
    try:
        yield
    finally:
        cluster.kubectl(*in_store, f"kill {process} || true")


@pytest.fixture(scope="module")
def pods() -> Iterator[None]:
    """Make a pod in every namespace, with listeners, and wait until all policies are enforced."""
    needs_lab()
    own = (STRANGER, JOBS_B, DOCKER_B)
    listening = {
        STRANGER: (ANY,),
        MANAGER: (ANY, 9252),
        JOBS: (ANY,),
        JOBS_B: (ANY,),
        DOCKER: (ANY,),
        DOCKER_B: (2376,),
    }
    with ExitStack() as stack:
        stack.callback(cluster.kubectl, "delete", "namespace", "--ignore-not-found", *own)
        for namespace in listening.keys() - set(own):
            stack.callback(
                cluster.kubectl, "-n", namespace, "delete", "pod", POD, "--ignore-not-found"
            )
        cluster.apply(
            *namespaces(*own),
            zone_b(JOBS_B, policy_spec(JOBS)),
            zone_b(DOCKER_B, policy_spec(DOCKER)),
        )
        cluster.apply(*(pod(name, "sleep 3600", *ports) for name, ports in listening.items()))
        for namespace in listening:
            cluster.kubectl(
                *("-n", namespace, "wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=90s")
            )
        stack.enter_context(world())
        stack.enter_context(store_console())
        enforcer.settle()
        yield


@pytest.fixture(scope="module")
def targets(pods: None) -> dict[str, Target]:
    def direct(address: str, port: int) -> Target:
        return Target(address, port, address)

    def service(namespace: str, name: str, port: int, leads_to: str) -> Target:
        return Target(service_ip(namespace, name), port, leads_to)

    lab = {name: pod_ip("lab", "-l", f"app={name}") for name in ("gitlab", "registry")}
    dns, store = pod_ip("kube-system", "-l", "k8s-app=kube-dns"), pod_ip_of(CACHE, STORE_POD)
    daemon = pod_ip_of(DOCKER, "gitlab-runner-docker-0")
    return {
        "DNS": service("kube-system", "kube-dns", 53, dns),
        "API server": Target(cluster.KUBERNETES_SERVICE_IP, 443, cluster.NODE_IP),
        "GitLab": service("lab", "gitlab", 8080, lab["gitlab"]),
        "registry": service("lab", "registry", 5000, lab["registry"]),
        "store": service(CACHE, "gitlab-runner-cache-minio", 9000, store),
        "store's console": direct(store, 9001),
        "daemon": service(DOCKER, "gitlab-runner-docker", 2376, daemon),
        "daemon's other port": direct(pod_ip_of(DOCKER, POD), ANY),
        "daemon B": direct(pod_ip_of(DOCKER_B, POD), 2376),
        "job": direct(pod_ip_of(JOBS, POD), ANY),
        "job B": direct(pod_ip_of(JOBS_B, POD), ANY),
        "manager": direct(pod_ip_of(MANAGER, POD), ANY),
        "manager's metrics": direct(pod_ip_of(MANAGER, POD), 9252),
        "stranger": direct(pod_ip_of(STRANGER, POD), ANY),
        "internet": direct(WORLD_IP, 443),
        "metadata": direct(METADATA_IP, 80),
        "metadata on 443": direct(METADATA_IP, 443),
    }


def pod_ip_of(namespace: str, name: str) -> str:
    return str(get("pod", "-n", namespace, name)["status"]["podIP"])


def script(targets: Mapping[str, Target]) -> str:
    """Return a shell script that tries all targets at once and says how each one answered."""
    tries = [
        f'{{ out=$($NC -w 3 {t.address} {t.port} -e true 2>&1) && out=open; echo "{name}: $out"; }}'
        for name, t in targets.items()
    ]
    return " & ".join(tries) + " & wait"


def in_pod(namespace: str, name: str = POD) -> list[str]:
    tool = str(BIN / "kubectl")
    return [tool, f"--kubeconfig={KUBECONFIG}", "-n", namespace, "exec", name, "--"]


SOURCES: dict[str, list[str]] = {
    "job": in_pod(JOBS),
    "job B": in_pod(JOBS_B),
    "daemon": in_pod(DOCKER),
    "daemon B": in_pod(DOCKER_B),
    "manager": in_pod(MANAGER),
    "store": in_pod(CACHE, STORE_POD),
    "stranger": in_pod(STRANGER),
    "internet": ["nsenter", f"--net=/run/netns/{WORLD}"],
    "node": [],
}


def answers(source: str, targets: Mapping[str, Target]) -> dict[str, str]:
    """Return how each target answered: `open`, `dropped`, or what nc said."""
    outside = source in {"internet", "node"}
    nc = f"{packages.binary('busybox')} nc" if outside else "nc"
    text = run(*SOURCES[source], "/bin/sh", "-c", f"NC='{nc}'; {script(targets)}")
    found = dict(line.split(": ", 1) for line in text.splitlines())
    return {name: "dropped" if "timed out" in said else said for name, said in found.items()}


@pytest.fixture(scope="module")
def matrix(targets: dict[str, Target]) -> Matrix:
    """Try every target from every source."""
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda source: answers(source, targets), SOURCES)
        return dict(zip(SOURCES, found, strict=True))


def expected(targets: Mapping[str, Target], opened: Sequence[str]) -> dict[str, str]:
    return {name: "open" if name in opened else "dropped" for name in targets}


def also_allowed(namespace: str, targets: Mapping[str, Target]) -> list[str]:
    """Return the targets without a policy that `egressCidrs` of the lab's stack lets it reach."""
    peers = [peer for rule in policy_spec(namespace)["egress"] for peer in rule.get("to", ())]
    ranges = [ip_network(peer["ipBlock"]["cidr"]) for peer in peers if is_allowed_range(peer)]
    admitting = ("API server", "GitLab", "registry", "stranger")
    return [
        name
        for name in admitting
        if any(ip_address(targets[name].leads_to) in allowed for allowed in ranges)
    ]


def test_every_target_listens(targets: dict[str, Target], matrix: Matrix) -> None:
    # The node's way to the world is not that of the pods.
    world = {"internet", "metadata", "metadata on 443"}
    by = {name: "stranger" if name in world else "node" for name in targets}
    assert {name: matrix[source][name] for name, source in by.items()} == expected(targets, [*by])


def test_a_pod_without_a_policy_reaches_all_that_admit_it(
    targets: dict[str, Target], matrix: Matrix
) -> None:
    outside = ("internet", "metadata", "metadata on 443")
    admitting = ("DNS", "API server", "GitLab", "registry", "stranger")
    assert matrix["stranger"] == expected(targets, (*admitting, *outside))


def test_a_job_reaches_the_daemon_the_store_gitlab_and_the_internet(
    targets: dict[str, Target], matrix: Matrix
) -> None:
    opened = ["DNS", "GitLab", "daemon", "store", "internet", "job"]
    assert matrix["job"] == expected(targets, opened + also_allowed(JOBS, targets))


def test_a_job_of_another_zone_reaches_its_own_daemon_alone(
    targets: dict[str, Target], matrix: Matrix
) -> None:
    opened = ["DNS", "GitLab", "daemon B", "internet", "job B"]
    assert matrix["job B"] == expected(targets, opened)


def test_a_daemon_reaches_the_internet(targets: dict[str, Target], matrix: Matrix) -> None:
    # The pod that is asked is the one with the other port.
    opened = ["DNS", "internet", "daemon's other port"]
    assert matrix["daemon"] == expected(targets, opened + also_allowed(DOCKER, targets))


def test_a_daemon_without_private_ranges_reaches_no_service_of_the_cluster(
    targets: dict[str, Target], matrix: Matrix
) -> None:
    assert matrix["daemon B"] == expected(targets, ["DNS", "internet", "daemon B"])


def test_the_manager_reaches_the_api_server_gitlab_and_the_store(
    targets: dict[str, Target], matrix: Matrix
) -> None:
    own = ["manager", "manager's metrics"]
    opened = ["DNS", "API server", "GitLab", "store", "internet", *own]
    assert matrix["manager"] == expected(targets, opened)


def test_the_store_reaches_nothing(targets: dict[str, Target], matrix: Matrix) -> None:
    # But itself.
    assert matrix["store"] == expected(targets, ["store", "store's console"])


def test_what_is_outside_reaches_nothing_of_the_platform(
    targets: dict[str, Target], matrix: Matrix
) -> None:
    platform = [name for name in targets if name.startswith(("store", "daemon", "job", "manager"))]
    assert len(platform) == 9
    assert {matrix["internet"][name] for name in platform} == {"dropped"}
    assert matrix["internet"]["stranger"] == "open"


@pytest.mark.parametrize("namespace", [JOBS, JOBS_B, MANAGER, DOCKER, DOCKER_B])
def test_names_are_resolved(pods: None, namespace: str) -> None:
    text = run(*in_pod(namespace), "nslookup", "kubernetes.default.svc.cluster.local")
    assert f"Address: {cluster.KUBERNETES_SERVICE_IP}" in text.replace("Address 1:", "Address:")


def test_a_policy_is_enforced_as_long_as_it_is_there(targets: dict[str, Target]) -> None:
    asked = {"stranger": Target(cluster.DNS_IP, 53, "")}
    deny = policy(STRANGER, {"podSelector": {}, "policyTypes": ["Egress"]})
    assert answers("stranger", asked) == {"stranger": "open"}
    cluster.apply(deny)
    enforcer.settle()
    assert answers("stranger", asked) == {"stranger": "dropped"}
    cluster.kubectl("-n", STRANGER, "delete", "networkpolicy", POD)
    enforcer.settle()
    assert answers("stranger", asked) == {"stranger": "open"}


def test_labels_that_change_change_what_is_admitted(targets: dict[str, Target]) -> None:
    asked = {"daemon B": targets["daemon B"]}
    both = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": STRANGER}},
        "podSelector": {"matchLabels": {"test": "yes"}},
    }
    more = policy(DOCKER_B, {"podSelector": {}, "ingress": [{"from": [both]}]})
    more["metadata"]["name"] = "more"
    cluster.apply(more)
    enforcer.settle()
    assert answers("stranger", asked) == {"daemon B": "dropped"}
    cluster.kubectl("-n", STRANGER, "label", "pod", POD, "test=yes")
    enforcer.settle()
    assert answers("stranger", asked) == {"daemon B": "open"}
    cluster.kubectl("-n", STRANGER, "label", "pod", POD, "test-")
    cluster.kubectl("-n", DOCKER_B, "delete", "networkpolicy", "more")
    enforcer.settle()
    assert answers("stranger", asked) == {"daemon B": "dropped"}


def test_a_pod_is_isolated_from_its_first_packet(targets: dict[str, Target]) -> None:
    target = targets["stranger"]
    # What is not admitted stays so while the pod becomes known.
    tries = f"for n in 1 2 3 4 5 6; do nc -w 1 {target.address} {target.port} -e true; done; true"
    cluster.apply(pod(JOBS_B, tries, name="first"))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("-n", JOBS_B, "wait", done, "pod/first", "--timeout=60s")
    said = cluster.kubectl("-n", JOBS_B, "logs", "first").splitlines()
    assert len(said) == 6
    assert all("timed out" in line for line in said)
