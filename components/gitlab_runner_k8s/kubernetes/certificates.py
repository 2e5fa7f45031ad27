"""Certificates for mutual TLS: an authority, and leaf certificates with a single use each.

An update within `early_renewal_hours` of their end renews them, such as that of a weekly pipeline
(docs/environments.md). Between updates, nothing does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls


@dataclass(frozen=True)
class KeyPair:
    """PEM texts of a certificate and its key."""

    certificate: pulumi.Output[str]
    key: pulumi.Output[str]
    expires: pulumi.Output[str]
    """Time at which the certificate ends, in RFC 3339."""


def authority(
    name: str, common_name: str, validity_hours: int, opts: pulumi.ResourceOptions
) -> KeyPair:
    """Declare an authority. Its key stays in Pulumi's state: nothing in a cluster needs it."""
    key = tls.PrivateKey(
        f"{name}-ca",
        algorithm="ECDSA",
        # Both sides verify its signature on each connection. P-384 takes 8 times as long.
        ecdsa_curve="P256",
        # An existing authority stays, whatever its curve: see `tests/upgrade`.
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(ignore_changes=["ecdsaCurve"])
        ),
    )
    certificate = tls.SelfSignedCert(
        f"{name}-ca",
        private_key_pem=key.private_key_pem,
        subject={"common_name": common_name},
        is_ca_certificate=True,
        set_subject_key_id=True,
        allowed_uses=["cert_signing", "crl_signing"],
        validity_period_hours=validity_hours,
        opts=opts,
    )
    return KeyPair(certificate.cert_pem, key.private_key_pem, certificate.validity_end_time)


def certificate(
    name: str,
    role: str,
    authority: KeyPair,
    validity_hours: tuple[int, int],
    opts: pulumi.ResourceOptions,
    *,
    dns_names: Sequence[pulumi.Input[str]] = (),
) -> KeyPair:
    """Declare a certificate and its key.

    Args:
        name: Name of the component that owns the certificate.
        role: Purpose of the certificate. Its resources are named after the component and the role.
        authority: Authority that signs the certificate.
        validity_hours: Hours for which the certificate is valid, and hours before its end from
            which an update renews it.
        opts: Options of the resources.
        dns_names: DNS names of a server, whose certificate is also valid for 127.0.0.1. The
            certificate of a client has no names.
    """
    key = tls.PrivateKey(f"{name}-{role}", algorithm="ECDSA", ecdsa_curve="P256", opts=opts)
    request = tls.CertRequest(
        f"{name}-{role}",
        private_key_pem=key.private_key_pem,
        subject={"common_name": f"{name} {role}"},
        dns_names=list(dns_names) or None,
        ip_addresses=["127.0.0.1"] if dns_names else None,
        opts=opts,
    )
    certificate = tls.LocallySignedCert(
        f"{name}-{role}",
        cert_request_pem=request.cert_request_pem,
        ca_cert_pem=authority.certificate,
        ca_private_key_pem=authority.key,
        # A single use: nobody can pose as the server with a stolen client key.
        allowed_uses=["digital_signature", "server_auth" if dns_names else "client_auth"],
        validity_period_hours=validity_hours[0],
        early_renewal_hours=validity_hours[1],
        opts=opts,
    )
    return KeyPair(certificate.cert_pem, key.private_key_pem, certificate.validity_end_time)
