"""
What is counted, and one method for each thing that happens.

All collectors stand here, with their labels made beforehand, so that counters begin at 0 and not with their first
event. A label's values are a closed set: enumerations, our codes, and aliases from the configuration. What comes from
outside, and is none of them, is counted as `other`. A certificate, its serial number, a name, an address or a
reader's own name is never one.

What is a state and no event (is it up, how many) is looked up when Prometheus asks: see `daemon.observed`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from itertools import product
from platform import python_version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from appliance import __version__
from appliance.authentication import CheckMethod
from appliance.card.jpki import Mode
from appliance.errors import BY_CODE
from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import TABLE, ErrorClass, Rung
from appliance.hsm.messages import KeyLabel
from appliance.metrics.connections import ConnectionMetrics
from appliance.metrics.eligibility import EligibilityMetrics
from appliance.metrics.labels import (
    AUTHENTICATED,
    CANCELLED,
    CHECKS,
    ENDING_DAYS,
    EXCHANGE,
    KNOWN_STEPS,
    NO_CHECK,
    OTHER,
    PHASES,
    STATUSES,
    STEPS,
    TALKS,
    TRANSPORTS,
    Transport,
    hsm_codes,
    refusals,
    rung_name,
    status_label,
)
from appliance.metrics.trust import TrustMetrics

_HSM_SECONDS: Final = (
    *(0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_AUTHENTICATION_SECONDS: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0)
_STEP_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_APPEND_SECONDS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

# The library would make a second series for each counter and histogram, of when it was made: the process's start.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no annotation here


class Metrics:
    """
    The collectors of one appliance, in a registry of their own.

    Fits `hsm.observer.Observer`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here = self.registry
        ProcessCollector(registry=here)
        Info("jpki_build", "What runs.", registry=here).info(
            {"version": __version__, "python": python_version()}
        )
        # --- where keys live
        self.hsm_up = Gauge("jpki_hsm_up", "Whether a worker of the HSM signs.", ["hsm"], registry=here)
        self.hsm_info = Gauge(
            "jpki_hsm_info",
            "What the token says of itself; always 1.",
            ["hsm", "manufacturer", "model", "firmware"],
            registry=here,
        )
        self._executed = Histogram(
            "jpki_hsm_sign_execution_seconds",
            "From a signature's hand-over to a worker to its arrival.",
            ["hsm", "key"],
            buckets=_HSM_SECONDS,
            registry=here,
        )
        self._queued = Histogram(
            "jpki_hsm_sign_queue_seconds",
            "How long a signature's request waited for a worker.",
            ["hsm"],
            buckets=_HSM_SECONDS,
            registry=here,
        )
        self._hsm_errors = Counter(
            "jpki_hsm_errors_total",
            "Failures by the module's return value, or our code, and how bad that is.",
            ["hsm", "ckr", "class"],
            registry=here,
        )
        self._recoveries = Counter(
            "jpki_hsm_recoveries_total",
            "Rungs of the recovery ladder that were tried.",
            ["hsm", "rung", "result"],
            registry=here,
        )
        self.hsm_workers = Gauge(
            "jpki_hsm_workers", "Workers by what they are doing.", ["hsm", "state"], registry=here
        )
        self.hsm_canary = Gauge(
            "jpki_hsm_canary_timestamp_seconds",
            "When the key last signed a message of the worker's own; 0 before the first.",
            ["hsm", "key"],
            registry=here,
        )
        self.hsm_breaker = Gauge(
            "jpki_hsm_breaker_open", "Whether callers are refused at once.", ["hsm"], registry=here
        )
        self._pin_low = Gauge(
            "jpki_hsm_pin_tries_low",
            "Whether the HSM refused a PIN, or has few tries left.",
            ["hsm"],
            registry=here,
        )
        # --- authentications
        self._authentications = Counter(
            "jpki_authentications_total",
            "Authentications by how they ended: authenticated, cancelled, or the code of the refusal.",
            ["mode", "outcome", "transport", "identity_check"],
            registry=here,
        )
        self._phases = Histogram(
            "jpki_authentication_seconds",
            "Parts of an authentication, and the whole from the moment a card is there.",
            ["phase"],
            buckets=(0.001, 0.003, 0.01, 0.03, *_AUTHENTICATION_SECONDS),
            registry=here,
        )
        self.in_flight = Gauge("jpki_authentications_in_flight", "Authentications under way.", registry=here)
        self.allowed = Gauge(
            "jpki_authentications_allowed",
            "How many authentications may be under way at once.",
            registry=here,
        )
        self._emergency = Gauge(
            "jpki_emergency_windows",
            "Windows in which nobody checks holders, proposed and open.",
            ["state"],
            registry=here,
        )
        self._ending = Counter(
            "jpki_holder_certificates_ending_total",
            "Authentications with a holder's certificate that ends within so many days.",
            ["within_days"],
            registry=here,
        )
        # --- where cards are
        self._step_seconds = Histogram(
            "jpki_card_step_seconds",
            "One command and its answer, at the reader.",
            ["step", "transport"],
            buckets=_STEP_SECONDS,
            registry=here,
        )
        self._statuses = Counter(
            "jpki_card_status_total", "Answers of cards by status word.", ["step", "status"], registry=here
        )
        self._waited = Histogram(
            "jpki_card_waited_seconds",
            "From the arrival of a remote card's answers until the next commands for it left.",
            ["mode"],
            buckets=_HSM_SECONDS,
            registry=here,
        )
        self._terminal_connected = Gauge(
            "jpki_terminal_connected",
            "Whether the remote terminal is connected.",
            ["terminal"],
            registry=here,
        )
        self.reader_up = Gauge("jpki_reader_up", "Whether the reader is there.", ["reader"], registry=here)
        self.pcsc_polled = Gauge(
            "jpki_pcsc_poll_timestamp_seconds",
            "When the readers were last looked at; 0 where there are none.",
            registry=here,
        )
        # --- who comes
        self.connections = ConnectionMetrics(here)
        # --- what is believed
        self.trust = TrustMetrics(here)
        # --- who is asked afterwards
        self.eligibility = EligibilityMetrics(here)
        # --- what is remembered
        self.ledger_size = Gauge("jpki_ledger_size", "Entries in the ledger.", registry=here)
        self.checkpoint_at = Gauge(
            "jpki_ledger_checkpoint_timestamp_seconds",
            "When a checkpoint last covered every entry that was durable then; 0 before the first.",
            registry=here,
        )
        self._append = Histogram(
            "jpki_ledger_append_seconds",
            "Until an entry was durable.",
            buckets=_APPEND_SECONDS,
            registry=here,
        )
        self._ledger_failures = Counter(
            "jpki_ledger_failures_total",
            "Failures of the store, the checkpoints' signer, or a place for copies.",
            ["sink"],
            registry=here,
        )
        self.clock_synchronised = Gauge(
            "jpki_clock_synchronised",
            "Whether the system's clock follows another one; NaN where that cannot be asked.",
            registry=here,
        )
        self._hsms: set[str] = set()
        self._terminals: set[str] = set()
        # Found once for each of their closed sets: finding it costs more than counting, dozens of times a card.
        self._phase, self._answer = cache(self._phases.labels), cache(self._statuses.labels)
        self._queue, self._execution = cache(self._queued.labels), cache(self._executed.labels)
        self._know_closed_sets()

    # --- labels, before anything happens -----------------------------------------------------------------------

    def _know_closed_sets(self) -> None:
        for phase in PHASES:
            self._phases.labels(phase)
        self.emergency(())
        outcomes = (AUTHENTICATED, CANCELLED, *refusals(), OTHER)
        for (mode, check), outcome, transport in product(CHECKS, outcomes, TRANSPORTS):
            self._authentications.labels(mode.value, outcome, transport, check)
        for step in (*STEPS, OTHER):
            self._step_seconds.labels(step, "local")
            for status in (*STATUSES, OTHER):
                self._statuses.labels(step, status)
        self._step_seconds.labels(EXCHANGE, "remote")
        for talk in TALKS:
            self._waited.labels(talk)
        for days in ENDING_DAYS:
            self._ending.labels(str(days))
        for sink in ("store", "signer"):
            self._ledger_failures.labels(sink)

    def know_hsm(self, alias: str) -> None:
        """Make the labels of the HSM *alias*."""
        self._queued.labels(alias)
        for key in KeyLabel:
            self._executed.labels(alias, key.value)
            self.hsm_canary.labels(alias, key.value)
        for ckr, treatment in TABLE.items():
            self._hsm_errors.labels(alias, ckr, treatment.error_class.value)
        for code, error_class in product((*hsm_codes(), OTHER), ErrorClass):
            self._hsm_errors.labels(alias, code, error_class.value)
        for rung, result in product(Rung, ("healed", "failed")):
            self._recoveries.labels(alias, rung_name(rung), result)
        for state in WorkerState:
            self.hsm_workers.labels(alias, state.value)
        for gauge in (self.hsm_up, self.hsm_breaker, self._pin_low):
            gauge.labels(alias)
        self._hsms.add(alias)

    def configured(self, hsms: Iterable[str], terminals: Iterable[str]) -> None:
        """
        Know *hsms* and remote *terminals*, and tell nothing any more of how others are.

        What is configured no longer would otherwise stay down for ever, and so would its alert. What is asked for at
        every scrape anyway is begun anew.
        """
        there, connecting = set(hsms), set(terminals)
        for alias in self._hsms - there:
            for gauge in (self.hsm_breaker, self._pin_low):
                gauge.remove(alias)
        for alias in self._terminals - connecting:
            self._terminal_connected.remove(alias)
        for gauge in (self.hsm_up, self.hsm_workers, self.hsm_info, self.hsm_canary):
            gauge.clear()
        self.trust.forget()
        self._hsms, self._terminals = set(), connecting
        for alias in there:
            self.know_hsm(alias)
        for alias in connecting:
            self._terminal_connected.labels(alias)

    def know_sinks(self, names: Iterable[str]) -> None:
        """Make the labels of the places that get copies of checkpoints."""
        for name in names:
            self._ledger_failures.labels(name)

    # --- where keys live (`hsm.observer.Observer`) ---------------------------------------------------------------

    def signed(self, hsm: str, key: KeyLabel, queue_seconds: float, execution_seconds: float) -> None:
        """Count a signature that a caller got."""
        self._queue(hsm).observe(max(0.0, queue_seconds))
        self._execution(hsm, key.value).observe(execution_seconds)

    def failed(self, hsm: str, ckr: str, error_class: ErrorClass) -> None:
        """Count a failure of the module or a worker; a return value of the vendor's own counts as other."""
        known = ckr if ckr in TABLE or ckr in BY_CODE else OTHER
        self._hsm_errors.labels(hsm, known, error_class.value).inc()

    def recovered(self, hsm: str, rung: Rung, *, healed: bool) -> None:
        """Count a rung."""
        self._recoveries.labels(hsm, rung_name(rung), "healed" if healed else "failed").inc()

    def worker_changed(self, hsm: str, worker: int, state: WorkerState) -> None:  # noqa: ARG002  # the observer's shape
        """Note that a PIN has been taken where a worker is ready; a marker that is there all the same is told at the next scrape."""
        if state is WorkerState.READY and hsm in self._hsms:
            self._pin_low.labels(hsm).set(0)

    def canary(self, hsm: str, key: KeyLabel, seconds: float) -> None:
        """Ignore: when a key last proved itself is a state of the HSMs that there are now."""

    def breaker(self, hsm: str, *, is_open: bool) -> None:
        """Ignore: whether callers are refused is one, too."""

    def pin_tries_low(self, hsm: str) -> None:
        """Note that a PIN was refused, or that few tries are left, where the HSM is known."""
        if hsm in self._hsms:
            self._pin_low.labels(hsm).set(1)

    # --- authentications --------------------------------------------------------------------------------------------

    def authenticated(
        self, mode: Mode, outcome: str, transport: Transport, check: CheckMethod | None
    ) -> None:
        """Count an authentication that ended as *outcome*: AUTHENTICATED, CANCELLED, or a code."""
        known = outcome if outcome in BY_CODE or outcome in {AUTHENTICATED, CANCELLED} else OTHER
        self._authentications.labels(
            mode.value, known, transport, NO_CHECK if check is None else check.value
        ).inc()

    def phase(self, name: str, seconds: float) -> None:
        """Note how long a part (of PHASES) of an authentication took."""
        self._phase(name).observe(seconds)

    def emergency(self, windows: Iterable[bool]) -> None:
        """Note the emergency windows there are, each by whether it is open."""
        are_open = list(windows)
        self._emergency.labels("open").set(are_open.count(True))
        self._emergency.labels("proposed").set(are_open.count(False))

    def holder_certificate(self, left: timedelta) -> None:
        """Count a holder's certificate that ends soon."""
        for days in ENDING_DAYS:
            if left < timedelta(days=days):
                self._ending.labels(str(days)).inc()

    # --- where cards are --------------------------------------------------------------------------------------------

    def terminal(self, alias: str, *, is_connected: bool) -> None:
        """Note whether the remote terminal *alias* is connected, as long as it is configured."""
        if alias in self._terminals:
            self._terminal_connected.labels(alias).set(is_connected)

    def step(self, step: str, transport: Transport, seconds: float) -> None:
        """Note how long one step with a card took. Called from any thread."""
        self._step_seconds.labels(step if step in KNOWN_STEPS else OTHER, transport).observe(seconds)

    def card_waited(self, mode: str, seconds: float) -> None:
        """Note how long a remote card waited for us between two exchanges of a session for *mode* (of TALKS)."""
        self._waited.labels(mode).observe(seconds)

    def answered(self, step: str, status: int) -> None:
        """Count a card's answer."""
        self._answer(step if step in KNOWN_STEPS else OTHER, status_label(status)).inc()

    # --- what is remembered -------------------------------------------------------------------------

    def appended(self, seconds: float) -> None:
        """Note how long an entry took to be durable."""
        self._append.observe(seconds)

    def ledger_failed(self, sink: str, times: int = 1) -> None:
        """Count failures of the store, the signer, or a configured place for copies."""
        self._ledger_failures.labels(sink).inc(times)

    def covered(self, when: datetime) -> None:
        """Note that a checkpoint covers every entry."""
        self.checkpoint_at.set(when.timestamp())
