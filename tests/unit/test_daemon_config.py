"""What the daemons read: daemon.json, buildkitd.toml, variables, and certificates of registries."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pulumi
import pytest
import tomli_w
import yaml
from gitlab_runner_k8s import BuildKitDaemon, SharedDockerDaemon
from gitlab_runner_k8s.daemon.extra_config import _BUILDKITD, _DOCKERD, _KEYS, _check
from gitlab_runner_k8s.validation.messages import ArgsError

from lab import toolchain
from lab.paths import BIN, ROOT
from tests import builders, required
from tests.harness import Recorder, deploy

CERTIFICATE = yaml.safe_load((ROOT / "tests/unit/test_plugin_inputs.yaml").read_text())["shared"][4]
PRIVATE = "private.example.com:5000"
PROXY = {"http_proxy": "http://proxy.example.com:3128", "no_proxy": [".example.com"]}


def made(**options: Any) -> Recorder:
    args: Any = {"accept_shared_nodes": True, **options}
    return deploy(lambda: SharedDockerDaemon("build", args))


def buildkit(**options: Any) -> Recorder:
    args: Any = options
    return deploy(lambda: BuildKitDaemon("build", args))


def files(recorder: Recorder) -> dict[str, str]:
    """Return the files of the daemon's configuration, by path."""
    data: dict[str, str] = recorder.one(":ConfigMap").plain["data"]
    (volume,) = [
        one["configMap"]
        for one in recorder.one(":StatefulSet").pod["volumes"]
        if "configMap" in one
    ]
    items = volume.get("items", [{"key": key, "path": key} for key in data])
    assert {item["key"] for item in items} == set(data)
    return {item["path"]: data[item["key"]] for item in items}


def daemon_json(**options: Any) -> Any:
    return json.loads(files(made(**options))["daemon.json"])


def environment(recorder: Recorder) -> dict[str, str]:
    (container,) = recorder.one(":StatefulSet").pod["containers"]
    return {one["name"]: one["value"] for one in container.get("env", [])}


def test_the_bridge_and_logs_are_as_chosen() -> None:
    usual = daemon_json()
    assert "bip" not in usual
    assert usual["log-opts"] == {"max-size": "10485760", "max-file": "3"}
    chosen = daemon_json(
        bridge_address="172.30.0.1/24", container_log_size="1Mi", container_log_files=7
    )
    assert chosen["bip"] == "172.30.0.1/24"
    assert chosen["log-opts"] == {"max-size": "1048576", "max-file": "7"}


def test_the_oldest_api_is_as_chosen() -> None:
    assert environment(made(minimum_api_version="1.32"))["DOCKER_MIN_API_VERSION"] == "1.32"
    assert "DOCKER_MIN_API_VERSION" not in environment(made())


@pytest.mark.parametrize(
    "proxy", [PROXY, {**PROXY, "http_proxy": pulumi.Output.from_input("http://p")}]
)
def test_services_of_the_cluster_need_no_proxy(proxy: Any) -> None:
    own = "localhost,127.0.0.1,.svc,.cluster.local,.example.com"
    url = "http://p" if proxy is not PROXY else PROXY["http_proxy"]
    assert daemon_json(proxy=proxy)["proxies"] == {"http-proxy": url, "no-proxy": own}
    assert environment(buildkit(proxy=proxy)) == {"HTTP_PROXY": url, "NO_PROXY": own}
    assert "proxies" not in daemon_json()
    assert environment(buildkit()) == {}


def test_each_daemon_finds_a_registrys_certificate_where_it_looks() -> None:
    trusted = {PRIVATE: CERTIFICATE, "other.example.com": CERTIFICATE}
    privileged = files(made(registry_certificates=trusted))
    assert privileged[f"certs.d/{PRIVATE}/ca.crt"] == CERTIFICATE
    assert "certs.d/other.example.com/ca.crt" in privileged
    recorder = made(registry_certificates=trusted, isolation="rootless")
    home = environment(recorder)["XDG_CONFIG_HOME"]
    assert home == "/docker-config"
    assert files(recorder)[f"docker/certs.d/{PRIVATE}/ca.crt"] == CERTIFICATE
    found = files(buildkit(registry_certificates=trusted))
    (path,) = tomllib.loads(found["buildkitd.toml"])["registry"][PRIVATE]["ca"]
    assert found[Path(path).relative_to("/config").as_posix()] == CERTIFICATE


def test_a_bundle_may_have_comments() -> None:
    bundle = f"# Zertifizierungsstelle Müller\n{CERTIFICATE}\n# another\n{CERTIFICATE}"
    assert bundle in files(made(registry_certificates={PRIVATE: bundle})).values()


def test_another_certificate_restarts_the_daemon() -> None:
    def checksum(recorder: Recorder) -> str:
        template = recorder.one(":StatefulSet").plain["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/buildkitd-toml"])

    one, other = (
        buildkit(registry_certificates={PRIVATE: CERTIFICATE * count}) for count in (1, 2)
    )
    assert checksum(one) != checksum(other)


def test_the_users_keys_are_merged() -> None:
    extra = {
        "icc": False,
        "builder": {"entitlements": {"network-host": False}},
        "log-opts": {"labels": "team"},
        "log-driver": "local",
        "features": {"containerd-snapshotter": True},
    }
    found = daemon_json(extra_daemon_config=json.dumps(extra))
    usual = daemon_json()
    assert found["icc"] is False
    assert found["builder"] == usual["builder"] | extra["builder"]
    assert found["log-opts"] == usual["log-opts"] | {"labels": "team"}
    assert found["log-driver"] == "local"


def test_the_users_keys_of_buildkit_are_merged() -> None:
    recorder = buildkit(
        insecure_registries=["plain:5000"],
        extra_daemon_config='debug = true\n[registry."plain:5000"]\nmirrors = ["other:5000"]\n'
        '[worker.oci]\nmax-parallelism = 4\n[frontend."gateway.v0"]\nenabled = false\n',
    )
    found = tomllib.loads(files(recorder)["buildkitd.toml"])
    assert found["debug"] is True
    assert found["registry"]["plain:5000"] == {"http": True, "mirrors": ["other:5000"]}
    assert found["worker"]["oci"]["max-parallelism"] == 4
    assert found["worker"]["oci"]["gc"] is True
    assert found["frontend"]["gateway.v0"] == {"enabled": False}


TOKEN = "glpat-" + "x" * 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "must be JSON:"),
        ("[]", "must be a JSON object"),
        ('{"icc": "no"}', "icc: must be"),
        ('{"icd": false}', "icd: unknown key; did you mean 'icc'?"),
        ('{"mtu": 1400}', "mtu: must not be set, because this package sets it; use mtu"),
        ('{"builder": {"gc": {}}}', "builder.gc: must not be set"),
        ('{"log-opts": {"max-size": "1m"}}', "log-opts.max-size: must not be set"),
        ('{"log-driver": "none"}', "log-driver: must be 'json-file' or 'local'"),
        ('{"hosts": ["tcp://0.0.0.0:2375"]}', "hosts: must not be set"),
        ('{"tls": false, "tlsverify": false}', "tlsverify: must not be set"),
        ('{"default-address-pools": []}', "use address_pools"),
        ('{"bip": "172.30.0.1/24"}', "use bridge_address"),
        ('{"proxies": {"http-proxy": "http://a"}}', "use proxy"),
        (f'{{"labels": ["{TOKEN}"]}}', "labels[0]: must not contain a token"),
        ('{"builder": null}', "builder: must not be null"),
        ('{"data-root": "/elsewhere"}', "the package sets it for the daemon's pod"),
    ],
)
def test_a_wrong_daemon_json_is_refused(text: str, said: str) -> None:
    with pytest.raises(
        ArgsError, match=re.escape(f"extra_daemon_config: {said}".split(": ")[0])
    ) as caught:
        made(extra_daemon_config=text)
    assert said in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "must be TOML:"),
        ("debug = 1", "debug: must be"),
        ("debag = true", "debag: unknown key; did you mean 'debug'?"),
        ('root = "/elsewhere"', "root: must not be set"),
        ('[grpc]\naddress = ["tcp://0.0.0.0:1"]', "grpc: must not be set"),
        ("[worker.oci]\ngc = false", "worker.oci.gc: must not be set"),
        ("[worker.containerd]\nenabled = true", "worker.containerd: must not be set"),
        ('[registry."a"]\nhtp = true', "htp: unknown key"),
    ],
)
def test_a_wrong_buildkitd_toml_is_refused(text: str, said: str) -> None:
    with pytest.raises(ArgsError, match="extra_daemon_config") as caught:
        buildkit(extra_daemon_config=text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bridge_address": "172.30.0.0/24"}, "bridge_address: must be"),
        ({"bridge_address": "172.30.0.1"}, "bridge_address: must be"),
        ({"bridge_address": "fd00::1/64"}, "bridge_address: must be"),
        (
            {"bridge_address": "10.1.0.1/24", "egress_cidrs": ["10.0.0.0/8"]},
            "bridge_address (10.1.0.1/24) must not be in egress_cidrs (10.0.0.0/8)",
        ),
        ({"minimum_api_version": "1.23"}, "minimum_api_version: must be"),
        ({"minimum_api_version": "1.99"}, "minimum_api_version: must be"),
        ({"minimum_api_version": "2.0"}, "minimum_api_version: must be"),
        ({"container_log_size": "1"}, "container_log_size: must be"),
        ({"container_log_files": 0}, "container_log_files: must be"),
        ({"proxy": {"no_proxy": ["a"]}}, "proxy: http_proxy or https_proxy must be set"),
        ({"proxy": {"http_proxy": "http://u:p@a"}}, "proxy.http_proxy: must not contain cred"),
        ({"proxy": {"http_proxy": "http://a/b"}}, "proxy.http_proxy: must be the URL"),
        ({"proxy": {"http_proxy": "proxy:3128"}}, "proxy.http_proxy: must be"),
        ({"proxy": {**PROXY, "no_proxy": ["a b"]}}, "proxy.no_proxy[0]: must be a host"),
        ({"registry_certificates": {"https://a": CERTIFICATE}}, "must be host or host:port"),
        ({"registry_certificates": {"a": "text"}}, "registry_certificates.a: must be PEM"),
        ({"registry_certificates": {"a": ""}}, "registry_certificates.a: must be PEM"),
        (
            {"registry_certificates": {"a": CERTIFICATE}, "insecure_registries": ["a"]},
            "registry_certificates.a must not be set together with insecure_registries",
        ),
    ],
)
def test_bad_settings_are_told_with_their_path(options: Any, said: str) -> None:
    with pytest.raises(ArgsError) as caught:
        made(**options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    ["*", "example.com", ".example.com", "*.a.b", "10.0.0.0/8", "10.0.0.1", "a:8080", "::1"],
)
def test_what_needs_no_proxy_may_be_written_as_usual(entry: str) -> None:
    assert entry in daemon_json(proxy={**PROXY, "no_proxy": [entry]})["proxies"]["no-proxy"]


@pytest.mark.parametrize("kind", [_DOCKERD, _BUILDKITD])
def test_every_key_is_taken_or_refused_with_a_reason(kind: Any) -> None:
    shape = _KEYS["dockerd" if kind is _DOCKERD else "buildkitd"]
    dump = json.dumps if kind is _DOCKERD else tomli_w.dumps
    lines = _check(kind, dump(builders.sample(shape)))
    refused = {line.partition(":")[0] for line in lines}
    assert refused - {"log-driver"} <= {*kind.managed, *kind.fixed}
    assert not [line for line in lines if "unknown" in line]


def test_the_keys_of_buildkitd_are_its_own() -> None:
    if not (BIN / "buildkitd").exists():
        required.missing("buildkitd is not built (make builds)")
    module = ("buildkit", "github.com/moby/buildkit")
    texts = [
        toolchain.module_file(*module, path).read_text()
        for path in ("cmd/buildkitd/config/config.go", "util/resolver/config/config.go")
    ]
    tags = [tag for text in texts for tag in re.findall(r'^\s*[\w}].*`toml:"([^"]+)"`', text, re.M)]
    theirs = {tag.partition(",")[0] for tag in tags}
    ours = set(re.findall(r'"([^"*]+)": ', json.dumps(_KEYS["buildkitd"])))
    # What the package never lets through is not listed key by key.
    inside = {"address", "namespace", "runtime", "name", "path", "options"}
    assert theirs - ours - inside == set()
    assert ours - theirs == set()
