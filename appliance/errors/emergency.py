"""What keeps an operator from opening a window in which nobody checks holders."""

from appliance.errors.base import ApplianceError


class EmergencyError(ApplianceError):
    """An emergency window was not opened."""


class EmergencyNotPermitted(EmergencyError):
    """The configuration permits no emergency window at all."""

    code = "emergency_not_permitted"


class EmergencyEndInvalid(EmergencyError):
    """The end that was asked for is past, or later than the configuration permits."""

    code = "emergency_end_invalid"


class EmergencySameOperator(EmergencyError):
    """Who has proposed a window wants to confirm it: that takes another one."""

    code = "emergency_same_operator"


class EmergencyFull(EmergencyError):
    """As many windows as there may be are proposed or open."""

    code = "emergency_full"
