"""
The configuration file: TOML in, frozen settings out.

Unknown keys are refused, not ignored: a misspelt safety setting must not silently mean its default. Secrets are
never in the file; it names the files they are in. Paths are relative to the file that names them, so that
a folder with a configuration can be moved as one. `hsm-config/appliance.toml` is the annotated example.
"""

from appliance.config.configuration import Configuration, load
from appliance.config.eligibility import EligibilitySettings
from appliance.config.files import decoded, read_bounded, read_secret
from appliance.config.gateway import GatewaySettings, TlsSettings
from appliance.config.hsm import HsmSettings, StandbySettings, TokenSettings
from appliance.config.institution import ChainSettings, InstitutionSettings
from appliance.config.ledger import LedgerSettings, SyslogSettings, WitnessSettings
from appliance.config.metrics import MetricsSettings
from appliance.config.peers import BudgetSettings, PeerSettings, PolicySettings
from appliance.config.result import EarlierKeySettings, ResultSettings
from appliance.config.revocation import CrlSettings, OcspSettings, RevocationSettings
from appliance.config.section import Alias, Name, Seconds
from appliance.config.settings import Settings
from appliance.config.terminals import ReaderSettings, RemoteSettings
from appliance.config.trust import TrustSettings

__all__ = [
    "Alias",
    "BudgetSettings",
    "ChainSettings",
    "Configuration",
    "CrlSettings",
    "EarlierKeySettings",
    "EligibilitySettings",
    "GatewaySettings",
    "HsmSettings",
    "InstitutionSettings",
    "LedgerSettings",
    "MetricsSettings",
    "Name",
    "OcspSettings",
    "PeerSettings",
    "PolicySettings",
    "ReaderSettings",
    "RemoteSettings",
    "ResultSettings",
    "RevocationSettings",
    "Seconds",
    "Settings",
    "StandbySettings",
    "SyslogSettings",
    "TlsSettings",
    "TokenSettings",
    "TrustSettings",
    "WitnessSettings",
    "decoded",
    "load",
    "read_bounded",
    "read_secret",
]
