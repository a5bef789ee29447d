"""
The process that holds a PKCS#11 session: `python -I -m appliance.hsm.worker`, one thread, one login, one session.

It reads requests on standard input and answers on standard output, or over one socket that is both. It ends when
the input ends, so it never outlives its daemon, and never on a signal that means the daemon: a terminal's Ctrl-C
or systemd's SIGTERM to the whole group must not hit it in the middle of a login.

When the module fails, the worker climbs the ladder's lower rungs (`climber`). If none heals, it gives back what
arrives until the daemon hangs up, and ends: the pool starts another.
"""

import sys
import time
from contextlib import suppress

from appliance.errors import EX_REFUSED, ApplianceError, HsmRequestRefused, HsmUnavailable
from appliance.hsm.messages import (
    Loaded,
    LoggedIn,
    LogIn,
    LoginNeeded,
    NotBegun,
    Ready,
    Refusal,
    TokenSetup,
    Withdraw,
)
from appliance.hsm.worker.channel import Channel, ChannelEnded
from appliance.hsm.worker.climber import ModuleFailed, Unanswered
from appliance.hsm.worker.desk import Desk
from appliance.hsm.worker.hardening import harden
from appliance.hsm.worker.keyring import Keyring


def serve(channel: Channel) -> int:
    """Answer requests until the daemon goes away or the keys are lost; return the exit status."""
    try:
        request = channel.receive()
        if not isinstance(request.verb, TokenSetup):
            return EX_REFUSED
        try:
            desk = _open_desk(request.verb, channel)
        except ModuleFailed as failure:
            channel.tell(_refusal(failure, unsigned=True))
            return failure.error.exit_status
        except ApplianceError as error:
            channel.tell(Refusal(code=error.code, detail=error.detail, unsigned=True))
            return error.exit_status
        return _answer_requests(channel, desk)
    except ChannelEnded:
        return 0
    except HsmUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


def _open_desk(setup: TokenSetup, channel: Channel) -> Desk:
    """Load, wait for the word, log in, find and try the keys; raise what speaks against it."""
    up = False

    def word() -> None:
        if up:
            channel.tell(LoginNeeded())
            channel.word()
        else:
            channel.tell(Loaded())
            channel.first_word()

    keyring = Keyring(setup, word, lambda: channel.tell(LoggedIn()))
    keyring.open()
    desk = Desk(setup, keyring, channel.tell)
    channel.tell(Ready(keyring.canaries()))
    up = True
    return desk


def _answer_requests(channel: Channel, desk: Desk) -> int:
    while True:
        request = channel.receive()
        if isinstance(request.verb, TokenSetup | LogIn | Withdraw):
            return EX_REFUSED
        if request.deadline <= time.monotonic():
            channel.tell(NotBegun())
            continue
        try:
            channel.tell(desk.answer(request.verb, request.deadline))
        except HsmRequestRefused as error:
            channel.tell(Refusal(code=error.code, detail=error.detail, unsigned=True, usable=True))
        except Unanswered as outcome:
            channel.tell(_refusal(outcome.failure, unsigned=outcome.unsigned, usable=outcome.healed))
            if not outcome.healed:
                with suppress(ChannelEnded, HsmUnavailable):
                    channel.decline()
                return outcome.failure.error.exit_status


def _refusal(failure: ModuleFailed, *, unsigned: bool, usable: bool = False) -> Refusal:
    return Refusal(
        code=failure.error.code,
        detail=failure.error.detail,
        ckr=failure.ckr,
        error_class=failure.treatment.error_class,
        unsigned=unsigned,
        usable=usable,
    )


def main() -> int:
    """Serve the daemon that has started this process."""
    channel = Channel.take_over()
    harden()
    return serve(channel)


if __name__ == "__main__":
    sys.exit(main())
