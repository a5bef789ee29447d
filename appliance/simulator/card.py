"""
The software card: bytes in, bytes out, and the state in between.

It plays the public facts of the My Number card first, and the reference profile where they end. No I/O and no
clock; randomness is an argument. Every command is judged in the order of ruling 15: length, class,
instruction, parameters, file, kind of file, form of the lengths, security status, length of the input.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from appliance.card.apdu import SUCCESS, Command, CommandMalformed, Response
from appliance.simulator.applications import applications
from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import Keep
from appliance.simulator.files import SFI_FILES, Anchor, Application, Data, File, Holds, Pin, Shut, SigningKey
from appliance.simulator.institution import InstitutionAuthentication, TrustAnchor
from appliance.simulator.keys import HASH_AND_SIGN, OPERATIONS
from appliance.simulator.status import Refusal, Status, refuse, require

_CHAINING, _CHANNELS = 0x10, range(0x01, 0x04)
_CURRENT, _SFI, _DEFAULT_KEY = 0x80, 0x80, 0x00
_SHORT_LE, _EXTENDED_LE = 256, 65_536
_LONGEST_CHALLENGE: Final = 256
_FIRST_BLOCK, _LAST_BLOCK = 0x06, 0x00
_FILE_ID: Final = 2

_NO_APPLICATION: Final = Application(b"", {}, OPERATIONS, {_CURRENT: None})
"""What is there after a reset: no file at all, and GET CHALLENGE works (card facts 1.7)."""


@dataclass(frozen=True, slots=True)
class _Instruction:
    """The one class under which an instruction is known, and what it does."""

    cla: int
    execute: Callable[["SoftwareCard", Command], bytes]


def is_signature(command: bytes) -> bool:
    """Whether *command* is a COMPUTE DIGITAL SIGNATURE."""
    return command[:2] == b"\x80\x2a"


class SoftwareCard:
    """
    One card made of *data*.

    *random* gives challenges. *keep_tries* is told every new count of a credential's tries, which otherwise live as
    long as this object. *forgets_institution* makes a card that leaves the institution code out of what it
    signs: a fault for tests.
    """

    def __init__(
        self,
        data: CardData,
        *,
        random: Callable[[int], bytes] = os.urandom,
        keep_tries: Keep | None = None,
    ) -> None:
        self.atr = data.atr.value
        self.forgets_institution = False
        self._keep_tries = keep_tries
        self._random = random
        self.remake(data)

    def remake(self, data: CardData) -> None:
        """Become the card made of *data*: what faults do to a card before it is used."""
        self.data = data
        self._applications = applications(data, self._keep_tries)
        self._enter(_NO_APPLICATION)

    def power_on(self) -> bytes:
        """Give the card power, and return its ATR."""
        return self.reset()

    def power_off(self) -> None:
        """Take the card's power: nothing of its state remains but the counts of tries."""
        self._enter(_NO_APPLICATION)

    def reset(self) -> bytes:
        """Reset the card, and return its ATR."""
        self._enter(_NO_APPLICATION)
        return self.atr

    def transmit(self, command: bytes) -> bytes:
        """Return the response to *command*, whatever bytes it consists of."""
        try:
            return Response(self._execute(command), SUCCESS).to_bytes()
        except Refusal as refusal:
            return Response(b"", refusal.status).to_bytes()

    def _enter(self, application: Application) -> None:
        """Make *application* the selected one; all security state falls, and no file is current (ruling 19)."""
        self._application = application
        self._current: int | None = None
        self._verified: set[int] = set()
        self._institution = InstitutionAuthentication()

    def _execute(self, encoded: bytes) -> bytes:
        try:
            command = Command.from_bytes(encoded)
        except CommandMalformed:
            refuse(Status.WRONG_LENGTH)
        if command.cla == _CHAINING or command.cla in _CHANNELS:
            refuse(Status.CHANNEL_UNSUPPORTED)
        instruction = self._INSTRUCTIONS.get(command.ins)
        if instruction is None:
            refuse(Status.INSTRUCTION_UNKNOWN)
        require(command.cla == instruction.cla, Status.CLASS_UNKNOWN)
        return instruction.execute(self, command)

    # --- files ---

    def _find(self, reference: int | None) -> tuple[int, File]:
        """Return id and content of the file *reference*, or of the current one for None."""
        file_id = self._current if reference is None else reference
        if file_id is None:
            refuse(Status.NO_CURRENT_FILE)
        file = self._application.files.get(file_id)
        if file is None:
            refuse(Status.NOT_FOUND)
        return file_id, file

    def _is_open(self, file: Data | SigningKey) -> bool:
        """Whether *file* is free, or one of the credentials that open it is verified."""
        return not file.opened_by or not file.opened_by.isdisjoint(self._verified)

    def _select(self, command: Command) -> bytes:
        match command.p1, command.p2:
            case 0x04, 0x00 | 0x0C:
                require(command.data, Status.WRONG_LENGTH)
                beginning = [each for each in self._applications if each.name.startswith(command.data)]
                require(beginning, Status.NOT_FOUND)
                self._enter(beginning[0])
            case 0x02, 0x0C:
                require(len(command.data) == _FILE_ID, Status.WRONG_LENGTH)
                file_id = int.from_bytes(command.data)
                require(file_id in self._application.files, Status.NOT_FOUND)
                self._current = file_id
            case 0x00, 0x00 if self._application is not _NO_APPLICATION:
                # answered, but changes nothing; the master file 3F00 cannot be named (card facts 1.2)
                require(not command.data, Status.NOT_FOUND)
            case _:
                refuse(Status.WRONG_PARAMETERS)
        return b""

    def _read_binary(self, command: Command) -> bytes:
        if command.p1 & 0x80:
            reference, offset = command.p1 - _SFI, command.p2
            require(reference in SFI_FILES, Status.WRONG_PARAMETERS)
        else:
            reference, offset = None, command.p1 << 8 | command.p2
        file_id, file = self._find(reference)
        if not isinstance(file, Data | Shut):
            refuse(Status.WRONG_KIND_OF_FILE)
        self._current = file_id  # a file found by short id and usable becomes the current one (ruling 18)
        if command.data or command.le is None:
            refuse(Status.WRONG_LENGTH)
        if isinstance(file, Shut) or not self._is_open(file):
            refuse(Status.SECURITY_NOT_SATISFIED)
        require(offset < len(file.content), Status.OUTSIDE_FILE)
        return file.content[offset : offset + command.le]

    # --- the holder's PIN ---

    def _verify(self, command: Command) -> bytes:
        short_id = command.p2 - _SFI
        require(
            command.p1 == 0 and (command.p2 == _CURRENT or short_id in SFI_FILES), Status.WRONG_PARAMETERS
        )
        file_id, file = self._find(None if command.p2 == _CURRENT else short_id)
        if not isinstance(file, Pin) and file != Shut(Holds.CREDENTIAL):
            refuse(Status.WRONG_KIND_OF_FILE)
        self._current = file_id
        require(command.le is None, Status.WRONG_LENGTH)
        if not isinstance(
            file, Pin
        ):  # a shut credential has no tries; OpenSC queries that of the signing key
            refuse(Status.BLOCKED if command.data else Status.TRIES_LEFT)
        if not command.data:
            refuse(file.credential.query)
        try:
            file.credential.verify(command.data)
        except Refusal as refusal:
            if refusal.status != Status.WRONG_LENGTH:  # nothing was compared
                self._verified.discard(file_id)
            raise
        self._verified.add(file_id)
        return b""

    # --- the institution ---

    def _require_anchor(self) -> TrustAnchor:
        """Return the trust anchor, whose file must be the current one."""
        _file_id, file = self._find(None)
        if not isinstance(file, Anchor):
            refuse(Status.CONDITIONS_NOT_SATISFIED)
        return file.anchor

    def _load_certificate(self, command: Command) -> bytes:
        require(command.p1 in {_FIRST_BLOCK, _LAST_BLOCK} and command.p2 == 0xC1, Status.WRONG_PARAMETERS)
        anchor = self._require_anchor()
        self._institution.code = None  # whoever changes the chain has to authenticate again (ruling 1)
        # a block in the wrong form is a block of the wrong length, so that it also consumes what ruling 4 says
        block = command.data if command.extended and command.le in {None, _EXTENDED_LE} else b""
        if command.p1 == _FIRST_BLOCK:
            self._institution.load_first_block(block, anchor.shape)
        else:
            self._institution.load_last_block(block, anchor)
        return b""

    def _get_challenge(self, command: Command) -> bytes:
        require((command.p1, command.p2) == (0x00, 0x00), Status.WRONG_PARAMETERS)
        if command.data or command.le is None:
            refuse(Status.WRONG_LENGTH)
        require(command.le <= _LONGEST_CHALLENGE, Status.CONDITIONS_NOT_SATISFIED)
        return self._institution.new_challenge(command.le, self._random)

    def _external_authenticate(self, command: Command) -> bytes:
        require((command.p1, command.p2) == (0x00, 0x80), Status.WRONG_PARAMETERS)
        anchor = self._require_anchor()
        fits = len(command.data) == anchor.shape.signature_length and command.le in {None, _EXTENDED_LE}
        require(fits, Status.WRONG_LENGTH)
        self._institution.authenticate(command.data)
        return b""

    # --- signatures ---

    def _compute_signature(self, command: Command) -> bytes:
        application = self._application
        require(
            command.p1 in application.operations and command.p2 in application.key_references,
            Status.WRONG_PARAMETERS,
        )
        file_id, file = self._find(application.key_references[command.p2])
        if not isinstance(file, SigningKey) and file != Shut(Holds.KEY):
            refuse(Status.WRONG_KIND_OF_FILE)
        if command.p2 != _DEFAULT_KEY:
            self._current = file_id
        room = file.key.signature_length if isinstance(file, SigningKey) else _SHORT_LE
        if not command.data or command.le is None or command.le < room:
            refuse(Status.WRONG_LENGTH)
        if not isinstance(file, SigningKey):
            refuse(Status.SECURITY_NOT_SATISFIED)
        # with the institution authenticated, its code is always appended, whatever the PIN says (ruling 10)
        code = self._institution.code if file.serves_institution and command.p1 == HASH_AND_SIGN else None
        require(code is not None or self._is_open(file), Status.SECURITY_NOT_SATISFIED)
        require(file.key.takes(command.p1, len(command.data)), Status.WRONG_LENGTH)
        suffix = b"" if code is None or self.forgets_institution else code
        return file.key.sign(command.p1, command.data + suffix)

    _INSTRUCTIONS: ClassVar[Mapping[int, _Instruction]] = {
        0x20: _Instruction(0x00, _verify),
        0x2A: _Instruction(0x80, _compute_signature),
        0x82: _Instruction(0x00, _external_authenticate),
        0x84: _Instruction(0x00, _get_challenge),
        0xA2: _Instruction(0x80, _load_certificate),
        0xA4: _Instruction(0x00, _select),
        0xB0: _Instruction(0x00, _read_binary),
    }
