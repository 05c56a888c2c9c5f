"""`minigen draw`: the pictures that are asked for, and for what cannot be one sentence before any work is done."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import complaint, run
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image
from torch import nn
from torch.testing import assert_close

from minigen import cli, data, images, pretrained, runtime
from minigen.denoiser import Denoiser
from minigen.painter import Painter, PaintState
from minigen.text import TextEncoder, split
from minigen.vae import Codec

HALF_A_BYTE = 0.5 / 255 + 1e-6
CAT, ROCKET = "a large cat on a blue background", "a small rocket on a white background"
CHINESE = "蓝色背景上有一只大猫"
ALONE, IN_GRID, GAP = 512, 256, 7  # pixels of a picture in the file, and between two
SMALL = ["--steps", 2]


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory):
    """Small networks that draw 32x32, with random weights that heed time and caption."""
    torch.manual_seed(0)
    words = sorted({word for caption in (CAT, ROCKET, CHINESE, "dog red") for word in split(caption)})
    encoder = TextEncoder(words=words, width=16, depth=1, num_heads=2)
    denoiser = Denoiser(channels=4, size=4, width=16, depth=1, num_heads=2, cond_width=16)
    codec = Codec(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8))
    for network in (denoiser, codec):
        for weight in network.parameters():
            nn.init.normal_(weight, std=0.2)
    folder = tmp_path_factory.mktemp("weights")
    together = nn.ModuleDict({"encoder": encoder, "denoiser": denoiser})
    for name, network in (("caption_diffusion", together), ("codec", codec)):
        pretrained.save(folder / f"{name}.safetensors", network, card={"name": name, "metrics": {}})
    return folder


@pytest.fixture
def painter(small_weights, monkeypatch):
    """The small networks in the place of the shipped ones, as a painter."""
    monkeypatch.setattr(pretrained, "WEIGHTS", small_weights)
    return Painter(**pretrained.load("caption_diffusion"), codec=pretrained.load("codec"))


@pytest.fixture
def no_work(painter, monkeypatch):
    """Whoever begins to draw fails."""
    monkeypatch.setattr(Denoiser, "forward", lambda *arguments: pytest.fail("the work was begun"))
    monkeypatch.setattr(Codec, "encode", lambda *arguments: pytest.fail("the work was begun"))


@pytest.fixture
def sketch(tmp_path):
    """A picture of one's own, 60 x 40 pixels, in a folder of its own."""
    path = tmp_path / "in" / "sketch.png"
    path.parent.mkdir()
    images.save_image(data.photos().load("coffee", 40)[:, :, :60], path)
    return path


def _alone(capsys, out, *arguments):
    """The one picture that is drawn, [3,32,32], out of its enlargement."""
    run(capsys, "draw", *arguments, "--count", 1, "--out", out)
    found, scale = images.load_image(out), ALONE // 32
    assert found.shape == (3, ALONE, ALONE)
    return found[:, scale // 2 :: scale, scale // 2 :: scale]


def _of_grid(path, count, columns):
    """The pictures [N,3,32,32] in a grid, found from its lower left corner, out of their enlargements."""
    found, scale = images.load_image(path), IN_GRID // 32
    bottom, rows = found.shape[1] - GAP, -(-count // columns)
    pictures = []
    for k in range(count):
        left = GAP + k % columns * (IN_GRID + GAP)
        top = bottom - IN_GRID - (rows - 1 - k // columns) * (IN_GRID + GAP)
        square = found[:, top : top + IN_GRID, left : left + IN_GRID]
        pictures.append(square[:, scale // 2 :: scale, scale // 2 :: scale])
    return torch.stack(pictures)


# --- what is drawn ----------------------------------------------------------------------------------------------


def test_one_picture_is_the_painters_each_pixel_a_square(capsys, tmp_path, painter):
    out = tmp_path / "out.png"
    options = ["--count", 1, "--guidance", 2.5, "--steps", 3, "--seed", 5]
    run(capsys, "draw", CAT, *options, "--out", out)
    (expected,) = painter.paint([CAT], guidance_scale=2.5, num_inference_steps=3, seed=5)
    squares = nn.functional.interpolate(expected[None], scale_factor=16, mode="nearest")[0]
    assert_close(images.load_image(out), squares, rtol=0, atol=2 * HALF_A_BYTE)
    assert expected.std() > 0.05  # there is something to compare


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (3, 2), (4, 2), (5, 3), (10, 4)])
def test_several_pictures_are_the_painters_in_rows_each_pixel_a_square(capsys, tmp_path, painter, count, columns):
    out = tmp_path / "out.png"
    run(capsys, "draw", CAT, "--count", count, "--steps", 2, "--seed", 3, "--out", out)
    expected = painter.paint([CAT] * count, num_inference_steps=2, seed=3)
    assert_close(_of_grid(out, count, columns), expected, rtol=0, atol=2 * HALF_A_BYTE)
    found, top = images.load_image(out), -GAP - IN_GRID
    square = found[:, top:-GAP, GAP : GAP + IN_GRID][:, 8:-8, 8:-8]  # without the frame around it
    first = expected[(count - 1) // columns * columns]
    squares = nn.functional.interpolate(first[None], scale_factor=8, mode="nearest")[0][:, 8:-8, 8:-8]
    assert_close(square, squares, rtol=0, atol=2 * HALF_A_BYTE)


def test_picture_k_of_a_seed_is_the_first_of_the_seed_k_later(capsys, tmp_path, painter):
    run(capsys, "draw", CAT, *SMALL, "--count", 4, "--seed", 7, "--out", tmp_path / "grid.png")
    pictures = _of_grid(tmp_path / "grid.png", 4, 2)
    for k, picture in enumerate(pictures):
        alone = _alone(capsys, tmp_path / "alone.png", CAT, *SMALL, "--seed", 7 + k)
        assert_close(alone, picture, rtol=0, atol=1.01 / 255)  # a sum in another order may round the other way
        assert all((alone - other).abs().mean() > 0.02 for j, other in enumerate(pictures) if j != k)


def test_the_seed_may_be_as_large_as_the_help_of_an_error_says(capsys, tmp_path, painter):
    said = run(capsys, "draw", CAT, *SMALL, "--count", 2, "--seed", 2**63 - 1, "--out", tmp_path / "out.png")
    assert f"seeds {2**63 - 1} to {2**63}" in said


def test_without_options_four_pictures_are_drawn_as_the_painter_does_by_itself(capsys, tmp_path, painter):
    run(capsys, "draw", CAT, "--out", tmp_path / "plain.png")
    assert_close(_of_grid(tmp_path / "plain.png", 4, 2), painter.paint([CAT] * 4), rtol=0, atol=2 * HALF_A_BYTE)


def test_the_defaults_are_those_that_the_help_names(capsys, tmp_path, painter, sketch):
    with pytest.raises(SystemExit):
        cli.main(["draw", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    defaults = dict(re.findall(r"--(\w+) [A-Z]+ (?:(?! --).)*?\(default: ([\d.]+)\)", said))
    assert set(defaults) == {"count", "guidance", "steps", "seed", "strength"}
    options = [part for name, value in defaults.items() for part in (f"--{name}", value)]
    run(capsys, "draw", CAT, "--out", tmp_path / "plain.png", "--start", sketch)
    run(capsys, "draw", CAT, "--out", tmp_path / "named.png", "--start", sketch, *options)
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "named.png").read_bytes()
    assert "from 1 to 64" in said and "from 0 to 20" in said and "from 1 to 1000" in said


def test_english_and_chinese_and_what_is_no_sentence_are_drawn(capsys, tmp_path, painter):
    out = tmp_path / "out.png"
    for caption in (CAT, CHINESE, "Cat, CAT; cat!", "red dog", "猫 on a 大 rocket", "ｃａｔ", "cat" + 497 * "!"):
        found = _alone(capsys, out, caption, *SMALL)
        (expected,) = painter.paint([caption], num_inference_steps=2)
        assert_close(found, expected, rtol=0, atol=2 * HALF_A_BYTE)
        run(capsys, "draw", caption, *SMALL, "--count", 2, "--out", out)
        assert_close(_of_grid(out, 2, 2)[0], expected, rtol=0, atol=2 * HALF_A_BYTE)


def test_at_guidance_0_the_caption_is_not_heeded_and_above_it_is(capsys, tmp_path, painter):
    def drawn(caption, guidance):
        return _alone(capsys, tmp_path / "out.png", caption, *SMALL, "--guidance", guidance)

    assert torch.equal(drawn(CAT, 0), drawn(ROCKET, 0))
    for guidance in (1, 4, 20):
        assert not torch.equal(drawn(CAT, guidance), drawn(ROCKET, guidance))


@pytest.mark.gpu
def test_on_a_gpu_pictures_are_drawn_as_well(capsys, tmp_path, painter, sketch):
    assert runtime.pick_device().type == "cuda"
    for options, given in (([], {}), (["--start", sketch, "--strength", 0.5], {"strength": 0.5})):
        run(capsys, "draw", CAT, *SMALL, *options, "--out", tmp_path / "out.png")
        if given:
            given["start"] = images.load_image(sketch, 32)
        with torch.no_grad():
            expected = painter.paint([CAT] * 4, num_inference_steps=2, **given)  # on the CPU, from the same noise
        assert_close(_of_grid(tmp_path / "out.png", 4, 2), expected, rtol=0, atol=0.05)  # a GPU rounds convolutions


# --- what is said and written -----------------------------------------------------------------------------------


def test_the_line_says_what_was_written_and_whom_to_name(capsys, tmp_path, painter):
    out = tmp_path / "out.png"
    credit = re.escape(data.EmojiScenes.credit)
    assert "OpenMoji" in credit
    said = run(capsys, "draw", CAT, *SMALL, "--count", 1, "--seed", 9, "--out", out)
    pattern = rf"wrote {re.escape(str(out))}: 1 picture, seed 9, 512 x 512 pixels, \d+\.\d s\. {credit}\n"
    assert re.fullmatch(pattern, said)
    said = run(capsys, "draw", CAT, *SMALL, "--count", 3, "--seed", 9, "--out", out)
    height, width = images.load_image(out).shape[1:]
    pattern = rf"wrote .*: 3 pictures, seeds 9 to 11, {width} x {height} pixels, \d+\.\d s\. {credit}\n"
    assert re.fullmatch(pattern, said)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("ending", "kind"), [("png", "PNG"), ("JPG", "JPEG"), ("gif", "GIF"), ("bmp", "BMP"), ("webp", "WEBP")]
)
def test_the_ending_names_the_format(capsys, tmp_path, painter, count, ending, kind):
    out = tmp_path / f"out.{ending}"
    run(capsys, "draw", CAT, *SMALL, "--count", count, "--out", out)
    with Image.open(out) as written:
        assert written.format == kind
    assert list(tmp_path.iterdir()) == [out]


def test_the_steps_are_counted_on_stderr(capsys, tmp_path, painter, sketch):
    common = ["draw", CAT, "--out", str(tmp_path / "out.png"), "--count", "1"]
    for options, steps in (
        (["--steps", "1"], 1),
        (["--steps", "6"], 6),
        (["--steps", "6", "--start", str(sketch), "--strength", "0.5"], 3),
        (["--steps", "6", "--start", str(sketch), "--strength", "0.01"], 1),
    ):
        assert cli.main([*common, *options]) == 0
        said = capsys.readouterr()
        assert re.search(rf"100%.* {steps}/{steps} ", said.err) and "minigen:" not in said.err
        assert "%" not in said.out


# --- the caption over the grid ----------------------------------------------------------------------------------


@pytest.fixture
def fonts(monkeypatch):
    """Add a font, or leave only matplotlib's own, as matplotlib sees it."""
    from matplotlib.font_manager import fontManager

    def install(path=None):
        monkeypatch.setattr(fontManager, "ttflist", [f for f in fontManager.ttflist if f.name.startswith("DejaVu")])
        if path is not None:
            fontManager.addfont(path)
        for cached in (images._fonts, images._has_glyph):
            cached.cache_clear()

    yield install
    monkeypatch.undo()
    for cached in (images._fonts, images._has_glyph):
        cached.cache_clear()


def _font_of_squares(path, letters, name):
    """A font that draws each of these letters as a black square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(letter): "square" for letter in letters})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "square"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def _ink_above(path):
    """How many dark pixels there are above the one row of pictures."""
    found = images.load_image(path)
    return int((found[:, : found.shape[1] - 2 * GAP - IN_GRID].mean(dim=0) < 0.5).sum())


def _grid_said(capsys, out, caption):
    assert cli.main(["draw", caption, "--steps", "1", "--count", "2", "--out", str(out)]) == 0
    return [line for line in capsys.readouterr().err.splitlines() if line and "step" not in line]


def test_a_chinese_caption_is_written_where_a_font_has_it(capsys, tmp_path, painter, fonts):
    fonts(_font_of_squares(tmp_path / "squares.ttf", CHINESE, images.CHINESE_FONTS[0]))
    assert _grid_said(capsys, tmp_path / "out.png", CHINESE) == []
    # A letter of 10 points is a square of 0.8 * 10 / 72 of 100 pixels
    assert_close(_ink_above(tmp_path / "out.png") / len(CHINESE), (0.8 * 10 / 72 * 100) ** 2, rtol=0.15, atol=0)


def test_without_such_a_font_it_is_left_out_and_said_so(capsys, tmp_path, painter, fonts):
    fonts()
    assert _grid_said(capsys, tmp_path / "out.png", CAT) == []
    assert _ink_above(tmp_path / "out.png") > 100
    for caption in (CHINESE, "猫 on a blue background"):
        (said,) = _grid_said(capsys, tmp_path / "out.png", caption)
        assert said.startswith("minigen: no font here has every letter of the caption") and "install" in said
        assert _ink_above(tmp_path / "out.png") == 0
        assert images.load_image(tmp_path / "out.png").shape[1] == IN_GRID + 3 * GAP


# --- a picture to begin with ------------------------------------------------------------------------------------


def test_the_middle_of_a_picture_of_ones_own_is_begun_with(capsys, tmp_path, painter, sketch):
    options = ["--steps", 4, "--start", sketch, "--strength", 0.5, "--seed", 2]
    found = _alone(capsys, tmp_path / "out.png", CAT, *options)
    start = images.load_image(sketch, 32)
    with torch.no_grad():
        (expected,) = painter.paint([CAT], start=start, strength=0.5, num_inference_steps=4, seed=2)
    assert_close(found, expected, rtol=0, atol=2 * HALF_A_BYTE)
    run(capsys, "draw", CAT, *options, "--count", 2, "--out", tmp_path / "out.png")
    assert_close(_of_grid(tmp_path / "out.png", 2, 2)[0], expected, rtol=0, atol=2 * HALF_A_BYTE)
    forgotten = _alone(capsys, tmp_path / "out.png", CAT, *options[:-4], "--strength", 1, "--seed", 2)
    assert torch.equal(forgotten, _alone(capsys, tmp_path / "out.png", CAT, "--steps", 4, "--seed", 2))
    assert (forgotten - found).abs().mean() > 0.02


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 300), (700, 20), (32, 32)])
def test_a_picture_of_any_size_and_kind_can_be_begun_with(capsys, tmp_path, painter, width, height):
    Image.linear_gradient("L").resize((width, height)).save(tmp_path / "start.gif")
    assert _alone(capsys, tmp_path / "out.png", CAT, *SMALL, "--start", tmp_path / "start.gif").isfinite().all()


# --- what cannot be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "CAPTION"),
        ([""], "the caption '' holds no word"),
        ([" \t\n"], "holds no word"),
        (["?! ..."], "holds no word"),
        (["a large zebra"], "holds words that are not known: 'zebra'"),
        (["a large rockett"], "not known: 'rockett'; did you mean 'rocket'?"),
        (["a large cat 🐱"], "not known: '🐱'"),
        (["🐱"], "not known: '🐱'"),
        (["一只斑马"], "not known: '斑', '马'"),
        (["кот"], "not known: 'кот'"),
        (["cat\udcff"], "not known: '\\udcff'"),
        (["cat " * 33], "has 33 words, and may have 32"),
        (["a " * 200], "has 200 words, and may have 32"),
        (["large " * 500], "the caption has 3,000 letters, expected at most 500"),
        (["cat" + 498 * "!"], "the caption has 501 letters"),
        (["a", "large", "cat"], "'large' is not understood: put the whole caption in quotes"),
        (["cat", "--colour", "red"], "'--colour' is not understood; see"),
        (["cat", "--count", "0"], "--count is 0, expected 1 to 64"),
        (["cat", "--count", "-1"], "--count is -1"),
        (["cat", "--count", "65"], "--count is 65"),
        (["cat", "--count", "10000"], "--count is 10000"),
        (["cat", "--count", "1.5"], "1.5"),
        (["cat", "--count", "many"], "many"),
        (["cat", "--guidance", "-1"], "--guidance is -1, expected 0 (the caption is not heeded) to 20"),
        (["cat", "--guidance", "20.1"], "--guidance is 20.1"),
        (["cat", "--guidance", "1000"], "--guidance is 1000"),
        (["cat", "--guidance", "nan"], "--guidance is nan"),
        (["cat", "--guidance", "inf"], "--guidance is inf"),
        (["cat", "--guidance", "much"], "much"),
        (["cat", "--steps", "0"], "--steps is 0, expected 1 to 1,000"),
        (["cat", "--steps", "-1"], "--steps is -1"),
        (["cat", "--steps", "1001"], "--steps is 1001"),
        (["cat", "--steps", "2.5"], "2.5"),
        (["cat", "--seed", "-1"], "--seed is -1, expected a whole number from 0"),
        (["cat", "--seed", "9223372036854775808"], "--seed is 9223372036854775808"),
        (["cat", "--seed", "x"], "x"),
        (["cat", "--strength", "0.5"], "--strength means nothing without --start"),
        (["cat", "--start", "{tmp}/whole.png", "--strength", "0"], "--strength is 0, expected above 0"),
        (["cat", "--start", "{tmp}/whole.png", "--strength", "1.01"], "--strength is 1.01"),
        (["cat", "--start", "{tmp}/whole.png", "--strength", "-1"], "--strength is -1"),
        (["cat", "--start", "{tmp}/whole.png", "--strength", "nan"], "--strength is nan"),
        (["cat", "--start", "{tmp}/none.png"], "there is no picture at"),
        (["cat", "--start", ""], "is a folder, not a picture"),
        (["cat", "--start", "{tmp}"], "is a folder, not a picture"),
        (["cat", "--start", "{tmp}/half.png"], "half.png cannot be read whole"),
        (["cat", "--start", "{tmp}/text.png"], "in none of the formats"),
        (["cat", "--start", "{tmp}/empty.png"], "is empty"),
        (["cat", "--start", "{tmp}/whole.png", "--out", "{tmp}/whole.png"], "would overwrite"),
        (["cat", "--start", "{tmp}/link.png", "--out", "{tmp}/whole.png"], "would overwrite"),
        (["cat", "--out", "{tmp}"], "names no picture format"),
        (["cat", "--out", "{tmp}/folder.png"], "folder.png cannot be written (Is a directory)"),
        (["cat", "--out", "{tmp}/none/out.png"], "there is no folder"),
        (["cat", "--out", "{tmp}/out.docx"], "'.docx', which names no picture format"),
        (["cat", "--out", "{tmp}/out"], "names no picture format"),
        (["cat", "--out", ""], "names no picture format"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_the_work(capsys, tmp_path, no_work, arguments, words):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    whole = tmp_path / "whole.png"
    images.save_image(torch.linspace(0, 1, 3 * 48 * 48).view(3, 48, 48), whole)
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "link.png").symlink_to(whole)
    before = {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    arguments = [part.format(tmp=tmp_path) for part in arguments]
    if "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "out.png")]
    assert words in complaint(capsys, "draw", *arguments)
    assert {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_out_is_asked_for(capsys, no_work):
    assert "--out" in complaint(capsys, "draw", CAT)


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(capsys, tmp_path, no_work, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)  # a test may run as root, who may write anywhere
    said = complaint(capsys, "draw", CAT, "--out", tmp_path / "out.png")
    assert "out.png cannot be written (Permission denied): save it elsewhere" in said


@pytest.mark.parametrize("missing", ["caption_diffusion", "codec"])
def test_without_a_network_it_is_one_sentence(capsys, tmp_path, small_weights, monkeypatch, missing):
    for path in small_weights.iterdir():
        if path.stem != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    assert f"no network called '{missing}'" in complaint(capsys, "draw", CAT, "--out", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_a_device_that_is_not_there_is_refused(capsys, tmp_path, no_work, monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cuda:99")
    assert "MINIGEN_DEVICE is 'cuda:99'" in complaint(capsys, "draw", CAT, "--out", tmp_path / "out.png")


# --- stopped, and failed ----------------------------------------------------------------------------------------


def _states_until(error):
    yield PaintState(1, 9, lambda: torch.zeros(4, 3, 32, 32))
    raise error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "minigen: stopped, and nothing was written"),
        (OSError(28, "No space left on device"), 2, "minigen: [Errno 28] No space left on device"),
    ],
)
def test_what_ends_midway_leaves_the_old_file_and_says_so(capsys, tmp_path, painter, monkeypatch, error, status, words):
    monkeypatch.setattr(Painter, "paint_steps", lambda *arguments, **options: _states_until(error))
    out = tmp_path / "out.png"
    out.write_text("old")
    assert cli.main(["draw", CAT, "--out", str(out)]) == status
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[-1] == words
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("count", [1, 2])
def test_pictures_that_became_nan_are_not_written(capsys, tmp_path, painter, monkeypatch, count):
    last = PaintState(1, 1, lambda: torch.full((count, 3, 32, 32), torch.nan))
    monkeypatch.setattr(Painter, "paint_steps", lambda *arguments, **options: iter([last]))
    assert cli.main(["draw", CAT, "--count", str(count), "--out", str(tmp_path / "out.png")]) == 2
    assert "NaN" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="a signal is sent in POSIX's way")
def test_ctrl_c_really_ends_it_with_a_sentence(tmp_path):
    command = [sys.executable, "-m", "minigen.cli", "draw", CAT, "--steps", "1000", "--count", "16"]
    running = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out.png")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with running:
        begun = running.stderr.read(3)  # the bar: the work goes on
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    lines = (begun + err).decode().splitlines()
    # Before the sentence may stand what is left of the bar, where the signal came while it was being drawn
    assert lines[-1].strip() == "minigen: stopped, and nothing was written" and "Traceback" not in "".join(lines)
    assert out.decode() == "" and list(tmp_path.iterdir()) == []


# --- the shipped networks ---------------------------------------------------------------------------------------


def test_the_shipped_networks_draw_one_picture_and_nothing_is_loaded_for_plots(tmp_path):
    out = tmp_path / "out.png"
    code = (
        "import sys\n"
        "from minigen.cli import main\n"
        f"status = main(['draw', {CHINESE!r}, '--count', '1', '--steps', '3', '--out', {str(out)!r}])\n"
        "print([m for m in ('matplotlib', 'skimage', 'IPython') if m in sys.modules])\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line, loaded = done.stdout.splitlines()
    assert "1 picture, seed 0, 512 x 512 pixels" in line and loaded == "[]"
    found = images.load_image(out)
    coarse = found[:, ::8, ::8]  # 64x64 was drawn
    assert torch.equal(found, coarse.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2))
    painter = Painter(**pretrained.load("caption_diffusion"), codec=pretrained.load("codec"))
    expected = painter.paint([CHINESE], num_inference_steps=3)[0]
    assert_close(coarse, expected, rtol=0, atol=2 * HALF_A_BYTE)


def test_the_shipped_encoder_knows_every_word_of_the_example_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["draw", "--help"])
    (example,) = re.findall(r"such as '([^']+)'", " ".join(capsys.readouterr().out.split()))
    encoder = pretrained.load("caption_diffusion")["encoder"]
    assert encoder.tokenizer.unknown(example) == []
    data.parse_caption(example)
