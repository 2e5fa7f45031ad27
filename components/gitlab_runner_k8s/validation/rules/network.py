"""Rules for addresses, ports and address blocks."""

import ipaddress
import re
import ssl
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import pulumi
from pydantic import AfterValidator, Field

from ..base import leaf, matches, rule
from .basic import Whole

Port = Annotated[Whole, Field(ge=1, le=65_535)]


HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"


def _is_host(host: str | None) -> bool:
    if host and re.fullmatch(HOST, host) and len(host) <= 253:
        return True
    try:
        return ipaddress.ip_address(host or "").version == 6
    except ValueError:
        return False


def is_place(value: str) -> bool:
    """Tell whether a text is `host` or `host:port`."""
    match = re.fullmatch(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:([0-9]{1,5}))?", value)
    if match is None or not _is_host(match[1].strip("[]")):
        return False
    return match[3] is None or 1 <= int(match[3]) <= 65_535


def is_address(url: str) -> bool:
    """Tell whether a URL's host is an IP address."""
    try:
        ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


def server_url(
    value: str, problem: str = "must be an https:// or http:// URL, such as 'https://example.com'"
) -> str | None:
    """Return the problem of a server's URL, or None. `problem` says what it must be."""
    try:
        url = urlsplit(value)
    except ValueError:
        return problem
    if url.username or url.password:
        return "must not contain credentials; remove 'user:password@'"
    if url.scheme not in {"https", "http"} or not is_place(url.netloc):
        return problem
    if url.query or url.fragment:
        return "must not have a query or a fragment; remove what follows '?' or '#'"
    if not re.fullmatch(r"[A-Za-z0-9._~%/-]*", url.path):
        return f"{problem}; use only [A-Za-z0-9._~%/-] in its path"
    return None


def _address(value: str) -> str | None:
    if is_place(value):
        return None
    return "must be host or host:port without a scheme, such as 'registry.example.com:5000'"


def _daemon_host(port: int) -> AfterValidator:
    problem = f"must be 'tcp://host:{port}', the address of a daemon with mutual TLS"
    without_tls = f"must be 'tcp://host:{port}', because the port 2375 has no TLS; use {port}"

    def check(value: str) -> str | None:
        scheme, _, place = value.partition("://")
        if scheme != "tcp" or not is_place(place) or not re.search(r":[0-9]+$", place):
            return problem
        if place.endswith(":2375"):
            return without_tls
        return None

    return rule(check)


def _dns_cidr(value: str) -> str | None:
    problem = (
        "must be the CIDR block of a DNS cache, with at most 256 addresses, such as "
        "'169.254.20.10/32'"
    )
    try:
        block = ipaddress.ip_network(value)
    except ValueError:
        return problem
    # A wider block would let any traffic out that uses port 53.
    return None if value.isascii() and block.num_addresses <= 256 else problem


DnsCidr = Annotated[str, rule(_dns_cidr)]


# The clouds' metadata services, and the block that maps IPv4 addresses into IPv6.
_NOT_FOR_EGRESS = tuple(
    ipaddress.ip_network(block) for block in ("169.254.0.0/16", "fe80::/10", "::ffff:0:0/96")
)


def _cidr(value: str) -> str | None:
    try:
        block = ipaddress.ip_network(value, strict=False)
    except ValueError:
        block = None
    if block is None or "/" not in value or not value.isascii():
        return "must be a CIDR block, such as '10.0.0.0/8' or 'fd00::/8'"
    if block.prefixlen == 0:
        return "must not be all addresses; list the ranges that jobs need"
    if any(block.version == other.version and block.overlaps(other) for other in _NOT_FOR_EGRESS):
        return (
            "must not overlap the link-local and IPv4-mapped addresses, because the cloud's "
            "metadata service there gives out the node's credentials; list smaller ranges"
        )
    if str(block) != value.lower():
        return f"must be the network's address in its short form; write '{block}'"
    return None


Cidr = Annotated[str, rule(_cidr)]


def _bridge(value: str) -> str | None:
    problem = (
        "must be the bridge's own IPv4 address with its prefix length, such as '172.30.0.1/24'"
    )
    try:
        interface = ipaddress.IPv4Interface(value)
    except ValueError:
        return problem
    network = interface.network
    is_host = network.network_address < interface.ip < network.broadcast_address
    return None if "/" in value and value.isascii() and is_host else problem


BridgeAddress = Annotated[str, rule(_bridge)]


def _certificates(value: str) -> str | None:
    if "PRIVATE KEY" in value:
        return "must not contain a private key; keep only the certificates"
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----", value)
    try:
        ssl.create_default_context(cadata="\n".join(blocks) or " ")
    except (ssl.SSLError, ValueError, TypeError):
        return "must be PEM texts of certificates, '-----BEGIN CERTIFICATE-----…'; correct them"
    return None


PublicCertificates = Annotated[str, rule(_certificates)]


HostPort = Annotated[str, rule(_address)]


def _no_proxy(value: str) -> str | None:
    host = value.removeprefix("*").removeprefix(".")
    try:
        ipaddress.ip_network(value)
    except ValueError:
        if value != "*" and not is_place(host):
            return "must be a host, a domain such as '.example.com', an IP address or a CIDR block"
    return None


NoProxy = Annotated[str, rule(_no_proxy)]


def _proxy(value: str) -> str | None:
    problem = server_url(value, "must be the http:// or https:// URL of a proxy")
    if problem or urlsplit(value).path.strip("/"):
        return problem or "must be the URL of a proxy without a path; remove the path"
    return None


if TYPE_CHECKING:
    ServerUrl = pulumi.Input[str]
    DockerHost = pulumi.Input[str]
    BuildKitHost = pulumi.Input[str]
    Address = pulumi.Input[str]
    Domain = pulumi.Input[str]
    ProxyUrl = pulumi.Input[str]
else:  # pydantic cannot read pulumi.Input itself
    ServerUrl = leaf(rule(server_url))
    DockerHost = leaf(_daemon_host(2376))
    BuildKitHost = leaf(_daemon_host(1234))
    Address = leaf(rule(_address))
    ProxyUrl = leaf(rule(_proxy), is_public=True)
    Domain = leaf(matches(HOST, "must be a DNS domain, such as 'blob.core.windows.net'"))
