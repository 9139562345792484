"""``model.sig``: OpenSSF's model signature over a bundle's files, made and checked without network.

It is what ``model_signing sign`` writes: a Sigstore bundle around a signed list of every file and
its SHA-256, by a key on the curves P-256, P-384 or P-521, alone or with a certificate. So the
check needs no edgekit: ``model_signing verify key . --signature model.sig --ignore-paths
model.sig --public_key pub.pem``.

Three things are ours. The library's lists come from digests that were taken while copying (when
signing) or comparing (when checking), so that nothing is read twice. Dates of certificates are
checked against today's, where the library asks whether they were valid when they began to be. And
the file has one spelling only: what the signature does not cover (white space, key names, spare
bits of base64) is refused where it is other than as we write it, so that no byte is free.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.bundles.manifest import SIGNATURE
from edgekit.core.errors import EdgekitError, InputError, IntegrityError, OutputError, UsageError
from edgekit.core.files import unwritable

PASSWORD = "EDGEKIT_SIGN_PASSWORD"  # noqa: S105 - the variable's name
MAX_SIGNATURE_BYTES = 16 * 2**20  # 10 000 files of the longest names
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
MAKE_KEY = "make one: edgekit bundle keygen key.pem"

Digests = Mapping[str, str]  # path in the bundle to SHA-256 in hex
Certificate = Any  # cryptography.x509.Certificate


@dataclass(frozen=True)
class Signer:
    """What signs.

    Attributes:
        key: the private key, PEM; encrypted ones are opened with EDGEKIT_SIGN_PASSWORD.
        certificate: its certificate, PEM, then those between it and the authority's, if any.
    """

    key: Path
    certificate: Path | None = None


@dataclass(frozen=True)
class Trust:
    """What a signature has to be of; one of the two, or nothing to only look at it.

    Attributes:
        public_key: PEM.
        authorities: PEM files with the certificates that are trusted.
    """

    public_key: Path | None = None
    authorities: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return self.public_key is not None or bool(self.authorities)


@dataclass(frozen=True)
class Signed:
    """What ``model.sig`` says.

    Attributes:
        by: in words, who signed: a key's fingerprint, or a certificate's subject.
        checked: whether it was found to be by somebody who is trusted.
        files: what was signed.
    """

    by: str
    checked: bool
    files: dict[str, str]


def make_key(path: Path) -> Path:
    """Write a new private key to `path`, for its owner's eyes only; the public key's path.

    Raises:
        OutputError: one of the two is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    public = path.with_name(path.stem + ".pub.pem")
    for place in (path, public):
        if os.path.lexists(place):
            raise OutputError(
                f"{str(place)!r} exists already; a key is never replaced",
                hint="choose another name",
            )
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    begun: list[Path] = []  # half a key would stand in the way of the next try
    try:
        for place, content, mode in (
            (path, private, 0o600),
            (public, _pem(key.public_key()), 0o666),
        ):
            with os.fdopen(os.open(place, flags, mode), "wb") as file:
                begun.append(place)
                file.write(content)
    except OSError as exc:
        for place in begun:
            place.unlink(missing_ok=True)
        raise unwritable(Path(exc.filename or path), exc, hint="choose another place") from exc
    return public


def sign(files: Digests, name: str, signer: Signer) -> bytes:
    """The bytes of ``model.sig`` for a bundle called `name` that holds `files`.

    Raises:
        UsageError: the key or the certificate cannot be used.
        ModuleNotFoundError: of model_signing, where the extra `sign` is not installed.
    """
    password, material = _prepared(signer)
    signing = _library("signing")

    class Offline(signing.Config):  # type: ignore[misc, name-defined]
        def use_sigstore_signer(self, **_: Any) -> Any:
            return self  # the default, which version 1.0 asks the network for when it is made

    with tempfile.TemporaryDirectory(prefix="edgekit-sign-") as scratch:
        out = Path(scratch, SIGNATURE)
        config = Offline().set_hashing_config(_known(files, name))
        # With a certificate, too: the signature is the same, and the library's signer for them
        # takes neither passwords nor a chain of none.
        config.use_elliptic_key_signer(private_key=signer.key, password=password)
        config.sign(Path(name), out)
        written = json.loads(out.read_text())
    envelope = written["dsseEnvelope"]
    data = _encode(envelope["payload"], envelope["signatures"][0]["sig"], material)
    _parse(data)  # what a reader would refuse must not be written in the first place
    return data


def check_signer(signer: Signer) -> None:
    """Raise what `sign` would, before any work is done for it."""
    _prepared(signer)
    _library("signing")


def _prepared(signer: Signer) -> tuple[bytes | None, dict[str, Any]]:
    """The key's password, and whom the signature will say that it is by."""
    key, password = _private_key(signer.key)
    material: dict[str, Any] = {"publicKey": {"hint": _hint(key.public_key())}}
    if signer.certificate is not None:
        certificates = _certificates(signer.certificate)
        _check_dates(certificates, UsageError)
        if _pem(certificates[0].public_key()) != _pem(key.public_key()):
            raise UsageError(
                f"{str(signer.certificate)!r} is not the certificate of {str(signer.key)!r}",
                hint="the first certificate in the file must be the key's",
            )
        _check_usage(certificates[0], UsageError)
        material = {"x509CertificateChain": {"certificates": [_raw(c) for c in certificates]}}
    return password, material


def check(data: bytes, trust: Trust, *, now: datetime.datetime | None = None) -> Signed:
    """What `data`, the content of ``model.sig``, says, and whether it can be trusted.

    Nothing in `data` is trusted. Whether the files are what was signed is for the caller to see:
    compare `Signed.files`.

    Args:
        trust: nothing to only read it; `Signed.checked` is false then.
        now: for the dates of certificates.

    Raises:
        IntegrityError: it is no such signature, not by what is trusted, or a certificate is not
            valid at this time.
        UsageError: the public key or the authorities cannot be used.
        ModuleNotFoundError: of model_signing, where the extra `sign` is not installed.
    """
    payload, material = _parse(data)
    signed = _listed(payload)
    if "publicKey" in material:
        by = f"the key with SHA-256 {material['publicKey']['hint']}"
        certificates: Sequence[Certificate] = []
    else:
        certificates = _embedded(material)
        subject = certificates[0].subject.rfc4514_string()
        by = f"the certificate of {subject!r}"
    if not trust:
        return Signed(by, checked=False, files=signed)
    if trust.public_key is not None:
        _check_key(trust.public_key, material, by)
    elif not certificates:
        raise IntegrityError(
            f"{SIGNATURE} is by {by}, and not by a certificate",
            hint="edgekit verify BUNDLE --public-key PUB.pem",
        )
    else:
        anchors = [c for path in trust.authorities for c in _certificates(path)]
        _check_dates([*certificates, *anchors], IntegrityError, now)
        _check_usage(certificates[0], IntegrityError)
    _verify(data, signed, trust, by)
    return Signed(by, checked=True, files=signed)


def _verify(data: bytes, signed: Digests, trust: Trust, by: str) -> None:
    """Have the library check the signature and the chain of certificates."""
    from cryptography.exceptions import InvalidSignature
    from OpenSSL.crypto import Error, X509StoreContextError

    unreadable: tuple[type[Exception], ...] = (
        *_unreadable(),
        LookupError,
        AttributeError,
        Error,
    )
    config = _library("verifying").Config().set_hashing_config(_known(signed, ""))
    refused = (
        f"the signature in {SIGNATURE}, which says that it is by {by}, is not by what is trusted"
    )
    hint = "do not use it; ask whoever made it for the right key, or for the bundle again"
    with tempfile.TemporaryDirectory(prefix="edgekit-verify-") as scratch:
        place = Path(scratch, SIGNATURE)
        place.write_bytes(data)
        try:
            if trust.public_key is not None:
                config.use_elliptic_key_verifier(public_key=trust.public_key)
            else:
                config.use_certificate_verifier(certificate_chain=list(trust.authorities))
            # The list of files is the signed one itself: what differs is for the caller to name.
            config.verify(Path(scratch), place)
        except X509StoreContextError as exc:
            raise IntegrityError(f"{refused}: {exc}", hint=hint) from exc
        except InvalidSignature as exc:
            raise IntegrityError(f"{refused}: wrong key, or changed", hint=hint) from exc
        except unreadable as exc:
            raise IntegrityError(f"{refused}: {exc}", hint=hint) from exc


def _library(part: str) -> Any:
    """A module of model_signing, whose classes are only half typed."""
    return importlib.import_module(f"model_signing.{part}")


def _known(files: Digests, name: str) -> Any:
    """A hashing configuration that reads no file, as all digests are known."""
    hashing, manifest = _library("hashing"), _library("manifest")
    digest_of = _library("_hashing.hashing").Digest

    class Known(hashing.Config):  # type: ignore[misc, name-defined]
        def hash(self, model_path: Any, **_: Any) -> Any:
            items = [
                manifest.FileManifestItem(
                    path=PurePosixPath(path), digest=digest_of("sha256", bytes.fromhex(sha256))
                )
                for path, sha256 in sorted(files.items())
            ]
            arguments = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
            return manifest.Manifest(name, items, manifest.SerializationType.from_args(arguments))

    # Everything counts, ".git" too; the signature itself is not among `files`.
    return Known().set_ignored_paths(paths=[], ignore_git_paths=False)


def _encode(payload: str, signature: str, material: Mapping[str, Any]) -> bytes:
    content = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": payload,
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": signature, "keyid": ""}],
        },
    }
    return (json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _parse(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """The signed payload and whom it is by, of a file that is exactly as `_encode` writes it.

    Raises:
        IntegrityError: it is not.
    """
    try:
        if len(data) > MAX_SIGNATURE_BYTES:
            raise ValueError("it is too large")
        content = json.loads(data.decode("ascii"))
        envelope = content["dsseEnvelope"]
        payload, signature = envelope["payload"], envelope["signatures"][0]["sig"]
        material = dict(content["verificationMaterial"])
        material.pop("tlogEntries")
        if set(material) == {"publicKey"}:
            material = {"publicKey": {"hint": str(material["publicKey"]["hint"])}}
            spelled = [payload, signature]
        else:
            chain = material["x509CertificateChain"]["certificates"]
            raw = [str(each["rawBytes"]) for each in chain]
            if not raw:
                raise ValueError("no certificate is in it")
            material = {"x509CertificateChain": {"certificates": [{"rawBytes": r} for r in raw]}}
            spelled = [payload, signature, *raw]
        for text in spelled:
            if base64.b64encode(base64.b64decode(text, validate=True)).decode() != text:
                raise ValueError("base64 in it is not as it is written")
        if _encode(payload, signature, material) != data:
            raise ValueError("something in it is not as edgekit bundle writes it")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        said = f"no {exc}" if isinstance(exc, KeyError) else str(exc)
        raise IntegrityError(f"{SIGNATURE} is not a signature of a bundle: {said}") from exc
    return base64.b64decode(payload), material


def _listed(payload: bytes) -> dict[str, str]:
    """The signed list of files and their SHA-256."""
    try:
        predicate = json.loads(payload)["predicate"]
        if predicate["serialization"]["method"] != "files":
            raise ValueError("it is not over whole files")
        found = {}
        for each in predicate["resources"]:
            if each["algorithm"] != "sha256" or each["name"] in found:
                raise ValueError(f"{each['name']!r} is listed in another way than by one SHA-256")
            found[str(each["name"])] = str(each["digest"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        raise IntegrityError(f"{SIGNATURE} has no list of files that can be read: {exc}") from exc
    return found


def _check_key(path: Path, material: Mapping[str, Any], by: str) -> None:
    key = _public_key(path)
    if "publicKey" not in material:
        raise IntegrityError(
            f"{SIGNATURE} is by {by}, and not by a key alone",
            hint="edgekit verify BUNDLE --certificate-chain CA.pem",
        )
    if material["publicKey"]["hint"] != _hint(key):
        raise IntegrityError(
            f"{SIGNATURE} is by {by}; {str(path)!r} is another key, with SHA-256 {_hint(key)}",
            hint="do not use it; ask whoever made it which key it is signed with",
        )


def _check_dates(
    certificates: Iterable[Certificate],
    error: type[EdgekitError],
    now: datetime.datetime | None = None,
) -> None:
    now = now or datetime.datetime.now(datetime.UTC)
    for each in certificates:
        subject = each.subject.rfc4514_string()
        if now > each.not_valid_after_utc:
            raise error(
                f"the certificate of {subject!r} expired on {each.not_valid_after_utc:%Y-%m-%d}",
                hint="have it renewed, and the bundle signed again",
            )
        if now < each.not_valid_before_utc:
            raise error(
                f"the certificate of {subject!r} is not valid before "
                f"{each.not_valid_before_utc:%Y-%m-%d}",
                hint="is the clock of this computer right? date",
            )


def _check_usage(certificate: Certificate, error: type[EdgekitError]) -> None:
    from cryptography import x509

    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        usable = bool(usage.digital_signature)
    except _unreadable():
        usable = False
    if not usable:
        raise error(
            f"the certificate of {certificate.subject.rfc4514_string()!r} is not for signing",
            hint="it needs keyUsage = digitalSignature",
        )


def _private_key(path: Path) -> tuple[Any, bytes | None]:
    """The key, and the password that it needed."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    with _readable(path, "a private key"):
        data = path.read_bytes()
        password = None
        if b"ENCRYPTED" in data:
            password = os.environ.get(PASSWORD, "").encode()
            if not password:
                raise UsageError(
                    f"the key {str(path)!r} is encrypted", hint=f"set {PASSWORD} to its password"
                )
        key = serialization.load_pem_private_key(data, password)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise UsageError(_wrong_kind(path), hint=MAKE_KEY)
    return key, password


def _public_key(path: Path) -> Any:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    with _readable(path, "a public key"):
        key = serialization.load_pem_public_key(path.read_bytes())
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise UsageError(_wrong_kind(path), hint=MAKE_KEY)
    return key


def _wrong_kind(path: Path) -> str:
    return f"{str(path)!r} is not an elliptic-curve key on P-256, P-384 or P-521"


def _certificates(path: Path) -> Sequence[Certificate]:
    from cryptography import x509

    with _readable(path, "certificates"):
        return x509.load_pem_x509_certificates(path.read_bytes())


def _embedded(material: Mapping[str, Any]) -> Sequence[Certificate]:
    from cryptography import x509

    try:
        found = [
            x509.load_der_x509_certificate(base64.b64decode(each["rawBytes"]))
            for each in material["x509CertificateChain"]["certificates"]
        ]
        for each in found:  # they are parsed when they are asked for
            each.subject.rfc4514_string()
            each.public_key()
            _ = each.not_valid_before_utc, each.not_valid_after_utc
    except _unreadable() as exc:
        raise IntegrityError(f"a certificate in {SIGNATURE} cannot be read: {exc}") from exc
    return found


def _unreadable() -> tuple[type[Exception], ...]:
    """What cryptography says of certificates that are none."""
    from cryptography import exceptions, x509

    return (
        ValueError,
        TypeError,
        exceptions.UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    )


@contextlib.contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except OSError as exc:
        raise InputError(f"cannot read {str(path)!r}: {exc.strerror or exc}") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        said = str(exc).splitlines()[0].partition(". ")[0] if str(exc) else "unreadable"
        raise UsageError(f"{str(path)!r} is not {what} in PEM: {said}", hint=MAKE_KEY) from exc


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return bytes(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _hint(key: Any) -> str:
    """How Sigstore bundles name a key: SHA-256 of its PEM."""
    return hashlib.sha256(_pem(key)).hexdigest()


def _raw(certificate: Certificate) -> dict[str, str]:
    from cryptography.hazmat.primitives import serialization

    der = certificate.public_bytes(serialization.Encoding.DER)
    return {"rawBytes": base64.b64encode(der).decode()}
