"""`minigen new`: a project that works as it is written, on pictures that are made here; what cannot be is refused."""

import contextlib
import csv
import errno
import importlib.util
import io
import os
import re
import runpy
import subprocess
import sys
from itertools import product
from pathlib import Path

import house
import nbformat
import pytest
import torch
from accelerate.state import AcceleratorState
from command import complaint, run
from PIL import Image, ImageDraw

from minigen import images, pretrained
from minigen.cli.new import PLACEHOLDER, TEMPLATES
from minigen.data import CaptionedFolder
from minigen.metrics import psnr
from minigen.painter import Painter
from minigen.recipes import lessons

NAME = "my_flowers"
FILES = {
    ".gitignore",
    "README.md",
    "data",
    "explore.ipynb",
    "shapes.py",
    "teach_codec.py",
    "test_project.py",
    "train.py",
}
STEPS = 40
ENVIRONMENT = {"MINIGEN_DEVICE": "cpu", "PYTHONPATH": f"{house.ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}


def make_pictures(folder, count):
    """Circles and bars in files of different kinds and shapes, with captions: not what the project itself can draw."""
    kinds = list(product(("small", "large"), ("red", "green", "blue"), ("circle", "bar")))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text"])
        for k in range(count):
            size, colour, shape = kinds[k % len(kinds)]
            picture = Image.new("RGB", (96 + k % 5, 96), "white")
            x, y = 48 + k % 7, 48 - k % 11
            reach = 14 if size == "small" else 34
            draw = ImageDraw.Draw(picture)
            if shape == "circle":
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
            else:
                draw.rectangle((x - reach, y - reach // 3, x + reach, y + reach // 3), fill=colour)
            name = f"{k:03}.{('png', 'jpg', 'webp')[k % 3]}"
            picture.save(folder / name)
            table.writerow([name, f"a {size} {colour} {shape}"])


def python(folder, *arguments):
    """What a Python program of the project says on stdout."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def program(folder, name, *arguments):
    """What a program of the project says on stdout, run in this process: PyTorch is loaded already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setenv("MINIGEN_DEVICE", ENVIRONMENT["MINIGEN_DEVICE"])
        patch.chdir(folder)
        patch.syspath_prepend(folder)  # as Python does for a program
        patch.delitem(sys.modules, "train", raising=False)
        patch.setattr(sys, "argv", [name, *arguments])
        AcceleratorState._reset_state(reset_partial_state=True)  # what is kept of it in this process, and of ours after
        try:
            runpy.run_path(name, run_name="__main__")
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)
            sys.modules.pop("train", None)
    return said.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A new project with 200 pictures, and its folder."""
    place = tmp_path_factory.mktemp("place")
    command = [sys.executable, "-m", "minigen.cli", "new", NAME]
    done = subprocess.run(command, cwd=place, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {NAME}: ") and done.stderr == ""
    assert [path.name for path in place.iterdir()] == [NAME]
    make_pictures(place / NAME / "data", 200)
    return place / NAME


@pytest.fixture(scope="module")
def trained(project):
    """What training in a few steps said, with a codec that was taught before; the run is in runs/first."""
    program(project, "teach_codec.py", "--steps", "12", "--batch-size", "8")
    codec = ("--codec", "runs/codec.safetensors")
    return program(project, "train.py", *codec, "--steps", str(STEPS), "--every", "20", "--batch-size", "16")


@pytest.fixture(scope="module")
def module():
    """The project's train.py as a module."""
    specification = importlib.util.spec_from_file_location("train", TEMPLATES / "train.py")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


# --- the project --------------------------------------------------------------------------------------------------


def test_the_project_holds_its_files_and_bears_its_name(project):
    assert {path.name for path in project.iterdir()} >= FILES
    for path in project.iterdir():
        if path.is_file():
            assert PLACEHOLDER not in path.read_text(encoding="utf-8"), path.name
    for name in ("README.md", "explore.ipynb"):
        assert f"# {NAME}" in (project / name).read_text(encoding="utf-8")


def test_its_own_tests_pass(project):
    said = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert re.search(r"^4 passed", said, re.M), said


def test_training_lowers_the_loss_and_draws(trained, project):
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", trained)]
    assert len(losses) == 2 and losses[1] < 0.8 * losses[0]
    assert "training on 160 of 200 examples, 8 words" in trained
    for step in (20, 40):
        grid = images.load_image(project / "runs" / "first" / f"step_{step:06}.png")
        assert grid.std() > 0.05
    painter = Painter(**pretrained.load(project / "runs" / "first" / "network.safetensors"))
    red, blue = painter.paint(["a large red circle", "a large blue circle"], num_inference_steps=5)
    assert red.shape == (3, 64, 64) and (red - blue).abs().mean() > 0.005
    page = (project / "runs" / "first" / "network.md").read_text(encoding="utf-8")
    assert "pretrained.load('runs/first/network.safetensors')" in page and "--measure" not in page


def test_the_latents_that_it_trains_on_have_mean_0_and_deviation_1(trained, project, module):
    codec = pretrained.load(project / "runs" / "first" / "network.safetensors")["codec"]
    part, _ = module.split(module.read(project / "data"))
    with torch.no_grad():
        latents = codec.encode(images.to_signed(part.take(range(160)).images)).mean
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.02 and (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02


def test_the_snippet_of_its_readme_draws_from_the_network(trained, project, monkeypatch):
    (snippet,) = re.findall(r"^```python\n(.*?)^```", (project / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(project)
    exec(compile(snippet, "README.md", "exec"), {})
    assert images.load_image(project / "circle.png").shape == (3, 64, 64)


def test_its_notebook_runs_from_top_to_bottom(trained, project):
    notebook = nbformat.read(project / "explore.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source, changed = re.subn(r"^STEPS = \d+", "STEPS = 4", first.source, flags=re.M)
    assert changed == 1
    first.source = first.source.replace("runs/first", "runs/notebook")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in ENVIRONMENT.items():
            patched.setenv(name, value)
        lessons.execute(notebook, project)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert [output["name"] for output in outputs if output.output_type == "stream" and output["name"] != "stdout"] == []
    for words in (r"codec \d+\.\d dB", "drawn: Fréchet distance", "words shared: drawn", "median distance"):
        assert re.search(words, said), said


def test_the_codec_learns_its_pictures(trained, project, module):
    _, held_out = module.split(module.read(project / "data"))
    x = held_out.take(range(40)).images
    decibels = []
    for codec in (pretrained.load("codec"), pretrained.load(project / "runs" / "codec.safetensors")):
        with torch.no_grad():
            again = images.to_unit(codec.decode(codec.encode(images.to_signed(x)).mean))
        decibels.append(psnr(again, x).mean())
    assert decibels[1] > decibels[0] + 0.3


def test_its_shapes_are_captioned_pictures_and_never_overwrite(project, tmp_path):
    python(tmp_path, str(project / "shapes.py"))
    pictures = CaptionedFolder(tmp_path / "data")
    assert len(pictures) == 200 and len(set(pictures.captions)) > 30
    colours = {"red": (1, 0, 0), "blue": (0, 0, 1)}
    for k, caption in enumerate(pictures.captions):
        _, _, colour, _ = caption.split()
        image = pictures[k].image
        inside = image.mean(dim=0) < 0.9
        assert 0.02 < inside.float().mean() < 0.5
        if colour in colours:
            middle = image[:, inside].median(dim=1).values
            assert (middle - torch.tensor(colours[colour], dtype=torch.float)).abs().max() < 0.02, caption
    done = subprocess.run([sys.executable, str(project / "shapes.py")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "metadata.csv" in done.stderr


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.py")), ids=lambda path: path.name)
def test_its_code_keeps_the_rules_of_the_house(path):
    source = path.read_text(encoding="utf-8")
    assert house.loading_problems(source) + house.submodule_problems(source) + house.unknown_names(source) == []


def test_its_notebook_uses_names_that_exist_and_has_not_been_run():
    notebook = nbformat.read(TEMPLATES / "explore.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert house.unknown_names("\n".join(cell.source for cell in code)) == []
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


# --- a project that cannot be ---------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["", " ", "my-flowers", "my flowers", "2flowers", "class", "../flowers", "a/b", ".", "..", "flowers.d", "~"]
)
def test_a_name_that_is_none_is_refused(capsys, place, name):
    assert f"{name!r} cannot be the name of a project: use letters" in complaint(capsys, "new", name)
    assert list(place.iterdir()) == []


def test_a_name_may_be_in_any_script(capsys, place):
    run(capsys, "new", "我的花")
    assert {path.name for path in (place / "我的花").iterdir()} == FILES


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_name_that_is_taken_is_refused(capsys, place, kind):
    taken = place / NAME
    {"folder": taken.mkdir, "file": taken.touch, "link": lambda: taken.symlink_to("nowhere")}[kind]()
    assert f"there is already something called {NAME} here" in complaint(capsys, "new", NAME)
    assert list(place.iterdir()) == [taken] and (kind != "folder" or list(taken.iterdir()) == [])


def test_a_name_that_is_too_long_is_refused(capsys, place):
    assert "cannot be written" in complaint(capsys, "new", 300 * "a")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("method", "error"), [("mkdir", errno.EACCES), ("write_bytes", errno.ENOSPC)])
def test_where_nothing_can_be_written_nothing_is_left(capsys, place, monkeypatch, method, error):
    original, calls = getattr(Path, method), []

    def fail(self, *arguments, **options):
        calls.append(self)
        if method == "write_bytes" and len(calls) < 3:
            return original(self, *arguments, **options)
        raise OSError(error, os.strerror(error), str(self))

    monkeypatch.setattr(Path, method, fail)
    said = complaint(capsys, "new", NAME)
    assert f"{NAME} cannot be written ({os.strerror(error)}): name another folder" in said
    assert calls and list(place.iterdir()) == []


def test_without_a_name_it_is_asked_for(capsys, place):
    assert "NAME" in complaint(capsys, "new")


# --- data that cannot be --------------------------------------------------------------------------------------------


def _no_folder(data):
    pass


def _empty_folder(data):
    data.mkdir()


def _no_rows(data):
    make_pictures(data, 0)


def _few(data):
    make_pictures(data, 9)


def _without_a_row(data):
    make_pictures(data, 12)
    Image.new("RGB", (8, 8)).save(data / "lonely.png")


def _empty_caption(data):
    make_pictures(data, 12)
    Image.new("RGB", (8, 8)).save(data / "mute.png")
    with (data / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("mute.png,\n")


def _damaged(data):
    make_pictures(data, 12)
    for path in data.glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_no_folder, "there is no folder"),
        (_empty_folder, "holds no metadata.csv"),
        (_no_rows, "holds no captions"),
        (_few, "holds 9 pictures: add some"),
        (_without_a_row, "holds pictures without a caption (lonely.png)"),
        (_empty_caption, "holds pictures without a caption (mute.png)"),
        (_damaged, ".jpg"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused_in_a_sentence(tmp_path, module, make, words):
    make(tmp_path / "data")
    with pytest.raises(SystemExit) as leaving:
        module.main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")])
    said = str(leaving.value)
    assert said.startswith("train.py: ") and "\n" not in said and words in said
    assert not (tmp_path / "run").exists()


def test_options_that_cannot_be_are_refused(trained, project, module, monkeypatch):
    monkeypatch.chdir(project)
    for arguments, words in (
        (["--steps", "0"], "expected 1 or more"),
        (["--steps", "7"], "finish it with the same, or name another --out"),
        (["--codec", "none", "--out", "runs/none"], "there is no network called 'none'"),
    ):
        with pytest.raises(SystemExit, match=words), contextlib.redirect_stdout(None):
            module.main(arguments)
