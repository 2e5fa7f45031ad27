"""Stand-in for the provider `tls`, with the library `cryptography`."""

import datetime as dt
import hashlib
import ipaddress
import secrets
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.providers.base import UNKNOWN, Call, Change, Properties, Provider, Resource, changed_paths

_CURVES = {
    "P224": ec.SECP224R1(),
    "P256": ec.SECP256R1(),
    "P384": ec.SECP384R1(),
    "P521": ec.SECP521R1(),
}
_KEY_USES = {
    "digital_signature": "digital_signature",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
}
_EXTENDED_USES = {
    "server_auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
}
_SUBJECT = {
    "commonName": NameOID.COMMON_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "country": NameOID.COUNTRY_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "province": NameOID.STATE_OR_PROVINCE_NAME,
}


def _load_key(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), password=None)


def _algorithm(key: Any) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "ED25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "ECDSA"


def _hash(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


class PrivateKey(Resource):
    """`PrivateKey`: the SDK marks the private spellings as secrets."""

    _SPELLINGS = (
        "privateKeyPem",
        "privateKeyPemPkcs8",
        "privateKeyOpenssh",
        "publicKeyPem",
        "publicKeyOpenssh",
        "publicKeyFingerprintMd5",
        "publicKeyFingerprintSha256",
    )

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Fill in the provider's defaults."""
        return {"ecdsaCurve": "P224", "rsaBits": 2048, **news}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make a key."""
        if call.preview:
            return "", {**inputs, **dict.fromkeys(self._SPELLINGS, UNKNOWN)}
        key: Any
        if inputs["algorithm"] == "RSA":
            key = rsa.generate_private_key(65537, inputs["rsaBits"])
        elif inputs["algorithm"] == "ED25519":
            key = ed25519.Ed25519PrivateKey.generate()
        else:
            key = ec.generate_private_key(_CURVES[inputs["ecdsaCurve"]])
        none = serialization.NoEncryption()
        pem, formats = serialization.Encoding.PEM, serialization.PrivateFormat
        pkcs8 = key.private_bytes(pem, formats.PKCS8, none).decode()
        traditional = (
            pkcs8
            if inputs["algorithm"] == "ED25519"
            else key.private_bytes(pem, formats.TraditionalOpenSSL, none).decode()
        )
        public = key.public_key()
        der = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        # OpenSSH has no P-224.
        has_ssh = inputs["algorithm"] != "ECDSA" or inputs["ecdsaCurve"] != "P224"
        texts = (
            traditional,
            pkcs8,
            key.private_bytes(pem, formats.OpenSSH, none).decode() if has_ssh else "",
            public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode(),
            public.public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            ).decode()
            if has_ssh
            else "",
            "",
            "SHA256:" + hashlib.sha256(der).hexdigest(),
        )
        identity = hashlib.sha1(der, usedforsecurity=False).hexdigest()
        return identity, {**inputs, **dict(zip(self._SPELLINGS, texts, strict=True))}


def _subject(inputs: Properties) -> x509.Name:
    subject = inputs.get("subject") or {}
    return x509.Name(
        [x509.NameAttribute(oid, subject[key]) for key, oid in _SUBJECT.items() if subject.get(key)]
    )


def _names(inputs: Properties) -> x509.SubjectAlternativeName | None:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in inputs.get("dnsNames") or ()]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in inputs.get("ipAddresses") or ()]
    return x509.SubjectAlternativeName(names) if names else None


class CertRequest(Resource):
    """`CertRequest`."""

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Make a certificate signing request."""
        if call.preview:
            return "", {**inputs, "certRequestPem": UNKNOWN, "keyAlgorithm": UNKNOWN}
        key = _load_key(inputs["privateKeyPem"])
        builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(inputs))
        names = _names(inputs)
        if names:
            builder = builder.add_extension(names, critical=False)
        pem = builder.sign(key, _hash(key)).public_bytes(serialization.Encoding.PEM).decode()
        identity = hashlib.sha1(pem.encode(), usedforsecurity=False).hexdigest()
        return identity, {**inputs, "certRequestPem": pem, "keyAlgorithm": _algorithm(key)}


class _Certificate(Resource):
    """What both kinds of certificates have in common."""

    def check(self, call: Call, olds: Properties, news: Properties) -> Properties:
        """Fill in the provider's defaults."""
        defaults = {
            "earlyRenewalHours": 0,
            "isCaCertificate": False,
            "setSubjectKeyId": False,
            "setAuthorityKeyId": False,
        }
        return {**defaults, **news}

    def diff(self, call: Call, inputs: Properties, outputs: Properties, news: Properties) -> Change:
        """Replace on any change but that of the renewal, and when the renewal is due."""
        change = Change.of(changed_paths(inputs, news), lambda path: path != "earlyRenewalHours")
        end = dt.datetime.fromisoformat(outputs["validityEndTime"])
        hours = news.get("earlyRenewalHours", 0)
        if dt.datetime.now(dt.UTC) >= end - dt.timedelta(hours=hours):
            change.replaces.append("readyForRenewal")
        return change

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Sign the certificate."""
        computed = ("certPem", "validityStartTime", "validityEndTime")
        if call.preview:
            return "", {**inputs, **dict.fromkeys(computed, UNKNOWN), "readyForRenewal": False}
        subject, public, names = self._holder(inputs)
        issuer, key, issuer_public = self._issuer(inputs, subject)
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        end = now + dt.timedelta(hours=inputs["validityPeriodHours"])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(end)
            .add_extension(
                x509.BasicConstraints(ca=inputs["isCaCertificate"], path_length=None),
                critical=True,
            )
        )
        uses = set(inputs["allowedUses"])
        flags = {flag: name in uses for name, flag in _KEY_USES.items()}
        builder = builder.add_extension(
            x509.KeyUsage(**flags, encipher_only=False, decipher_only=False), critical=True
        )
        extended = [oid for name, oid in _EXTENDED_USES.items() if name in uses]
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        if names:
            builder = builder.add_extension(names, critical=False)
        if inputs["setSubjectKeyId"]:
            identifier = x509.SubjectKeyIdentifier.from_public_key(public)
            builder = builder.add_extension(identifier, critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public)
        builder = builder.add_extension(authority, critical=False)
        certificate = builder.sign(key, _hash(key))
        texts = (
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
            now.isoformat(),
            end.isoformat(),
        )
        return str(secrets.randbits(127)), {
            **inputs,
            **dict(zip(computed, texts, strict=True)),
            "keyAlgorithm": "",
            "readyForRenewal": False,
        }

    def _holder(
        self, inputs: Properties
    ) -> tuple[x509.Name, Any, x509.SubjectAlternativeName | None]:
        raise NotImplementedError

    def _issuer(self, inputs: Properties, subject: x509.Name) -> tuple[x509.Name, Any, Any]:
        raise NotImplementedError


class SelfSignedCert(_Certificate):
    """`SelfSignedCert`."""

    def _holder(
        self, inputs: Properties
    ) -> tuple[x509.Name, Any, x509.SubjectAlternativeName | None]:
        return _subject(inputs), _load_key(inputs["privateKeyPem"]).public_key(), _names(inputs)

    def _issuer(self, inputs: Properties, subject: x509.Name) -> tuple[x509.Name, Any, Any]:
        key = _load_key(inputs["privateKeyPem"])
        return subject, key, key.public_key()


class LocallySignedCert(_Certificate):
    """`LocallySignedCert`."""

    def _holder(
        self, inputs: Properties
    ) -> tuple[x509.Name, Any, x509.SubjectAlternativeName | None]:
        request = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
        try:
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = None
        return request.subject, request.public_key(), names

    def _issuer(self, inputs: Properties, subject: x509.Name) -> tuple[x509.Name, Any, Any]:
        authority = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
        return authority.subject, _load_key(inputs["caPrivateKeyPem"]), authority.public_key()


def provider() -> Provider:
    """Return the stand-in."""
    return Provider(
        "tls",
        {
            "tls:index/privateKey:PrivateKey": PrivateKey(),
            "tls:index/certRequest:CertRequest": CertRequest(),
            "tls:index/selfSignedCert:SelfSignedCert": SelfSignedCert(),
            "tls:index/locallySignedCert:LocallySignedCert": LocallySignedCert(),
        },
    )
