"""Probe the five modules and write the document: `python -m tests.conformance FOLDER`."""

import sys
from pathlib import Path

from tests.conformance.document import write
from tests.conformance.modules import MODULES
from tests.conformance.run import report

if __name__ == "__main__":
    write(Path(sys.argv[1]), [report(vendor) for vendor in MODULES])
