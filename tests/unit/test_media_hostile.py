"""Files that mean harm, files that are damaged, and a machine without Pillow: one clear refusal each, at once."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pictures import bomb, chunk, gif_of_frames, opened, picture, raw

from holdfast.errors import InvalidRequest, MediaUnsupported, ModelError
from holdfast.models.media.fitting import fit
from holdfast.models.media.limits import MediaLimits, limits_of
from holdfast.types import Image, ImageType

SMALL = MediaLimits(side=40)
KINDS: list[ImageType] = ["image/png", "image/jpeg", "image/gif", "image/webp"]
SCREEN = b"GIF89a\x01\x00\x01\x00\x00\x00\x00"


def webp_of(width: int, height: int) -> bytes:
    canvas = b"\x00" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"VP8 " + struct.pack("<I", 4) + b"\x00" * 4
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_size(data: bytes, at: int, layout: str, width: int, height: int) -> bytes:
    return data[:at] + struct.pack(layout, width, height) + data[at + struct.calcsize(layout) :]


BOMBS = {
    "png": bomb(50_000, 50_000),
    "gif": SCREEN + b"," + struct.pack("<HHHH", 0, 0, 50_000, 50_000) + b"\x00\x02\x01\x00\x00;",
    "webp": webp_of(16_000, 16_000),
    "bmp": with_size(raw("image/bmp", 2, 2), 18, "<ii", 50_000, 50_000),
    "jpeg": with_size(raw("image/jpeg", 8, 8), raw("image/jpeg", 8, 8).index(b"\xff\xc0") + 5, ">HH", 50_000, 50_000),
}


@pytest.mark.requirement("media:bombs-refused")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_by_what_its_first_bytes_say_before_anything_is_decoded(kind: str) -> None:
    fit(picture("image/png", 50, 50), SMALL)  # Pillow is loaded
    tracemalloc.start()
    with pytest.raises(MediaUnsupported, match=r"more than 64,000,000 pixels; make it smaller first"):
        fit(Image("image/png", BOMBS[kind]), SMALL)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.requirement("media:bombs-refused")
def test_a_jpeg_whose_few_bytes_ask_for_hours_is_refused() -> None:
    whole = raw("image/jpeg", 3000, 2000, progressive=True)
    scan = whole.index(b"\xff\xda")
    many = whole[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00" * 5000 + whole[scan:]
    with pytest.raises(MediaUnsupported, match="too many scans for its size; convert it"):
        fit(Image("image/jpeg", many), SMALL)
    assert opened(fit(Image("image/jpeg", whole), SMALL)).size == (40, 26)


@pytest.mark.requirement("media:bombs-refused")
def test_text_that_unpacks_to_very_much_is_not_unpacked() -> None:
    import zlib

    small = raw("image/png", 100, 100)
    text = chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"\x00" * 300_000_000, 9))
    with pytest.raises(MediaUnsupported, match="it is damaged"):
        fit(Image("image/png", small[:33] + text + small[33:]), SMALL)


@pytest.mark.requirement("media:animation-first-frame")
def test_ten_thousand_frames_cost_as_much_as_one() -> None:
    fitted = opened(fit(Image("image/gif", gif_of_frames(10_000, 100, 100)), SMALL))
    assert fitted.size == (40, 40)
    assert fitted.format == "JPEG"


@pytest.mark.requirement("media:hostile-bytes")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it has no bytes; check the file"),
        (b"\x89PNG\r\n\x1a\n", "it is damaged; check the file"),
        (raw("image/jpeg", 9, 9)[:30], "it is damaged; check the file"),
        (with_size(raw("image/png", 9, 9), 16, ">II", 0, 9), "it is damaged; check the file"),
        (with_size(raw("image/gif", 9, 9), 6, "<HH", 9, 0), "it is damaged; check the file"),
        (b"PK\x03\x04\x00\x00", "its bytes are no picture, PDF or text; check the file"),
        (b"<svg></svg>", "it is no picture; check the file"),
        (b"II*\x00\x08\x00\x00\x00", "that kind of picture is not read; convert it to PNG or JPEG"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "not read; convert it to PNG or JPEG"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason_and_what_to_do(data: bytes, why: str) -> None:
    with pytest.raises(MediaUnsupported) as caught:
        fit(Image("image/png", data, "x.png"), SMALL, target="p/m")
    assert str(caught.value).startswith("'p/m' cannot be shown the image 'x.png' (")
    assert why in str(caught.value)
    assert caught.value.retry == "never"
    assert isinstance(caught.value, InvalidRequest)
    assert isinstance(caught.value, ModelError)


@pytest.mark.requirement("media:hostile-bytes")
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_was_cut_off_is_refused_when_it_has_to_be_decoded(kind: ImageType) -> None:
    whole = raw(kind, 300, 300, noise=True)
    with pytest.raises(MediaUnsupported, match="it is damaged"):
        fit(Image(kind, whole[: len(whole) // 2]), SMALL)


@pytest.mark.requirement("media:hostile-bytes")
def test_what_a_camera_wrote_may_be_damaged_in_a_picture_that_is_whole() -> None:
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + b"\xff" * 40
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert opened(fit(Image("image/jpeg", raw("image/jpeg", 80, 80, exif=exif)), SMALL)).size == (40, 40)


@pytest.mark.requirement("media:hostile-bytes")
@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*KINDS, "image/bmp"]), st.integers(0, 2**32), st.integers(1, 60), st.booleans())
def test_damage_anywhere_ends_in_a_picture_or_a_refusal_and_in_nothing_else(
    kind: str, seed: int, hits: int, cut: bool
) -> None:
    chance = random.Random(seed)
    mode = chance.choice(
        ("RGB", "L") if kind == "image/jpeg" else ("RGB", "L", "P", "1") if kind != "image/webp" else ("RGB",)
    )
    data = bytearray(raw(kind, 60, 50, mode, noise=chance.random() < 0.5))
    for _ in range(hits):
        data[chance.randrange(8, len(data) if chance.random() < 0.5 else min(len(data), 200))] = chance.randrange(256)
    if cut:
        del data[chance.randrange(len(data)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = fit(Image("image/png", bytes(data)), SMALL)
        except MediaUnsupported:
            return
    if isinstance(fitted, Image) and len(fitted.data) != len(data):
        assert max(opened(fitted).size) <= 40


WITHOUT = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "PIL":
            raise ModuleNotFoundError(f"No module named {name!r}", name="PIL")
sys.meta_path.insert(0, Blocker())
from holdfast.errors import MediaUnsupported
from holdfast.models.media.fitting import fit
from holdfast.models.media.limits import MediaLimits, limits_of
from holdfast.types import Image
data = sys.stdin.buffer.read()
part = Image("image/png", data, "a.png")
assert fit(part, limits_of("openai")) is part
assert fit(Image("image/gif", data), limits_of("openai")) == Image("image/png", data)
try:
    fit(part, MediaLimits(side=10))
except MediaUnsupported as error:
    print(error)
assert "PIL" not in sys.modules
"""


@pytest.mark.requirement("media:without-pillow")
def test_without_pillow_what_fits_passes_and_the_rest_says_what_to_install() -> None:
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, input=raw("image/png", 50, 20), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert "'a.png' (image/png, 50 x 20 pixels" in said
    assert "needs Pillow; pip install 'holdfast[media]'" in said


@pytest.mark.requirement("media:without-pillow")
def test_pillow_is_imported_only_when_pixels_are_needed() -> None:
    asked = "import sys, holdfast.models.media.preparing; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_the_largest_picture_that_is_decoded_comes_out_right() -> None:
    file = io.BytesIO()
    import PIL.Image

    PIL.Image.new("1", (8000, 8000), 1).save(file, "PNG")
    fitted = opened(fit(Image("image/png", file.getvalue()), limits_of("groq")))
    assert fitted.width * fitted.height <= 33_177_600
    assert fitted.getpixel((99, 99)) == 255
