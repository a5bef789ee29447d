"""The terminal's configuration, and the annotated example that ships."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from appliance.errors import ConfigInvalid, ProfileInvalid
from appliance.hsm.shipped import shipped
from appliance.terminals.agent import settings
from appliance.terminals.agent.settings import PinEntry, TerminalConfiguration, TerminalSettings
from appliance.terminals.transport import Extended
from appliance.trust.jwk import jwk

EXAMPLE = shipped("terminal.toml").read_text("utf-8")
NETWORK = (
    'url = "wss://gateway.test:8443/v1/terminal"\nauthorities = "ca.pem"\n'
    'certificate = "terminal.pem"\nkey_file = "terminal-key.pem"'
)
SOCKET = 'socket = "run/appliance.sock"'


def load(folder: Path, text: str) -> TerminalConfiguration:
    """Return the configuration that *text* is."""
    (folder / "terminal.toml").write_text(text, "utf-8")
    return settings.load(folder / "terminal.toml")


def test_the_example_names_every_setting_there_is(tmp_path: Path) -> None:
    """Whoever reads the example has seen all settings, and what it says in words are the defaults."""
    # Of the two ways to write `url`, the one for several nodes stays out.
    lines = [line for line in EXAMPLE.splitlines() if not line.startswith("#url = [")]
    complete = "\n".join(line[1:] if line.startswith("#") and line[1:2].strip() else line for line in lines)
    table = msgspec.toml.decode(complete)
    for section in msgspec.structs.fields(TerminalSettings):
        shown = table[section.name]
        kind: Any = (
            type(load(tmp_path, EXAMPLE).settings.reader[0]) if section.name == "reader" else section.type
        )
        names = {each.name for each in msgspec.structs.fields(kind)}
        assert set(shown[0] if isinstance(shown, list) else shown) == names
    minimal = '[appliance]\nsocket = "run/appliance.sock"\n[[reader]]\nname = "Virtual PCD 00 00"\nalias = "desk-1"\n'
    assert load(tmp_path, EXAMPLE).settings == load(tmp_path, minimal).settings


def test_the_example_is_for_the_machine_itself(tmp_path: Path) -> None:
    """Without a network there is no TLS, and no PIN entry that nobody has asked for."""
    configuration = load(tmp_path, EXAMPLE)
    assert configuration.tls() is None
    assert configuration.keys() is None
    assert configuration.profile().name == "jpki-reference"
    (desk,) = configuration.desks(PinEntry.NONE).values()
    assert (desk.part, desk.extended, desk.pin_pad) == ("Virtual PCD 00 00", Extended.YES, False)
    assert configuration.desks(PinEntry.PAD)["desk-1"].pin_pad


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (SOCKET, ""),
        (SOCKET, f"{SOCKET}\n{NETWORK}"),
        (SOCKET, NETWORK.replace("wss:", "ws:")),
        (SOCKET, NETWORK.replace("wss:", "https:")),
        (SOCKET, NETWORK.partition("\n")[0]),
        (SOCKET, f'{SOCKET}\nkey_file = "terminal-key.pem"'),
        (SOCKET, NETWORK.replace('"wss://gateway.test:8443/v1/terminal"', "[]")),
        (SOCKET, NETWORK.replace('"wss://gateway.test:8443/v1/terminal"', '["wss://a/", "wss://a/"]')),
        (SOCKET, NETWORK.replace('"wss://gateway.test:8443/v1/terminal"', '["wss://a/", "ws://b/"]')),
        (SOCKET, NETWORK.replace("gateway.test:8443", "gateway.test:99999")),
        (SOCKET, NETWORK.replace("gateway.test:8443", "gateway.test:0")),
        (SOCKET, NETWORK.replace("gateway.test:8443", "[::1")),
        (SOCKET, NETWORK.replace("gateway.test:8443", ":8443")),
        (SOCKET, NETWORK.replace("gateway.test", "name:word@gateway.test")),
        (SOCKET, NETWORK.replace("/v1/terminal", "/v1/terminal\\n")),
        (SOCKET, f"{SOCKET}\npassword = 1"),
        ("longest_pause_seconds = 60.0", "longest_pause_seconds = 0.5"),
        ("shortest_pause_seconds = 1.0", "shortest_pause_seconds = 0.0"),
        ("require_signed = false", 'require_signed = false\nkeys = "jwks.json"'),
        ('entry = "none"', 'entry = "network"'),
        ("seconds = 60.0", "seconds = 0"),
        ('alias = "desk-1"', 'alias = "Desk 1"'),
        ("delay_seconds = 0.0", 'delay_seconds = 0.0\n[[reader]]\nname = "B"\nalias = "desk-1"'),
        ("[[reader]]", "[other]"),
    ],
)
def test_what_cannot_be_is_refused(good: str, bad: str, tmp_path: Path) -> None:
    """Neither and both of two, what has no encryption, values out of bounds, and unknown keys are refused."""
    assert good in EXAMPLE
    with pytest.raises(ConfigInvalid):
        load(tmp_path, EXAMPLE.replace(good, bad))


@given(content=st.binary(max_size=200))
def test_any_file_is_a_configuration_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Any bytes raise ConfigInvalid, and nothing else."""
    path = tmp_path_factory.getbasetemp() / "any-terminal.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid):
        settings.load(path)


def test_a_profile_may_be_a_file_of_one_s_own(tmp_path: Path) -> None:
    """What the institution has filled in is used as at the appliance; a name that does not ship is refused."""
    own = 'profile = "own.toml"'
    packaged = Path(settings.__file__).parents[2] / "card" / "profiles" / "jpki-next.toml"
    (tmp_path / "own.toml").write_bytes(packaged.read_bytes())
    assert load(tmp_path, EXAMPLE.replace('profile = "jpki-reference"', own)).profile().name == "jpki-next"
    with pytest.raises(ProfileInvalid):
        load(tmp_path, EXAMPLE.replace('profile = "jpki-reference"', 'profile = "none"')).profile()


def test_scenario_keys_are_pinned_as_jwk_or_jwks(tmp_path: Path) -> None:
    """One key, or the set that the appliance publishes; only public ones on P-256."""
    configuration = load(
        tmp_path, EXAMPLE.replace("require_signed = false", 'require_signed = true\nkeys = "keys.json"')
    )
    private = ec.generate_private_key(ec.SECP256R1())
    public = jwk(private.public_key())
    documents: list[object] = [public, {"keys": [public]}]
    for document in documents:
        (tmp_path / "keys.json").write_text(json.dumps(document))
        assert configuration.keys() == (private.public_key(),)
    rsa_key = RSAAlgorithm.to_jwk(rsa.generate_private_key(65_537, 2_048).public_key(), as_dict=True)
    secret = public | {"d": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}
    curve = {"kty": "EC", "crv": "P-384", "x": public["x"], "y": public["y"]}
    for document in ({}, {"keys": []}, [], 1, {"keys": [rsa_key]}, rsa_key, secret, curve):
        (tmp_path / "keys.json").write_text(json.dumps(document))
        with pytest.raises(ConfigInvalid):
            configuration.keys()


def test_a_terminal_s_key_is_its_own(tmp_path: Path) -> None:
    """The key file has to be readable by nobody else, and what TLS needs has to be there."""
    configuration = load(tmp_path, EXAMPLE.replace(SOCKET, NETWORK))
    with pytest.raises(ConfigInvalid, match=r"terminal-key\.pem"):
        configuration.tls()
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "terminal-key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o640)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        configuration.tls()
    path.chmod(0o600)
    with pytest.raises(ConfigInvalid, match=r"ca\.pem"):
        configuration.tls()
