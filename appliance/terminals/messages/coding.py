"""Messages as the text of frames."""

from typing import Final, TypeVar

import msgspec

from appliance.errors import TerminalMessageInvalid
from appliance.terminals.messages.frame import LARGEST_FRAME
from appliance.terminals.messages.from_appliance import FromAppliance
from appliance.terminals.messages.from_terminal import FromTerminal
from appliance.terminals.messages.scenario import ScenarioClaims

T = TypeVar("T")

_ENCODER: Final = msgspec.json.Encoder()
_FROM_TERMINAL: Final[msgspec.json.Decoder[FromTerminal]] = msgspec.json.Decoder(FromTerminal)
_FROM_APPLIANCE: Final[msgspec.json.Decoder[FromAppliance]] = msgspec.json.Decoder(FromAppliance)
_CLAIMS: Final = msgspec.json.Decoder(ScenarioClaims)


def encode(message: FromTerminal | FromAppliance) -> str:
    """Return *message* as the text of a frame. One that is too long is the caller's bug."""
    text = _ENCODER.encode(message)
    if len(text) > LARGEST_FRAME:
        raise ValueError(f"a message of {len(text)} bytes does not fit into a frame")
    return text.decode()


def decode_from_terminal(frame: str | bytes) -> FromTerminal:
    """Return what a terminal says with *frame*, or raise TerminalMessageInvalid."""
    return _decode(_FROM_TERMINAL, frame)


def decode_from_appliance(frame: str | bytes) -> FromAppliance:
    """Return what the appliance says with *frame*, or raise TerminalMessageInvalid."""
    return _decode(_FROM_APPLIANCE, frame)


def decode_claims(payload: str | bytes) -> ScenarioClaims:
    """Return the claims that the *payload* of a signed scenario holds, or raise TerminalMessageInvalid."""
    return _decode(_CLAIMS, payload)


def _decode(decoder: msgspec.json.Decoder[T], frame: str | bytes) -> T:
    try:
        content = frame.encode() if isinstance(frame, str) else frame
        if len(content) > LARGEST_FRAME:
            raise TerminalMessageInvalid(f"a frame of {len(content)} bytes")
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # The decoder's own text may quote what it read; the kind of error is enough.
        raise TerminalMessageInvalid(f"a frame is none of ours ({type(error).__name__})") from error
