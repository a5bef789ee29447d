"""
Ask pip-audit whether any package of a requirement file has a known vulnerability.

    python packaging/audit.py FILE [pip-audit's options]

Where no database can be reached, that is said, and is no failure: nothing was found out.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

_SECONDS = 120


def main(file: str, *options: str) -> int:
    """Ask, tell, and return 1 where something is known to be vulnerable."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = (
            *(sys.executable, "-m", "pip_audit", "--requirement", file, "--require-hashes", "--disable-pip"),
            *("--format", "json", "--output", str(result), "--progress-spinner", "off", "--timeout", "5"),
            *options,
        )
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            reason = said.stderr.strip().rsplit("\n", 1)[-1]
        except subprocess.TimeoutExpired:
            reason = f"no answer within {_SECONDS} seconds"
        found = json.loads(result.read_text("utf-8"))["dependencies"] if result.exists() else None
    skipped = {one["name"]: one["skip_reason"] for one in found or () if "skip_reason" in one}
    if found and len(skipped) == len(found):
        found, reason = None, next(iter(skipped.values()))
    if found is None:
        print(f"pip-audit: {file} was NOT checked, no vulnerability database could be asked: {reason}")
        return 0
    known = [
        (one["name"], one["version"], vulnerability)
        for one in found
        for vulnerability in one.get("vulns", ())
    ]
    for name, version, vulnerability in known:
        better = ", ".join(vulnerability["fix_versions"]) or "none yet"
        print(f"pip-audit: {name} {version}: {vulnerability['id']}, repaired in {better}")
    print(
        f"pip-audit: {file}: {len(found)} packages, {len(known)} known vulnerabilities, not known: {', '.join(skipped) or 'none'}"
    )
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
