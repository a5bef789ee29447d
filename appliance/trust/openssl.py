"""
The signatures in evidence, as commands: a shell script by which anyone with OpenSSL can check them without our code.

It needs openssl 3, a POSIX shell and base64. It writes what is in the evidence into a folder of its own, and ends with
status 0 where every signature holds. What is not a signature (who checked the holder, the ledger's position) is not
in it, and whether the CA is to be believed is the reader's decision: its fingerprint is printed.
"""

from base64 import b64encode
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.card.algorithm import Algorithm, PublicKey
from appliance.card.cvc import Certificate
from appliance.card.jpki import Mode
from appliance.errors import ApplianceError, EvidenceInvalid
from appliance.trust.evidence import Evidence, parse_moment

_BEGIN: Final = """\
#!/bin/sh
# The signatures in one piece of evidence of {time}, checked by OpenSSL.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"""
_OCSP_FILES: Final = (
    # By either hash that an answer may name its certificate with; of the other, OpenSSL says that it finds no status.
    "-respin ocsp.der -issuer issuer.pem -sha256 -cert holder.pem -sha1 -cert holder.pem -CAfile issuer.pem"
)
_HUNDRED_YEARS: Final = 100 * 366 * 24 * 3600


def script(evidence: Evidence) -> str:
    """Return the script that checks the signatures in *evidence*; raise EvidenceInvalid where there are none to be found in it."""
    try:
        return _script(evidence)
    except (ApplianceError, ValueError) as error:
        raise EvidenceInvalid("form", f"a certificate or a time in it cannot be read: {error}") from error


def _script(evidence: Evidence) -> str:
    institution, holder = evidence.institution, evidence.holder
    intermediate, leaf = (
        Certificate.from_bytes(part) for part in (institution.intermediate, institution.leaf)
    )
    certificate = x509.load_der_x509_certificate(holder.certificate)
    key = certificate.public_key()
    lines = [
        _BEGIN.format(time=evidence.time),
        _file("intermediate.pub", _pem(intermediate.body.public_key)),
        _file("leaf.pub", _pem(leaf.body.public_key)),
        *_check(
            "the intermediate's key certified the institution's",
            "intermediate.pub",
            evidence.profile.institution_algorithm,
            leaf.body.to_bytes(),
            leaf.signature,
        ),
    ]
    if institution.challenge is not None and institution.signature is not None:
        lines += _check(
            "the institution's key signed the card's challenge",
            "leaf.pub",
            evidence.profile.institution_algorithm,
            institution.challenge,
            institution.signature,
        )
    code = institution.code.encode() if evidence.mode is Mode.PINLESS else b""
    at = int(parse_moment(evidence.time).timestamp())
    lines += [
        _file("holder.der", holder.certificate),
        _file("issuer.der", holder.path[0]),
        "openssl x509 -inform DER -in holder.der -out holder.pem",
        "openssl x509 -inform DER -in issuer.der -out issuer.pem",
        "openssl x509 -in issuer.pem -noout -fingerprint -sha256",
        f"openssl verify -no-CAfile -no-CApath -no-CAstore -trusted issuer.pem -attime {at} holder.pem",
        "openssl x509 -in holder.pem -noout -pubkey > holder.pub",
        *_check(
            "the card signed nonce and institution code" if code else "the card signed the nonce",
            "holder.pub",
            evidence.profile.holder_algorithm,
            evidence.nonce + code,
            holder.signature,
        ),
    ]
    if not isinstance(key, rsa.RSAPublicKey):
        lines.append("# the card's two numbers r and s stand in the file above as DER, as OpenSSL reads them")
    if evidence.revocation.ocsp is not None:
        lines += [
            _file("ocsp.der", evidence.revocation.ocsp.response),
            "# OpenSSL compares the answer's dates with today's; the evidence is of an earlier day",
            "# and it tells the certificate's status also where nobody has signed the answer",
            f"openssl ocsp {_OCSP_FILES} -no_nonce -attime {at} -validity_period {_HUNDRED_YEARS} > ocsp.txt 2>&1 || true",
            "cat ocsp.txt",
            "grep -q '^Response verify OK$' ocsp.txt",
            "grep -q '^holder.pem: good$' ocsp.txt",
        ]
    return "\n".join([*lines, "echo 'every signature holds'", ""])


def _check(
    told: str, key: str, algorithm: Algorithm, message: bytes, signature: bytes
) -> tuple[str, str, str, str]:
    digest = "-sha256"
    if algorithm is Algorithm.ECDSA_P384_SHA384:
        half = len(signature) // 2
        digest = "-sha384"
        signature = encode_dss_signature(int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
    return (
        f"echo 'checking: {told.replace(chr(39), '')}'",
        _file("message.bin", message),
        _file("message.sig", signature),
        f"openssl dgst {digest} -verify {key} -signature message.sig message.bin",
    )


def _file(name: str, content: bytes) -> str:
    return f"base64 -d > {name} <<'END'\n{b64encode(content).decode()}\nEND"


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
