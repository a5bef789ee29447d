"""
The process that speaks with the HSM: `python -I -m appliance.hsm.ceremony.process`, one errand, then it ends.

It gets its errand on standard input and answers on standard output. It ignores the signals that mean the command
which has sent it, because it may be logging in; what was begun is finished, or taken away again.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.card import cvc
from appliance.config import read_bounded
from appliance.errors import ApplianceError, CeremonyRefused, HsmKeyAmbiguous, HsmUnavailable
from appliance.hsm.ceremony import folder, record, request
from appliance.hsm.ceremony import plan as plans
from appliance.hsm.ceremony.audit import audit
from appliance.hsm.ceremony.errand import (
    ERRANDS,
    Answer,
    Errand,
    FindKey,
    Look,
    MakeKeys,
    Refused,
    Seen,
    Stated,
)
from appliance.hsm.ceremony.plan import Reviewed
from appliance.hsm.ceremony.transcript import (
    ChainImported,
    KeysMade,
    PublicHalf,
    Signed,
    Statement,
    Transcript,
    digest,
    message,
    public_half,
)
from appliance.hsm.ceremony.visit import Visit, public_pem, visit
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.keys import NewKey, make_key
from appliance.hsm.pkcs11.signing import SigningKey
from appliance.hsm.worker.hardening import harden


def answer(errand: Errand) -> Answer:
    """Return what came of *errand*."""
    try:
        reviewed = Reviewed(plans.parse(errand.plan), errand.plan, Path(errand.folder))
        match errand:
            case Look():
                return look(reviewed)
            case MakeKeys():
                return make_keys(reviewed, errand)
            case FindKey():
                return find_key(reviewed, errand)
            case _:
                assert_never(errand)
    except ApplianceError as error:
        return Refused(code=error.code, detail=error.detail)


def look(reviewed: Reviewed) -> Seen:
    """Return what the ceremony would meet."""
    with visit(reviewed, logged_in=False) as here:
        return Seen(
            module=here.module,
            token=here.identity,
            taken=record.taken(here.session, reviewed.vendor, here.keys),
            missing=record.missing_mechanisms(here.token, reviewed.vendor, here.keys),
        )


def make_keys(reviewed: Reviewed, errand: MakeKeys) -> Answer:
    """Make all keys of the plan, or none: what was made before another one failed is destroyed."""
    with visit(reviewed, writable=True) as here:
        earlier = [
            here.signing_key(Role(signer.role), read_bounded(reviewed.path(signer.public_key)))
            for signer in reviewed.plan.countersign
        ]
        if errand.discard is not None:
            record.destroy(here.session, plans.parse(errand.discard).keys)
        if taken := record.taken(here.session, reviewed.vendor, here.keys):
            raise HsmKeyAmbiguous(f"the token holds {', '.join(map(str, taken))}")
        try:
            folder.write(Path(errand.claim), reviewed.content)
        except OSError as error:
            detail = f"{errand.claim} cannot be written: {error.strerror}"
            return Refused(code=CeremonyRefused.code, detail=detail, left=())
        try:
            return _made(here, earlier)
        except ApplianceError as error:
            return Refused(code=error.code, detail=error.detail, left=_take_away(here))
        except Exception as error:  # noqa: BLE001 - whatever it is, no key may stay that nobody was told of
            bug = f"{type(error).__name__} while the keys were made"
            return Refused(code=HsmUnavailable.code, detail=bug, left=_take_away(here))


def find_key(reviewed: Reviewed, errand: FindKey) -> Stated:
    """State that the chain was imported for the key of the ceremony, which is in the token as it was made."""
    transcript = audit(errand.transcript)
    made = transcript.statement
    institution = made.key(Role.INSTITUTION) if isinstance(made, KeysMade) else None
    if institution is None:
        raise CeremonyRefused("no institution key was made in the ceremony of this transcript")
    chain = cvc.check_chain(
        cvc.Certificate.from_bytes(errand.intermediate), cvc.Certificate.from_bytes(errand.leaf)
    )
    signers = tuple(half for half in made.signers if half.role is not Role.INSTITUTION)
    with visit(reviewed) as here:
        keys = {
            half.fingerprint: here.signing_key(half.role, half.public_key.encode())
            for half in (institution, *signers)
        }
        statement = ChainImported(
            **here.stated(),
            countersigners=tuple(public_half(half.role, half.public_key.encode()) for half in signers),
            ceremony=transcript.sha256,
            key=record.key_record(reviewed.vendor, keys[institution.fingerprint]),
            institution_code=chain.institution_code,
            intermediate=errand.intermediate.hex(),
            leaf=errand.leaf.hex(),
            root_key=errand.root_key,
            next=errand.next,
        )
        return _signed(statement, keys)


def _made(here: Visit, earlier: Sequence[SigningKey]) -> Stated:
    vendor = here.reviewed.vendor
    made, asked = [], None
    for planned in here.keys:
        pem = make_key(here.session, vendor, NewKey(planned.role, planned.label, bytes.fromhex(planned.id)))
        key = here.signing_key(planned.role, pem)
        made.append(key)
        if planned.request is not None and isinstance(key.pinned, rsa.RSAPublicKey):
            asked = request.make(planned.request, key.pinned, key.sign)
    records = tuple(record.key_record(vendor, key) for key in made)
    countersigners = tuple(public_half(key.role, public_pem(key)) for key in earlier)
    statement = KeysMade(**here.stated(), countersigners=countersigners, keys=records, request=asked)
    halves: tuple[PublicHalf, ...] = (*records, *countersigners)
    return _signed(
        statement, {half.fingerprint: key for half, key in zip(halves, (*made, *earlier), strict=True)}
    )


def _signed(statement: Statement, keys: dict[str, SigningKey]) -> Stated:
    hashed = digest(statement)
    signatures = tuple(
        Signed(fingerprint=half.fingerprint, signature=keys[half.fingerprint].sign(message(hashed)).hex())
        for half in statement.signers
    )
    transcript = Transcript(sha256=hashed.hex(), signatures=signatures, statement=statement)
    return Stated(transcript=transcript.to_bytes())


def _take_away(here: Visit) -> tuple[str, ...]:
    """Destroy the keys that were made so far; return the names of those that are still there."""
    try:
        with here.another_session() as session:
            record.destroy(session, here.keys)
            return tuple(map(str, record.taken(session, here.reviewed.vendor, here.keys)))
    except ApplianceError as error:
        return (f"what could not be destroyed ({error.detail})",)
    except Exception as error:  # noqa: BLE001 - as in `make_keys`
        return (f"what could not be destroyed ({type(error).__name__})",)


def main() -> int:
    """Do the one errand on standard input."""
    harden()
    # Modules print; what they print must not get between the bytes of the answer.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        errand = ERRANDS.decode(sys.stdin.buffer.read())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        sys.stderr.write(f"not an errand: {type(error).__name__}\n")
        return os.EX_USAGE
    try:
        with output:
            output.write(msgspec.msgpack.encode(answer(errand)))
    except BrokenPipeError:
        return HsmUnavailable.exit_status  # the command that wanted to know is gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
