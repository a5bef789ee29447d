"""axe-core's judgement of what is on a page now. Its licence and origin are told in `assets/README.md`."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from playwright.sync_api import Page

_SCRIPT: Final = Path(__file__).with_name("assets") / "axe.min.js"
SHA256: Final = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
_RUN: Final = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
}"""


def script() -> str:
    """Return the packaged script, which has to be the one that was taken in."""
    content = _SCRIPT.read_bytes()
    assert sha256(content).hexdigest() == SHA256
    return content.decode()


def require_accessible(page: Page) -> None:
    """Check that axe-core finds nothing on *page* that keeps somebody out."""
    # Outside of the page's policy, which lets no script in but the appliance's own.
    page.evaluate(script())
    found: list[str] = page.evaluate(_RUN)
    assert not found, "\n".join(found)
