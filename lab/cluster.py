"""The lab's Kubernetes: upstream's own components on one node, started and stopped by pid."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import certificates as certs
from lab import enforcer, images, packages, process
from lab.console import LabError, step
from lab.paths import BIN, CONTAINERD_SOCKET, DEBIAN, KUBECONFIG, LOGS, STATE, replace
from lab.toolchain import tool

NODE = "lab"
INTERFACE = "lab0"
NODE_IP = "10.245.0.1"
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
KUBERNETES_SERVICE_IP = "10.96.0.1"
DNS_IP = "10.96.0.10"
API_PORT = 6443
ETCD_PORT = 12379
CGROUP = "gitlab-runner-lab"
CACHED = STATE / "discovery"
VOLUMES = 24
"""How many claims the lab has room for: a released volume is not used again."""
_ADDRESSES = STATE / "cni" / "ipam"
_CGROUPS = Path("/sys/fs/cgroup")
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of pods and Services: they are on this machine, so no proxy is asked for them."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
SERVERS = (*CONTROL_PLANE, "containerd", "kubelet", "kube-proxy", enforcer.NAME)


_FIXED = (
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
)
"""Where upstream's components write, whatever their options are."""


def _remember_what_is_there() -> None:
    """Note which of the fixed places the lab will have made, for `down`."""
    made = STATE / "made.json"
    if not made.exists():
        replace(made, json.dumps([path for path in _FIXED if not Path(path).exists()]))


def _controllers() -> list[Path]:
    """Return the cgroup hierarchies: one on cgroup v2, one a controller on v1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in sorted(_CGROUPS.iterdir()) if (path / "cgroup.procs").exists()]


def check_machine() -> None:
    """Refuse a machine on which the lab cannot run, with every reason at once."""
    problems = []
    if os.geteuid() != 0:
        problems.append("it must run as root (containers, mounts and interfaces are made)")
    if not Path("/dev/kmsg").exists():
        problems.append("/dev/kmsg is missing: the kubelet needs it")
    STATE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(STATE).free / 1e9
    if free < 10:
        problems.append(f"{STATE} has {free:.0f} GB free: at least 10 GB are needed")
    if shutil.which("ip") is None:
        problems.append("ip is missing: install iproute2")
    for server, port in (("kube-apiserver", API_PORT), ("etcd", ETCD_PORT)):
        if process.pid(server) is None and _listens(port):
            problems.append(f"port {port} is in use: another lab may be running (make down there)")
    if problems:
        raise LabError("the lab cannot run here:\n" + "\n".join(f"  - {text}" for text in problems))


def _listens(port: int) -> bool:
    wanted = f":{port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1].endswith(wanted) and row.split()[3] == "0A" for row in rows)


def _ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


def _ip_output(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False).stdout


def _interface() -> None:
    """Make the address of the node: on the machine alone, reachable from pods."""
    # `ip` refuses to make what is there already.
    _ip("link", "add", INTERFACE, "type", "bridge")
    _ip("addr", "add", f"{NODE_IP}/32", "dev", INTERFACE)
    _ip("link", "set", INTERFACE, "up")
    saved = STATE / "ip_forward"
    if not saved.exists():
        replace(saved, _FORWARD.read_text())
    _FORWARD.write_text("1")


def _cgroups() -> None:
    for controller in _controllers():
        folder = controller / CGROUP
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # On cgroup v1 a new cpuset is empty, and nothing can run in it.
            if (folder / name).exists() and not (folder / name).read_text().strip():
                (folder / name).write_text((controller / name).read_text())


def _pki() -> None:
    folder = STATE / "pki"
    if KUBECONFIG.exists() and (folder / "done").exists():
        return
    ca = certs.authority(folder)
    server = f"https://{NODE_IP}:{API_PORT}"
    certs.issue(
        ca,
        folder / "apiserver",
        "kube-apiserver",
        hosts=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            KUBERNETES_SERVICE_IP,
            NODE_IP,
            "127.0.0.1",
        ),
    )
    certs.service_account_key(folder / "sa")
    for file, user, group in (
        ("admin", "lab-admin", "system:masters"),
        ("controller-manager", "system:kube-controller-manager", ""),
        ("scheduler", "system:kube-scheduler", ""),
        ("kubelet", f"system:node:{NODE}", "system:nodes"),
        ("proxy", "system:kube-proxy", ""),
    ):
        pair = certs.issue(ca, folder / file, user, group)
        target = KUBECONFIG if file == "admin" else folder / f"{file}.kubeconfig"
        certs.kubeconfig(target, server, ca, pair)
    (folder / "done").touch()


def _containerd_config() -> Path:
    root = STATE / "containerd"
    cni = STATE / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    network = {
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [
            {
                # Routed, not bridged: a Service's replies always pass the node's NAT.
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "subnet": POD_CIDR,
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(_ADDRESSES),
                },
            }
        ],
    }
    (cni / "10-lab.conflist").write_text(json.dumps(network))
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    path = STATE / "containerd.toml"
    path.write_text(f"""version = 2
root = "{root / "root"}"
state = "{root / "state"}"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[{cri}]
  sandbox_image = "{images.reference("pause").replace(":1@", "@")}"
  # Without CAP_SYS_RESOURCE a lower score than one's own is refused.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
[{cri}.cni]
  bin_dir = "{DEBIAN / "root/usr/lib/cni"}"
  conf_dir = "{cni}"
[{cri}.containerd]
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  BinaryName = "{packages.binary("runc")}"
  SystemdCgroup = false
""")
    return path


def _kubelet_config() -> Path:
    path = STATE / "kubelet.json"
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(STATE / "pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "enforceNodeAllocatable": [],
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzBindAddress": "127.0.0.1",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(STATE / "pod-logs"),
        # Pods get no name server but the cluster's.
        "resolvConf": str(STATE / "resolv.conf"),
        "syncFrequency": "10s",
    }
    (STATE / "resolv.conf").write_text("")
    path.write_text(json.dumps(config))
    return path


def _commands() -> dict[str, list[str | Path]]:
    pki = STATE / "pki"
    cri = f"unix://{CONTAINERD_SOCKET}"
    return {
        "etcd": [
            tool("etcd"),
            f"--data-dir={STATE / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{ETCD_PORT}",
            f"--advertise-client-urls=http://127.0.0.1:{ETCD_PORT}",
            f"--listen-peer-urls=http://127.0.0.1:{ETCD_PORT + 1}",
            # The lab's state is made anew in seconds: no need to wait for the disk.
            "--unsafe-no-fsync",
        ],
        "kube-apiserver": [
            tool("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
            f"--bind-address={NODE_IP}",
            f"--advertise-address={NODE_IP}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'admin.crt'}",
            f"--kubelet-client-key={pki / 'admin.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
        ],
        "kube-controller-manager": [
            tool("kube-controller-manager"),
            f"--kubeconfig={pki / 'controller-manager.kubeconfig'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
        "kube-scheduler": [
            tool("kube-scheduler"),
            f"--kubeconfig={pki / 'scheduler.kubeconfig'}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
        "containerd": [packages.binary("containerd"), "--config", _containerd_config()],
        "kubelet": [
            tool("kubelet"),
            f"--config={_kubelet_config()}",
            f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
            f"--root-dir={STATE / 'kubelet'}",
            f"--cert-dir={STATE / 'kubelet/pki'}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_IP}",
            f"--image-service-endpoint={cri}",
        ],
        "kube-proxy": [
            tool("kube-proxy"),
            f"--kubeconfig={pki / 'proxy.kubeconfig'}",
            f"--hostname-override={NODE}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={POD_CIDR}",
            "--conntrack-max-per-core=0",
            "--metrics-bind-address=127.0.0.1:10249",
            "--healthz-bind-address=127.0.0.1:10256",
            f"--nodeport-addresses={NODE_IP}/32",
        ],
    }


def kubectl(*arguments: str, stdin: str | bytes | None = None) -> str:
    """Run kubectl as the cluster's administrator.

    Raises:
        LabError: the command failed; with what it said.
    """
    result = subprocess.run(
        [
            *process.BOUND,
            BIN / "kubectl",
            f"--kubeconfig={KUBECONFIG}",
            f"--cache-dir={CACHED}",
            *arguments,
        ],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        check=False,
        timeout=300,
    )
    if result.returncode != 0:
        raise LabError(
            f"kubectl {' '.join(arguments[:4])}: {result.stderr.decode().strip()[-800:]}"
        )
    return result.stdout.decode()


def apply(*objects: dict[str, Any]) -> None:
    """Apply objects of the lab itself."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def _answers(*arguments: str, expect: str = "") -> bool:
    try:
        return expect in kubectl("--request-timeout=3s", *arguments)
    except (LabError, subprocess.TimeoutExpired):
        return False


_COREFILE = """.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa {
        ttl 5
    }
    cache 5
}
"""


def deployment(
    name: str, namespace: str, labels: dict[str, str], pod: dict[str, Any]
) -> dict[str, Any]:
    """Return a Deployment of one pod."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def service(
    name: str, namespace: str, labels: dict[str, str], ports: Sequence[dict[str, Any]], **spec: Any
) -> dict[str, Any]:
    """Return a Service."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": labels, "ports": list(ports), **spec},
    }


def _volumes() -> list[dict[str, Any]]:
    """Return volumes for claims to bind to: of the kind `local`, which honours fsGroup."""
    made = []
    for number in range(VOLUMES):
        path = STATE / f"volumes/{number:02}"
        path.mkdir(parents=True, exist_ok=True)
        node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
        made.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"local-{number:02}"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "20Gi"},
                    "local": {"path": str(path)},
                    "nodeAffinity": {
                        "required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}
                    },
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "local",
                },
            }
        )
    return made


def give_volumes_back(*namespaces: str) -> None:
    """Empty the volumes whose claims were in some namespaces, which are gone, for others to use."""
    for item in json.loads(kubectl("get", "pv", "-o", "json"))["items"]:
        if item["spec"].get("claimRef", {}).get("namespace") in namespaces:
            folder = Path(item["spec"]["local"]["path"])
            shutil.rmtree(folder)
            folder.mkdir()
            patch = '[{"op": "remove", "path": "/spec/claimRef"}]'
            kubectl("patch", "pv", item["metadata"]["name"], "--type=json", "-p", patch)


def _cluster_objects() -> list[dict[str, Any]]:
    meta = {"name": "coredns", "namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    watched = ["endpoints", "services", "pods", "namespaces"]
    role = "rbac.authorization.k8s.io"
    container = {
        "name": "coredns",
        "image": images.reference("coredns"),
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "local",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        *_volumes(),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": f"{role}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "coredns"},
            "rules": [
                {"apiGroups": [""], "resources": watched, "verbs": ["list", "watch"]},
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        },
        {
            "apiVersion": f"{role}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": {"apiGroup": role, "kind": "ClusterRole", "name": "coredns"},
            "subjects": [{"kind": "ServiceAccount", **meta}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": meta,
            "data": {"Corefile": _COREFILE},
        },
        deployment("coredns", "kube-system", labels, pod),
        service(
            "kube-dns",
            "kube-system",
            labels,
            [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
            clusterIP=DNS_IP,
        ),
    ]


def rollout(namespace: str, kind_and_name: str, seconds: int = 180) -> None:
    """Wait until a Deployment or StatefulSet is ready."""
    try:
        kubectl("-n", namespace, "rollout", "status", kind_and_name, f"--timeout={seconds}s")
    except LabError as error:
        pods = kubectl("-n", namespace, "get", "pods", "-o", "wide")
        events = kubectl("-n", namespace, "get", "events", "--sort-by=.lastTimestamp")
        raise LabError(f"{error}\n{pods}\n{events[-1500:]}") from None


def up() -> None:
    """Start what does not run; return when the node and its DNS are ready."""
    check_machine()
    with step("starting Kubernetes"):
        _remember_what_is_there()
        if not _ADDRESSES.exists():
            # This lab gave out no address yet: what carries one is another's, and that is dead.
            remove_networks()
        _interface()
        _cgroups()
        _pki()
        environment = packages.environment()
        commands = _commands()
        process.start("etcd", commands["etcd"], environment)
        process.start("containerd", commands["containerd"], environment)
        start_api_server()
        for name in ("kube-controller-manager", "kube-scheduler"):
            process.start(name, commands[name], environment)
        process.wait_for("containerd", CONTAINERD_SOCKET.exists, 30, ["containerd"])
        # Before there is a pod that a policy may isolate.
        enforcer.up()
    images.load_all()
    with step("waiting for the node and its DNS"):
        process.start("kubelet", commands["kubelet"], environment)
        process.start("kube-proxy", commands["kube-proxy"], environment)
        process.wait_for(
            "the node",
            lambda: _answers(
                "get",
                "node",
                NODE,
                "-o",
                'jsonpath={.status.conditions[?(@.type=="Ready")].status}',
                expect="True",
            ),
            120,
            SERVERS,
        )
        apply(*_cluster_objects())
        rollout("kube-system", "deployment/coredns")


def start_api_server() -> None:
    """Start the API server unless it runs; return when it answers."""
    environment = packages.environment()
    process.start("kube-apiserver", _commands()["kube-apiserver"], environment)
    process.wait_for(
        "the API server",
        lambda: _answers("get", "--raw", "/readyz", expect="ok"),
        90,
        ["etcd", "kube-apiserver"],
    )


def status() -> dict[str, int | None]:
    """Return every server of the cluster with its pid, None where it does not run."""
    return {name: process.pid(name) for name in SERVERS}


def runs() -> bool:
    """Tell whether every server of the cluster runs."""
    return all(status().values())


def _stop_containers() -> None:
    if process.pid("containerd") is None:
        return
    for container in images.ctr("tasks", "list", "-q", check=False).split():
        images.ctr("tasks", "kill", "-s", "SIGKILL", container, check=False)
    for _ in range(50):
        left = images.ctr("tasks", "list", "-q", check=False).split()
        if not left:
            break
        for container in left:
            images.ctr("tasks", "delete", "--force", container, check=False)
        time.sleep(0.2)
    for container in images.ctr("containers", "list", "-q", check=False).split():
        images.ctr("containers", "delete", container, check=False)


def _unmount(prefix: str) -> None:
    rows = Path("/proc/mounts").read_text().splitlines()
    points = [row.split()[1].encode().decode("unicode_escape") for row in rows]
    for point in sorted((p for p in points if p.startswith(prefix)), reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def remove_networks() -> None:
    """Remove the pods' links and network namespaces, also those of a lab that was killed.

    A link left behind keeps the route to its pod's address, which the next lab gives out again:
    its pods would then be looked for where nobody answers.
    """
    pods = POD_CIDR.replace("0/24", "")
    for namespace in (path.name for path in Path("/run/netns").glob("cni-*")):
        ours = f" {pods}" in _ip_output("-netns", namespace, "-o", "-4", "addr", "show")
        if ours and not _ip_output("netns", "pids", namespace).strip():
            _ip("netns", "delete", namespace)
    # The node's ends carry the pods' gateway; they go with the other end, unless that is held.
    for row in _ip_output("-o", "-4", "addr", "show", "type", "veth").splitlines():
        if f" {pods}1/32 " in row:
            _ip("link", "delete", row.split()[1])


def down() -> None:
    """Stop everything and remove all that `up` made outside of the cache."""
    if not (STATE / "made.json").exists():
        # It came no further than its builds: interfaces and cgroups of these names are another's.
        shutil.rmtree(STATE, ignore_errors=True)
        return
    ours = (LOGS / "kube-proxy.log").exists()
    with step("stopping Kubernetes"):
        process.stop("kubelet")
        _stop_containers()
        for name in reversed(SERVERS):
            process.stop(name)
        _unmount(str(STATE) + "/")
        remove_networks()
        _ip("link", "delete", INTERFACE)
        if ours:
            enforcer.remove()
            for family in ("ip", "ip6"):
                subprocess.run(
                    [str(packages.binary("nft")), "delete", "table", family, "kube-proxy"],
                    env=packages.environment(),
                    capture_output=True,
                    check=False,
                )
        for controller in _controllers():
            for folder, _, _ in os.walk(controller / CGROUP, topdown=False):
                Path(folder).rmdir()
        saved = STATE / "ip_forward"
        if saved.exists():
            _FORWARD.write_text(saved.read_text())
        for path in json.loads((STATE / "made.json").read_text()):
            shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(STATE)
