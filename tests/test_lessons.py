"""The commands that run the lessons."""

import json

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from minigen.recipes import lessons


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """On a slow processor the commands that write lessons refuse to."""
    monkeypatch.setattr(lessons.runtime, "is_slow", lambda device: False)


def write(path, *cells):
    notebook = new_notebook(cells=[new_markdown_cell("# A lesson"), *cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def tagged(source, tag):
    cell = new_code_cell(source)
    cell.metadata.tags = [tag]
    return cell


def test_run_executes_in_place_and_saves_the_cover_and_no_widget(tmp_path):
    cover = tagged(
        "from minigen.images import *\nimport torch\nshow(image_grid(torch.rand(1, 3, 4, 4)), alt='x')", "cover"
    )
    live = new_code_cell(
        "from minigen.widgets import live\n"
        "live(lambda size=1: torch.full((3, 4, 4), size / 9), alt='grey', size=(1, 9, 1))"
    )
    cover.metadata |= {"nbgrader": {"grade_id": "q1"}, "collapsed": True}
    path = write(tmp_path / "07_lesson.ipynb", cover, live)
    lessons.main(["run", str(path)])
    done = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in done.cells if cell.cell_type == "code"] == [1, 2]
    assert "widgets" not in done.metadata
    assert done.cells[1].metadata == {"tags": ["cover"], "nbgrader": {"grade_id": "q1"}}  # not what an editor left
    assert "image/png" in done.cells[2].outputs[0].data
    assert (tmp_path / "pictures" / "07_lesson.png").read_bytes().startswith(b"\x89PNG")


def test_run_does_not_run_a_cell_that_is_to_be_skipped_and_keeps_its_tags(tmp_path):
    skipped = new_code_cell("1 / 0", metadata={"tags": ["nbval-skip", "skip-execution"]})
    path = write(tmp_path / "07_lesson.ipynb", skipped, new_code_cell("1 + 1"))
    lessons.main(["run", str(path)])
    done = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in done.cells if cell.cell_type == "code"] == [None, 1]
    assert done.cells[1].metadata.tags == ["nbval-skip", "skip-execution"]


def test_the_cover_of_a_lesson_about_photos_is_a_jpeg(tmp_path):
    photo = "from minigen.images import *\nimport torch\nshow(image_grid(torch.rand(1, 3, 4, 4)), 'x', photos=True)"
    path = write(tmp_path / "07_lesson.ipynb", tagged(photo, "cover"))
    lessons.main(["run", str(path)])
    assert (tmp_path / "pictures" / "07_lesson.jpg").read_bytes().startswith(b"\xff\xd8")


def test_repeat_runs_each_seed_up_to_the_results_and_keeps_what_was_measured(tmp_path):
    path = write(
        tmp_path / "07_lesson.ipynb",
        new_code_cell("SEED = 0\nx = SEED * 10"),
        tagged("results = {'x': x}", "results"),
        new_code_cell("raise RuntimeError('this comes after the results')"),
    )
    before = path.read_bytes()
    lessons.main(["repeat", str(path), "--seeds", "1", "2", "5"])
    saved = json.loads((tmp_path / "results" / "07_lesson.json").read_text(encoding="utf-8"))
    assert saved["x"] == [10, 20, 50]
    assert saved["seeds"] == [1, 2, 5]
    assert saved["command"].endswith("07_lesson.ipynb --seeds 1 2 5")
    assert path.read_bytes() == before


def test_a_lesson_that_fails_is_not_saved(tmp_path):
    path = write(tmp_path / "07_lesson.ipynb", new_code_cell("1 / 0"))
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        lessons.main(["run", str(path)])
    assert path.read_bytes() == before


def test_cost_prints_time_and_memory_of_each_lesson_and_saves_nothing(tmp_path, capsys):
    light = write(tmp_path / "07_light.ipynb", new_code_cell("1 + 1"))
    heavy = write(
        tmp_path / "08_heavy.ipynb", new_code_cell("import time\nx = b'x' * 1_000_000_000\ntime.sleep(1)\ndel x")
    )
    before = light.read_bytes(), heavy.read_bytes()
    lessons.main(["cost", str(light), str(heavy)])
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[4:]]
    assert [row[0] for row in rows] == ["07_light", "08_heavy", "all"]
    assert [row[2] for row in rows] == ["6", "6", "36"]
    assert 0.9 < float(rows[1][3]) - float(rows[0][3]) < 1.3
    assert (light.read_bytes(), heavy.read_bytes()) == before


def test_cost_fails_where_a_lesson_takes_more_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(lessons, "MEMORY_GB", 0.001)
    path = write(tmp_path / "07_lesson.ipynb", new_code_cell("1 + 1"))
    with pytest.raises(SystemExit) as stopped:
        lessons.main(["cost", str(path)])
    assert stopped.value.code == 1


@pytest.mark.parametrize("command", ["run", "repeat"])
def test_a_slow_processor_does_not_write_what_the_lessons_tell(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setattr(lessons.runtime, "is_slow", lambda device: True)
    with pytest.raises(SystemExit) as end:
        lessons.main([command, str(tmp_path / "lesson.ipynb")])  # which is not there, and is not asked for
    assert end.value.code == 2
    assert "slow processor" in capsys.readouterr().err
