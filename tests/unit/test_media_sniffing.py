"""What bytes are, told from the first of them, whoever made them."""

from __future__ import annotations

import struct
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pictures import bomb, chunk, gif_of_frames, raw

from holdfast.models.media.sniffing import Sniffed, moves, scans, sniff

SIZES = [(1, 1), (3, 700), (640, 480)]
KINDS = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"]


@pytest.mark.requirement("media:sniffed-by-bytes")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_kind_of_picture_is_known_with_its_size(kind: str, width: int, height: int) -> None:
    assert sniff(raw(kind, width, height)) == Sniffed(kind, width, height)  # type: ignore[arg-type]


@pytest.mark.requirement("media:sniffed-by-bytes")
@pytest.mark.parametrize(
    "how",
    [{"lossless": True}, {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"}, {"quality": 5}],
)
def test_every_way_to_write_a_webp_says_its_size(how: dict[str, Any]) -> None:
    assert sniff(raw("image/webp", 301, 77, noise=True, **how)) == Sniffed("image/webp", 301, 77)


def test_a_progressive_jpeg_and_one_with_a_long_beginning_say_their_size() -> None:
    ways: list[dict[str, Any]] = [{"progressive": True}, {"comment": b"c" * 60_000}, {"icc_profile": b"p" * 200_000}]
    for how in ways:
        assert sniff(raw("image/jpeg", 99, 55, **how)) == Sniffed("image/jpeg", 99, 55)


@pytest.mark.requirement("media:sniffed-by-bytes")
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n\x00", "application/pdf"),
        (b"\n" * 900 + b"%PDF-1.4", "application/pdf"),
        (b"II*\x00\x08\x00\x00\x00", "image/tiff"),
        (b"MM\x00*\x00\x00\x00\x08", "image/tiff"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "image/heic"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00", "image/avif"),
        ("Words, and an ü.".encode(), "text/plain"),
        (b"BMW is a maker of cars", "text/plain"),
    ],
)
def test_other_things_are_told_apart_too(data: bytes, kind: str) -> None:
    assert sniff(data) == Sniffed(kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xfe\x00", b"PK\x03\x04\x00", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_nothing_known_is_nothing(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.requirement("media:hostile-bytes")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_ends_anywhere_has_its_true_size_or_none(kind: str) -> None:
    whole = raw(kind, 640, 480)
    for end in range(min(len(whole), 700)):
        seen = sniff(whole[:end])
        if seen is not None and seen.kind == kind:
            assert (seen.width, seen.height) in ((640, 480), (0, 0))


@pytest.mark.requirement("media:hostile-bytes")
@given(st.sampled_from(KINDS), st.binary(max_size=400), st.integers(0, 60))
def test_no_bytes_at_all_make_it_fail(kind: str, tail: bytes, keep: int) -> None:
    data = raw(kind, 5, 4)[:keep] + tail
    seen = sniff(data)
    if seen is not None:
        assert seen.width >= 0
        assert seen.height >= 0
        moves(data, seen.kind)


@pytest.mark.requirement("media:hostile-bytes")
@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 3_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 700_000,
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00!\xfe" + b"\x01a" * 1_500_000,
        b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xfe\x00" * 1_000_000,
    ],
)
def test_a_beginning_that_never_ends_is_given_up_soon(data: bytes) -> None:
    class Counted(bytes):
        looks = 0

        def __getitem__(self, at: object) -> bytes:  # type: ignore[override]
            Counted.looks += 1
            return bytes.__getitem__(self, at)  # type: ignore[arg-type, return-value]

    seen = sniff(Counted(data))
    assert seen is not None
    assert seen.pixels == 0
    assert Counted.looks < 50_000


def test_a_size_that_a_header_claims_is_told_as_it_is() -> None:
    assert sniff(bomb(50_000, 50_000)) == Sniffed("image/png", 50_000, 50_000)


def test_a_gif_is_as_large_as_its_screen_and_its_first_frame_together() -> None:
    frame = b",\x00\x00\x00\x00" + struct.pack("<HH", 60_000, 50_000) + b"\x00"
    data = b"GIF89a" + struct.pack("<HH", 2, 3) + b"\x00\x00\x00" + b"!\xf9\x04\x00\x00\x00\x00\x00" + frame
    assert sniff(data) == Sniffed("image/gif", 60_000, 50_000)


def test_a_bitmap_that_is_upside_down_has_a_size() -> None:
    data = bytearray(raw("image/bmp", 7, 9))
    data[22:26] = struct.pack("<i", -9)
    assert sniff(bytes(data)) == Sniffed("image/bmp", 7, 9)


@pytest.mark.requirement("media:animation-seen")
def test_pictures_with_several_frames_are_known_by_their_first_bytes() -> None:
    assert moves(gif_of_frames(2), "image/gif")
    assert moves(gif_of_frames(10_000), "image/gif")
    assert not moves(gif_of_frames(1), "image/gif")
    assert not moves(raw("image/gif", 900, 900, noise=True), "image/gif")
    still = raw("image/png", 3, 3)
    animation = still[:33] + chunk(b"acTL", struct.pack(">II", 2, 0)) + still[33:]
    assert moves(animation, "image/png")
    assert not moves(still, "image/png")
    other = PIL.Image.new("RGB", (9, 9), (200, 0, 0))
    assert moves(raw("image/webp", 9, 9, save_all=True, append_images=[other], duration=100), "image/webp")
    assert not moves(raw("image/webp", 3, 3), "image/webp")


def test_scans_of_a_jpeg_are_counted() -> None:
    assert scans(raw("image/jpeg", 64, 64, noise=True)) == 1
    assert 3 < scans(raw("image/jpeg", 64, 64, noise=True, progressive=True)) < 20
