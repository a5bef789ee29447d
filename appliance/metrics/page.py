"""
The page about what is counted, made from the collectors themselves: `python -m appliance.metrics`.

Only what cannot be read off them stands here: where the values of a label come from that are no closed set.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client import Metric

from appliance.metrics.collectors import Metrics

_EXAMPLE: Final = "example"
_MOST_VALUES: Final = 20
_BOUND: Final = "le"
_FROM: Final = {
    "hsm": "alias of the HSM: `hsm.alias`, `hsm.standby.alias`",
    "terminal": "alias of the peer whose role is `terminal`",
    "reader": "`reader.alias`",
    "certificate": "`authority-N` (by their order in the files of `trust.authorities`), `tls-server`, `tls-clients-N` (by their "
    "order in `gateway.tls.clients`; CAs alone), `responder-client`, `responder-authority-N`, `eligibility-client`, "
    "`eligibility-authority-N`, `syslog-authority-N`",
    "peer": "alias of the peer",
    "issuer": "`authority-N`, as above",
    "sink": "`store`, `signer`, `directory`, `syslog`, and the name of each witness",
    "manufacturer": "what the token says of itself",
    "model": "what the token says of itself",
    "firmware": "what the token says of itself",
    "version": "the appliance's",
    "python": "Python's",
    "ckr": "return values of PKCS#11 by their names, our codes (docs/errors.en.md), `other`",
    "step": "steps of the dialogues with cards by their names in the code, `exchange` (all of one with a remote terminal), `other`",
    "status": "status words in hexadecimal, `63cx` for every number of tries left, `other`",
}
"""Where the values come from. Of all other labels, every value there can be stands on the page."""
_ALSO_OF: Final = {
    "jpki_authentications": "`authenticated`, `cancelled`, or the code of the refusal (docs/errors.en.md)"
}
"""What a label called `outcome` has, which would be too long a list."""
_HEAD: Final = """# Metrics

What the appliance tells Prometheus, at `/metrics` of the listener in `[metrics]`. Made from the program by `make docs`; a test holds it.

Names end with their unit: `_seconds`, `_timestamp_seconds` (Unix time, never "seconds left"), `_total` (counts from the start of the
process, and from 0 also for what happens seldom). A histogram has the series `_bucket`, `_sum` and `_count`. The values of labels are
closed sets and aliases from the configuration: never a serial number, a name, a person's code or an address. A value that
is on no list is counted as `other`.

"""
_TAIL: Final = """
Besides, the client library tells of the process itself: `process_start_time_seconds`, `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`.
"""


def page() -> str:
    """Return the page, in Markdown."""
    families = list(_families())
    rows = [f"| `{_name(one)}` | {one.type} | {_labels(one)} | {one.documentation} |" for one in families]
    lines = ["| Metric | Kind | Labels | What |", "|---|---|---|---|", *rows, "", "## Labels", ""]
    lines += ["| Label | Of | Values |", "|---|---|---|"]
    for label, of, values in _values(families):
        lines.append(f"| `{label}` | {of} | {values} |")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _families() -> Iterator[Metric]:
    """Yield what is counted, in the order of its registration, each with a sample at least."""
    metrics = Metrics()
    metrics.configured([_EXAMPLE], [_EXAMPLE])
    metrics.know_sinks([_EXAMPLE])
    metrics.hsm_info.labels(_EXAMPLE, _EXAMPLE, _EXAMPLE, _EXAMPLE)
    metrics.reader_up.labels(_EXAMPLE)
    metrics.trust.certificate(_EXAMPLE, 0)
    metrics.trust.peer_certificates([(_EXAMPLE, 0)])
    metrics.trust.no_lists(_EXAMPLE)
    for family in metrics.registry.collect():
        if family.name.startswith("jpki_"):
            if not family.samples:
                raise ValueError(f"no example of {family.name} is made")
            yield family


def _name(family: Metric) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return family.name + suffix


def _names(family: Metric) -> list[str]:
    return [label for label in family.samples[0].labels if label != _BOUND]


def _labels(family: Metric) -> str:
    return ", ".join(f"`{label}`" for label in _names(family))


def _values(families: list[Metric]) -> Iterator[tuple[str, str, str]]:
    """Yield each label, of which metrics where it has other values in others, and its values."""
    told: dict[tuple[str, str], list[str]] = {}
    for family in families:
        for label in _names(family):
            told.setdefault((label, _told(family, label)), []).append(f"`{_name(family)}`")
    for (label, values), names in told.items():
        is_alone = sum(label == other for other, _ in told) == 1
        yield label, "all" if is_alone else ", ".join(names), values


def _told(family: Metric, label: str) -> str:
    if label in _FROM:
        return _FROM[label]
    if family.name in _ALSO_OF and label == "outcome":
        return _ALSO_OF[family.name]
    values = sorted(
        {sample.labels[label] for sample in family.samples if label in sample.labels}, key=_natural
    )
    if _EXAMPLE in values or len(values) > _MOST_VALUES:
        raise ValueError(f"where the values of {label} come from has to be told")
    return ", ".join(f"`{value}`" for value in values)


def _natural(value: str) -> tuple[int, str]:
    return (int(value) if value.isdecimal() else 0, value)
