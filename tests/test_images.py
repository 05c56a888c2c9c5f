"""images: from any file comes [3,H,W] in [0,1], or one sentence that says why not; what is drawn can be read."""

import io
import itertools
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch.testing import assert_close

from minigen import images
from minigen.data import photos

BYTE = 0.5 / 255 + 1e-6  # what rounding to 8 bits may change
JPEG = 12 / 255  # what JPEG may change in a smooth picture


@pytest.fixture(autouse=True)
def no_warnings():
    """Nothing that Pillow or matplotlib remarks on reaches the learner, wherever it is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="matplotlib")  # between libraries
        yield


def smooth(height=48, width=64):
    """A picture that compresses well, has no symmetry and uses the whole range: [3,H,W]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y, (1 - x) * (1 - y)])


def to_array(image):
    return (image * 255).round().byte().permute(1, 2, 0).numpy()  # [H,W,3]


def picture(**size):
    return Image.fromarray(to_array(smooth(**size)))


def png(width, height, depth, colour, rows, *chunks):
    """A PNG of any bit depth, written by hand, since Pillow writes none of 16-bit colour."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*c) for c in chunks) + data + chunk(b"IEND", b"")


def mode(path):
    with Image.open(path) as file:
        return file.mode


def refusal(path, kind=ValueError, size=None):
    with pytest.raises(kind) as caught:
        images.load_image(path, size)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# --- what comes in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm", "gif", "jpg", "webp"])
def test_a_picture_of_every_common_format_comes_in_as_it_is(tmp_path, ending):
    picture().save(tmp_path / f"a.{ending}", quality=95)
    image = images.load_image(tmp_path / f"a.{ending}")
    assert image.shape == (3, 48, 64) and image.dtype == torch.float32 and image.is_contiguous()
    assert image.min() >= 0 and image.max() <= 1
    lossy = {"jpg": JPEG, "webp": JPEG, "gif": 40 / 255}  # GIF: 256 colours
    assert_close(image, smooth(), rtol=0, atol=lossy.get(ending, BYTE))


def test_upper_case_endings_and_paths_given_as_words_are_taken(tmp_path):
    picture().save(tmp_path / "A.JPG", quality=95)
    assert_close(images.load_image(str(tmp_path / "A.JPG")), smooth(), rtol=0, atol=JPEG)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_set_upright(tmp_path, orientation):
    # What a camera writes when it is held so that the picture seen is `smooth()`
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Pillow's transposition of it
    stored = picture() if orientation == 1 else picture().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert_close(images.load_image(tmp_path / "a.jpg"), smooth(), rtol=0, atol=JPEG)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\5"])
def test_broken_exif_does_not_keep_a_whole_picture_out(tmp_path, exif):
    picture().save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert_close(images.load_image(tmp_path / "a.jpg"), smooth(), rtol=0, atol=JPEG)


def test_transparent_pixels_are_composited_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(255, 0, 0, 255), (255, 0, 0, 128), (7, 7, 7, 0)]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    half = 1 - 128 / 255
    expected = torch.tensor([[1, 1, 1], [0, half, 1], [0, half, 1.0]])[:, None]  # [3,1,3]
    assert_close(images.load_image(tmp_path / "a.png"), expected, rtol=0, atol=1 / 255)


def test_grey_with_alpha_is_composited_on_white(tmp_path):
    Image.fromarray(np.array([[[0, 255], [0, 0]]], np.uint8), mode="LA").save(tmp_path / "a.png")
    assert mode(tmp_path / "a.png") == "LA"
    assert_close(images.load_image(tmp_path / "a.png"), torch.tensor([0.0, 1]).expand(3, 1, 2))


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_a_transparent_entry_of_a_palette_becomes_white(tmp_path, ending):
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([255, 0, 0, 0, 0, 255] + [0] * 750)
    indexed.putpixel((1, 0), 1)
    indexed.save(tmp_path / f"a.{ending}", transparency=1)
    expected = torch.tensor([[1.0, 1], [0, 1], [0, 1]])[:, None]
    assert_close(images.load_image(tmp_path / f"a.{ending}"), expected)


def test_a_palette_with_graded_transparency_is_composited_on_white(tmp_path):
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([0, 0, 0] * 256)
    indexed.putpixel((1, 0), 1)
    indexed.save(tmp_path / "a.png", transparency=bytes([0, 128] + [255] * 254))
    expected = torch.tensor([1, 1 - 128 / 255]).expand(3, 1, 2)
    assert_close(images.load_image(tmp_path / "a.png"), expected, rtol=0, atol=1 / 255)


def test_grey_comes_in_three_equal_channels(tmp_path):
    picture().convert("L").save(tmp_path / "a.png")
    image = images.load_image(tmp_path / "a.png")
    assert image.shape == (3, 48, 64)
    assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
    assert image[0].unique().numel() > 50


def test_one_bit_comes_in_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert mode(tmp_path / "a.png") == "1"
    assert_close(images.load_image(tmp_path / "a.png"), torch.tensor([1.0, 0]).expand(3, 1, 2))


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_print_colours_come_in_as_screen_colours(tmp_path, ending):
    inks = Image.new("CMYK", (8, 8), (255, 0, 0, 0))  # cyan ink, and nothing else
    inks.save(tmp_path / f"a.{ending}", quality=100)
    expected = torch.tensor([0.0, 1, 1])[:, None, None].expand(3, 8, 8)
    assert_close(images.load_image(tmp_path / f"a.{ending}"), expected, rtol=0, atol=3 / 255)


def test_sixteen_bit_grey_keeps_its_whole_range(tmp_path):
    values = np.array([[0, 300, 32768, 65535]], np.uint16)  # read carelessly, all but the first are white
    expected = torch.tensor(values / 65535).float().expand(3, 1, 4)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert_close(images.load_image(tmp_path / name), expected, rtol=0, atol=BYTE)


def test_sixteen_bit_grey_with_a_transparent_value_becomes_white_there(tmp_path):
    row = struct.pack(">3H", 0, 300, 65535)
    (tmp_path / "a.png").write_bytes(png(3, 1, 16, 0, [row], (b"tRNS", struct.pack(">H", 300))))
    assert_close(images.load_image(tmp_path / "a.png"), torch.tensor([0.0, 1, 1]).expand(3, 1, 3))


def test_sixteen_bit_colour_comes_in(tmp_path):
    row = struct.pack(">6H", 65535, 32768, 0, 0, 257, 65535)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, [row]))
    expected = torch.tensor([[1, 0], [0.5, 1 / 255], [0, 1]])[:, None]
    assert_close(images.load_image(tmp_path / "a.png"), expected, rtol=0, atol=1 / 255)


def test_sixteen_bit_colour_with_alpha_is_composited_on_white(tmp_path):
    row = struct.pack(">8H", 65535, 0, 0, 65535, 65535, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 6, [row]))
    expected = torch.tensor([[1.0, 1], [0, 1], [0, 1]])[:, None]
    assert_close(images.load_image(tmp_path / "a.png"), expected)


def test_floating_point_grey_within_0_and_1_comes_in(tmp_path):
    Image.fromarray(np.array([[0, 0.25, 1]], np.float32)).save(tmp_path / "a.tif")
    expected = torch.tensor([0, 0.25, 1]).expand(3, 1, 3)
    assert_close(images.load_image(tmp_path / "a.tif"), expected, rtol=0, atol=BYTE)


@pytest.mark.parametrize("values", [[[0.0, 300]], [[-1.0, 0]], [[0, float("nan")]], [[0, float("inf")]]])
def test_floating_point_grey_without_a_known_white_is_refused(tmp_path, values):
    Image.fromarray(np.array(values, np.float32)).save(tmp_path / "a.tif")
    assert "expected 0 to 1" in refusal(tmp_path / "a.tif")


def test_whole_numbers_beyond_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "a.tif")
    assert "70000" in refusal(tmp_path / "a.tif")


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    for name in ("a.gif", "a.png", "a.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second, second], lossless=True)
        with Image.open(tmp_path / name) as file:
            assert file.n_frames > 1
        red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 4, 4)
        assert_close(images.load_image(tmp_path / name), red, rtol=0, atol=2 / 255)


def test_one_pixel_comes_in_and_can_be_enlarged(tmp_path):
    Image.new("RGB", (1, 1), (255, 0, 51)).save(tmp_path / "a.png")
    colour = torch.tensor([1, 0, 0.2])[:, None, None]
    assert_close(images.load_image(tmp_path / "a.png"), colour)
    assert_close(images.load_image(tmp_path / "a.png", size=64), colour.expand(3, 64, 64))


@pytest.mark.parametrize("shape", [(10_000, 3), (3, 10_000), (10_000, 1)])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_ten_thousand_pixels_in_a_row_come_in(tmp_path, shape, ending):
    Image.new("RGB", shape, "white").save(tmp_path / f"a.{ending}")
    assert images.load_image(tmp_path / f"a.{ending}").shape == (3, shape[1], shape[0])
    assert_close(images.load_image(tmp_path / f"a.{ending}", size=64), torch.ones(3, 64, 64))


# --- size -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_size_gives_the_largest_centred_square(tmp_path, ending):
    wide = torch.zeros(3, 100, 300)
    wide[:, :, 100:200] = smooth(100, 100)
    images.save_image(wide, tmp_path / f"a.{ending}")
    images.save_image(wide.transpose(1, 2), tmp_path / f"b.{ending}")
    expected = torch.nn.functional.avg_pool2d(smooth(100, 100)[None], 5)[0]  # [3,20,20]
    inner = (slice(None), slice(1, -1), slice(1, -1))  # at the edges the filter sees a little of the black beside
    a, b = (images.load_image(tmp_path / f"{name}.{ending}", size=20) for name in "ab")
    assert_close(a[inner], expected[inner], rtol=0, atol=JPEG)
    assert_close(b.transpose(1, 2)[inner], expected[inner], rtol=0, atol=JPEG)


def test_a_large_jpeg_decoded_small_looks_like_one_decoded_whole(tmp_path):
    picture(height=1200, width=1600).save(tmp_path / "a.jpg", quality=95)
    picture(height=1200, width=1600).save(tmp_path / "a.png")
    fast, exact = (images.load_image(tmp_path / name, size=32) for name in ("a.jpg", "a.png"))
    assert_close(fast, exact, rtol=0, atol=4 / 255)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(tmp_path, size):
    picture().save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=f"size is {size}"):
        images.load_image(tmp_path / "a.png", size=size)


# --- what is refused --------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    refusal(tmp_path / "missing.png", FileNotFoundError)


def test_a_folder_is_refused(tmp_path):
    assert "folder" in refusal(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert "empty" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not a picture at all", id="words"),
        pytest.param(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), id="heic"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="svg"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n", id="postscript"),
    ],
)
def test_a_file_in_another_format_is_refused_with_the_cure(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert "save it as PNG or JPEG" in refusal(tmp_path / "a.jpg")


def test_postscript_is_never_handed_to_its_interpreter(tmp_path, monkeypatch):
    def run(*args, **kwargs):
        raise AssertionError(f"ran {args}")

    monkeypatch.setattr(subprocess, "Popen", run)
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n")
    refusal(tmp_path / "a.eps")


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_a_truncated_picture_is_refused_wherever_it_is_cut(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    picture().save(path, quality=90)
    whole, data = images.load_image(path), path.read_bytes()
    refused = 0
    for cut in range(1, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:cut])
        try:
            image = images.load_image(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            assert torch.equal(image, whole)  # only what follows the pixels was lost
    assert refused > 40


def test_a_truncated_jpeg_is_refused_at_any_size(tmp_path):
    path = tmp_path / "a.jpg"
    picture(height=600, width=800).save(path, quality=90)
    path.write_bytes(path.read_bytes()[:-2000])
    assert "get a fresh copy" in refusal(path, size=8)


def test_damage_of_any_kind_is_one_sentence_or_a_picture(tmp_path):
    rng = random.Random(0)
    for ending in ("jpg", "png", "gif", "tif", "webp", "bmp", "jp2"):
        path = tmp_path / f"a.{ending}"
        picture(height=16, width=16).save(path)
        data = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(rng.randint(1, 8)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            path.write_bytes(damaged)
            try:
                image = images.load_image(path, size=8)
            except ValueError as error:
                assert str(path) in str(error)
            else:
                assert image.shape == (3, 8, 8) and image.isfinite().all()


@pytest.mark.parametrize("side", [10_001, 13_000, 60_000])  # above our limit, Pillow's for a warning, for an error
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png(side, side, 8, 0, []))
    assert "100,000,000 pixels" in refusal(tmp_path / "a.png")


def test_a_picture_between_pillows_limit_and_ours_raises_no_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    picture().save(tmp_path / "a.png")  # 3,072 pixels
    assert images.load_image(tmp_path / "a.png").shape == (3, 48, 64)


def test_the_callers_warning_filters_are_as_before(tmp_path):
    picture().save(tmp_path / "a.png")
    before = list(warnings.filters)
    images.load_image(tmp_path / "a.png")
    assert warnings.filters == before


# --- ranges, and what goes out ------------------------------------------------------------------------------------


def test_signed_and_unit_are_each_others_inverse():
    x = torch.linspace(0, 1, 256)
    assert images.to_signed(x).min() == -1 and images.to_signed(x).max() == 1
    assert_close(images.to_unit(images.to_signed(x)), x, rtol=0, atol=1e-6)


def test_unit_clamps_what_a_model_overshoots():
    assert_close(images.to_unit(torch.tensor([-3.0, -1, 0, 1, 3])), torch.tensor([0, 0, 0.5, 1, 1]))


@pytest.mark.parametrize("change", [images.to_signed, images.to_unit, images.to_pil])
def test_bytes_are_refused_instead_of_overflowing(change):
    with pytest.raises(TypeError, match=r"torch\.uint8.*255"):
        change(torch.full((3, 2, 2), 200, dtype=torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_dtype_goes_out(dtype):
    image = torch.tensor([0, 0.5, 1], dtype=dtype)[:, None, None].expand(3, 2, 2)
    assert np.asarray(images.to_pil(image))[0, 0].tolist() == [0, 128, 255]


def test_what_goes_out_comes_back_for_every_byte_value():
    image = (torch.arange(768).view(3, 16, 16) % 256) / 255
    assert torch.equal(images.from_pil(images.to_pil(image)), image)


def test_one_channel_goes_out_as_grey():
    drawn = np.asarray(images.to_pil(torch.full((1, 2, 3), 0.2)))
    assert drawn.shape == (2, 3, 3) and (drawn == 51).all()


def test_out_of_range_is_clamped_and_not_wrapped():
    drawn = np.asarray(images.to_pil(torch.tensor([-0.1, 0.5, 1.1])[:, None, None]))
    assert drawn[0, 0].tolist() == [0, 128, 255]


def test_nan_is_refused_instead_of_drawn_black():
    with pytest.raises(ValueError, match="NaN"):
        images.to_pil(torch.full((3, 2, 2), float("nan")))


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (1, 3, 4, 4), (3, 0, 4), (4, 4, 3)])
def test_another_shape_is_refused_with_the_one_expected(shape):
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        images.to_pil(torch.zeros(shape))


def test_from_pil_composites_as_load_image_does():
    assert_close(images.from_pil(Image.new("RGBA", (1, 1), (0, 0, 0, 0))), torch.ones(3, 1, 1))


def test_a_gradient_does_not_keep_a_picture_from_going_out():
    assert images.to_pil(torch.zeros(3, 2, 2, requires_grad=True)).size == (2, 2)


def test_no_function_changes_its_argument(tmp_path):
    x = torch.randn(3, 8, 8)
    before = x.clone()
    images.to_signed(x), images.to_unit(x), images.to_pil(x)
    images.save_image(x, tmp_path / "a.png")
    images.image_grid([x, x], captions=["a", "b"])
    assert torch.equal(x, before)
    source = picture()
    images.from_pil(source).zero_()
    assert np.array_equal(np.asarray(source), to_array(smooth()))


@pytest.mark.gpu
def test_a_picture_on_the_gpu_goes_out_like_one_on_the_cpu(tmp_path):
    image = smooth()
    images.save_image(image.cuda(), tmp_path / "a.png")
    assert_close(images.load_image(tmp_path / "a.png"), image, rtol=0, atol=BYTE)
    assert images.to_unit(images.to_signed(image.cuda())).device.type == "cuda"


# --- saving -----------------------------------------------------------------------------------------------------


def test_a_saved_picture_comes_back(tmp_path):
    image = (torch.arange(768).view(3, 16, 16) % 256) / 255
    images.save_image(image, tmp_path / "a.png")
    assert torch.equal(images.load_image(tmp_path / "a.png"), image)
    images.save_image(smooth(), str(tmp_path / "B.JPG"))
    assert_close(images.load_image(tmp_path / "B.JPG"), smooth(), rtol=0, atol=2 * JPEG)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["B.JPG", "a.png"]


def test_a_save_that_fails_midway_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.save_image(smooth(), path)
    before = path.read_bytes()

    def save_half(self, target, **kwargs):
        target.write_bytes(before[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save_half)
    with pytest.raises(OSError, match=r"a\.png cannot be written \(No space left on device\)"):
        images.save_image(torch.zeros(3, 4, 4), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_midway_leaves_nothing_half_written(tmp_path, monkeypatch):
    def save_half(self, target, **kwargs):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        images.save_image(smooth(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path, monkeypatch):
    def refuse(self, target, **kwargs):
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(Image.Image, "save", refuse)  # a test may run as root, who may write anywhere
    with pytest.raises(OSError, match=r"a\.png cannot be written \(Permission denied\)"):
        images.save_image(smooth(), tmp_path / "a.png")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        images.save_image(smooth(), tmp_path / "missing" / "a.png")


def test_a_folder_in_the_files_place_is_one_sentence(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png cannot be written"):
        images.save_image(smooth(), tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.pdf", ".png"])
def test_an_ending_that_names_no_picture_format_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"use \.png or \.jpg"):
        images.save_image(smooth(), tmp_path / name)
    with pytest.raises(ValueError, match=r"use \.png or \.jpg"):
        images.check_can_save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_saved_is_known_beforehand_and_nothing_is_touched(tmp_path):
    images.check_can_save(tmp_path / "new.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old.JPG").write_text("kept")
    images.check_can_save(str(tmp_path / "old.JPG"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("old.JPG", "kept")]


def test_what_cannot_be_saved_is_refused_beforehand(tmp_path, monkeypatch):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        images.check_can_save(tmp_path / "missing" / "a.png")
    with pytest.raises(OSError, match=r"a\.png cannot be written \(Is a directory\)"):
        images.check_can_save(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"cannot be written|too long"):
        images.check_can_save(tmp_path / f"{'a' * 300}.png")

    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)  # a test may run as root, who may write anywhere
    with pytest.raises(OSError, match=r"b\.png cannot be written \(Permission denied\): save it elsewhere"):
        images.check_can_save(tmp_path / "b.png")


# --- the grid ---------------------------------------------------------------------------------------------------


def draw(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas.get_renderer()


def boxes(figure):
    """Where on the page the pictures and the texts are, in pixels."""
    renderer = draw(figure)
    (axes,) = figure.axes
    return (
        [drawn.get_window_extent(renderer) for drawn in axes.images],
        [text.get_window_extent(renderer) for text in axes.texts if text.get_text()],
    )


def overlap(a, b):
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5


LONG = "a large red cat to the left of a small blue dog on a bright green background"
CHINESE = "一只红色的大猫在一只蓝色的小狗的左边，背景是绿色的。"


@pytest.mark.parametrize(
    "captions", [[LONG] * 6, [CHINESE] * 6, ["W" * 60] * 6, ["a", LONG, CHINESE, "", "b\nc", "x y"]]
)
def test_no_caption_meets_another_or_a_picture_or_leaves_the_page(captions):
    figure = images.image_grid(torch.rand(6, 3, 8, 8), captions=captions, title=LONG)
    pictures, texts = boxes(figure)
    assert len(pictures) == 6 and len(texts) == 1 + sum(map(bool, captions))
    for a, b in itertools.combinations(pictures + texts, 2):
        assert not overlap(a, b)
    page = figure.bbox
    for box in pictures + texts:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1


def test_wrapping_a_caption_loses_no_word():
    figure = images.image_grid(torch.rand(1, 3, 8, 8), captions=[LONG], inches=2)
    (text,) = figure.axes[0].texts
    assert text.get_text().count("\n") >= 2
    assert text.get_text().split() == LONG.split()


def test_chinese_is_wrapped_without_blanks_and_no_line_begins_with_a_stop(monkeypatch):
    monkeypatch.setattr(images, "_has_glyph", lambda letter: True)  # also where no font with Chinese is installed
    figure = images.image_grid(torch.rand(1, 3, 8, 8), captions=[CHINESE], inches=1.2)
    lines = figure.axes[0].texts[0].get_text().split("\n")
    assert len(lines) >= 3 and "".join(lines) == CHINESE
    assert not any(line[0] in "，。" for line in lines)


def test_a_whole_page_of_caption_is_cut_with_a_sign():
    text = images.image_grid(torch.rand(1, 3, 8, 8), captions=["word " * 300]).axes[0].texts[0].get_text()
    assert text.count("\n") == 5 and text.endswith("…")


def test_every_picture_stands_in_its_place_with_its_caption_below():
    figure = images.image_grid(torch.rand(5, 3, 8, 8), columns=2, captions=list("abcde"))
    pictures, texts = boxes(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == list("abcde")
    for k, (box, text) in enumerate(zip(pictures, texts, strict=True)):
        assert abs((box.x0 + box.x1) / 2 - (text.x0 + text.x1) / 2) < 1
        assert text.y1 < box.y0  # y counts upwards here
        if k % 2:
            assert box.x0 > pictures[k - 1].x1 and box.y0 == pictures[k - 1].y0
        elif k:
            assert box.y1 < pictures[k - 1].y0


def test_the_page_shows_the_pixels_it_was_given():
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    figure = images.image_grid(colours[:, :, None, None].expand(4, 3, 8, 8))
    pictures, _ = boxes(figure)
    page = np.asarray(figure.canvas.buffer_rgba())
    for box, colour in zip(pictures, colours, strict=True):
        x, y = round((box.x0 + box.x1) / 2), page.shape[0] - round((box.y0 + box.y1) / 2)
        assert (page[y, x, :3] == (colour * 255).numpy()).all()


def test_pictures_of_other_shapes_keep_them():
    figure = images.image_grid([torch.rand(3, 20, 60), torch.rand(1, 60, 20), torch.rand(3, 1, 2000)], columns=3)
    (wide, tall, line), _ = boxes(figure)
    assert abs(wide.width / wide.height - 3) < 0.05 and abs(tall.height / tall.width - 3) < 0.05
    assert line.height >= 1  # a hairline is still to be seen


def test_columns_lays_out_the_rows():
    wide = images.image_grid(torch.rand(6, 3, 4, 4), columns=6).get_size_inches()
    tall = images.image_grid(torch.rand(6, 3, 4, 4), columns=1).get_size_inches()
    assert wide[0] > 5 * wide[1] and tall[1] > 5 * tall[0]


def test_dollars_and_broken_formulas_are_text():
    for caption in ("it costs $5, not $6", r"$\frac{$", "100 % \\ _ ^ {"):
        figure = images.image_grid(torch.rand(1, 3, 4, 4), captions=[caption], inches=3)
        draw(figure)
        assert figure.axes[0].texts[0].get_text() == caption


@pytest.fixture
def fonts(monkeypatch):
    """Set which fonts are installed, as matplotlib sees them."""
    from matplotlib.font_manager import fontManager

    def install(only):
        names = [name for name in fontManager.get_font_names() if only(name)]
        monkeypatch.setattr(fontManager, "get_font_names", lambda: names)
        images._fonts.cache_clear()
        images._has_glyph.cache_clear()

    yield install
    monkeypatch.undo()
    images._fonts.cache_clear()
    images._has_glyph.cache_clear()


def test_chinese_is_drawn_where_a_font_has_it(fonts):
    fonts(lambda name: True)
    if len(images._fonts()) == 1:
        pytest.skip("no font with Chinese is installed here")
    figure = images.image_grid(torch.rand(1, 3, 4, 4), captions=["猫"])
    draw(figure)  # a missing glyph would warn, and warnings are errors here
    assert figure.axes[0].texts[0].get_text() == "猫"


def test_without_such_a_font_there_are_boxes_and_no_warning(fonts, caplog):
    fonts(lambda name: name.startswith("DejaVu"))
    figure = images.image_grid(torch.rand(1, 3, 4, 4), captions=["cat 猫"], title="标题")
    draw(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["cat □", "□□"]
    assert not caplog.records  # matplotlib logs the fonts that it does not find


def test_letters_that_no_font_has_are_boxes_and_no_warning():
    figure = images.image_grid(torch.rand(1, 3, 4, 4), captions=["a\U000e0041b\tc"])
    draw(figure)
    assert figure.axes[0].texts[0].get_text() == "a□b c"


def test_a_grid_leaves_nothing_open_in_pyplot():
    before = pyplot.get_fignums()
    images.image_grid(torch.rand(4, 3, 4, 4), captions=list("abcd"), title="t")
    assert pyplot.get_fignums() == before


def test_a_grid_can_be_made_headless_and_without_pyplot():
    code = (
        "import sys, torch; from minigen import images; "
        "assert 'matplotlib' not in sys.modules, 'imported before it is needed'; "
        "images.image_grid(torch.rand(2, 3, 4, 4)).savefig(sys.stdout.buffer, format='png'); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    drawn = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert drawn.returncode == 0, drawn.stderr.decode()
    assert Image.open(io.BytesIO(drawn.stdout)).size[0] > 100


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="empty"):
        images.image_grid(torch.zeros(0, 3, 4, 4))


def test_captions_must_be_as_many_as_pictures():
    with pytest.raises(ValueError, match="1 captions for 2 pictures"):
        images.image_grid(torch.rand(2, 3, 4, 4), captions=["one"])


@pytest.mark.parametrize("columns", [0, -2])
def test_a_grid_without_columns_is_refused(columns):
    with pytest.raises(ValueError, match=f"columns is {columns}"):
        images.image_grid(torch.rand(2, 3, 4, 4), columns=columns)


# --- show -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "size", "becomes"), [((40, 60), 20, (20, 30)), ((60, 40), 80, (120, 80)), ((2, 90), 1, (1, 45))]
)
def test_resize_makes_the_shorter_side_as_long_as_asked_and_keeps_the_shape(shape, size, becomes):
    image = torch.rand(3, *shape)
    before = image.clone()
    assert images.resize(image, size).shape == (3, *becomes) and torch.equal(image, before)
    same = images.resize(image, min(shape))
    assert torch.equal(same, image) and same.data_ptr() != image.data_ptr()
    with pytest.raises(ValueError, match="size is 0"):
        images.resize(image, 0)


def test_show_displays_the_picture_with_its_alt_text(monkeypatch):
    from IPython.core.formatters import DisplayFormatter

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **kwargs: shown.append((things, kwargs)))
    images.show(images.image_grid(torch.rand(2, 3, 4, 4)), "two squares of noise")
    (((thing,), kwargs),) = shown
    data, metadata = DisplayFormatter().format(thing)
    assert kwargs == {}
    assert data["image/png"].startswith(b"\x89PNG") and data["text/plain"] == "two squares of noise"
    assert metadata["image/png"]["alt"] == "two squares of noise"


def test_show_gives_photos_as_a_jpeg_of_fewer_bytes(monkeypatch):
    from IPython.core.formatters import DisplayFormatter

    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    photo = images.image_grid(photos().take([0, 3, 4]).images, inches=2)
    as_png = images.figure_to_png(photo)
    images.show(photo, "three photos", photos=True)
    data, metadata = DisplayFormatter().format(shown[0])
    assert "image/png" not in data and metadata["image/jpeg"]["alt"] == data["text/plain"] == "three photos"
    assert len(data["image/jpeg"]) < 0.6 * len(as_png)
    jpeg, png = (Image.open(io.BytesIO(file)).convert("RGB") for file in (data["image/jpeg"], as_png))
    assert jpeg.size == png.size and abs(np.asarray(jpeg, dtype=float) - np.asarray(png)).mean() < 4


def test_show_closes_a_figure_of_pyplots(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda thing: None)
    with pyplot.rc_context({"backend": "agg"}):
        figure = pyplot.figure()
        images.show(figure, "nothing")
        assert figure.number not in pyplot.get_fignums()


# --- the moving picture -----------------------------------------------------------------------------------------


def moving(num_frames=6, height=24, width=32):
    """A smooth picture that moves to the left: [T,3,H,W]."""
    wide = smooth(height, width + 2 * num_frames)
    return torch.stack([wide[:, :, 2 * k : 2 * k + width] for k in range(num_frames)])


def played(png):
    """The frames of an animated PNG and how many milliseconds each is shown, as Pillow reads them."""
    with Image.open(io.BytesIO(png)) as file:
        frames, durations = [], []
        for k in range(file.n_frames):
            file.seek(k)
            frames.append(images.from_pil(file.convert("RGB")))
            durations.append(file.info.get("duration"))
        return torch.stack(frames), durations, file.info.get("loop")


def test_an_animation_comes_back_frame_by_frame_and_plays_for_ever():
    frames = moving()
    before = frames.clone()
    png = images.animation_to_png(frames, seconds_per_frame=0.04)
    found, durations, loop = played(png)
    assert png.startswith(b"\x89PNG") and b"acTL" in png
    assert (durations, loop) == ([40] * 6, 0)
    assert_close(found, frames, rtol=0, atol=30 / 255)
    assert (found - frames).abs().mean() < 3 / 255
    assert torch.equal(frames, before)


def test_a_tenth_of_a_second_is_the_usual_duration():
    assert played(images.animation_to_png(moving(2)))[1] == [100, 100]


def test_few_colours_come_back_exactly_and_all_frames_share_them():
    frames = torch.zeros(8, 3, 16, 16)
    for k in range(8):
        frames[k, k % 3, k : k + 4, 2:9] = 1
    png = images.animation_to_png(frames)
    assert torch.equal(played(png)[0], frames)
    assert png.count(b"PLTE") == 1
    with Image.open(io.BytesIO(png)) as file:
        assert file.mode == "P"


def test_a_film_in_fewer_colours_is_smaller():
    frames = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    many, few = (images.animation_to_png(frames, num_colours=count) for count in (256, 16))
    assert len(few) < 0.7 * len(many)
    assert len(Image.open(io.BytesIO(few)).convert("RGB").getcolors()) <= 16
    for count in (1, 257):
        with pytest.raises(ValueError, match=f"num_colours is {count}"):
            images.animation_to_png(frames, num_colours=count)


def test_a_film_of_many_colours_is_smaller_than_its_frames_one_by_one():
    frames = (moving(8, 64, 64) + 0.05 * torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))) / 1.05
    alone = 0
    for frame in frames:
        file = io.BytesIO()
        images.to_pil(frame).save(file, format="png")
        alone += file.tell()
    assert len(images.animation_to_png(frames)) < 0.5 * alone
    assert images.animation_to_png(frames) == images.animation_to_png(frames)


def test_a_frame_that_stays_is_shown_for_longer():
    frames = moving(4)[[0, 0, 0, 3]]
    found, durations, _ = played(images.animation_to_png(frames, seconds_per_frame=15))
    assert_close(found, frames[[0, 3]], rtol=0, atol=20 / 255)
    assert durations == [45_000, 15_000]


def test_a_film_of_one_frame_is_a_picture():
    found, durations, _ = played(images.animation_to_png(moving(1), seconds_per_frame=60))
    assert len(found) == len(durations) == 1
    assert_close(found, moving(1), rtol=0, atol=20 / 255)


@pytest.mark.parametrize(
    ("frames", "options", "error", "words"),
    [
        (torch.zeros(3, 8, 8), {}, ValueError, r"\(3, 8, 8\), expected \(T, 3, H, W\)"),
        (torch.zeros(0, 3, 8, 8), {}, ValueError, r"expected \(T, 3, H, W\)"),
        (torch.zeros(2, 1, 8, 8), {}, ValueError, r"expected \(T, 3, H, W\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), {}, TypeError, "uint8"),
        ([torch.zeros(3, 8, 8)] * 2, {}, TypeError, "list"),
        (torch.full((2, 3, 8, 8), float("nan")), {}, ValueError, "NaN"),
        (torch.zeros(2, 3, 8, 8), {"seconds_per_frame": 0}, ValueError, "seconds_per_frame is 0"),
        (torch.zeros(2, 3, 8, 8), {"seconds_per_frame": -0.1}, ValueError, "seconds_per_frame is -0.1"),
        (torch.zeros(2, 3, 8, 8), {"seconds_per_frame": float("nan")}, ValueError, "seconds_per_frame is nan"),
        (torch.zeros(2, 3, 8, 8), {"seconds_per_frame": float("inf")}, ValueError, "seconds_per_frame is inf"),
        (torch.zeros(2, 3, 8, 8), {"seconds_per_frame": 40}, ValueError, "at most 60 seconds in all"),
        (torch.zeros(2, 3, 8, 8), {"scale": 0}, ValueError, "scale is 0"),
        (torch.zeros(2, 3, 8, 8), {"scale": 1.5}, ValueError, r"scale is 1\.5"),
    ],
)
def test_a_film_that_cannot_be_is_refused_in_one_sentence(monkeypatch, frames, options, error, words):
    monkeypatch.setattr("IPython.display.display", lambda *things: pytest.fail("it was shown"))
    if "scale" not in options:
        with pytest.raises(error, match=words):
            images.animation_to_png(frames, **options)
    with pytest.raises(error, match=words) as caught:
        images.show_animation(frames, "a film", **options)
    assert "\n" not in str(caught.value)


def test_an_animation_is_shown_enlarged_with_its_alt_text(monkeypatch):
    from IPython.core.formatters import DisplayFormatter

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **kwargs: shown.append((things, kwargs)))
    frames = moving(3)
    images.show_animation(frames, "a ramp that moves", seconds_per_frame=0.2, scale=3)
    (((thing,), kwargs),) = shown
    data, metadata = DisplayFormatter().format(thing)
    assert kwargs == {}
    assert data["text/plain"] == metadata["image/png"]["alt"] == "a ramp that moves"
    found, durations, _ = played(data["image/png"])
    assert found.shape == (3, 3, 72, 96) and durations == [200] * 3
    for row, column in itertools.product(range(3), repeat=2):  # each pixel has become a square
        assert torch.equal(found[:, :, row::3, column::3], found[:, :, ::3, ::3])
    assert_close(found[:, :, ::3, ::3], frames, rtol=0, atol=20 / 255)


@pytest.mark.gpu
def test_an_animation_on_the_gpu_goes_out_like_one_on_the_cpu():
    assert images.animation_to_png(moving().cuda()) == images.animation_to_png(moving())
