"""The lab's own machinery, as far as it needs no cluster."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lab import cluster, images, oci, process, toolchain
from lab.console import LabError
from lab.paths import ROOT
from lab.providers import base
from lab.providers.random import Password
from lab.providers.tls import LocallySignedCert, SelfSignedCert
from tests import required


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(process, "STATE", tmp_path)
    monkeypatch.setattr(process, "LOGS", tmp_path / "logs")
    return tmp_path


def test_a_server_is_started_once_and_stopped_by_its_pid(state: Path) -> None:
    command = ["sleep", "60"]
    assert process.start("one", command, os.environ)
    assert not process.start("one", command, os.environ)
    number = process.pid("one")
    assert number is not None
    process.stop("one")
    assert process.pid("one") is None
    assert not Path(f"/proc/{number}/cmdline").exists()


def test_a_pid_that_another_process_has_now_is_left_alone(state: Path) -> None:
    (state / "pids").mkdir()
    (state / "pids/one").write_text(f"{os.getpid()} 1")
    assert process.pid("one") is None
    process.stop("one")  # would end this very process
    assert not (state / "pids/one").exists()


def test_a_server_that_died_is_reported_with_its_log(state: Path) -> None:
    process.start("one", ["sh", "-c", "echo the reason; exit 1"], os.environ)
    with pytest.raises(LabError, match="the reason"):
        process.wait_for("nothing", lambda: False, 20, ["one"])


def test_a_lab_that_never_started_takes_nothing_of_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "lab"
    (state / "logs").mkdir(parents=True)
    monkeypatch.setattr(cluster, "STATE", state)
    monkeypatch.setattr(cluster, "_ip", lambda *_: pytest.fail("an interface is another's"))
    monkeypatch.setattr(cluster, "_controllers", lambda: pytest.fail("so are its cgroups"))
    cluster.down()
    assert not state.exists()


def test_the_same_layer_gives_the_same_digest(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.write_bytes(b"layer" * 1000)
    archives = [tmp_path / f"{name}.tar" for name in ("first", "second")]
    first, second = (
        oci.write_archive("lab.invalid/test:1", {}, [layer], archive, compressed=True)
        for archive in archives
    )
    assert first == second
    with tarfile.open(tmp_path / "first.tar") as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == first
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_an_image_keeps_the_capabilities_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "newuidmap").write_text("")
    (root / "plain").write_text("")
    value = bytes.fromhex("0100000280000000000000000000000000000000")

    def names(path: Path) -> list[str]:
        return ["security.capability"] if path.name == "newuidmap" else []

    monkeypatch.setattr(os, "listxattr", names)
    monkeypatch.setattr(os, "getxattr", lambda path, name: value)
    layer = tmp_path / "layer"
    oci.write_rootfs(root, layer)
    assert value in layer.read_bytes()
    with tarfile.open(layer) as archive:
        found = {member.name: member.pax_headers for member in archive}
    assert "SCHILY.xattr.security.capability" in found["newuidmap"]
    assert found["plain"] == {}


def test_an_old_go_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "BIN", tmp_path)
    monkeypatch.setattr(toolchain, "_version", lambda command: (1, 26, 5))
    with pytest.raises(LabError, match=r"go is 1.26.5: the lab needs 1.26.6 or newer"):
        toolchain.ensure(toolchain.EXTRAS)


def test_the_minimum_go_is_that_of_the_newest_module() -> None:
    modules = (ROOT / "lab/tools").glob("*/go.mod")
    lines = [re.search(r"^go ([\d.]+)$", path.read_text(), re.MULTILINE) for path in modules]
    newest = max(tuple(map(int, line[1].split("."))) for line in lines if line)
    assert newest == toolchain.MINIMUM_GO


def test_the_labs_own_pulumi_in_path_is_not_taken_for_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = toolchain.Part("pulumi", "pulumi", ".", 1)
    version = ".".join(map(str, toolchain.MINIMUM_PULUMI))
    for folder in ("lab", "machine"):
        program = tmp_path / folder / "pulumi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho v{version}\n")
        program.chmod(0o755)
    monkeypatch.setattr(toolchain, "BIN", tmp_path / "lab")
    monkeypatch.setattr(toolchain, "_is_built", lambda part: True)
    # With `/usr/bin:/bin` for the shell of the stand-in.
    monkeypatch.setenv("PATH", f"{tmp_path}/lab:/usr/bin:/bin")
    toolchain.ensure([part])
    assert not (tmp_path / "lab/pulumi").is_symlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/lab:{tmp_path}/machine:/usr/bin:/bin")
    toolchain.ensure([part])
    assert (tmp_path / "lab/pulumi").readlink() == tmp_path / "machine/pulumi"


def test_what_only_tests_need_is_not_built_by_make_up() -> None:
    assert not {part.name for part in toolchain.PARTS} & {part.name for part in toolchain.EXTRAS}
    assert not {image.key for image in images.ALL} & {image.key for image in images.EXTRAS}
    assert images.find("buildkit") in images.EXTRAS


def test_the_image_of_the_cli_has_every_module_of_the_lab_that_it_imports() -> None:
    program = "import sys, lab.language.host, lab.providers.random; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if re.match(r"(lab|gitlab_runner_k8s)\b", name)}
    shipped = {name.removesuffix("/__init__").replace("/", ".") for name in images._IN_CLI}
    assert loaded <= {"lab", *(f"lab.{name}" for name in shipped)}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yield the folder of a Go module with two programs."""
    folder = tmp_path / "lab/tools/module"
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
        (folder / name / "main.go").write_text("package main\n\nfunc main() {}\n")
    (folder / "go.mod").write_text("module example.com/module\n\ngo 1.25\n")
    (folder / "go.sum").write_text("")
    monkeypatch.setattr(toolchain, "ROOT", tmp_path)
    monkeypatch.setattr(toolchain, "BIN", tmp_path / "bin")
    monkeypatch.setattr(toolchain, "LOGS", tmp_path / "logs")
    return folder


FIRST = toolchain.Part("first", "module", "./first", 1, ("other",))
SECOND = toolchain.Part("second", "module", "./second", 1)


def test_a_change_of_a_program_builds_that_program_again(module: Path) -> None:
    before = [toolchain.fingerprint(part) for part in (FIRST, SECOND)]
    assert before == [toolchain.fingerprint(part) for part in (FIRST, SECOND)]
    (module / "first/main.go").write_text("package main // changed")
    after = [toolchain.fingerprint(part) for part in (FIRST, SECOND)]
    assert (after[0] != before[0], after[1] == before[1]) == (True, True)
    (module / "go.mod").write_text("module changed")
    assert toolchain.fingerprint(SECOND) != before[1]


def test_programs_of_a_module_are_built_together(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("go") is None:
        required.missing("go is not installed")
    toolchain.ensure([FIRST, SECOND])
    assert (module.parents[2] / "bin/other").readlink() == Path("first")
    assert "built first, second" in capsys.readouterr().out
    toolchain.ensure([FIRST, SECOND])
    assert capsys.readouterr().out == ""
    (module / "second/main.go").write_text("package main\n\nfunc main() { absent() }\n")
    with pytest.raises(LabError, match=r"building second failed[^$]*undefined: absent"):
        toolchain.ensure([FIRST, SECOND])
    assert (module.parents[2] / "bin/second").exists(), "a failed build leaves the old program"


def test_the_providers_module_has_the_versions_of_the_others() -> None:
    """What both compile is compiled once. Pulumi's own modules differ: see lab/tools/provider."""
    core, provider = (
        dict(re.findall(r"^\t(\S+) (v\S+)", (ROOT / f"lab/tools/{name}/go.mod").read_text(), re.M))
        for name in ("core", "provider")
    )
    differing = {name for name in core.keys() & provider if core[name] != provider[name]}
    assert {name for name in differing if not name.startswith("github.com/pulumi/")} == set()


def test_paths_of_changes_are_those_that_the_engine_shows() -> None:
    old = {"a": {"b.c/d": 1, "e": [1, 2]}, "same": 1}
    new = {"a": {"b.c/d": 2, "e": [1, 3]}, "same": 1, "added": True}
    assert base.changed_paths(old, new) == ['a["b.c/d"]', "a.e[1]", "added"]


def test_passwords_obey_their_classes() -> None:
    password = Password()
    call = base.Call("urn:pulumi:s::p::t::n")
    inputs = password.check(call, {}, {"length": 50, "special": False, "minNumeric": 40})
    _, outputs = password.create(call, inputs)
    assert len(outputs["result"]) == 50
    assert outputs["result"].isalnum()
    assert sum(letter.isdigit() for letter in outputs["result"]) >= 40


def test_certificates_have_one_use_and_their_names() -> None:
    from cryptography import x509

    from lab.providers.tls import CertRequest, PrivateKey

    call = base.Call("urn:pulumi:s::p::t::n")

    def key() -> str:
        made = PrivateKey()
        inputs = made.check(call, {}, {"algorithm": "ECDSA", "ecdsaCurve": "P256"})
        return str(made.create(call, inputs)[1]["privateKeyPem"])

    ca_key = key()
    authority = SelfSignedCert()
    inputs = {
        "privateKeyPem": ca_key,
        "subject": {"commonName": "ca"},
        "allowedUses": ["cert_signing"],
        "isCaCertificate": True,
        "validityPeriodHours": 10,
    }
    _, ca = authority.create(call, authority.check(call, {}, inputs))
    request = {"privateKeyPem": key(), "subject": {"commonName": "leaf"}, "dnsNames": ["a.svc"]}
    _, asked = CertRequest().create(call, request)
    leaf = LocallySignedCert()
    inputs = {
        "certRequestPem": asked["certRequestPem"],
        "caCertPem": ca["certPem"],
        "caPrivateKeyPem": ca_key,
        "allowedUses": ["digital_signature", "client_auth"],
        "validityPeriodHours": 5,
    }
    _, signed = leaf.create(call, leaf.check(call, {}, inputs))
    certificate = x509.load_pem_x509_certificate(signed["certPem"].encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca["certPem"].encode()))
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [use.dotted_string for use in uses] == ["1.3.6.1.5.5.7.3.2"]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.svc"]
