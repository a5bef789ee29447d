"""All pictures of pages for the documentation: `python -m tests.browser.screens docs/screens`."""

import sys
from pathlib import Path

from tests.browser import console_screens, desk_screens

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    desk_screens.taken(folder)
    console_screens.taken(folder)
