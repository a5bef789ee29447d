"""
The configuration file: TOML in, frozen settings out.

Unknown keys are refused, not ignored: a misspelt safety setting must not silently mean its default. Secrets are
never in the file; it names the files they are in. Paths are relative to the file that names them, so that
a folder with a configuration can be moved as one. `hsm-config/appliance.toml` is the annotated example.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from appliance import credentials
from appliance.errors import ConfigInvalid

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Alias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""What a part is called in results and metrics."""

T = TypeVar("T")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections have in common."""


class ChainSettings(_Section, frozen=True, kw_only=True):
    """One certificate chain of the institution."""

    intermediate: str
    leaf: str


class InstitutionSettings(ChainSettings, frozen=True, kw_only=True):
    """The institution's certificates, and the profile of the cards that take them."""

    profile: str = "jpki-reference"
    """Name of a packaged profile, or path of a profile file."""
    root_key: str | None = None
    """PEM public key of the institution root, where it is known; the real one is not public."""
    next: ChainSettings | None = None
    """The chain that takes over in a rotation, while the keys of both are in the HSM."""

    @property
    def chains(self) -> tuple[ChainSettings, ...]:
        """The chains in order of preference."""
        return (self,) if self.next is None else (self.next, self)


class TokenSettings(_Section, frozen=True, kw_only=True):
    """Where one PKCS#11 token is, and how it is reached."""

    alias: Alias = "hsm-1"
    vendor: str = "softhsm"
    """Name of a vendor profile that is shipped, or path of a profile file."""
    module: str | None = None
    """Path of the vendor's module, where it is not the profile's."""
    token: Name
    pin_file: str
    environment: Mapping[str, str] = {}
    """Variables the module needs. A value that begins with "./" is a path beside the configuration file."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2


class StandbySettings(TokenSettings, frozen=True, kw_only=True):
    """Another HSM with the same keys, which takes over when those before it fail."""

    alias: Alias


class HsmSettings(TokenSettings, frozen=True, kw_only=True):
    """Which PKCS#11 tokens hold the keys, and how long they may take."""

    token_key: str
    """PEM public key of the key that signs result tokens; its private half is in the token."""
    state: str
    """Folder for what has to survive a restart."""
    start_seconds: Seconds = 20.0
    sign_seconds: Seconds = 5.0
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    """The most requests that wait for a worker."""
    canary_seconds: Seconds = 60.0
    challenges_per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 600
    """The most a worker signs with the institution key, whoever asks."""
    standby: tuple[StandbySettings, ...] = ()
    """Other HSMs with the same keys, in order of preference."""

    def __post_init__(self) -> None:
        if len({one.alias for one in self.all}) != 1 + len(self.standby):
            raise ValueError("two HSMs have one alias")

    @property
    def all(self) -> tuple[TokenSettings, ...]:
        """All HSMs in order of preference."""
        return (self, *self.standby)


class TrustSettings(_Section, frozen=True, kw_only=True):
    """Which CAs issue holders' certificates."""

    authorities: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    front_root: str | None = None
    """PEM public key of the root that municipalities' keys for card fronts lead to; without it no front is read."""


class OcspSettings(_Section, frozen=True, kw_only=True):
    """The OCSP responder."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]+$")]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=30)] = 5.0
    """How long an answer may take."""
    identifier: Literal["sha256", "sha1"] = "sha256"
    """The hash by which requests name certificates; no security rests on it (`trust.ocsp.Identifier`)."""
    authorities: str | None = None
    """PEM certificates that the responder's TLS certificate leads to, where they are not the system's."""
    client_certificate: str | None = None
    client_key_file: str | None = None

    def __post_init__(self) -> None:
        if (self.client_certificate is None) is not (self.client_key_file is None):
            raise ValueError("client_certificate and client_key_file go together")


class CrlSettings(_Section, frozen=True, kw_only=True):
    """The folder with the lists of revoked certificates, and the index made of them."""

    folder: str
    state: str
    watch_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 10.0


class RevocationSettings(_Section, frozen=True, kw_only=True):
    """How it is found out whether a holder's certificate was revoked."""

    sources: Annotated[tuple[Literal["ocsp", "crl"], ...], msgspec.Meta(max_length=2)]
    """In which order; none at all means that nothing is checked, and every result says so."""
    when_unavailable: Literal["refuse", "accept-unchecked"] = "refuse"
    longest_age_hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 30)] = 48.0
    """How old knowledge may be, even where its issuer lets it count for longer."""
    crl: CrlSettings | None = None
    ocsp: OcspSettings | None = None

    def __post_init__(self) -> None:
        if len(set(self.sources)) != len(self.sources):
            raise ValueError("a source is named twice")
        for source in self.sources:
            if getattr(self, source) is None:
                raise ValueError(f"the source '{source}' has no section [revocation.{source}]")


class ReaderSettings(_Section, frozen=True, kw_only=True):
    """A PC/SC reader of this machine."""

    name: Name
    """A part of the reader's name that no other reader has."""
    alias: Alias
    """What the reader is called in requests and results; never the raw name."""
    card_seconds: Seconds = 15.0
    exchange_seconds: Seconds = 10.0
    pin_seconds: Seconds = 60.0
    """What the holder gets for entering the PIN."""
    pin_pad: bool = True
    """Whether the reader's own keys are used where it has some."""
    extended: Literal["yes", "no", "chaining"] = "yes"
    """What is done with extended commands, as `terminals.transport.Extended`."""
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Pause before each command but the first, for readers that lose commands in quick succession."""
    face_device: Alias | None = None
    """The device that compares faces at this desk; without one no such check counts here."""


class TlsSettings(_Section, frozen=True, kw_only=True):
    """The listener on the network: TLS 1.3, client certificates required."""

    address: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8443
    certificate: str
    """PEM: the server's certificate and what leads to its root."""
    key_file: str
    clients: str
    """PEM: CAs of client certificates, or pinned certificates themselves."""


class EligibilitySettings(_Section, frozen=True, kw_only=True):
    """The service that is asked, after an authentication, whether the holder is insured."""

    service: Name = "fhir"
    """Which connector speaks with it: an entry point of the group `jpki_appliance.eligibility`."""
    url: Annotated[str, msgspec.Meta(pattern=r"^https://[^@\s/?#]+(?:/[!-~]*)?\Z")]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=30)] = 5.0
    """How long an answer may take."""
    largest_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 20)] = 1 << 18
    """The largest answer that is taken."""
    authorities: str | None = None
    """PEM certificates that the service's TLS certificate leads to, where they are not the system's."""
    client_certificate: str
    client_key_file: str
    options: Mapping[str, str] = {}
    """What the connector alone understands."""


class GatewaySettings(_Section, frozen=True, kw_only=True):
    """Where requests come in, and how many."""

    socket: str | None = "run/appliance.sock"
    """Unix socket; None for none. A socket that systemd hands over takes its place."""
    tls: TlsSettings | None = None
    authentications: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    """The most that may be under way at once."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 4096
    result_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 300.0
    """How long a finished authentication can be asked for."""
    drain_seconds: Seconds = 30.0
    """What running authentications get at the end."""
    notice_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    """For which `/readyz` says at least that it ends, before it does: for load balancers."""


class BudgetSettings(_Section, frozen=True, kw_only=True):
    """What one peer may ask for."""

    per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 60
    at_once: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 8
    per_day: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 20_000


class PeerSettings(_Section, frozen=True, kw_only=True):
    """Who may ask: known by exactly one of a pinned certificate, a name in a certificate, or a Unix account."""

    alias: Alias
    role: Literal["terminal", "reception", "operator", "auditor"]
    certificate_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    certificate_name: Name | None = None
    """DNS name in the subjectAltName of a certificate that leads to `gateway.tls.clients`."""
    user: Name | None = None
    """Unix account, on the local socket."""
    group: Name | None = None
    """Unix group, on the local socket."""
    audience: Name | None = None
    """For whom results are, where it is not `result.audience`."""
    desks: tuple[str, ...] = ()
    """The desks a reception may use; none named means all."""
    face_device: Alias | None = None
    """The device that compares faces at this terminal's desks; without one no such check counts there."""
    budget: BudgetSettings = BudgetSettings()

    def __post_init__(self) -> None:
        if self.face_device is not None and self.role != "terminal":
            raise ValueError("face_device is a terminal's: other peers have no desks")
        known = (self.certificate_sha256, self.certificate_name, self.user, self.group)
        if sum(one is not None for one in known) != 1:
            raise ValueError(
                "a peer is known by exactly one of certificate_sha256, certificate_name, user and group"
            )


class PolicySettings(_Section, frozen=True, kw_only=True):
    """Which checks of the holder may be claimed, beside the PIN and the face devices of desks: by default none."""

    operators: Annotated[tuple[Alias, ...], msgspec.Meta(max_length=1024)] = ()
    """Who may compare a holder with the card's front; none named means that nobody may."""
    decision_seconds: Annotated[float, msgspec.Meta(ge=5, le=300)] = 120.0
    """How long the front may be looked at."""


class RemoteSettings(_Section, frozen=True, kw_only=True):
    """How terminals on the network are treated."""

    heartbeat_seconds: Annotated[float, msgspec.Meta(ge=1, le=300)] = 20.0
    exchange_seconds: Seconds = 10.0
    card_seconds: Seconds = 15.0
    pin_seconds: Seconds = 60.0
    sign_scenarios: bool = True
    """Whether a terminal that insists on signed scenarios gets them; each costs a signature of the token key."""


class MetricsSettings(_Section, frozen=True, kw_only=True):
    """The listener for Prometheus, without TLS: best left on the machine itself."""

    address: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9464
    """0 takes any free port, which the log names."""


class EarlierKeySettings(_Section, frozen=True, kw_only=True):
    """A key that signed result tokens once, in a PEM *file*, and *until* when the last of them lasts."""

    file: str
    until: Annotated[datetime, msgspec.Meta(tz=True)]


class ResultSettings(_Section, frozen=True, kw_only=True):
    """What a result token says of its maker and for whom it is."""

    issuer: Name
    audience: Name
    lifetime_seconds: Annotated[int, msgspec.Meta(ge=10, le=3600)] = 300
    pseudonym_key_file: str
    earlier_token_keys: Annotated[tuple[EarlierKeySettings, ...], msgspec.Meta(max_length=8)] = ()
    """Keys that are published beside `hsm.token_key` until their tokens have ended."""


class SyslogSettings(_Section, frozen=True, kw_only=True):
    """A log server that gets every checkpoint, by syslog over TLS."""

    host: Name
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6514
    authority: str | None = None
    """PEM certificate of the CA of its certificate, where it is none of the system's."""


class WitnessSettings(_Section, frozen=True, kw_only=True):
    """Somebody who checks and cosigns every checkpoint (C2SP tlog-witness)."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")]
    """The submission prefix."""
    key: str
    """The verifier key of its cosignatures, as NAME+ID+KEY."""


class LedgerSettings(_Section, frozen=True, kw_only=True):
    """Where the record of all authentications is kept, and who else gets to know of it."""

    origin: Annotated[str, msgspec.Meta(pattern=r"^[!#-*,-\[\]-~]{1,128}$")]
    """What the log is called in its checkpoints: a name of ours without scheme, another one for each node."""
    key: str
    """PEM public key of the key that signs checkpoints; its private half is in the token."""
    database: Annotated[str, msgspec.Meta(pattern=r"^(?!postgresql://[^/?]*:[^/?]*@)(?!.*password=).+$")]
    """Path of an SQLite file, or a PostgreSQL connection URI without password."""
    append_seconds: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    checkpoint_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36_525)] = 1_827
    copies: str | None = None
    """Folder that gets every checkpoint."""
    syslog: SyslogSettings | None = None
    witness: tuple[WitnessSettings, ...] = ()
    stop_without_copy_hours: Annotated[float, msgspec.Meta(gt=0, le=8_760)] | None = None

    def __post_init__(self) -> None:
        if self.stop_without_copy_hours is not None and not (self.copies or self.syslog or self.witness):
            raise ValueError("ledger.stop_without_copy_hours needs a place for copies")


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file. *folder* is where it lies; `path` resolves what it names."""

    institution: InstitutionSettings
    hsm: HsmSettings
    trust: TrustSettings
    revocation: RevocationSettings
    result: ResultSettings
    ledger: LedgerSettings
    reader: tuple[ReaderSettings, ...] = ()
    eligibility: EligibilitySettings | None = None
    gateway: GatewaySettings = GatewaySettings()
    peer: tuple[PeerSettings, ...] = ()
    terminals: RemoteSettings = RemoteSettings()
    policy: PolicySettings = PolicySettings()
    metrics: MetricsSettings | None = MetricsSettings()

    def __post_init__(self) -> None:
        for aliases in ([one.alias for one in self.reader], [one.alias for one in self.peer]):
            if len(set(aliases)) < len(aliases):
                raise ValueError("two readers, or two peers, have one alias")


class Configuration(msgspec.Struct, frozen=True):
    """Settings and the *folder* their paths start from."""

    settings: Settings
    folder: Path

    def path(self, named: str) -> Path:
        """Return the absolute path of what the file calls *named*; raise ConfigInvalid for an impossible credential."""
        return credentials.located(named) or (self.folder / named).absolute()

    def read(self, named: str) -> bytes:
        """Return the content of the file called *named*, or raise ConfigInvalid."""
        return read_bounded(self.path(named))

    def environment(self, hsm: TokenSettings) -> dict[str, str]:
        """Return the variables of the module of *hsm*, with paths beside the configuration file made absolute."""
        return {
            name: str(self.path(value)) if value.startswith("./") else value
            for name, value in hsm.environment.items()
        }

    def read_secret(self, named: str) -> bytes:
        """Return the content of the secret file called *named*; raise ConfigInvalid if others can read it."""
        return read_secret(self.path(named))


_LARGEST_FILE = 1 << 20


def read_secret(path: Path) -> bytes:
    """Return the content of the secret file at *path*; raise ConfigInvalid if others can read it."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if credentials.open_to_others(path, status):
        raise ConfigInvalid(f"{path} can be read by others than its owner: chmod 600")
    return read_bounded(path)


def read_bounded(path: Path) -> bytes:
    """Return what *path* holds, or raise ConfigInvalid: absent, unreadable, or too large to be meant."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigInvalid(f"{path} is larger than {_LARGEST_FILE} bytes")
    return content


def load(path: Path) -> Configuration:
    """Return the configuration in *path*, or raise ConfigInvalid naming the key that is wrong."""
    return Configuration(decoded(path, Settings), path.absolute().parent)


def decoded(path: Path, kind: type[T]) -> T:
    """Return the *kind* of settings that the TOML file at *path* holds, or raise ConfigInvalid naming what is wrong."""
    content = read_bounded(path)
    try:
        return msgspec.toml.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error
