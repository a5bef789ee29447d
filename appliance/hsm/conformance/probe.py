"""
One conformance probe: `python -I -m appliance.hsm.conformance.probe`, an order on standard input, one finding out.

The process is thrown away after it, whatever the module has done to it. Findings are measured, not taken from the
profile; what the order's profile says is only how to log in, and what earlier probes have learned. Nothing but keys
whose label begins with the order's mark is ever made, changed or destroyed. A PIN that was rejected once is not tried
again: such a probe says so, and the runner begins no other.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path

import msgspec
from pkcs11 import Mechanism, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import PrivateKey

from appliance.errors import ApplianceError
from appliance.hsm.conformance.bench import (
    MESSAGE,
    ROLES,
    Bench,
    LoginRefused,
    answer,
    objects,
    refusal,
    sign,
)
from appliance.hsm.conformance.key import key
from appliance.hsm.conformance.results import (
    SIGNS,
    Destroyed,
    Errors,
    Failed,
    Finding,
    Initialised,
    LoginScope,
    Mechanisms,
    Order,
    Phase,
    Rate,
    Reinitialised,
    Sessions,
    StaleHandle,
    TokenSeen,
)
from appliance.hsm.pkcs11.pin import Pin, locked_credential
from appliance.hsm.pkcs11.signing import prepared
from appliance.hsm.pkcs11.token import attribute_mapper, return_value

_LISTED = (
    Mechanism.RSA_PKCS_KEY_PAIR_GEN,
    Mechanism.SHA256_RSA_PKCS,
    Mechanism.RSA_PKCS,
    Mechanism.EC_KEY_PAIR_GEN,
    Mechanism.ECDSA,
    Mechanism.ECDSA_SHA256,
    Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
    Mechanism.EDDSA,
)
_KINDS = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
_MOST_SESSIONS = 32
_TOO_LONG = 300
"""Bytes that do not fit under a 2048-bit modulus."""


def initialise(bench: Bench) -> Finding:
    """Load, call C_Initialize(NULL), ask who it is."""
    module = bench.module
    return Initialised(
        module.library_description.strip(),
        module.manufacturer_id.strip(),
        ".".join(map(str, module.library_version)),
        ".".join(map(str, module.cryptoki_version)),
    )


def token(bench: Bench) -> Finding:
    """List slots and find the token."""
    seen = bench.token
    return TokenSeen(
        len(bench.module.get_slots()),
        seen.manufacturer_id.strip(),
        " ".join(seen.model.split()),
        bool(seen.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH),
    )


def mechanisms(bench: Bench) -> Finding:
    """List what the token can do of what we need."""
    listed = set(bench.token.slot.get_mechanisms())
    return Mechanisms(tuple(f"CKM_{one.name}" for one in _LISTED if one in listed))


def login(bench: Bench) -> Finding:
    """See whom a login is for."""
    first = bench.log_in()
    second = bench.token.open(attribute_mapper=attribute_mapper())
    try:
        key_of_second = bench.key(second)
    except LookupError:
        return LoginScope("not logged in", "not tried", "not tried")
    seen = bench.signs(key_of_second)
    second_login = answer(lambda: bench.log_in(again=True), "CKR_OK")
    first.close()
    return LoginScope(seen, second_login, bench.signs(key_of_second))


def sessions(bench: Bench) -> Finding:
    """Open sessions until the module, or we, have enough."""
    kept = [bench.log_in()]
    while len(kept) <= _MOST_SESSIONS:
        try:
            kept.append(bench.token.open())
        except PKCS11Error as error:
            return Sessions(len(kept) - 1, return_value(error))
    return Sessions(_MOST_SESSIONS, None)


def stale(bench: Bench) -> Finding:
    """Keep a key object over finalize and initialize, and use it."""
    kept = bench.key(bench.log_in())
    bench.signs(kept)
    bench.module.reinitialize()
    before = bench.signs(kept)
    bench.log_in()
    return StaleHandle(before, bench.signs(kept))


def reinitialise(bench: Bench) -> Finding:
    """Finalize, initialize, log in, find the key again, sign."""
    bench.signs(bench.key(bench.log_in()))
    bench.module.reinitialize()
    return Reinitialised(bench.signs(bench.key(bench.log_in())))


def errors(bench: Bench) -> Finding:
    """Misuse a key of our own, then destroy it and use it again."""
    session = bench.log_in(writable=True)
    private = bench.key(session)
    wrong = _misused(private, bytes(32), Mechanism.ECDSA)
    long = _misused(private, bytes(_TOO_LONG), bench.mechanism)
    after = bench.signs(private)
    # A module may hold an operation open that failed, and refuse everything else in this session.
    refused = answer(private.destroy, "")
    destroyed = f"not destroyed: {refused}" if refused else bench.signs(private)
    session.close()
    return Errors(
        wrong_mechanism=wrong,
        too_long=long,
        after_errors=after,
        destroyed_key=destroyed,
        closed_session=bench.signs(private),
    )


def rate(bench: Bench) -> Finding:
    """Sign for a while, from a moment that is said to all processes at once. Expects to be logged in."""
    how = bench.mechanism
    message = prepared(MESSAGE, how)
    private = bench.key(bench.token.open(attribute_mapper=attribute_mapper()))
    sign(private, message, how)
    bench.say(Phase("ready"))
    os.read(0, 1)
    times = [time.perf_counter()]
    while times[-1] - times[0] < bench.order.seconds:
        sign(private, message, how)
        times.append(time.perf_counter())
    took = sorted(1000 * (end - begin) for begin, end in pairwise(times))
    return Rate(
        processes=1,
        per_second=round(len(took) / (times[-1] - times[0]), 1),
        p50_ms=round(took[len(took) // 2], 3),
        p99_ms=round(took[len(took) * 99 // 100], 3),
    )


def destroy(bench: Bench) -> Finding:
    """Destroy every object of ours, and nothing else."""
    session = bench.log_in(writable=True)
    destroyed = 0
    for name, kind in product(ROLES, _KINDS):
        for found in objects(session, kind, f"{bench.order.mark}-{name}"):
            found.destroy()
            destroyed += 1
    left = [objects(session, kind, f"{bench.order.mark}-{name}") for name, kind in product(ROLES, _KINDS)]
    return Destroyed(destroyed, sum(map(len, left)))


PROBES: dict[str, Callable[[Bench], Finding]] = {
    probe.__name__: probe
    for probe in (
        initialise,
        token,
        mechanisms,
        key,
        login,
        sessions,
        stale,
        reinitialise,
        errors,
        destroy,
    )
}


def carry_out(order: Order, say: Callable[[Finding | Phase], None]) -> Finding:
    """Return what the *order* finds."""
    # The lock of the login must not last as long as a measurement that several processes make at once.
    with _pin(order) as pin:
        bench = Bench(order, say, pin)
        if order.probe in PROBES:
            return PROBES[order.probe](bench)
        session = bench.log_in()
    finding = rate(bench)
    session.close()
    return finding


def _misused(private: PrivateKey, data: bytes, how: Mechanism) -> str:
    return answer(lambda: sign(private, data, how), SIGNS)


@contextmanager
def _pin(order: Order) -> Iterator[Pin | None]:
    # Logins meet at the file, so it is opened even where the PIN is asked for elsewhere.
    with locked_credential(Path(order.pin_file), order.module, order.token) as credential:
        if order.vendor.login.kind == "protected-path":
            yield None
        else:
            with credential.pin() as pin:
                yield pin


def main() -> None:
    """Carry out the order on standard input; write the finding, as JSON, where standard output was."""
    output = os.dup(1)
    os.dup2(2, 1)  # a module that prints does not disturb

    def say(line: Finding | Phase) -> None:
        os.write(output, msgspec.json.encode(line) + b"\n")

    order = msgspec.json.decode(_line(), type=Order)
    try:
        say(carry_out(order, say))
    except LoginRefused as error:
        say(Failed("pin-rejected", str(error)))
    except PKCS11Error as error:
        say(Failed("refused", return_value(error)))
    except ApplianceError as error:
        say(Failed("refused", refusal(error)))
    except LookupError as error:
        say(Failed("refused", str(error)))


def _line() -> bytes:
    # Not through a buffered reader: the byte that starts a measurement comes later.
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            sys.exit(1)
        line += byte
    return line


if __name__ == "__main__":
    main()
