"""One picture or document, made into what a target takes."""

from __future__ import annotations

import io

import msgspec
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pictures import chunk, gif_of_frames, opened, pdf, picture, png_of_16_bits, raw

from holdfast.errors import MediaUnsupported, UsageError
from holdfast.models.media.fitting import fit, settle
from holdfast.models.media.limits import LIMITS, MediaLimits, as_sent, limits_of, scaled_to
from holdfast.models.media.sniffing import moves, sniff
from holdfast.types import Document, Image, ImageType, Text

SMALL = MediaLimits(side=200)
EVERY: tuple[ImageType, ...] = ("image/png", "image/jpeg", "image/gif", "image/webp")


def within(part: object, limits: MediaLimits, images: int = 1) -> bool:
    """Whether a picture is what the limits say, as Pillow sees it."""
    assert isinstance(part, Image)
    image, side = opened(part), limits.side_among(images)
    return (
        part.media_type in limits.image_types
        and as_sent(len(part.data)) <= min(limits.image_bytes, limits.request_bytes)
        and (side is None or max(image.size) <= side)
        and (limits.pixels is None or image.width * image.height <= limits.pixels)
        and (limits.animated or not moves(part.data, part.media_type))
    )


@pytest.mark.requirement("media:within-limits-untouched")
@pytest.mark.parametrize("kind", EVERY)
def test_a_picture_within_the_limits_stays_the_same_object(kind: ImageType) -> None:
    part = picture(kind, 200, 150)
    assert fit(part, SMALL) is part


@pytest.mark.requirement("media:within-limits-untouched")
def test_words_and_documents_within_the_limits_stay_the_same_objects() -> None:
    for part in (Text("hi"), Document("text/plain", b"%PDF- and other words"), pdf()):
        assert fit(part, SMALL) is part


@pytest.mark.requirement("media:oversize-fits")
@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_with_too_long_a_side_keeps_its_shape_type_and_name(kind: ImageType, mode: str) -> None:
    mode = "RGB" if kind == "image/webp" else mode
    fitted = fit(picture(kind, 1000, 500, mode, name="a"), SMALL)
    assert isinstance(fitted, Image)
    assert (fitted.media_type, fitted.name, opened(fitted).size) == (kind, "a", (200, 100))


@pytest.mark.requirement("media:oversize-fits")
@pytest.mark.parametrize(("kind", "mode"), [("image/png", "RGBA"), ("image/jpeg", "RGB"), ("image/png", "L")])
def test_a_picture_with_too_many_bytes_gets_few_enough(kind: ImageType, mode: str) -> None:
    limits = MediaLimits(image_bytes=60_000)
    part = picture(kind, 500, 400, mode, noise=True)
    assert as_sent(len(part.data)) > limits.image_bytes
    assert within(fit(part, limits), limits)


@pytest.mark.requirement("media:oversize-fits")
def test_quality_goes_down_before_size_does() -> None:
    part = picture("image/jpeg", 400, 400, noise=True, quality=98)
    sizes = {q: as_sent(len(raw("image/jpeg", 400, 400, noise=True, quality=q))) for q in (85, 30)}
    limits = MediaLimits(image_bytes=(sizes[85] + sizes[30]) // 2)
    assert opened(fit(part, limits)).size == (400, 400)
    smaller = fit(part, MediaLimits(image_bytes=sizes[30] // 3))
    assert opened(smaller).size == (200, 200)


@pytest.mark.requirement("media:oversize-fits")
def test_where_only_png_is_taken_the_picture_gets_smaller_until_it_fits() -> None:
    limits = MediaLimits(image_types=("image/png",), image_bytes=20_000)
    assert within(fit(picture("image/jpeg", 300, 300, noise=True), limits), limits)


@pytest.mark.requirement("media:oversize-fits")
def test_megapixels_are_a_bound_of_their_own() -> None:
    limits = MediaLimits(pixels=10_000)
    fitted = opened(fit(picture("image/png", 400, 100), limits))
    assert fitted.size == (200, 50)
    assert opened(fit(picture("image/png", 30_000, 1), MediaLimits(side=None, pixels=500))).size == (500, 1)


@pytest.mark.requirement("media:wrong-type-corrected")
@pytest.mark.parametrize("kind", EVERY)
def test_bytes_beat_the_declared_type_without_being_touched(kind: ImageType) -> None:
    data = raw(kind, 20, 20)
    for declared in (
        Image("image/png" if kind != "image/png" else "image/gif", data, "n"),
        Document("application/pdf", data, "n"),
    ):
        assert fit(declared, SMALL) == Image(kind, data, "n")
    assert fit(Image("image/png", pdf().data, "n"), SMALL) == Document("application/pdf", pdf().data, "n")
    assert fit(Document("application/pdf", b"words", "n"), SMALL) == Document("text/plain", b"words", "n")


@pytest.mark.requirement("media:wrong-type-corrected")
def test_a_bitmap_becomes_something_the_target_takes() -> None:
    assert within(fit(Image("image/png", raw("image/bmp", 30, 20)), SMALL), SMALL)


@pytest.mark.requirement("media:webp")
def test_webp_goes_as_it_is_where_it_is_taken_and_as_another_type_where_not() -> None:
    part = picture("image/webp", 60, 40)
    assert fit(part, SMALL) is part
    fitted = fit(part, LIMITS["xai"])
    assert isinstance(fitted, Image)
    assert fitted.media_type == "image/jpeg"
    assert opened(fitted).size == (60, 40)


@pytest.mark.requirement("media:animation-first-frame")
def test_of_an_animation_that_has_to_be_remade_the_first_frame_stays() -> None:
    part = Image("image/gif", gif_of_frames(5, 400, 300))
    for limits in (SMALL, LIMITS["google"], LIMITS["openai"], MediaLimits(image_types=("image/gif",), side=100)):
        fitted = fit(part, limits)
        assert within(fitted, limits)
        assert getattr(opened(fitted), "n_frames", 1) == 1
        assert opened(fitted).convert("RGB").getpixel((5, 5)) in ((255, 0, 0), (254, 0, 0))
    assert fit(part, LIMITS["anthropic"]) is part


@pytest.mark.requirement("media:orientation")
@pytest.mark.parametrize("kind", ["image/jpeg", "image/png"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_a_remade_picture_stands_upright_and_says_nothing_of_how_it_was_taken(kind: ImageType, turned: int) -> None:
    upright = PIL.Image.new("RGB", (600, 300))
    upright.paste((255, 255, 255), (0, 0, 300, 150))  # top left
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turned]
    image = upright if undo is None else upright.transpose(PIL.Image.Transpose(undo))
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = turned, "a camera"
    file = io.BytesIO()
    image.save(file, kind.partition("/")[2].upper(), exif=exif)
    fitted = opened(fit(Image(kind, file.getvalue()), SMALL)).convert("L")
    assert fitted.size == (200, 100)
    lit = [fitted.getpixel(at) for at in ((50, 25), (150, 25), (50, 75), (150, 75))]
    assert [shade > 128 for shade in lit if isinstance(shade, int)] == [True, False, False, False]
    assert not fitted.getexif()


@pytest.mark.requirement("media:colour-modes")
def test_what_is_see_through_stays_so_in_png_and_stands_on_white_in_jpeg() -> None:
    for part in (picture("image/png", 400, 400, "RGBA"), Image("image/png", see_through_palette())):
        kept = opened(fit(part, SMALL))
        assert kept.mode == "RGBA"
        assert min(kept.getchannel("A").tobytes()) < 255
        flat = opened(fit(part, MediaLimits(image_types=("image/jpeg",))))
        assert flat.mode == "RGB"
    half = PIL.Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 150, 300))
    file = io.BytesIO()
    half.save(file, "PNG")
    on_white = opened(fit(Image("image/png", file.getvalue()), MediaLimits(image_types=("image/jpeg",))))
    assert on_white.getpixel((250, 99)) == (255, 255, 255)
    assert on_white.getpixel((50, 99)) in ((255, 0, 0), (254, 0, 0))


def see_through_palette() -> bytes:
    file = io.BytesIO()
    image = PIL.Image.new("P", (400, 400), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(file, "PNG", transparency=bytes((0, 100)))
    return file.getvalue()


@pytest.mark.requirement("media:colour-modes")
@pytest.mark.parametrize("colour", [0, 2])
@pytest.mark.parametrize("more", [(), (b"tRNS",)])
def test_sixteen_bits_become_eight_with_every_shade_between(colour: int, more: tuple[bytes, ...]) -> None:
    key = [chunk(name, b"\x01\x80" * (1 if colour == 0 else 3)) for name in more]
    fitted = (
        opened(fit(Image("image/png", png_of_16_bits(400, 50, *key, colour=colour)), SMALL)).convert("RGB").convert("L")
    )
    shades = [fitted.getpixel((x, 5)) for x in (0, 50, 100, 150, 199)]
    assert all(abs(shade - x * 255 // 200) <= 3 for shade, x in zip(shades, (0, 50, 100, 150, 199), strict=True))  # type: ignore[operator, arg-type]


@pytest.mark.requirement("media:colour-modes")
@pytest.mark.parametrize(
    ("kind", "mode"), [("image/jpeg", "CMYK"), ("image/png", "1"), ("image/png", "P"), ("image/png", "LA")]
)
def test_other_ways_to_store_colours_are_read(kind: ImageType, mode: str) -> None:
    fitted = fit(picture(kind, 300, 300, mode, noise=mode == "CMYK"), SMALL)
    assert within(fitted, SMALL)
    assert opened(fitted).mode in ("L", "RGB", "RGBA")


@pytest.mark.requirement("media:documents")
def test_a_document_that_is_too_large_or_of_no_use_is_refused_with_what_to_do() -> None:
    with pytest.raises(MediaUnsupported, match=r"'m' cannot be shown the document 'a.pdf' .* split it"):
        fit(pdf(90_000, "a.pdf"), MediaLimits(pdf_bytes=50_000), target="m")
    with pytest.raises(
        MediaUnsupported, match=r"PDF is not taken; give its text instead, or use a model that reads PDF"
    ):
        fit(pdf(), LIMITS["ollama"])
    with pytest.raises(MediaUnsupported, match=r"no pictures are taken; say in words"):
        fit(picture("image/png", 5, 5), MediaLimits(image_types=()))


@pytest.mark.requirement("media:provider-table")
def test_each_provider_has_its_limits_and_others_have_sane_ones() -> None:
    anthropic = limits_of("anthropic")
    assert (anthropic.image_bytes, anthropic.images) == (5 * 1024 * 1024, 100)
    assert (anthropic.side_among(20), anthropic.side_among(21)) == (8000, 2000)
    assert "image/gif" not in limits_of("google").image_types
    assert (limits_of("bedrock").images, limits_of("bedrock").side) == (20, 8000)
    assert limits_of("a server of my own") == MediaLimits()
    assert as_sent(5 * 1024 * 1024 * 3 // 4) == 5 * 1024 * 1024
    for limits in LIMITS.values():
        assert settle(picture("image/png", 100, 100), limits) is not None
    with pytest.raises(UsageError, match="images is 0"):
        MediaLimits(images=0)


@pytest.mark.requirement("media:oversize-fits", "media:within-limits-untouched")
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(k, m) for k in EVERY for m in ("RGB", "RGBA", "L") if (k, m) != ("image/jpeg", "RGBA")]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.booleans(),
    st.lists(st.sampled_from(EVERY), min_size=1, unique=True),
    st.integers(2000, 90_000),
    st.none() | st.integers(1, 400),
    st.none() | st.integers(1, 50_000),
)
def test_whatever_comes_out_is_a_picture_within_the_limits_and_what_went_in_is_as_it_was(
    kind: tuple[ImageType, str],
    width: int,
    height: int,
    noise: bool,
    types: list[ImageType],
    size: int,
    side: int | None,
    pixels: int | None,
) -> None:
    limits = MediaLimits(image_types=tuple(types), image_bytes=size, side=side, pixels=pixels)
    part = picture(kind[0], width, height, kind[1], noise=noise, name="n")
    before = msgspec.structs.astuple(part)
    fitted = fit(part, limits)
    assert within(fitted, limits)
    assert msgspec.structs.astuple(part) == before
    assert (fitted is part) == within(part, limits)
    assert fit(fitted, limits) is fitted
    seen = sniff(fitted.data) if isinstance(fitted, Image) else None
    assert seen is not None
    assert (seen.width, seen.height) == opened(fitted).size


@given(
    st.integers(1, 70_000), st.integers(1, 70_000), st.none() | st.integers(1, 9000), st.none() | st.integers(1, 10**8)
)
def test_a_scaled_size_is_within_its_bounds_and_no_larger_than_it_was(
    width: int, height: int, side: int | None, pixels: int | None
) -> None:
    wide, high = scaled_to(width, height, side, pixels)
    assert 1 <= wide <= width
    assert 1 <= high <= height
    assert side is None or max(wide, high) <= side
    assert pixels is None or wide * high <= pixels
