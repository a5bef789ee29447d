"""
The import of the institution's certificates, once they are issued for the key that a ceremony has made.

The files that the appliance's configuration names are added one by one, each whole, the leaf last: until it is
there the appliance does not start with the chain. None is ever replaced, and a file that is there with the very
content is left, so an import that was killed is completed by another. A chain in service stays where it is: the next
one goes to the files of `institution.next`, and both keys live until the old one is retired.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance import config
from appliance.card import cvc
from appliance.config import ChainSettings, Configuration, read_bounded
from appliance.errors import CeremonyRefused, ConfigInvalid, InstitutionKeyMismatch
from appliance.hsm.ceremony import folder
from appliance.hsm.ceremony.audit import audit
from appliance.hsm.ceremony.errand import FindKey, Stated, expected, send
from appliance.hsm.ceremony.plan import Reviewed
from appliance.hsm.ceremony.run import TRANSCRIPT
from appliance.hsm.ceremony.transcript import ChainImported, KeysMade, Transcript
from appliance.hsm.messages import Role

_IMPORT = "import-{digest:.16}.json"


@dataclass(frozen=True, slots=True)
class Received:
    """What the institution got back for its request, as files."""

    intermediate: Path
    leaf: Path
    root_key: Path | None = None
    """PEM public key of the root, where it is known."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has brought about: its *transcript* in the file *record*, and the *files* of the appliance."""

    transcript: Transcript
    record: Path
    files: tuple[Path, ...]

    @property
    def statement(self) -> ChainImported:
        """What is stated."""
        if not isinstance(self.transcript.statement, ChainImported):
            raise TypeError(type(self.transcript.statement))
        return self.transcript.statement


def import_chain(reviewed: Reviewed, received: Received, *, as_next: bool = False) -> Imported:
    """
    Import the chain *received* for the institution key of the ceremony of *reviewed*; *as_next*, beside the present.

    Checks, in this order, before anything is written:
      1. shape of both certificates, the leaf's signature, and the intermediate's where the root's key is given;
      2. the ceremony's transcript, that it is of this plan, and that the leaf certifies the key it tells of;
      3. that no file would be replaced, neither a chain in service nor a pinned key, and that a next chain is of the
         institution in service;
      4. that the key is in the token, is as safe as it was, and signs.
    """
    content = {
        "intermediate": read_bounded(received.intermediate),
        "leaf": read_bounded(received.leaf),
    }
    root_key = None if received.root_key is None else _root_key(received.root_key)
    chain = cvc.check_chain(
        cvc.Certificate.from_bytes(content["intermediate"]),
        cvc.Certificate.from_bytes(content["leaf"]),
        root_key,
    )
    transcript, made = _ceremony(reviewed)
    key = made.key(Role.INSTITUTION)
    if key is None:
        raise CeremonyRefused("no institution key was made in this ceremony")
    certified = chain.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    if certified != key.public_key:
        raise InstitutionKeyMismatch("the leaf certifies another key than the one made in this ceremony")
    root_pem = None if root_key is None else _pem(root_key)
    files = dict(_files(reviewed, made, content, root_pem, as_next=as_next))
    if as_next:
        _refuse_unrelated(reviewed, chain)
    for path, written in files.items():
        folder.refuse_other(path, written)
    errand = FindKey(
        plan=reviewed.content,
        folder=str(reviewed.folder),
        transcript=transcript.to_bytes(),
        intermediate=content["intermediate"],
        leaf=content["leaf"],
        root_key=root_pem,
        next=as_next,
    )
    stated = expected(send(errand, reviewed), Stated).transcript
    imported = audit(stated)
    record = reviewed.output / _IMPORT.format(digest=imported.sha256)
    try:
        for path, written in {record: stated, **files}.items():
            folder.add(path, written)
    except OSError as error:
        raise ConfigInvalid(f"{error.filename} cannot be written: {error.strerror}") from error
    return Imported(imported, record, tuple(files))


def _refuse_unrelated(reviewed: Reviewed, chain: cvc.Chain) -> None:
    """Raise CeremonyRefused unless *chain* is of the institution in service: a rotation changes its key alone."""
    configuration = _configuration(reviewed)
    present = cvc.Certificate.from_bytes(configuration.read(configuration.settings.institution.leaf))
    if present.body.holder.code != chain.institution_code:
        raise CeremonyRefused(
            f"the leaf is of institution {chain.institution_code}, in service is {present.body.holder.code}"
        )


def _ceremony(reviewed: Reviewed) -> tuple[Transcript, KeysMade]:
    transcript = audit(read_bounded(reviewed.output / TRANSCRIPT))
    made = transcript.statement
    if not isinstance(made, KeysMade) or made.plan_sha256 != reviewed.sha256:
        raise CeremonyRefused(f"the transcript in {reviewed.output} is of another plan than this file")
    return transcript, made


def _files(
    reviewed: Reviewed, made: KeysMade, content: Mapping[str, bytes], root_key: str | None, *, as_next: bool
) -> Iterator[tuple[Path, bytes]]:
    """Yield path and content of what the appliance's configuration names, the leaf last."""
    configuration = _configuration(reviewed)
    settings = configuration.settings
    chain: ChainSettings | None = settings.institution.next if as_next else settings.institution
    if chain is None:
        raise CeremonyRefused("the appliance's configuration names no institution.next")
    for role, pinned in ((Role.TOKEN, settings.hsm.token_key), (Role.LEDGER, settings.ledger.key)):
        if (key := made.key(role)) is not None:
            yield configuration.path(pinned), key.public_key.encode()
    if root_key is not None and settings.institution.root_key is not None:
        yield configuration.path(settings.institution.root_key), root_key.encode()
    yield configuration.path(chain.intermediate), content["intermediate"]
    yield configuration.path(chain.leaf), content["leaf"]


def _configuration(reviewed: Reviewed) -> Configuration:
    if reviewed.plan.installation is None:
        raise CeremonyRefused("the plan names no installation.configuration to import into")
    return config.load(reviewed.path(reviewed.plan.installation.configuration))


def _root_key(path: Path) -> rsa.RSAPublicKey:
    try:
        key = load_pem_public_key(read_bounded(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{path} holds no PEM public key") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigInvalid(f"{path} holds no RSA key")
    return key


def _pem(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
