"""The whole configuration file."""

from typing import Final

from appliance.config.eligibility import EligibilitySettings
from appliance.config.gateway import GatewaySettings
from appliance.config.hsm import HsmSettings
from appliance.config.institution import InstitutionSettings
from appliance.config.ledger import LedgerSettings
from appliance.config.metrics import MetricsSettings
from appliance.config.peers import PeerSettings, PolicySettings
from appliance.config.result import ResultSettings
from appliance.config.revocation import RevocationSettings
from appliance.config.section import Section
from appliance.config.terminals import ReaderSettings, RemoteSettings
from appliance.config.trust import TrustSettings

_CONFIRMING: Final = 2
"""Operators that it takes to open an emergency window."""


class Settings(Section, frozen=True, kw_only=True):
    """The whole file. `Configuration` knows where it lies."""

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
        if self.policy.emergency_hours and sum(one.role == "operator" for one in self.peer) < _CONFIRMING:
            raise ValueError("policy.emergency_hours needs two peers of the role operator")
