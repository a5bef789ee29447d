"""
The card's answer: does it prove what was asked, in the mode that was asked for.

The verifier is told the mode before the card answers and checks exactly that message. An answer that would do in
the other mode is an error of its own, never a success (reference profile 2).
"""

from dataclasses import dataclass
from datetime import datetime

from appliance.card.algorithm import Algorithm, fits, verified
from appliance.card.jpki import HolderProof, Mode
from appliance.card.nonce import Nonce
from appliance.errors import CertificateUnsuitable, Defect, ProofInvalid, WrongMode
from appliance.trust import certificates
from appliance.trust.certificates import Anchors, HolderCertificate


@dataclass(frozen=True, slots=True)
class Expectation:
    """
    What the card was asked to sign: *nonce*, in *mode*, with the institution's code where it is PIN-less.

    *algorithm* is what the card profile says that holders sign with.
    """

    mode: Mode
    nonce: Nonce
    institution_code: str
    algorithm: Algorithm

    def message(self, mode: Mode) -> bytes:
        """Return the bytes that a card signs in *mode*."""
        match mode:
            case Mode.PINLESS:
                return self.nonce.octets + self.institution_code.encode("ascii")
            case Mode.PIN:
                return self.nonce.octets


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody whose card answered *proved*; made by `verify` alone. Not yet checked for revocation."""

    proved: Expectation
    certificate: HolderCertificate


def verify(proof: HolderProof, expected: Expectation, anchors: Anchors, now: datetime) -> Holder:
    """
    Return the holder who answered *expected*, or refuse.

    Checks, in this order, and nothing else:
      1. the certificate is one that can be believed at *now* (`certificates.verify`);
      2. its key is one for the expected algorithm: otherwise CertificateUnsuitable;
      3. the proof is for our nonce, and its signature over exactly our message in the expected mode;
         WrongMode if it is over the other mode's message, else ProofInvalid.

    Revocation is the caller's duty: `authentication` asks for it next.
    """
    return proved(proof, expected, believe(proof.certificate, anchors, now))


def believe(der: bytes, anchors: Anchors, now: datetime) -> HolderCertificate:
    """Return the certificate in *der* as one to believe at *now*: check 1 of `verify`."""
    return certificates.verify(certificates.parse(der), anchors, now)


def proved(proof: HolderProof, expected: Expectation, certificate: HolderCertificate) -> Holder:
    """Return the holder of *certificate*, who answered *expected*: checks 2 and 3 of `verify`."""
    # Taken once: the library makes a new key of the certificate each time.
    key = certificate.public_key
    if not fits(expected.algorithm, key):
        raise CertificateUnsuitable(
            Defect.PROFILE, f"the holder's key is not one for {expected.algorithm}, as the profile says"
        )
    if proof.nonce != expected.nonce:
        raise ProofInvalid("the proof is for another nonce than the one that was asked for")

    def proves(mode: Mode) -> bool:
        return verified(expected.algorithm, key, proof.signature, expected.message(mode))

    if proves(expected.mode):
        return Holder(expected, certificate)
    for other in set(Mode) - {expected.mode}:
        if proves(other):
            raise WrongMode(f"asked for a proof in mode '{expected.mode}', got one in mode '{other}'")
    raise ProofInvalid("the card's signature is not over the message that was asked for")
