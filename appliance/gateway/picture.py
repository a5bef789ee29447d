"""
The front's images as a browser shows them.

The bytes come from a card and go into a decoder, so only the one expected format is tried, sizes are bounded before
anything is decoded, and what fails is an error of ours. Pillow brings the JPEG 2000 decoder.
"""

import warnings
from io import BytesIO
from typing import Final, Literal

from PIL import Image

from appliance.errors import FrontImageUnreadable

MOST_PIXELS: Final = 1_000_000
"""The photo has about 40,000 (card facts 4.2)."""

Format = Literal["JPEG2000", "PNG"]


def to_png(encoded: bytes, kind: Format) -> bytes:
    """Return the image *encoded*, of the given *kind*, as PNG; raise FrontImageUnreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(encoded), formats=[kind]) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise FrontImageUnreadable(f"an image of {image.width} by {image.height} pixels")
                output = BytesIO()
                # A new image of the pixels alone: nothing else that was in the file is passed on.
                Image.frombytes("L", image.size, image.convert("L").tobytes()).save(output, "PNG")
                return output.getvalue()
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise FrontImageUnreadable(f"the {kind} image cannot be decoded") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise FrontImageUnreadable("an image announces more pixels than a front has") from error
