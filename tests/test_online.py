"""The lessons can be opened in Colab and Binder: badges, the cell that Colab needs, and the address in all of them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import house
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from minigen.recipes import lessons

PATHS = sorted((house.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PROJECT = tomllib.loads((house.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
ADDRESS = REPOSITORY.removeprefix("https://github.com/")
each_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def links(text):
    """{the words of a badge: where it leads} of a Markdown text."""
    return dict(re.findall(r"\[!\[([^\]]+)\]\(https://[^)]+\)\]\(([^)]+)\)", text))


def links_of(name):
    return {
        "Open in Colab": f"https://colab.research.google.com/github/{ADDRESS}/blob/main/notebooks/{name}",
        "launch binder": f"https://mybinder.org/v2/gh/{ADDRESS}/HEAD?labpath=notebooks/{name}",
    }


# --- the lessons ------------------------------------------------------------------------------------------------


@each_lesson
def test_right_below_its_title_a_lesson_has_badges_that_open_it(path):
    title, badges, *_ = nbformat.read(path, as_version=4).cells[0].source.split("\n\n")
    assert title.startswith("# ")
    assert links(badges) == links_of(path.name)


@each_lesson
def test_its_first_code_cell_is_for_colab_and_skipped_by_whatever_runs_the_lessons(path):
    cell = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    assert cell.id == "colab"
    assert set(cell.metadata.tags) == {"nbval-skip", "skip-execution"}
    assert (cell.execution_count, cell.outputs) == (None, [])
    assert f'"{REPOSITORY}"' in cell.source


def test_badges_and_cell_together_take_less_than_1000_bytes():
    notebook = nbformat.read(PATHS[-1], as_version=4)
    whole = len(nbformat.writes(notebook).encode())
    notebook.cells[0].source = re.sub(r"\[!\[.+\n\n", "", notebook.cells[0].source)
    notebook.cells = [cell for cell in notebook.cells if cell.id != "colab"]
    assert 500 < whole - len(nbformat.writes(notebook).encode()) < 1000 + 5 * (len(ADDRESS) - len("YOUR_NAME/minigen"))


def test_nbval_skips_a_cell_with_these_tags(tmp_path):
    skipped = new_code_cell("1 / 0", metadata={"tags": ["nbval-skip", "skip-execution"]})
    nbformat.write(new_notebook(cells=[skipped, new_code_cell("1 + 1")]), tmp_path / "lesson.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "lesson.ipynb"], cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed, 1 skipped" in done.stdout


def test_the_readme_opens_the_first_lesson():
    assert links((house.ROOT / "README.md").read_text(encoding="utf-8")) == links_of(PATHS[0].name)


# --- the cell for Colab -----------------------------------------------------------------------------------------


@pytest.fixture
def cell():
    """The source of the cell."""
    return next(cell.source for cell in nbformat.read(PATHS[0], as_version=4).cells if cell.id == "colab")


def test_outside_colab_the_cell_does_nothing(cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", None)
    exec(cell, {})
    assert Path.cwd() == tmp_path and not list(tmp_path.iterdir())


@pytest.fixture
def colab(cell, tmp_path, monkeypatch):
    """Runs the cell as in Colab: in a folder of its own, with a small repository at the address, and a pip that takes
    notes."""
    if os.name != "posix" or shutil.which("git") is None:
        pytest.skip("needs git and a shell, as Colab has them")
    there, content, programs = tmp_path / "there", tmp_path / "content", tmp_path / "programs"
    (there / "notebooks" / "results").mkdir(parents=True)
    (there / "notebooks" / "results" / "00.json").write_text("{}")
    git = ["git", "-C", str(there), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *command], check=True)
    content.mkdir()
    programs.mkdir()
    pip = programs / "pip"
    pip.write_text(f'#!/bin/sh\necho "$PWD $*" >> {programs}/notes\nexit $(cat {programs}/status)\n')
    pip.chmod(0o755)
    (programs / "status").write_text("0")
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{there.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", REPOSITORY)
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.chdir(content)
    assert "/content" in cell
    return lambda: exec(cell.replace("/content", str(content)), {}), content, programs


def test_in_colab_the_cell_installs_the_course_and_goes_where_the_lessons_files_are(colab):
    run, content, programs = colab
    run()
    assert Path.cwd() == content / "minigen" / "notebooks"
    assert Path("results/00.json").is_file()
    (note,) = (programs / "notes").read_text().splitlines()
    assert note == f"{content} install -q ./minigen"  # what is there and new enough, PyTorch above all, stays


def test_in_colab_the_cell_can_be_run_again(colab):
    run, content, _ = colab
    run()
    Path("mine.txt").write_text("mine")
    run()
    assert Path("mine.txt").is_file()
    os.chdir(content)  # as after a restart of the runtime
    run()
    assert Path.cwd() == content / "minigen" / "notebooks"


def test_in_colab_an_install_that_fails_is_an_error(colab):
    run, content, programs = colab
    (programs / "status").write_text("1")
    with pytest.raises(subprocess.CalledProcessError):
        run()
    assert Path.cwd() == content


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A copy of what the address stands in, and of nothing else."""
    (tmp_path / "notebooks").mkdir()
    for path in (house.ROOT / "pyproject.toml", house.ROOT / "README.md", *PATHS):
        shutil.copy(path, tmp_path / path.relative_to(house.ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(clone):
    return {path.relative_to(clone): path.read_bytes() for path in clone.rglob("*") if path.is_file()}


def test_the_address_that_is_there_changes_nothing(clone):
    before = contents(clone)
    lessons.main(["online", ADDRESS])
    assert contents(clone) == before


def test_another_address_is_written_into_all_files_and_nothing_else_is_changed(clone):
    before = contents(clone)
    lessons.main(["online", "ada-l/pictures.of.mine"])
    after = contents(clone)
    assert after.keys() == before.keys()
    for path, content in after.items():
        assert content == before[path].replace(ADDRESS.encode(), b"ada-l/pictures.of.mine") != before[path]
    lessons.main(["online", ADDRESS])
    assert contents(clone) == before


def test_a_new_lesson_gets_badges_and_cell_and_keeps_its_outputs(clone):
    lesson = json.loads(PATHS[0].read_text(encoding="utf-8"))
    lesson["cells"] = [cell for cell in lesson["cells"] if cell["id"] != "colab"]
    lesson["cells"][0]["source"] = [line for line in lesson["cells"][0]["source"] if not line.startswith("[![")]
    del lesson["cells"][0]["source"][1]
    (clone / "notebooks" / "00_start_here.ipynb").write_text(json.dumps(lesson))
    lessons.main(["online", ADDRESS])
    assert (clone / "notebooks" / "00_start_here.ipynb").read_bytes() == PATHS[0].read_bytes()


@pytest.mark.parametrize(
    "address", ["ada", "ada/", "https://github.com/ada/minigen", "ada/minigen.git", "a b/c", "ä/b"]
)
def test_what_is_no_address_is_refused_in_one_sentence(clone, capsys, address):
    before = contents(clone)
    with pytest.raises(SystemExit, match="2"):
        lessons.main(["online", address])
    said = capsys.readouterr().err
    assert f"{address!r} is no address at GitHub" in said and said.count("\n") == 1
    assert contents(clone) == before


def test_elsewhere_than_in_a_clone_it_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        lessons.main(["online", "ada/minigen"])
    assert "go to the top folder of your clone" in capsys.readouterr().err


# --- Binder -----------------------------------------------------------------------------------------------------


def test_binder_installs_torch_for_the_processor_in_one_command_with_the_course():
    lines = (house.ROOT / ".binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["--extra-index-url https://download.pytorch.org/whl/cpu", "torch", "torchvision", ".[lab]"]
    python = (house.ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert PROJECT["requires-python"] == f">={python.removeprefix('python-')}"
