"""What is told of one HSM: its failures and when it is down, to who observes it and in the log."""

import logging
import time

from appliance.errors import ApplianceError
from appliance.hsm.health import Failure
from appliance.hsm.ladder import ErrorClass
from appliance.hsm.observer import Observer

_LOG = logging.getLogger(__name__)


class Notices:
    """Those of the HSM *alias*, for *observer*."""

    def __init__(self, alias: str, observer: Observer) -> None:
        self._alias = alias
        self._observer = observer
        self._told_down = False
        self.last_failure: Failure | None = None

    def failed(self, error: ApplianceError, ckr: str, error_class: ErrorClass) -> None:
        """Tell of a failure: the module's return value *ckr*, where it was the module's."""
        self.last_failure = Failure(error.code, ckr or None, error.detail, time.time())
        self._observer.failed(self._alias, ckr or error.code, error_class)
        if error_class is ErrorClass.AUTH:
            self._observer.pin_tries_low(self._alias)
        _LOG.info("hsm failed hsm=%s code=%s ckr=%s class=%s", self._alias, error.code, ckr, error_class)

    def down(self, *, is_down: bool, was_up: bool) -> None:
        """Tell whether callers are refused now, where that has changed; the log hears of what *was_up* before."""
        if is_down == self._told_down:
            return
        self._told_down = is_down
        self._observer.breaker(self._alias, is_open=is_down)
        if was_up:
            _LOG.warning("hsm %s hsm=%s", "down" if is_down else "up", self._alias)
