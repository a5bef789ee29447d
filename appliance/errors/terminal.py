"""Terminals on the network: absent, lost, breaking the rules, refusing."""

from appliance.errors.base import ApplianceError


class TerminalError(ApplianceError):
    """A terminal on the network did not do its part, or was not let in."""


class DeskUnknown(TerminalError):
    """No reader or terminal of ours has that desk."""

    code = "desk_unknown"


class TerminalAbsent(TerminalError):
    """The desk's terminal is not connected."""

    code = "terminal_absent"


class TerminalLost(TerminalError):
    """The connection to the terminal ended in the middle."""

    code = "terminal_lost"


class TerminalCancelled(TerminalError):
    """A person at the terminal ended it."""

    code = "terminal_cancelled"


class TerminalMessageInvalid(TerminalError):
    """A frame is not a message of the terminal protocol."""

    code = "terminal_message_invalid"


class TerminalProtocolViolated(TerminalError):
    """A message came that may not come here: out of order, repeated, late, or of another session."""

    code = "terminal_protocol_violated"


class TerminalFlooding(TerminalError):
    """A terminal sends, or connects, more often than any terminal needs."""

    code = "terminal_flooding"


class TerminalSigningOff(TerminalError):
    """The terminal insists on signed scenarios, which the configuration does not allow."""

    code = "terminal_signing_off"


class TerminalsFull(TerminalError):
    """No more terminals are taken now: there are too many, or the appliance is about to stop."""

    code = "terminals_full"


class TerminalCommandRefused(TerminalError):
    """The terminal does not send one of our commands to a card: its allow-list has no such command."""

    code = "terminal_command_refused"


class TerminalSignatureRefused(TerminalError):
    """The terminal did not accept a scenario's signature."""

    code = "terminal_signature_refused"
