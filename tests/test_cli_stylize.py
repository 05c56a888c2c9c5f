"""`minigen stylize`: the picture that is asked for, and for what cannot be one sentence before any work is done."""

import inspect
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import complaint, run
from PIL import Image
from torch.testing import assert_close

from minigen import cli, data, images, pretrained, runtime, style

HALF_A_BYTE = 0.5 / 255 + 1e-6


@pytest.fixture
def photo(tmp_path):
    """A photo of one's own, 64 x 48 pixels, in a folder of its own."""
    return _saved(tmp_path / "in" / "photo.png", data.photos().load("coffee", 48)[:, :, :64])


@pytest.fixture
def no_work(monkeypatch):
    """Whoever begins to work on a picture fails."""
    monkeypatch.setattr(style, "stylize", lambda *arguments, **options: pytest.fail("the work was begun"))
    monkeypatch.setattr(style.StyleNetwork, "forward", lambda *arguments: pytest.fail("the work was begun"))


@pytest.fixture
def fast_network(tmp_path, monkeypatch):
    """A small network for two styles, with random weights, in the place of the shipped one."""
    torch.manual_seed(0)
    network = style.StyleNetwork(styles=["impasto", "ink"], widths=(4, 6, 8), num_blocks=1, style_dim=4)
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "weights")
    pretrained.WEIGHTS.mkdir()
    path = pretrained.WEIGHTS / "fast_style.safetensors"
    pretrained.save(path, network, card={"name": "fast_style", "metrics": {}})
    return pretrained.load("fast_style")


def _saved(path, image):
    path.parent.mkdir(exist_ok=True)
    images.save_image(image, path)
    return path


# --- by optimisation --------------------------------------------------------------------------------------------


def test_the_picture_is_the_one_that_stylize_makes(capsys, tmp_path, photo):
    out = tmp_path / "out.png"
    arguments = ["--style", "impasto=3", "--style", "ink", "--out", out, "--steps", 3, "--seed", 5]
    run(capsys, "stylize", photo, *arguments, "--strength", 0.7, "--content-weight", 0.3)
    paintings = data.paintings()
    *_, last = style.stylize(
        images.load_image(photo),
        [paintings.load("impasto", 48), paintings.load("ink", 48)],
        pretrained.feature_extractor(),
        style_weights=[0.75, 0.25],
        strength=0.7,
        content_weight=0.3,
        num_steps=3,
        generator=torch.Generator().manual_seed(5),
    )
    assert_close(images.load_image(out), last.picture.cpu(), rtol=0, atol=HALF_A_BYTE)


def test_a_photo_of_the_course_comes_closer_to_the_painting(capsys, tmp_path):
    out = tmp_path / "out.png"
    run(capsys, "stylize", "chelsea", "--style", "mosaic", "--out", out, "--size", 64, "--steps", 10)
    found, before = images.load_image(out), data.photos().load("chelsea", 64)
    assert found.shape == before.shape == (3, 64, 96)
    features = pretrained.feature_extractor()
    goal = style.grams_of(features, data.paintings().load("mosaic", 64)[None])
    far, near = (style.style_loss(style.grams_of(features, x[None]), goal) for x in (before, found))
    assert near < 0.8 * far


def test_the_last_line_says_what_was_written_and_whom_to_name(capsys, tmp_path, photo):
    out = tmp_path / "out.jpg"
    tiny = ["--out", out, "--size", 32, "--steps", 1]
    both = run(capsys, "stylize", "chelsea", "--style", "ink", *tiny).splitlines()
    assert both[0] == "chelsea is scaled down from 451 x 300 to 48 x 32 pixels"
    assert re.match(rf"wrote {re.escape(str(out))}: 48 x 32 pixels, \d+\.\d s\. ", both[-1]) and len(both) == 2
    assert both[-1].endswith(f" s. {data.photos().credit}. {data.paintings().credit}")
    assert out.read_bytes().startswith(b"\xff\xd8")
    half = run(capsys, "stylize", photo, "--style", "ink", "--style", "mosaic", *tiny).splitlines()[-1]
    assert half.endswith(f" s. {data.paintings().credit}")
    assert half.count(data.paintings().credit) == 1
    own = run(capsys, "stylize", photo, "--style", photo, *tiny).splitlines()[-1]
    assert re.search(r"43 x 32 pixels, \d+\.\d s$", own)


def test_the_steps_of_all_scales_are_counted_on_stderr(capsys, tmp_path, photo):
    options = ["--style", "ink", "--out", str(tmp_path / "out.png"), "--steps", "3"]
    assert cli.main(["stylize", str(photo), *options]) == 0
    assert re.search(r"100%.* 3/3 ", capsys.readouterr().err)  # half of 48 pixels is too small for a scale of its own
    _saved(photo, data.photos().load("coffee", 64))
    assert cli.main(["stylize", str(photo), *options]) == 0
    said = capsys.readouterr()
    assert re.search(r"100%.* 6/6 ", said.err) and "minigen:" not in said.err
    assert "/6" not in said.out


def test_the_same_seed_makes_the_same_picture(capsys, tmp_path, photo):
    def made(*seed):
        run(capsys, "stylize", photo, "--style", "ink", "--out", tmp_path / "out.png", "--steps", 3, *seed)
        return images.load_image(tmp_path / "out.png")

    first = made()
    assert torch.equal(made("--seed", 0), first)
    assert not torch.equal(made("--seed", 1), first)


def test_at_strength_0_the_photo_stays(capsys, tmp_path, photo):
    out = tmp_path / "out.png"
    run(capsys, "stylize", photo, "--style", "ink", "--out", out, "--steps", 2, "--strength", 0)
    assert_close(images.load_image(out), images.load_image(photo), rtol=0, atol=2 / 255)


def test_colour_is_kept_when_asked_for(capsys, tmp_path, photo):
    options = ["--style", "mosaic", "--steps", 4, "--out"]
    run(capsys, "stylize", photo, *options, tmp_path / "painted.png")
    run(capsys, "stylize", photo, *options, tmp_path / "kept.png", "--keep-colour")
    painted, kept = (images.load_image(tmp_path / name) for name in ("painted.png", "kept.png"))
    assert not torch.equal(painted, kept)
    assert_close(kept, style.keep_colour(painted, images.load_image(photo)), rtol=0, atol=3 * HALF_A_BYTE)


def test_the_same_style_twice_is_that_style(capsys, tmp_path, photo):
    pictures = []
    for wanted in (["ink", "mosaic", "ink"], ["ink=2", "mosaic"]):
        options = [part for name in wanted for part in ("--style", name)]
        run(capsys, "stylize", photo, *options, "--out", tmp_path / "out.png", "--steps", 2)
        pictures.append(images.load_image(tmp_path / "out.png"))
    assert torch.equal(*pictures)


def test_the_help_names_the_defaults_of_stylize(capsys):
    with pytest.raises(SystemExit):
        cli.main(["stylize", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    defaults = {name: given.default for name, given in inspect.signature(style.stylize).parameters.items()}
    assert f"each of the two scales (default: {defaults['num_steps']})" in said and defaults["num_scales"] == 2
    assert f"from 0 to 1000 (default: {defaults['content_weight']})" in said
    assert "from 32 to 1024" in said


@pytest.mark.gpu
def test_on_a_gpu_a_photo_is_painted_as_well(capsys, tmp_path, photo, fast_network):
    assert runtime.pick_device().type == "cuda"
    for options in (["--steps", 3], ["--fast"]):
        out = tmp_path / "out.png"
        run(capsys, "stylize", photo, "--style", "ink", "--out", out, "--keep-colour", *options)
        assert images.load_image(out).shape == (3, 48, 64)


# --- at once ----------------------------------------------------------------------------------------------------


def test_fast_is_one_pass_of_the_shipped_network(capsys, tmp_path, photo, fast_network, monkeypatch):
    monkeypatch.setattr(style, "stylize", lambda *arguments, **options: pytest.fail("it was optimised"))
    options = ["--style", "ink=3", "--style", "impasto", "--strength", 0.8]
    assert cli.main(["stylize", str(photo), "--fast", "--out", str(tmp_path / "out.png"), *map(str, options)]) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.endswith(f" s. {data.paintings().credit}\n")
    x = images.to_signed(images.load_image(photo))[None]
    with torch.no_grad():
        expected = images.to_unit(fast_network(x, torch.tensor([[0.2, 0.6]])))[0]
    found = images.load_image(tmp_path / "out.png")
    assert_close(found, expected, rtol=0, atol=2 * HALF_A_BYTE)
    assert (found - images.load_image(photo)).abs().mean() > 0.02
    run(capsys, "stylize", photo, "--fast", "--out", tmp_path / "kept.png", *options, "--keep-colour")
    kept = style.keep_colour(found, images.load_image(photo))
    assert_close(images.load_image(tmp_path / "kept.png"), kept, rtol=0, atol=4 * HALF_A_BYTE)


def test_fast_takes_a_photo_of_the_course_at_the_size_asked_for(capsys, tmp_path, fast_network):
    said = run(capsys, "stylize", "rocket", "--fast", "--style", "ink", "--out", tmp_path / "out.png", "--size", 40)
    assert "scaled down from 640 x 427 to 60 x 40" in said and data.photos().credit in said
    assert images.load_image(tmp_path / "out.png").shape == (3, 40, 60)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--style", "mosaic"], "--fast has not learnt the style 'mosaic': choose one of impasto, ink"),
        (["--style", "self"], "'self'"),
        (["--style", "{photo}"], "choose one of impasto, ink"),
        (["--style", "ink=-1"], "weight '-1'"),
        (["--style", "ink", "--steps", "5"], "--steps means nothing to --fast"),
        (["--style", "ink", "--seed", "0"], "--seed means nothing to --fast"),
        (["--style", "ink", "--content-weight", "0.1"], "--content-weight means nothing to --fast"),
    ],
)
def test_what_fast_cannot_do_is_said(capsys, tmp_path, photo, fast_network, no_work, options, words):
    options = [option.format(photo=photo) for option in options]
    assert words in complaint(capsys, "stylize", photo, "--fast", "--out", tmp_path / "in" / "out.png", *options)
    assert list((tmp_path / "in").iterdir()) == [photo]


def test_fast_without_its_network_is_one_sentence(capsys, tmp_path, photo, no_work, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    assert "fast_style" in complaint(
        capsys, "stylize", photo, "--fast", "--style", "ink", "--out", tmp_path / "out.png"
    )


# --- pictures of all kinds --------------------------------------------------------------------------------------


def test_a_name_wins_over_a_file_unless_it_is_written_as_a_path(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 36), "red").save("chelsea", format="png")
    Image.new("RGB", (40, 36), "red").save("mine", format="png")
    options = ["--style", "ink", "--out", "out.png", "--steps", 1, "--size", 32]
    assert "451 x 300" in run(capsys, "stylize", "chelsea", *options)
    for path in ("./chelsea", "mine", tmp_path / "chelsea"):
        assert "from 40 x 36 to 36 x 32" in run(capsys, "stylize", path, *options)


def test_a_style_may_be_a_path_with_a_weight_or_with_an_equals_sign(capsys, tmp_path, photo):
    odd = _saved(tmp_path / "a=b.png", data.paintings().load("mosaic", 48))
    pictures = []
    for wanted in ([f"{odd}=1", "ink=3"], [odd, "ink=3"], ["ink=1e1", f"{odd}=0"], ["ink"]):
        options = [part for name in wanted for part in ("--style", name)]
        run(capsys, "stylize", photo, *options, "--out", tmp_path / "out.png", "--steps", 2)
        pictures.append(images.load_image(tmp_path / "out.png"))
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[2], pictures[3])
    assert not torch.equal(pictures[1], pictures[2])


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (3000, 2000, 32, "p.png is scaled down from 3000 x 2000 to 48 x 32 pixels"),
        (40, 50, 256, ""),  # a small picture is left as it is
        (40, 24, 64, "p.png is enlarged from 40 x 24 to 53 x 32 pixels"),
        (1, 1, 256, "p.png is enlarged from 1 x 1 to 32 x 32 pixels"),
        (5, 60, 256, "p.png is enlarged from 5 x 60 to 32 x 384 pixels"),
    ],
)
def test_a_picture_is_brought_to_a_size_that_can_be_worked_on(
    capsys, tmp_path, monkeypatch, width, height, size, expected
):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((width, height)).save("p.png")
    said = run(capsys, "stylize", "p.png", "--style", "ink", "--out", "out.png", "--steps", 1, "--size", size)
    assert said.startswith(expected or "wrote")
    size = expected.split(" to ")[-1].removesuffix(" pixels") if expected else f"{width} x {height}"
    assert f"wrote out.png: {size} pixels" in said
    found = images.load_image("out.png")
    assert f"{found.shape[2]} x {found.shape[1]}" == size


def test_a_style_of_any_size_will_do(capsys, tmp_path, photo):
    for width, height in ((1, 1), (700, 500), (300, 20)):
        path = tmp_path / "style.png"
        Image.linear_gradient("L").resize((width, height)).save(path)
        said = run(capsys, "stylize", photo, "--style", path, "--out", tmp_path / "out.png", "--steps", 1)
        assert ("is enlarged from" in said) == (min(width, height) < 32)
        assert "scaled down" not in said  # of a style that is only said where its pixels are too few
        assert images.load_image(tmp_path / "out.png").shape == (3, 48, 64)


@pytest.mark.parametrize(("width", "height"), [(2000, 3), (3, 2000), (5000, 1), (3000, 200)])
def test_a_strip_is_refused(capsys, tmp_path, photo, no_work, width, height):
    path, out = tmp_path / "strip.png", tmp_path / "out.png"
    Image.new("RGB", (width, height)).save(path)
    words = rf"{width} x {height} pixels, .* a side may have 2,048: cut it"
    assert re.search(words, complaint(capsys, "stylize", path, "--style", "ink", "--out", out))
    if min(width, height) < 100:
        assert re.search(words, complaint(capsys, "stylize", photo, "--style", path, "--out", out))
    assert not out.exists()


def test_what_is_transparent_is_white(capsys, tmp_path):
    picture = Image.linear_gradient("L").resize((40, 40)).convert("RGBA")
    picture.putalpha(Image.new("L", (40, 40)))
    picture.save(tmp_path / "a.png")
    options = ["--style", tmp_path / "a.png", "--out", tmp_path / "out.png", "--steps", 2, "--strength", 0]
    run(capsys, "stylize", tmp_path / "a.png", *options)
    assert_close(images.load_image(tmp_path / "out.png"), torch.ones(3, 40, 40), rtol=0, atol=2 / 255)


@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_one_colour_can_be_content_and_style(capsys, tmp_path, photo, colour):
    flat = tmp_path / "flat.bmp"
    Image.new("RGB", (40, 40), colour).save(flat)
    for content, manner in ((flat, photo), (photo, flat), (flat, flat)):
        run(capsys, "stylize", content, "--style", manner, "--out", tmp_path / "out.png", "--steps", 2)
        assert images.load_image(tmp_path / "out.png").isfinite().all()  # and NaN would not have been saved


# --- what cannot be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chelse", "--style", "ink"], "choose one of astronaut, brick, camera, chelsea"),
        (["", "--style", "ink"], "choose one of astronaut"),
        (["impasto", "--style", "ink"], "there is no photo and no file called 'impasto'"),
        (["chelsea", "--style", "paint"], "choose one of impasto, pointillism"),
        (["chelsea", "--style", "chelsea"], "there is no painting and no file called 'chelsea'"),
        (["none.png", "--style", "ink"], "there is no picture at none.png"),
        (["{tmp}", "--style", "ink"], "is a folder"),
        (["chelsea", "--style", "{tmp}/none"], "there is no picture at"),
        (["{tmp}/half.png", "--style", "ink"], "half.png cannot be read whole"),
        (["chelsea", "--style", "{tmp}/half.png=2"], "half.png cannot be read whole"),
        (["{tmp}/text.png", "--style", "ink"], "in none of the formats"),
        (["chelsea"], "--style"),
        (["chelsea", "--style"], "--style"),
        (["chelsea", "rocket", "--style", "ink"], "rocket"),
        (["chelsea", "--style", "ink", "--strength", "1.01"], "--strength is 1.01, expected 0"),
        (["chelsea", "--style", "ink", "--strength", "-1"], "--strength is -1"),
        (["chelsea", "--style", "ink", "--strength", "nan"], "--strength is nan"),
        (["chelsea", "--style", "ink", "--strength", "inf"], "--strength is inf"),
        (["chelsea", "--style", "ink", "--strength", "much"], "much"),
        (["chelsea", "--style", "ink", "--size", "31"], "--size is 31, expected 32 to 1024"),
        (["chelsea", "--style", "ink", "--size", "1025"], "--size is 1025"),
        (["chelsea", "--style", "ink", "--size", "-1"], "--size is -1"),
        (["chelsea", "--style", "ink", "--size", "1.5"], "1.5"),
        (["chelsea", "--style", "ink", "--size", "nan"], "nan"),
        (["chelsea", "--style", "ink", "--steps", "0"], "--steps is 0, expected 1 to 10,000"),
        (["chelsea", "--style", "ink", "--steps", "-1"], "--steps is -1"),
        (["chelsea", "--style", "ink", "--steps", "99999999999999999999"], "--steps is 99999999999999999999"),
        (["chelsea", "--style", "ink", "--steps", "inf"], "inf"),
        (["chelsea", "--style", "ink", "--seed", "-1"], "--seed is -1"),
        (["chelsea", "--style", "ink", "--seed", "18446744073709551616"], "--seed is 18446744073709551616"),
        (["chelsea", "--style", "ink", "--seed", "1.5"], "1.5"),
        (["chelsea", "--style", "ink", "--content-weight", "-1"], "--content-weight is -1, expected 0 to 1,000"),
        (["chelsea", "--style", "ink", "--content-weight", "nan"], "--content-weight is nan"),
        (["chelsea", "--style", "ink", "--content-weight", "1e300"], "--content-weight is 1e+300"),
        (["chelsea", "--style", "ink=two"], "--style ink=two has the weight 'two', expected a number"),
        (["chelsea", "--style", "ink="], "weight ''"),
        (["chelsea", "--style", "ink=-1"], "weight '-1'"),
        (["chelsea", "--style", "ink=nan"], "weight 'nan'"),
        (["chelsea", "--style", "ink=inf"], "weight 'inf'"),
        (["chelsea", "--style", "=2"], "choose one of impasto"),
        (["chelsea", "--style", "ink=0", "--style", "mosaic=0"], "all weights of --style are 0"),
        (["chelsea", "--style", "ink", "--out", "{tmp}/none/out.png"], "there is no folder"),
        (["chelsea", "--style", "ink", "--out", "{tmp}"], "names no picture format"),
        (["chelsea", "--style", "ink", "--out", "{tmp}/folder.png"], "folder.png cannot be written (Is a directory)"),
        (["chelsea", "--style", "ink", "--out", "{tmp}/out.docx"], "'.docx', which names no picture format"),
        (["chelsea", "--style", "ink", "--out", "{tmp}/out"], "names no picture format"),
        (["chelsea", "--style", "ink", "--out", ""], "names no picture format"),
        (["{tmp}/link.png", "--style", "ink", "--out", "{tmp}/whole.png"], "would overwrite"),
        (["chelsea", "--style", "{tmp}/whole.png=2", "--out", "{tmp}/whole.png"], "would overwrite"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_before_the_work(capsys, tmp_path, no_work, arguments, words):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    whole = _saved(tmp_path / "whole.png", data.photos().load("coffee", 48))
    (tmp_path / "half.png").write_bytes(whole.read_bytes()[:900])
    (tmp_path / "link.png").symlink_to(whole)
    before = {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    arguments = [part.format(tmp=tmp_path) for part in arguments]
    if "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "out.png")]
    assert words in complaint(capsys, "stylize", *arguments)
    assert {path.name: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_out_is_asked_for(capsys, no_work):
    assert "--out" in complaint(capsys, "stylize", "chelsea", "--style", "ink")


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(capsys, tmp_path, no_work, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)  # a test may run as root, who may write anywhere
    said = complaint(capsys, "stylize", "chelsea", "--style", "ink", "--out", tmp_path / "out.png")
    assert "out.png cannot be written (Permission denied): save it elsewhere" in said


def test_a_file_in_use_twice_is_allowed(capsys, tmp_path, photo):
    run(capsys, "stylize", photo, "--style", photo, "--out", tmp_path / "out.png", "--steps", 1)
    assert images.load_image(tmp_path / "out.png").shape == (3, 48, 64)


# --- stopped, and failed ----------------------------------------------------------------------------------------


def _states_until(error):
    yield style.StyleState(1, 9, torch.zeros(3, 32, 32), {"loss": 1.0})
    raise error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "minigen: stopped, and nothing was written"),
        (OSError(28, "No space left on device"), 2, "minigen: [Errno 28] No space left on device"),
    ],
)
def test_what_ends_midway_leaves_the_old_file_and_says_so(capsys, tmp_path, photo, monkeypatch, error, status, words):
    monkeypatch.setattr(style, "stylize", lambda *arguments, **options: _states_until(error))
    (tmp_path / "in" / "out.png").write_text("old")
    options = ["--style", "ink", "--out", str(tmp_path / "in" / "out.png")]
    assert cli.main(["stylize", str(photo), *options]) == status
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines()[-1] == words
    assert (tmp_path / "in" / "out.png").read_text() == "old"
    assert sorted((tmp_path / "in").iterdir()) == [tmp_path / "in" / "out.png", photo]


def test_a_picture_that_became_nan_is_not_written(capsys, tmp_path, photo, monkeypatch):
    last = style.StyleState(1, 1, torch.full((3, 48, 64), torch.nan), {"loss": torch.nan})
    monkeypatch.setattr(style, "stylize", lambda *arguments, **options: iter([last]))
    assert cli.main(["stylize", str(photo), "--style", "ink", "--out", str(tmp_path / "out.png")]) == 2
    assert "NaN" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="a signal is sent in POSIX's way")
def test_ctrl_c_really_ends_it_with_a_sentence(tmp_path):
    command = [sys.executable, "-m", "minigen.cli", "stylize", "chelsea", "--style", "ink", "--steps", "10000"]
    running = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out.png"), "--size", "64"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running:
        begun = running.stderr.read(3)  # the bar: the work goes on
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    lines = (begun + err).decode().splitlines()
    # Before the sentence may stand what is left of the bar, where the signal came while it was being drawn
    assert lines[-1].strip() == "minigen: stopped, and nothing was written" and "Traceback" not in "".join(lines)
    assert out.decode() == "chelsea is scaled down from 451 x 300 to 96 x 64 pixels\n"
    assert list(tmp_path.iterdir()) == []
