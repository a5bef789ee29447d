"""
One connected terminal: its readers, the sessions on them, and what it says, believed only as far as the tables allow.

Knows no socket: frames come in as text through `Connection.take`, and go out through `post`. Nothing runs here by itself,
so that a terminal that waits costs its few values and no task.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.errors import (
    BY_CODE,
    ApplianceError,
    CardRemoved,
    CardTimeout,
    TerminalCancelled,
    TerminalFlooding,
    TerminalProtocolViolated,
)
from appliance.terminals import messages, scenarios
from appliance.terminals.desks import Times
from appliance.terminals.messages import (
    Abort,
    ApplianceProblem,
    Card,
    CardState,
    FromAppliance,
    Hello,
    Outcome,
    Responses,
    Result,
    Start,
    TerminalCode,
    TerminalProblem,
)
from appliance.terminals.pace import Pace
from appliance.terminals.places import Place, Session, Terms, seen
from appliance.terminals.sessions import Move, Phase
from appliance.terminals.signing import ScenarioSigner

MOST_LEFT: Final = 16
"""Sessions that we have ended and of which the terminal may still say something."""
_UNASKED_BURST: Final = 60
_UNASKED_RATE: Final = 20.0
"""Frames a second that nobody asked for: cards that come and go, and pings."""


class Connection:
    """
    A terminal that has introduced itself as *hello*.

    *post* sends a message, in order and without waiting; *changed* is called when a session is over. *clock* tells the
    time since the epoch.
    """

    __slots__ = (
        "_changed",
        "_clock",
        "_pace",
        "_post",
        "_sessions",
        "alias",
        "hello",
        "lost",
        "places",
        "signer",
        "stale",
        "terms",
    )

    def __init__(  # noqa: PLR0913 - each has its name at the call
        self,
        alias: str,
        hello: Hello,
        *,
        terms: Terms,
        signer: ScenarioSigner | None,
        post: Callable[[FromAppliance], None],
        changed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.alias, self.hello, self.terms, self.signer = alias, hello, terms, signer
        self._post, self._changed, self._clock = post, changed, clock
        self.places = {reader.alias: Place(reader, clock()) for reader in hello.readers}
        self._sessions: dict[str, Session] = {}
        self._pace = Pace(_UNASKED_BURST, _UNASKED_RATE)
        self.lost: ApplianceError | None = None
        self.stale = False
        """Whether it is to be closed as soon as it has no session."""

    @property
    def engaged(self) -> bool:
        """Whether a session is under way."""
        return any(place.session is not None for place in self.places.values())

    # --- what the terminal says -----------------------------------------------------------------------------

    def take(self, frame: str) -> None:
        """
        Take a *frame*; raise TerminalMessageInvalid, TerminalProtocolViolated, TerminalFlooding.

        What comes on a connection that we have given up is not looked at.
        """
        if self.lost is not None:
            return
        heard = time.monotonic()
        said = messages.decode_from_terminal(frame)
        match said:
            case Card():
                self.unasked()
                self._card(said)
            case Responses():
                self._responses(said, heard)
            case TerminalProblem():
                self._problem(said)
            case Abort():
                self._ended(
                    said.session, Move.ABORT, TerminalCancelled("a person at the terminal cancelled it")
                )
            case Hello():
                raise TerminalProtocolViolated("a terminal introduces itself once")
            case _:
                assert_never(said)

    def unasked(self) -> None:
        """Count something that came without being asked for; raise TerminalFlooding."""
        if not self._pace.allows(time.monotonic()):
            raise TerminalFlooding(
                f"'{self.alias}' sends more than {_UNASKED_RATE:.0f} unasked frames a second"
            )

    def _card(self, said: Card) -> None:
        place = self.places.get(said.reader)
        if place is None or said.insertion < place.insertion:
            raise TerminalProtocolViolated(
                "a card on a reader that was not announced, or a count that goes back"
            )
        if (said.state, said.insertion) == (place.state, place.insertion):
            return
        place.state, place.insertion, place.stuck = said.state, said.insertion, False
        session = place.session
        if session is not None:
            if session.insertion is None and said.state is CardState.PRESENT:
                session.bind()
            elif said.state is not CardState.PRESENT or said.insertion != session.insertion:
                session.move(Move.CARD_GONE)
                if session.phase is Phase.ASKED:
                    self.end(session, CardRemoved("the card left the reader before it was asked"))
        place.look(self._clock())

    def _responses(self, said: Responses, heard: float) -> None:
        session = self._known(said.session)
        late = session.phase is Phase.LATE
        session.move(Move.RESPONSES)
        if said.seq != session.next - 1 or session.asked is None:
            raise TerminalProtocolViolated(f"an answer to {said.seq} came where {session.next - 1} was asked")
        if late:
            return
        answers = scenarios.answers_of(session.asked, said)
        session.place.stuck = False
        session.answered = heard
        if session.answer is not None and not session.answer.done():
            session.answer.set_result(answers)

    def _problem(self, said: TerminalProblem) -> None:
        session = self._known(said.session)
        if said.code is TerminalCode.READER_STUCK:
            session.place.stuck = True
        told = f": {said.detail}" if said.detail else ""
        error = BY_CODE[said.code](f"so '{self.alias}' reports{told}")
        self._ended(said.session, Move.PROBLEM, error)

    def _ended(self, session_id: str, move: Move, error: ApplianceError) -> None:
        session = self._known(session_id)
        session.move(move)
        session.fail(error)
        self._release(session)

    def _known(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise TerminalProtocolViolated("an answer for a session that is not this terminal's, or is over")
        return session

    # --- what we say ----------------------------------------------------------------------------------------

    def begin(self, start: Start) -> Session:
        """Open a session; its reader is there and free."""
        if start.session in self._sessions:
            raise ValueError("a session id is used once")
        place = self.places[start.reader]
        session = self._sessions[start.session] = place.session = Session(start, place)
        place.look(self._clock())
        self._post(start)
        return session

    async def wait_for_card(self, session: Session, seconds: float) -> bool:
        """Wait at most *seconds* until the session has a card; return whether it has, or raise what ended it."""
        if session.error is not None:
            raise session.error
        if session.insertion is not None:
            return True
        waited = session.card = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await waited
        except TimeoutError:
            return False
        finally:
            session.card = None
            seen(waited)
        return True

    async def ask(self, session: Session, exchange: Exchange) -> tuple[Response, ...]:
        """Have *exchange*, which fits into a frame, done by the session's card, and return the answers."""
        asks_holder = any(isinstance(step, VerifyHolder) for step in exchange.steps)
        seconds = self.terms.exchange + (self.terms.pin if asks_holder else 0)
        said = scenarios.scenario(session.start.session, session.next, int(seconds * 1000), exchange)
        session.require_card()
        request: FromAppliance = said
        if self.hello.require_signed and self.signer is not None:
            request = await self.signer.signed(said, session.start, self.alias, self.hello.nonce)
            session.require_card()
        session.move(Move.SEND_SCENARIO)
        session.next += 1
        session.asked = exchange
        waited: asyncio.Future[tuple[Response, ...]] = asyncio.get_running_loop().create_future()
        session.answer = waited
        self._post(request)
        if session.answered is not None:
            session.waited = time.monotonic() - session.answered
        try:
            async with asyncio.timeout(seconds + self.terms.lag):
                return await waited
        except TimeoutError as error:
            late = CardTimeout(f"'{self.alias}' did not answer within {seconds:g} seconds")
            self.end(session, late)
            raise late from error
        except asyncio.CancelledError:
            self.end(session, None)
            raise
        finally:
            session.answer = None
            seen(waited)

    def end(self, session: Session, error: ApplianceError | None) -> None:
        """End *session* on our side if it is not over: for the reason *error*, or because nobody wants it any more."""
        if session.phase in {Phase.OVER, Phase.LEFT, Phase.LATE}:
            return
        session.move(Move.SEND_END)
        name = session.start.session
        self._post(Abort(session=name) if error is None else ApplianceProblem(session=name, code=error.code))
        session.fail(error or TerminalCancelled("nobody waits for it any more"))
        self._release(session)

    def finish(self, session: Session, refusal: ApplianceError | None) -> None:
        """Have the terminal show how *session* came to its end, if it is not over: well, or in a *refusal*."""
        if session.phase not in {Phase.HELD, Phase.GONE}:
            self.end(session, refusal)
            return
        session.move(Move.SEND_RESULT)
        outcome = Outcome.DONE if refusal is None else Outcome.REFUSED
        code = None if refusal is None else refusal.code
        self._post(Result(session=session.start.session, outcome=outcome, code=code))
        self._release(session)

    def lose(self, error: ApplianceError) -> None:
        """End everything: the connection is gone, or is not to be believed any more, as *error* says."""
        self.lost, self.stale = self.lost or error, False
        for session in tuple(self._sessions.values()):
            session.phase = Phase.OVER
            session.fail(self.lost)
            self._release(session)
        for place in self.places.values():
            place.state = CardState.ABSENT
            place.look(self._clock())

    def _release(self, session: Session) -> None:
        """Let go of the place of *session*, and of the session where nothing more may be said of it."""
        released = session.place.session is session
        if released:
            session.place.session = None
            session.place.look(self._clock())
        name = session.start.session
        self._sessions.pop(name, None)
        if session.phase is not Phase.OVER:
            # The newest stands last: of those that are left, the oldest is dropped first.
            self._sessions[name] = session
            left = [one for one, kept in self._sessions.items() if kept.place.session is not kept]
            for one in left[:-MOST_LEFT]:
                del self._sessions[one]
        if released:
            self._changed()


class RemoteCard:
    """
    The card of a *session*, for one power-up of it (`authentication.Card`).

    *telling* is told before each exchange, *told* what came of it.
    """

    __slots__ = ("_connection", "_session", "_telling", "_told")

    def __init__(
        self,
        connection: Connection,
        session: Session,
        telling: Callable[[Exchange], None],
        told: Callable[[Sequence[tuple[str, int]], Times], None],
    ) -> None:
        self._connection, self._session, self._telling, self._told = connection, session, telling, told

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps of *exchange* and return the answers; raise CardError or TerminalError."""
        self._telling(exchange)
        began = time.monotonic()
        answers: tuple[Response, ...] = ()
        waited: float | None = None
        for part in scenarios.batches(exchange):
            answered = await self._connection.ask(self._session, part)
            waited = waited if answers else self._session.waited
            answers += answered
            if not scenarios.ran_through(part, answered):
                break
        statuses = [(step.name, answer.status) for step, answer in zip(exchange.steps, answers, strict=False)]
        self._told(statuses, Times(time.monotonic() - began, waited))
        return answers
