"""Metrics: what is counted is there from the start, under closed sets of labels."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest

from appliance.authentication import CheckMethod
from appliance.card import jpki
from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange
from appliance.card.jpki import Mode
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.errors import BY_CODE
from appliance.hsm.health import WorkerState
from appliance.hsm.ladder import ErrorClass, Rung
from appliance.hsm.messages import KeyLabel
from appliance.metrics import AUTHENTICATED, STEPS, Metrics, transport_of
from appliance.metrics.labels import TALKS
from appliance.metrics.page import page
from appliance.terminals import messages
from appliance.trust.revocation import Method

CONVENTIONS = """
jpki_build_info{version,python}
jpki_hsm_up{hsm}  jpki_hsm_info{hsm,manufacturer,model,firmware}
jpki_hsm_sign_execution_seconds{hsm,key}  jpki_hsm_sign_queue_seconds{hsm}
jpki_hsm_errors_total{hsm,ckr,class}  jpki_hsm_recoveries_total{hsm,rung,result}  jpki_hsm_workers{hsm,state}
jpki_hsm_canary_timestamp_seconds{hsm,key}  jpki_hsm_breaker_open{hsm}  jpki_hsm_pin_tries_low{hsm}
jpki_authentications_total{mode,outcome,transport,identity_check}  jpki_authentication_seconds{phase}
jpki_authentications_in_flight{}  jpki_authentications_allowed{}  jpki_holder_certificates_ending_total{within_days}
jpki_card_step_seconds{step,transport}  jpki_card_status_total{step,status}  jpki_card_waited_seconds{mode}
jpki_terminal_connected{terminal}  jpki_reader_up{reader}  jpki_pcsc_poll_timestamp_seconds{}
jpki_certificate_not_after_timestamp_seconds{certificate}  jpki_crl_next_update_timestamp_seconds{issuer}
jpki_crl_this_update_timestamp_seconds{issuer}  jpki_crl_counts_until_timestamp_seconds{issuer}
jpki_revocation_checks_total{method,result}  jpki_peer_certificate_not_after_timestamp_seconds{peer}
jpki_ledger_size{}  jpki_ledger_checkpoint_timestamp_seconds{}  jpki_ledger_append_seconds{}
jpki_ledger_failures_total{sink}
jpki_clock_synchronised{}
"""


@pytest.fixture
def metrics() -> Metrics:
    """The collectors of an appliance with one HSM."""
    made = Metrics()
    made.know_hsm("hsm-1")
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return what Prometheus would get."""
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_of_the_conventions_is_registered_with_its_labels() -> None:
    """Dashboards and alerts name these, by these labels."""
    wanted = {
        name: tuple(filter(None, labels.split(",")))
        for name, labels in re.findall(r"(jpki_\w+)\{([^}]*)\}", CONVENTIONS)
    }
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", page(), re.MULTILINE)
    found = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert wanted.items() <= found.items()


def test_every_metric_is_told_on_its_page(metrics: Metrics) -> None:
    """The page was made from what is registered: `make docs` makes it anew."""
    told = page()
    assert Path(__file__).parents[1].joinpath("docs", "metrics.md").read_text("utf-8") == told
    for family in metrics.registry.collect():
        assert f"| `{family.name}" in told or family.name.startswith("process_")


def test_every_metric_has_a_unit_and_an_explanation(metrics: Metrics) -> None:
    """Times are in seconds; no counter counts under a name that does not say so."""
    for family in metrics.registry.collect():
        assert family.documentation.endswith(".") or family.name.startswith("process_")
        assert not re.search(r"_(ms|millis\w*|minutes|hours|count|left)$", family.name)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


def test_counters_begin_at_zero(metrics: Metrics) -> None:
    """A first event is a rise from 0, also of what happens seldom."""
    for outcome in (AUTHENTICATED, "card_removed", "certificate_expired", "hsm_unavailable", "terminal_lost"):
        labels = {"mode": "pinless", "outcome": outcome, "transport": "remote", "identity_check": "face"}
        assert value(metrics, "jpki_authentications_total", **labels) == 0
    assert (
        value(metrics, "jpki_hsm_errors_total", hsm="hsm-1", ckr="CKR_DEVICE_ERROR", **{"class": "transient"})
        == 0
    )
    assert value(metrics, "jpki_hsm_recoveries_total", hsm="hsm-1", rung="new-session", result="healed") == 0
    assert value(metrics, "jpki_holder_certificates_ending_total", within_days="30") == 0
    assert value(metrics, "jpki_ledger_failures_total", sink="store") == 0


def test_failures_begin_at_zero_too(metrics: Metrics) -> None:
    """An alert on a rise hears of the first one, whatever the HSM and whatever a card answers."""
    name, hsm = "jpki_hsm_errors_total", "hsm-1"
    for ckr, error_class in (
        ("institution_key_mismatch", "permanent"),
        ("hsm_key_absent", "permanent"),
        ("other", "auth"),
    ):
        assert value(metrics, name, hsm=hsm, ckr=ckr, **{"class": error_class}) == 0
    assert value(metrics, "jpki_card_status_total", step="select-anchor", status="6a82") == 0
    labels = {"mode": "pinless", "transport": "local", "identity_check": "none"}
    assert value(metrics, "jpki_authentications_total", outcome="card_absent", **labels) == 0
    assert value(metrics, "jpki_eligibility_questions_total", outcome="eligibility_timeout") == 0


def test_what_is_configured_no_longer_is_not_told_of_any_more(metrics: Metrics) -> None:
    """An HSM, a terminal or a certificate that was taken out of the configuration does not stay down for ever."""
    metrics.configured(("hsm-1", "hsm-2"), ("ward-1", "ward-2"))
    metrics.hsm_up.labels("hsm-2").set(0)
    metrics.hsm_canary.labels("hsm-2", "institution").set(1.0)
    metrics.pin_tries_low("hsm-2")
    metrics.terminal("ward-2", is_connected=True)
    metrics.trust.certificate("responder-client", 1.0)
    metrics.trust.no_lists("authority-2")
    metrics.configured(("hsm-1",), ("ward-1",))
    for name, labels in (
        ("jpki_hsm_up", {"hsm": "hsm-2"}),
        ("jpki_hsm_workers", {"hsm": "hsm-2", "state": "ready"}),
        ("jpki_hsm_breaker_open", {"hsm": "hsm-2"}),
        ("jpki_hsm_canary_timestamp_seconds", {"hsm": "hsm-2", "key": "institution"}),
        ("jpki_hsm_pin_tries_low", {"hsm": "hsm-2"}),
        ("jpki_terminal_connected", {"terminal": "ward-2"}),
        ("jpki_certificate_not_after_timestamp_seconds", {"certificate": "responder-client"}),
        ("jpki_crl_next_update_timestamp_seconds", {"issuer": "authority-2"}),
        ("jpki_crl_this_update_timestamp_seconds", {"issuer": "authority-2"}),
        ("jpki_crl_counts_until_timestamp_seconds", {"issuer": "authority-2"}),
    ):
        assert value(metrics, name, **labels) is None, name
    # Its connection ends after that.
    metrics.terminal("ward-2", is_connected=False)
    assert value(metrics, "jpki_terminal_connected", terminal="ward-2") is None
    assert value(metrics, "jpki_terminal_connected", terminal="ward-1") == 0


def test_a_terminal_stays_connected_where_others_come_and_go(metrics: Metrics) -> None:
    """What is still configured keeps its state."""
    metrics.configured(("hsm-1",), ("ward-1",))
    metrics.terminal("ward-1", is_connected=True)
    metrics.pin_tries_low("hsm-1")
    metrics.configured(("hsm-1",), ("ward-1", "ward-2"))
    assert value(metrics, "jpki_terminal_connected", terminal="ward-1") == 1
    assert value(metrics, "jpki_terminal_connected", terminal="ward-2") == 0
    assert value(metrics, "jpki_hsm_pin_tries_low", hsm="hsm-1") == 1


def test_questions_to_the_eligibility_service_are_counted(metrics: Metrics) -> None:
    """By what became of them, and how long it took; what nobody knows is other."""
    metrics.eligibility.asked("answered", 0.4)
    metrics.eligibility.asked("something-of-a-connector", 1.0)
    name = "jpki_eligibility_questions_total"
    assert (value(metrics, name, outcome="answered"), value(metrics, name, outcome="other")) == (1, 1)
    assert value(metrics, "jpki_eligibility_seconds_sum") == 1.4


def test_what_the_hsm_does_is_counted(metrics: Metrics) -> None:
    """The pool's events are samples; waiting and signing are told apart."""
    metrics.signed("hsm-1", KeyLabel.INSTITUTION, 0.25, 0.002)
    metrics.failed("hsm-1", "CKR_DEVICE_ERROR", ErrorClass.TRANSIENT)
    metrics.failed("hsm-1", "CKR_VENDOR_DEFINED_4711", ErrorClass.TRANSIENT)
    metrics.recovered("hsm-1", Rung.REINITIALISE, healed=False)
    metrics.pin_tries_low("hsm-1")
    errors = "jpki_hsm_errors_total"
    assert value(metrics, "jpki_hsm_sign_queue_seconds_sum", hsm="hsm-1") == 0.25
    assert value(metrics, "jpki_hsm_sign_execution_seconds_sum", hsm="hsm-1", key="institution") == 0.002
    assert value(metrics, errors, hsm="hsm-1", ckr="CKR_DEVICE_ERROR", **{"class": "transient"}) == 1
    assert value(metrics, errors, hsm="hsm-1", ckr="other", **{"class": "transient"}) == 1
    assert value(metrics, "jpki_hsm_recoveries_total", hsm="hsm-1", rung="reinitialise", result="failed") == 1
    assert value(metrics, "jpki_hsm_pin_tries_low", hsm="hsm-1") == 1
    metrics.worker_changed("hsm-1", 0, WorkerState.READY)
    assert value(metrics, "jpki_hsm_pin_tries_low", hsm="hsm-1") == 0


def test_what_comes_from_outside_makes_no_label(metrics: Metrics) -> None:
    """A card's or a terminal's own words are counted as other: nobody can fill the memory with labels."""
    before = generate_latest(metrics.registry).count(b"\n")
    for number in range(0x1000, 0x1100):
        metrics.answered(f"step-{number}", number)
        metrics.step(f"step-{number}", "local", 0.1)
        metrics.authenticated(Mode.PIN, f"code-{number}", "local", CheckMethod.PIN)
        metrics.trust.revocation_checked(Method.OCSP, f"result-{number}")
    after = generate_latest(metrics.registry).count(b"\n")
    assert after - before <= 4
    assert value(metrics, "jpki_card_status_total", step="other", status="other") == 256


def test_tries_left_are_one_status(metrics: Metrics) -> None:
    """How many tries a person has left is nobody's statistics."""
    metrics.answered("verify-holder", 0x63C2)
    metrics.answered("verify-holder", 0x63C1)
    assert value(metrics, "jpki_card_status_total", step="verify-holder", status="63cx") == 2


def test_every_step_of_every_dialogue_is_known() -> None:
    """A step that is added to a dialogue is added here, or this fails."""
    profile = shipped("jpki-reference")
    dialogue = jpki.with_pin(profile, Nonce.from_random(bytes(profile.proof.nonce_length)))
    request = next(dialogue)
    assert isinstance(request, Exchange)
    assert {step.name for step in request.steps} <= set(STEPS)
    with pytest.raises(Exception, match=r"\w"):
        dialogue.send((Response(b"", 0x6A82),))
    sources = Path(jpki.__file__).parent.glob("*.py")
    written = {
        name
        for source in sources
        for name in re.findall(
            r'"((?:select|read|load|query|verify|get|present|prove)-[a-z-]+)"', source.read_text()
        )
    }
    assert written - {"select-token-info", "read-token-info", "select-presence", "read-presence"} <= set(
        STEPS
    )


def test_whatever_a_session_is_for_has_its_label() -> None:
    """The metrics name what sessions with terminals are for as the protocol does."""
    assert set(TALKS) == {mode.value for mode in messages.Mode}


def test_certificates_that_end_soon_are_counted_once_for_each_horizon(metrics: Metrics) -> None:
    """Within 30 days is within 90 days, too. Nothing says whose it is."""
    for days in (10, 60, 400):
        metrics.holder_certificate(timedelta(days=days))
    name = "jpki_holder_certificates_ending_total"
    assert (value(metrics, name, within_days="30"), value(metrics, name, within_days="90")) == (1, 2)


def test_refusals_are_codes(metrics: Metrics) -> None:
    """Each outcome is a code of the catalogue, so that alert and page have one name."""
    samples = [
        sample.labels["outcome"]
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "jpki_authentications_total"
    ]
    assert set(samples) - {"authenticated", "cancelled", "other"} <= set(BY_CODE)


@pytest.mark.parametrize("outcome", ["front_not_genuine", "front_image_unreadable", "gateway_busy"])
def test_what_ends_a_visual_check_is_counted_from_0(metrics: Metrics, outcome: str) -> None:
    """The front is read within the authentication: the first forged one is an increase, which an alert sees."""
    labels = {"mode": "pinless", "outcome": outcome, "transport": "local", "identity_check": "visual"}
    assert value(metrics, "jpki_authentications_total", **labels) == 0
    metrics.authenticated(Mode.PINLESS, outcome, "local", CheckMethod.VISUAL)
    assert value(metrics, "jpki_authentications_total", **labels) == 1


def test_a_desk_says_how_its_card_is_spoken_to() -> None:
    """A remote desk has its terminal in its name."""
    assert (transport_of("desk-1"), transport_of("ward-1.reader-1")) == ("local", "remote")
