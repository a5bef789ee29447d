"""Pictures of pages, small enough to be kept with the sources."""

from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page

LARGEST: Final = 80_000
"""Bytes."""
_COLOURS: Final = (256, 128, 64, 32, 16)
_MARGIN: Final = 16


def save(page: Page, path: Path, parts: str | None = None) -> None:
    """Write a picture of *page* to *path*; where *parts* are given, a selector, of the rectangle that holds them all."""
    taken = page.screenshot(full_page=True, animations="disabled", caret="hide")
    with Image.open(BytesIO(taken)) as picture:
        whole = picture.convert("RGB")
    if parts is not None:
        boxes = [box for one in page.locator(parts).all() if (box := one.bounding_box()) is not None]
        top = min(box["y"] for box in boxes) + page.evaluate("scrollY") - _MARGIN
        bottom = max(box["y"] + box["height"] for box in boxes) + page.evaluate("scrollY") + _MARGIN
        whole = whole.crop((0, max(0, int(top)), whole.width, min(whole.height, int(bottom))))
    for colours in _COLOURS:
        content = BytesIO()
        whole.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            content, "PNG", optimize=True
        )
        if content.tell() <= LARGEST:
            path.write_bytes(content.getvalue())
            return
    raise ValueError(f"{path.name} is larger than {LARGEST} bytes")
