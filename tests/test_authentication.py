"""One authentication, from card to token, with a software card and nothing between."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.authentication import (
    Authentication,
    Authenticator,
    Card,
    CheckMethod,
    IdentityCheck,
    Request,
    Reservation,
    converse,
)
from appliance.card.apdu import Response
from appliance.card.cvc import check_chain
from appliance.card.dialogue import Dialogue, Exchange, InstitutionSignature
from appliance.card.jpki import Mode
from appliance.card.profile import shipped
from appliance.chains import Chains, fingerprint
from appliance.errors import (
    ApplianceError,
    CertificateExpired,
    CertificateRevoked,
    CertificateUntrusted,
    FrontMissing,
    HolderNotMatched,
    HsmUnavailable,
    IdentityCheckMissing,
    InstitutionChainRefused,
    InstitutionSignatureRefused,
    PinRejected,
    ProofInvalid,
    WrongMode,
)
from appliance.revocation.policy import Sources
from appliance.simulator.card import SoftwareCard
from appliance.simulator.faults import Answer, Fault, FaultyCard, PinForPinless, WrongSignature
from appliance.simulator.holder_pki import HolderOptions
from appliance.simulator.pki import Hierarchy
from appliance.terminals.steps import perform
from appliance.trust.certificates import Anchors, HolderCertificate
from appliance.trust.decision import STEPS, Trust, decide
from appliance.trust.revocation import Standing

VISUAL = IdentityCheck(CheckMethod.VISUAL, "operator-3")
PINLESS = Request(Mode.PINLESS, "desk-1", IdentityCheck(CheckMethod.FACE, "kiosk-1"))
PIN = Request(Mode.PIN, "desk-1")


@dataclass(slots=True)
class Terminal:
    """A software card behind the far end of exchanges, and how many of them there were."""

    card: FaultyCard
    pin: str = "1234"
    exchanges: list[Exchange] = field(default_factory=list)

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps on the card."""
        self.exchanges.append(exchange)
        return perform(exchange, self._transmit, lambda: self.pin)

    def _transmit(self, command: bytes) -> bytes:
        outcome = self.card.respond(command)
        assert isinstance(outcome, Answer)
        return outcome.octets


@dataclass(slots=True)
class Key:
    """An institution key in memory, and how often it signed."""

    private_key: rsa.RSAPrivateKey
    signed: list[bytes] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def sign_challenge(self, challenge: bytes, key: str) -> bytes:
        """Sign as the HSM does."""
        self.keys.append(key)
        self.signed.append(challenge)
        return self.private_key.sign(challenge, padding.PKCS1v15(), SHA256())


@dataclass(slots=True)
class Refusing:
    """Knowledge that a certificate was revoked."""

    async def check(self, _holder: HolderCertificate, _now: datetime) -> Standing:
        """Say so."""
        raise CertificateRevoked("as this test wants it")


class Written:
    """Tokens that are only the words."""

    async def issue(self, result: Authentication) -> str:
        """Return what the token would say."""
        return f"{result.holder.proved.mode} {result.identity_check.method} {result.standing.result}"


@dataclass(slots=True)
class Memory:
    """A ledger that is a list."""

    origin: str = "example.com/memory"
    reserved: list[Reservation] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    async def reserve(self, reservation: Reservation) -> int:
        """Remember."""
        self.reserved.append(reservation)
        return len(self.reserved) - 1

    async def finish(self, reserved: int, outcome: Authentication | ApplianceError) -> int:
        """Remember."""
        self.outcomes.append(outcome.code if isinstance(outcome, ApplianceError) else "authenticated")
        return reserved + 1

    def abandon(self, reserved: int) -> None:
        """Refuse: nothing is cancelled here."""
        raise AssertionError(f"abandoned {reserved}")


@pytest.fixture(scope="session")
def institution_key() -> rsa.RSAPrivateKey:
    """Return the institution's key."""
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture
def key(institution_key: rsa.RSAPrivateKey) -> Key:
    """Return a signer that counts."""
    return Key(institution_key)


@pytest.fixture
def authenticator(hierarchy: Hierarchy, key: Key, now: datetime) -> Authenticator:
    """Return an authenticator for the institution 9912345."""
    leaf = hierarchy.issue_institution(key.private_key.public_key(), "9912345")
    chain = check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key)
    anchors = Anchors(hierarchy.ca_certificates)
    return Authenticator(
        shipped("jpki-reference"),
        Chains(chain),
        anchors,
        key,
        Written(),
        lambda: now,
        lambda length: b"\x11" * length,
        Sources([]),
        Memory(),
    )


def terminal(
    hierarchy: Hierarchy, now: datetime, *faults: Fault, pin: str = "1234", **options: HolderOptions
) -> Terminal:
    """Return a terminal with a new card on it."""
    card = FaultyCard(SoftwareCard(hierarchy.issue_card(now=now, **options)), faults)  # type: ignore[arg-type]
    card.power_on()
    return Terminal(card, pin)


async def test_without_a_pin_it_takes_two_exchanges_and_one_signature(
    authenticator: Authenticator, hierarchy: Hierarchy, key: Key, now: datetime
) -> None:
    """The card proves its holder to the institution in two round trips; the result says pinless and unchecked."""
    at = terminal(hierarchy, now)
    result, words = await authenticator.authenticate(PINLESS, at)
    assert len(at.exchanges) == 2
    assert [len(challenge) for challenge in key.signed] == [16]
    assert result.holder.proved.institution_code == "9912345"
    assert result.time == now
    assert words == "pinless face unchecked"


async def test_with_the_pin_it_takes_one_exchange_and_no_signature(
    authenticator: Authenticator, hierarchy: Hierarchy, key: Key, now: datetime
) -> None:
    """The holder's PIN needs no institution key, and one round trip."""
    at = terminal(hierarchy, now)
    _, words = await authenticator.authenticate(PIN, at)
    assert len(at.exchanges) == 1
    assert key.signed == []
    assert words == "pin pin unchecked"


@pytest.mark.parametrize("check", [None, IdentityCheck(CheckMethod.PIN, "desk-1")])
async def test_pinless_without_an_identity_check_is_refused_before_anything(
    check: IdentityCheck | None, authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """Nobody is authenticated without a PIN whom nobody has looked at; the card is not even touched."""
    at = terminal(hierarchy, now)
    with pytest.raises(IdentityCheckMissing):
        await authenticator.authenticate(Request(Mode.PINLESS, "desk-1", check), at)
    assert at.exchanges == []


async def test_a_visual_check_is_made_on_the_card_that_proves_its_holder(
    authenticator: Authenticator, hierarchy: Hierarchy, key: Key, now: datetime
) -> None:
    """Without anybody who compares, the card is not touched; who compares sees this card before any key is used."""
    at = terminal(hierarchy, now)
    seen: list[tuple[Card, list[bytes], int]] = []
    request = Request(Mode.PINLESS, "desk-1", VISUAL)

    async def compare(card: Card) -> None:
        seen.append((card, list(key.signed), len(at.exchanges)))
        if len(seen) == 1:
            raise HolderNotMatched("as this test wants it")

    with pytest.raises(FrontMissing):
        await authenticator.authenticate(request, at)
    with pytest.raises(HolderNotMatched):
        await authenticator.authenticate(request, at, compare=compare)
    assert (at.exchanges, key.signed) == ([], [])
    _, words = await authenticator.authenticate(request, at, compare=compare)
    assert seen == 2 * [(at, [], 0)]
    assert words == "pinless visual unchecked"


@pytest.mark.parametrize(("fault", "error"), [(WrongSignature(), ProofInvalid), (PinForPinless(), WrongMode)])
async def test_a_lying_card_gets_no_token(
    fault: Fault, error: type[Exception], authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """A tampered signature and a PIN proof in a PIN-less one's place are refused, each for its reason."""
    with pytest.raises(error):
        await authenticator.authenticate(PINLESS, terminal(hierarchy, now, fault))


async def test_an_expired_card_gets_no_token(
    authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """A perfect proof with an expired certificate is refused."""
    options: HolderOptions = {"expired": True}
    with pytest.raises(CertificateExpired):
        await authenticator.authenticate(PINLESS, terminal(hierarchy, now, **options))  # type: ignore[arg-type]


async def test_a_wrong_pin_is_tried_once(
    authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """A wrong PIN costs one try and ends the authentication."""
    at = terminal(hierarchy, now, pin="0000")
    with pytest.raises(PinRejected) as caught:
        await authenticator.authenticate(PIN, at)
    assert caught.value.tries_left == 2


async def test_another_key_than_the_certified_one_is_refused_by_the_card(
    authenticator: Authenticator, hierarchy: Hierarchy, key: Key, now: datetime
) -> None:
    """Were the HSM's key another one, the card itself would refuse, and there would be no proof."""
    root_key = hierarchy.institution.root_key
    assert isinstance(root_key, rsa.RSAPrivateKey)
    key.private_key = root_key
    with pytest.raises(InstitutionSignatureRefused):
        await authenticator.authenticate(PINLESS, terminal(hierarchy, now))


class Unavailable:
    """A signer without an HSM behind it."""

    async def sign_challenge(self, challenge: bytes, key: str) -> bytes:
        """Refuse."""
        raise HsmUnavailable(f"no worker for {len(challenge)} bytes and {key}")


async def test_a_signer_that_fails_ends_it_after_one_exchange(
    authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """Without the HSM nothing more is asked of the card, and the reason reaches the caller."""
    at = terminal(hierarchy, now)
    with pytest.raises(HsmUnavailable):
        await replace(authenticator, signer=Unavailable()).authenticate(PINLESS, at)
    assert len(at.exchanges) == 1


async def test_every_nonce_is_drawn_anew(
    authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """The nonce the card signs comes from the random source, and differs in its last byte's top bit alone."""
    at = terminal(hierarchy, now)
    await authenticator.authenticate(PINLESS, at)
    (sign,) = (step for step in at.exchanges[1].steps if step.name == "sign")
    assert re.search(rb"\x11{31}\x91", sign.command.data)  # type: ignore[union-attr]


async def _never(challenge: bytes) -> bytes:
    raise AssertionError(f"asked to sign {len(challenge)} bytes")


@pytest.fixture(scope="session")
def stranger(now: datetime) -> Hierarchy:
    """Return a hierarchy that the test cards do not trust."""
    return Hierarchy.create(now)


def rotating(
    authenticator: Authenticator, made_by: Hierarchy, key: Key, code: str = "9912345"
) -> Authenticator:
    """Return the authenticator with a new chain, made by a hierarchy, before its own."""
    leaf = made_by.issue_institution(key.private_key.public_key(), code)
    new = check_chain(made_by.institution.intermediate, leaf)
    return replace(authenticator, chains=Chains(new, authenticator.chains.preferred))


async def test_a_new_chain_that_the_card_takes_is_used(
    authenticator: Authenticator, hierarchy: Hierarchy, now: datetime
) -> None:
    """In a rotation the new chain is offered first, and its key is the one that is asked to sign."""
    other = Key(rsa.generate_private_key(65_537, 2_048))
    rotated = replace(rotating(authenticator, hierarchy, other), signer=other)
    at = terminal(hierarchy, now)
    await rotated.authenticate(PINLESS, at)
    assert len(at.exchanges) == 2
    assert len(other.signed) == 1
    assert other.keys == [fingerprint(rotated.chains.preferred)]
    assert other.keys != [fingerprint(authenticator.chains.preferred)]


async def test_a_new_chain_that_no_card_has_taken_falls_back(
    authenticator: Authenticator, hierarchy: Hierarchy, stranger: Hierarchy, key: Key, now: datetime
) -> None:
    """A card that refuses the unproven chain is offered the old one, in the same session, and nothing is signed twice."""
    rotated = rotating(authenticator, stranger, key)
    for _ in range(2):
        at = terminal(hierarchy, now)
        result, _ = await rotated.authenticate(PINLESS, at)
        assert result.holder.proved.institution_code == "9912345"
        assert len(at.exchanges) == 3
    assert key.keys == [fingerprint(authenticator.chains.preferred)] * 2


async def test_a_card_that_proves_nothing_does_not_prove_a_chain(
    authenticator: Authenticator, hierarchy: Hierarchy, stranger: Hierarchy, key: Key, now: datetime
) -> None:
    """Whoever takes the new chain and is no genuine card does not take the old one away from those that are."""
    rotated = rotating(authenticator, stranger, key)
    with pytest.raises(CertificateUntrusted):
        await rotated.authenticate(PINLESS, terminal(stranger, now))
    await rotated.authenticate(PINLESS, terminal(hierarchy, now))


async def test_a_proven_chain_that_a_card_refuses_is_refused(
    authenticator: Authenticator, hierarchy: Hierarchy, stranger: Hierarchy, key: Key, now: datetime
) -> None:
    """Once a card has taken the new chain, a card that refuses it is refused, as with one chain alone."""
    rotated = rotating(authenticator, stranger, key)
    rotated.chains.taken(rotated.chains.preferred)
    at = terminal(hierarchy, now)
    with pytest.raises(InstitutionChainRefused):
        await rotated.authenticate(PINLESS, at)
    assert len(at.exchanges) == 1
    alone = replace(rotated, chains=Chains(rotated.chains.preferred))
    with pytest.raises(InstitutionChainRefused):
        await alone.authenticate(PINLESS, terminal(hierarchy, now))
    assert key.signed == []


def test_an_institution_without_a_chain_is_a_bug() -> None:
    """There is at least one chain."""
    with pytest.raises(ValueError, match="at least one"):
        Chains()


async def test_a_leaking_channel_cannot_end_a_dialogue_as_if_it_had_succeeded() -> None:
    """A StopIteration out of a card is an error, and never the dialogue's result."""

    def dialogue() -> Dialogue[str]:
        yield Exchange(())
        yield InstitutionSignature(b"")
        return "never"

    class Leaking:
        async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
            nothing: list[tuple[Response, ...]] = [() for _ in exchange.steps]
            return next(iter(nothing))

    with pytest.raises(RuntimeError):
        await converse(dialogue(), Leaking(), _never)


async def test_a_holder_who_is_revoked_gets_no_token(
    hierarchy: Hierarchy, authenticator: Authenticator, now: datetime
) -> None:
    """A perfect proof with a revoked certificate is refused, and no token is made."""
    with pytest.raises(CertificateRevoked):
        await replace(authenticator, revocation=Refusing()).authenticate(PINLESS, terminal(hierarchy, now))


@pytest.mark.parametrize("request_", [PINLESS, PIN], ids=["pinless", "pin"])
async def test_the_caller_gets_evidence(
    request_: Request, hierarchy: Hierarchy, authenticator: Authenticator, now: datetime
) -> None:
    """What comes with the token decides the same again, with nothing but the CAs."""
    result, _ = await authenticator.authenticate(request_, terminal(hierarchy, now))
    trust = Trust(Anchors(hierarchy.ca_certificates), hierarchy.root_key)
    assert tuple(step.name for step in decide(result.evidence, trust)) == STEPS
    assert "evidence" not in repr(result)


async def test_a_certificate_near_its_end_is_a_warning(
    hierarchy: Hierarchy, authenticator: Authenticator, now: datetime
) -> None:
    """Ninety days before its end a certificate still does, and the result says that it ends soon."""
    card = terminal(hierarchy, now)
    first, _ = await authenticator.authenticate(PINLESS, card)
    later = first.holder.certificate.not_after - timedelta(days=89)
    second, _ = await replace(authenticator, clock=lambda: later).authenticate(PINLESS, card)
    assert (first.ends_soon, second.ends_soon) == (False, True)
