# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of one cluster, made once and renewed before they end.

Certificates carry the key identifiers that RFC 5280 asks for. A cluster that stands for an EKS cluster has instead a CA like the
one that EKS makes, `CN=kubernetes` with basic constraints and nothing else (https://github.com/awslabs/mcp/issues/3791): what
talks to a cluster here has then met what it will meet there.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .config import ClusterConfig

LIFETIME = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    """One certificate: subject, groups, authority, and server names."""

    file: str
    common_name: str
    organization: str = ""
    authority: str = "ca"
    names: list[str] = field(default_factory=list)


def identities(config: ClusterConfig) -> list[Identity]:
    node = config.node_address
    api_names = [
        "localhost",
        "127.0.0.1",
        node,
        config.api_service,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ]
    return [
        Identity("apiserver", "kube-apiserver", names=[*api_names, "kubernetes.default.svc.cluster.local"]),
        Identity("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("admin", "admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        Identity("coredns", "system:coredns"),
        Identity("kubelet", f"system:node:{config.name}", "system:nodes"),
        Identity("kubelet-server", config.name, names=[config.name, node]),
        Identity("front-proxy", "front-proxy-client", authority="front-proxy-ca"),
    ]


def ensure(config: ClusterConfig, folder: Path) -> bool:
    """Create what is missing or about to expire; True when anything was created."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = False
    for authority in ("ca", "front-proxy-ca"):
        if not _valid(folder / f"{authority}.crt"):
            _make_authority(folder, authority, config)
            made = True
    for identity in identities(config):
        if made or not _holds(folder, identity):
            _make_certificate(folder, identity)
            made = True
    if not (folder / "service-accounts.key").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(folder / "service-accounts.key", key)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / "service-accounts.pub").write_bytes(public)
        made = True
    return made


def _holds(folder: Path, identity: Identity) -> bool:
    """Whether certificate, key and authority belong together: a run that was killed may have left a mixture."""
    file = folder / f"{identity.file}.crt"
    if not _valid(file):
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    authority = x509.load_pem_x509_certificate((folder / f"{identity.authority}.crt").read_bytes())
    key = serialization.load_pem_private_key((folder / f"{identity.file}.key").read_bytes(), None)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return key.public_key() == certificate.public_key()


def _valid(file: Path) -> bool:
    if not file.exists():
        return False
    end = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    return end - _now() > RENEW_BEFORE


def _make_authority(folder: Path, name: str, config: ClusterConfig) -> None:
    as_eks = config.stands_for_eks and name == "ca"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("kubernetes" if as_eks else f"llm.on_eks {config.name} {name}")
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    builder = _builder(subject, key).issuer_name(subject).add_extension(constraints, critical=True)
    if not as_eks:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(_usage(certificates=True), critical=True).add_extension(own, critical=False)
    _write_key(folder / f"{name}.key", key)
    _write_certificate(folder / f"{name}.crt", builder.sign(key, hashes.SHA256()))


def _make_certificate(folder: Path, identity: Identity) -> None:
    authority = x509.load_pem_x509_certificate((folder / f"{identity.authority}.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / f"{identity.authority}.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if identity.names:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(_name(identity.common_name, identity.organization), key)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    if identity.names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in identity.names])
        builder = builder.add_extension(alternatives, critical=False)
    for identifier in _identifiers(authority, key):
        builder = builder.add_extension(identifier, critical=False)
    _write_key(folder / f"{identity.file}.key", key)
    _write_certificate(folder / f"{identity.file}.crt", builder.sign(signer, hashes.SHA256()))


def _identifiers(authority: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> list[x509.ExtensionType]:
    """Of a certificate's own key and of its authority's; none where the authority has none to name."""
    try:
        above = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return []
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return [own, x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above)]


def _name(common_name: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(minutes=5))
        .not_valid_after(_now() + LIFETIME)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_bytes(data)


def _write_certificate(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
