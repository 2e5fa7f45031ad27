"""What a new certificate of an authority does to the jobs that run meanwhile."""

import base64
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gitlab_runner_k8s import SharedDockerDaemon
from pulumi import automation as auto

from lab import engine
from lab.providers import kept
from tests.required import needs_engine
from tests.upgrade.conftest import plain

pytestmark = pytest.mark.engine
PROJECT = "authority-test"


def _program(hours: int) -> Callable[[], None]:
    def run() -> None:
        for name in ("one", "two"):
            SharedDockerDaemon(name, {"accept_shared_nodes": True, "ca_validity_hours": hours})

    return run


def _files(stack: auto.Stack, folder: Path) -> dict[str, Path]:
    """Write the certificates as jobs and the daemon have them; return the folders by whose."""
    deployment: Any = stack.export_stack().deployment
    folders = {}
    for resource in deployment["resources"]:
        name = resource["urn"].rpartition("::")[2]
        if resource["type"].endswith(":Secret") and name.endswith(("-client", "-server")):
            made = folders[name] = folder / name
            made.mkdir(parents=True)
            for file, text in plain(resource["inputs"]["data"]).items():
                (made / file).write_bytes(base64.b64decode(text))
    return folders


def _handshake(client: Path, server: Path) -> None:
    """Let a client and a server meet, each with its own authority and certificate.

    Raises:
        ssl.SSLError: one of them does not trust the other.
    """

    def context(side: int, files: Path) -> ssl.SSLContext:
        made = ssl.SSLContext(side)
        made.load_verify_locations(files / "ca.pem")
        made.load_cert_chain(files / "cert.pem", files / "key.pem")
        made.verify_mode = ssl.CERT_REQUIRED
        return made

    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        context(ssl.PROTOCOL_TLS_CLIENT, client).wrap_bio(back, there, server_hostname="localhost"),
        context(ssl.PROTOCOL_TLS_SERVER, server).wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert all(side.version() for side in sides)
    sides[0].write(b"docker")
    assert sides[1].read(6) == b"docker"


def test_the_certificates_of_running_jobs_stay_good(tmp_path: Path) -> None:
    needs_engine()
    (tmp_path / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
    found = []
    with kept.environment() as environment:
        for hours in (87600, 43800):
            place = (tmp_path, PROJECT, environment, tmp_path / "state")
            stack = engine.select_stack("test", _program(hours), *place)
            stack.up()
            found.append(_files(stack, tmp_path / str(hours)))
    before, after = found
    authorities = [(one["one-client"] / "ca.pem").read_text() for one in found]
    assert authorities[0] != authorities[1]
    _handshake(before["one-client"], after["one-server"])
    _handshake(after["one-client"], before["one-server"])
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        _handshake(before["one-client"], before["two-server"])
