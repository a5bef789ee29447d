"""
`python -m tests.fuzz [SECONDS] [CORPUS]`: look for bytes of a card that break a dialogue.

Needs atheris, which is not among the requirements: it has wheels for few versions of Python. What it finds is left in
the corpus folder; a crash is a bug, and its bytes belong into `tests/fuzz/corpus` with the mend.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["appliance"]):
    from tests.fuzz.hostile import play


def main() -> None:
    """Fuzz for a bounded time."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    corpus = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "corpus"
    corpus.mkdir(exist_ok=True)
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", str(corpus)], play
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
