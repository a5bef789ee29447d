"""What a person at the terminal is shown of its readers."""

from appliance.terminals.agent.status import Board, Place


def test_a_reader_that_is_not_there_is_never_ready() -> None:
    """When a session ends at a reader that was pulled meanwhile, it is absent until it is plugged in again."""
    board = Board(("r1",))
    shown = []
    board.card("r1", present=False)
    board.place("r1", Place.PLACE_CARD)
    board.card("r1", present=None)
    board.place("r1", Place.IDLE)
    shown.append(board.status.readers["r1"].place)
    board.card("r1", present=False)
    shown.append(board.status.readers["r1"].place)
    assert shown == [Place.ABSENT, Place.IDLE]
