"""
What is printed on a card, drawn: lines of text as PNG of one bit, and a photo as JPEG 2000 (card facts 4.2).

The letters are those of a bitmap font that comes with the library, 6 by 11 dots each. That is why they are
Latin, and why twelve digits fill the 72 by 12 dots of the My Number exactly.
"""

import hashlib
from functools import lru_cache
from io import BytesIO
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_LETTER: Final = (6, 12)
_LINE: Final = (280, 28)
"""Size of a name or an address: our choice."""
_PHOTO: Final = (180, 225)
_COMPRESSION: Final = 24
"""How many times smaller than its pixels a photo is: about 1,700 bytes."""

_WHITE, _BLACK = 255, 0


def digits(text: str) -> bytes:
    """Return *text* as a PNG of just its size: 24 by 12 for a security code, 72 by 12 for a My Number."""
    return _png(_written(text))


@lru_cache
def line(text: str) -> bytes:
    """Return *text* as a PNG of a line, twice as large as the font."""
    written = _written(text)
    enlarged = written.resize((min(2 * written.width, _LINE[0]), 2 * written.height))
    canvas = Image.new("1", _LINE, _WHITE)
    canvas.paste(enlarged, (0, (_LINE[1] - enlarged.height) // 2))
    return _png(canvas)


@lru_cache
def photo(name: str) -> bytes:
    """Return a drawn face, different for each *name*, as a JP2 file in shades of grey."""
    width, height = _PHOTO
    look = hashlib.sha256(name.encode()).digest()
    canvas = Image.new("L", _PHOTO, 200 + look[0] % 40)
    draw = ImageDraw.Draw(canvas)
    hair, skin, coat = 20 + look[1] % 60, 150 + look[2] % 60, 40 + look[3] % 90
    across = 42 + look[4] % 10
    middle, chin = width // 2, 150
    draw.ellipse((middle - 80, chin, middle + 80, height + 80), fill=coat)
    draw.rectangle((middle - 16, chin - 20, middle + 16, chin + 18), fill=skin - 20)
    draw.ellipse((middle - across - 6, 34, middle + across + 6, chin - 20), fill=hair)
    draw.ellipse((middle - across, 52, middle + across, chin), fill=skin)
    for eye in (middle - 18, middle + 18):
        draw.ellipse((eye - 5, 92, eye + 5, 99), fill=hair)
    draw.arc((middle - 16, 110, middle + 16, 132), 20, 160, fill=hair, width=3)
    canvas.paste(_written("TEST").resize((48, 24)), (middle - 24, height - 30))
    with BytesIO() as file:
        canvas.save(file, "JPEG2000", quality_mode="rates", quality_layers=[_COMPRESSION], irreversible=True)
        return file.getvalue()


def _written(text: str) -> Image.Image:
    width, height = _LETTER
    canvas = Image.new("1", (width * len(text), height), _WHITE)
    ImageDraw.Draw(canvas).text((0, 0), text, fill=_BLACK, font=ImageFont.load_default_imagefont())
    return canvas


def _png(image: Image.Image) -> bytes:
    with BytesIO() as file:
        image.save(file, "PNG", optimize=True)
        return file.getvalue()
