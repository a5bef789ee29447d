"""What became of a request, in the members of a result."""

import msgspec

from appliance import client
from appliance.catalogue import Language
from appliance.client import Refused, told
from appliance.errors import ApplianceError, HandoverFailed
from appliance.handover.intake import Taken
from appliance.handover.request import Request
from appliance.handover.result import Result

_VERSION = 1


def authenticated(taken: Taken, request: Request, found: client.Result, finished_at: str) -> Result:
    """Return the result of a request that was *found* good."""
    return Result(
        version=_VERSION,
        request=taken.claimed.stem,
        outcome="authenticated",
        finished_at=finished_at,
        encoding=taken.encoding,
        token=found.token,
        claims=msgspec.to_builtins(found.claims),
        evidence=None if found.evidence is None else found.evidence.decode(),
        eligibility=found.eligibility,
        request_id=found.request_id,
        echo=request.echo,
    )


def refused(taken: Taken, error: ApplianceError, language: Language, finished_at: str) -> Result:
    """Return the result of a request that was refused with *error*."""
    said = told(error, language)
    return Result(
        version=_VERSION,
        request=taken.claimed.stem,
        outcome="refused",
        finished_at=finished_at,
        encoding=taken.encoding,
        code=said.code,
        title=said.title,
        clerk=said.clerk,
        operator=said.operator,
        detail=error.problem.detail if isinstance(error, Refused) else error.detail,
        request_id=error.incident if isinstance(error, HandoverFailed) else said.request_id,
        tries_left=error.problem.tries_left if isinstance(error, Refused) else None,
        echo={} if taken.request is None else taken.request.echo,
    )
