"""The cluster's certificates and kubeconfigs."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.paths import replace


@dataclass(frozen=True)
class Authority:
    """A certificate authority in memory, with its files on disk."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    path: Path


def write_private(path: Path, data: bytes) -> Path:
    """Write a file that only its owner can read."""
    replace(path, data, mode=0o600)
    return path


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in a file, which is made once."""
    if not path.exists():
        write_private(path, make().encode())
    return path.read_text()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=365))
    )


_LAB = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])


def authority(folder: Path, subject: x509.Name = _LAB) -> Authority:
    """Make an authority: the cluster's, or one of another name."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(subject, key)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = write_private(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(certificate, key, path)


def issue(
    ca: Authority, path: Path, name: str, group: str = "", hosts: tuple[str, ...] = ()
) -> tuple[Path, Path]:
    """Issue a certificate; return the paths of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(x509.Name(attributes), key).issuer_name(ca.certificate.subject)
    if hosts:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names = [
            x509.IPAddress(ipaddress.ip_address(host))
            if host.replace(".", "").isdigit()
            else x509.DNSName(host)
            for host in hosts
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False).sign(
        ca.key, hashes.SHA256()
    )
    return (
        write_private(
            path.with_suffix(".crt"), certificate.public_bytes(serialization.Encoding.PEM)
        ),
        write_private(path.with_suffix(".key"), _key_pem(key)),
    )


def service_account_key(path: Path) -> tuple[Path, Path]:
    """Make the key pair that signs service account tokens; return private and public file."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return (
        write_private(path.with_suffix(".key"), _key_pem(key)),
        write_private(path.with_suffix(".pub"), public),
    )


def kubeconfig(path: Path, server: str, ca: Authority, pair: tuple[Path, Path]) -> Path:
    """Write a kubeconfig that carries its certificates."""

    def data(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    certificate, key = pair
    cluster = {"server": server, "certificate-authority-data": data(ca.path)}
    user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "lab", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    return write_private(path, json.dumps(config, indent=2).encode())
