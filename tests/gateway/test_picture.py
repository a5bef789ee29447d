"""The front's images, as a browser shows them."""

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from appliance.errors import FrontImageUnreadable
from appliance.gateway.picture import Format, to_png


def encoded(kind: Format, size: tuple[int, int] = (24, 12)) -> bytes:
    """Return a small grey image."""
    output = BytesIO()
    Image.linear_gradient("L").resize(size).save(output, kind)
    return output.getvalue()


@pytest.mark.parametrize("kind", ["JPEG2000", "PNG"])
def test_an_image_becomes_a_png_of_its_size(kind: Format) -> None:
    """What a card stores comes out as PNG with the same pixels' worth of width and height."""
    with Image.open(BytesIO(to_png(encoded(kind), kind))) as image:
        assert (image.format, image.size) == ("PNG", (24, 12))


def test_only_the_expected_format_is_decoded() -> None:
    """A PNG in the photo's place is not tried with other decoders."""
    with pytest.raises(FrontImageUnreadable):
        to_png(encoded("PNG"), "JPEG2000")


def test_an_image_that_announces_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    """A few bytes that claim to be a huge image cost nothing."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    with pytest.raises(FrontImageUnreadable):
        to_png(bomb + encoded("PNG")[33:], "PNG")


@given(st.sampled_from(["JPEG2000", "PNG"]), st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_an_image_or_refused(kind: Format, octets: bytes, cut: int) -> None:
    """Garbage, and a genuine beginning followed by garbage, raise FrontImageUnreadable, and nothing else."""
    for hostile in (octets, encoded(kind)[:cut] + octets):
        try:
            to_png(hostile, kind)
        except FrontImageUnreadable:
            continue


def test_nothing_but_pixels_is_passed_on() -> None:
    """Text that was hidden in the file is not in what the clerk's browser gets."""
    hidden = PngInfo()
    hidden.add_text("Comment", "hidden")
    output = BytesIO()
    Image.linear_gradient("L").resize((8, 8)).save(output, "PNG", pnginfo=hidden)
    assert b"hidden" in output.getvalue()
    assert b"hidden" not in to_png(output.getvalue(), "PNG")
