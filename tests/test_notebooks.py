"""Every lesson is in order, as committed: run from top to bottom, small, readable by all, free of dead names and links.

That its cells run is another matter: `pytest` alone executes them, by nbval.
"""

import ast
import copy
import importlib
import re
from itertools import pairwise
from xml.etree import ElementTree

import house
import nbformat
import pytest

from minigen.exercises import Exercise

NOTEBOOKS = sorted((house.ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_lesson_is_in_order(path):
    notebook = nbformat.read(path, as_version=4)
    problems = house.notebook_problems(notebook, name=path.name, folder=path.parent)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_solutions_and_hints_use_only_modules_that_the_lesson_has_imported(path):
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    exercises = vars(importlib.import_module(f"minigen.exercises.lesson_{path.name[:2]}")).values()
    for exercise in (found for found in exercises if isinstance(found, Exercise)):
        shown = "\n".join([exercise.solution().code, *exercise.hints])
        assert set(re.findall(r"\b(math|torch|F|nn|np|random)\.\w", shown)) <= imported, exercise.name


def test_the_first_two_lessons_are_there():
    assert [path.name[:3] for path in NOTEBOOKS][:2] == ["00_", "01_"]


def test_a_lesson_ends_with_links_to_its_neighbours():
    ends = {path.name: nbformat.read(path, as_version=4).cells[-1].source for path in NOTEBOOKS}
    for one, next_one in pairwise(ends):
        assert f"]({next_one})" in ends[one] and f"]({one})" in ends[next_one], f"{one} and {next_one}"


def test_every_picture_beside_the_lessons_is_shown_and_every_drawing_can_be_read_on_a_dark_page():
    pages = [path.read_text(encoding="utf-8") for path in (*NOTEBOOKS, house.ROOT / "README.md")]
    pictures = sorted((house.ROOT / "notebooks" / "pictures").iterdir())
    assert not [path.name for path in pictures if not any(f"pictures/{path.name})" in page for page in pages)]
    drawings = [path for path in pictures if path.suffix == ".svg"]
    assert drawings
    for path in drawings:
        drawing = ElementTree.parse(path).getroot()
        parts = [(part.tag.rpartition("}")[2], part.attrib) for part in drawing]
        assert parts[0][0] == "title" and not re.search(r"<script|href=|url\((?!#)", path.read_text("utf-8")), path.name
        ground = next(found for kind, found in parts if kind == "rect")
        size = {side: drawing.get(side) for side in ("width", "height")}
        assert ground["fill"] == "#ffffff" and size.items() <= ground.items(), path.name


# --- the checker itself -------------------------------------------------------------------------------------

CODE = 'from minigen import data\nscenes = data.EmojiScenes(split="train", size=32)\nscenes.batch(2)'
PROSE = """# A lesson

Emoji: OpenMoji, CC BY-SA 4.0. See [below](#Exercises) and [the next](01_next.ipynb).

```
# no heading
```
"""
PICTURE = {
    "output_type": "display_data",
    "data": {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"},
    "metadata": {"image/png": {"alt": "two scenes in a row"}},
}
BAR = {"output_type": "stream", "name": "stderr", "text": "\r 50%|####     | 1/2 [00:01<00:01,  1.0it/s]\n"}


def _good():
    """A small lesson with nothing wrong, as a notebook."""
    v4 = nbformat.v4
    first = v4.new_code_cell(CODE, execution_count=1, outputs=[nbformat.from_dict(PICTURE)])
    skipped = v4.new_code_cell("input()", metadata={"tags": ["skip-execution", "nbval-skip"]})
    second = v4.new_code_cell("%matplotlib inline\n1 + 1", execution_count=2, outputs=[nbformat.from_dict(BAR)])
    cells = [v4.new_markdown_cell(PROSE), first, skipped, second, v4.new_markdown_cell("## Exercises")]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def _problems(notebook, folder, name="00_start_here.ipynb"):
    return house.notebook_problems(notebook, name=name, folder=folder)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "01_next.ipynb").write_text("{}")
    return tmp_path


def test_a_lesson_with_nothing_wrong_has_no_problems(folder):
    assert _problems(_good(), folder) == []


def _output(notebook, **output):
    notebook.cells[1].outputs = [nbformat.from_dict(output)]


def _display(notebook, data, metadata=None):
    _output(notebook, output_type="display_data", data=data, metadata=metadata or {})


def _source(notebook, text, cell=1):
    notebook.cells[cell].source = text


def _recount(notebook):
    """Numbers the code cells anew, but for the skipped one."""
    for count, k in enumerate((1, 2, 4), 1):
        notebook.cells[k].execution_count = count


WIDGET = "application/vnd.jupyter.widget-view"
HOME = "/" + "home/ada"  # in two pieces, for the same rule holds for this file
BAD = {  # what is done to the good lesson, and a word of the one problem that comes of it
    "kernel": (lambda n: n.metadata.kernelspec.update(name="minigen"), "not python3"),
    "widgets": (lambda n: n.metadata.update(widgets={}), "metadata.widgets"),
    "order": (lambda n: n.cells[3].update(execution_count=3), "execution count 3, expected 2"),
    "not run": (lambda n: [n.cells[k].update(execution_count=None) for k in (1, 3)], "it has not been run"),
    "not run to its end": (lambda n: n.cells[3].update(execution_count=None), "execution count None, expected 2"),
    "one tag": (lambda n: n.cells[2].metadata.update(tags=["nbval-skip"]), "tagged nbval-skip alone"),
    "empty code": (lambda n: _source(n, " \n", 3), "cell 3 is empty"),
    "empty prose": (lambda n: n.cells.append(nbformat.v4.new_markdown_cell("")), "cell 5 is empty"),
    "two titles": (lambda n: _source(n, "# Another\n\n## Exercises", 4), "2 headings of the first level"),
    "two titles, underlined": (lambda n: _source(n, "Another\n=======\n\n## Exercises", 4), "2 headings"),
    "two titles, in HTML": (lambda n: _source(n, "<h1>Another</h1>\n\n## Exercises", 4), "2 headings"),
    "no title": (lambda n: _source(n, PROSE.replace("# A", "## A"), 0), "0 headings of the first level"),
    "no exercises": (lambda n: _source(n, "## Games\n\n<a id='Exercises'></a>", 4), "no section of exercises"),
    "no credit": (lambda n: _source(n, PROSE.replace("CC BY-SA 4.0", "free"), 0), "without naming OpenMoji"),
    "dead link": (lambda n: _source(n, PROSE.replace("01_next", "01_later"), 0), "links to 01_later.ipynb"),
    "dead anchor": (lambda n: _source(n, PROSE.replace("#Exercises", "#Games"), 0), "no heading is called so"),
    "dead reference": (lambda n: _source(n, PROSE + "\n\n[a]: gone.md", 0), "links to gone.md"),
    "wrong paper": (lambda n: _source(n, PROSE + "[A, 2018](https://arxiv.org/abs/2006.11239)", 0), "2018 of arXiv"),
    "mute picture": (lambda n: _display(n, PICTURE["data"]), "alt text ''"),
    "mumbled picture": (lambda n: _display(n, PICTURE["data"], {"image/png": {"alt": "plot"}}), "alt text 'plot'"),
    "mute drawing": (lambda n: _display(n, {"image/svg+xml": "<svg/>"}), "alt text ''"),
    "mute picture in prose": (lambda n: _source(n, "## Exercises\n\n![](01_next.ipynb)", 4), "alt text ''"),
    "mute picture in HTML": (lambda n: _source(n, '## Exercises\n\n<img src="01_next.ipynb">', 4), "alt text ''"),
    "mute picture in an output": (lambda n: _display(n, {"text/html": "<img src='data:x'>"}), "alt text ''"),
    "figure without a word": (
        lambda n: n.cells.insert(1, nbformat.v4.new_code_cell("1", execution_count=1, outputs=[])) or _recount(n),
        "no prose stands",
    ),
    "widget": (lambda n: _display(n, {f"{WIDGET}+json": {"model_id": "1"}}), "saved a widget"),
    "error": (lambda n: _output(n, output_type="error", ename="KeyError", evalue="", traceback=[]), "KeyError"),
    "stderr": (lambda n: _output(n, output_type="stream", name="stderr", text="UserWarning: hm"), "UserWarning: hm"),
    "path in code": (lambda n: _source(n, CODE + f"\nopen('{HOME}/x')"), "machine's path"),
    "path in prose": (lambda n: _source(n, f"## Exercises\n\nin {HOME}/x", 4), "machine's path"),
    "path in print": (lambda n: _output(n, output_type="stream", name="stdout", text=f"{HOME}/x"), "machine's path"),
    "path in a result": (lambda n: _display(n, {"text/plain": f"'{HOME}/x'"}), "machine's path"),
    "no Python": (lambda n: _source(n, "def f(:", 3), "no Python"),
    "lost import": (lambda n: _source(n, "from minigen.data import Nothing", 3), "minigen.data.Nothing does not exist"),
    "lost module": (lambda n: _source(n, "import minigen.attic", 3), "minigen.attic does not exist"),
    "lost attribute": (lambda n: _source(n, "data.EmojiScene(size=3)", 3), "data.EmojiScene does not exist"),
    "lost method": (lambda n: _source(n, "data.EmojiScenes.of_hub()", 3), "data.EmojiScenes.of_hub does not exist"),
    "network module": (lambda n: _source(n, "import urllib.request", 3), "imports urllib"),
    "network import": (lambda n: _source(n, "from huggingface_hub import login", 3), "imports huggingface_hub"),
    "fetched address": (lambda n: _source(n, "read('https://example.org/x.csv')", 3), "a URL"),
    "download": (lambda n: _source(n, "load(root='.', download=True)", 3), "download=True"),
    "hub": (lambda n: _source(n, "import torch\ntorch.hub.load('a', 'b')", 3), "torch.hub.load"),
    "unsaved file": (lambda n: _source(n, "read('a.png')", 3), "reads a.png"),
    "file saved too late": (lambda n: _source(n, "read(f'{d}/a.pt')\nsave(1, f'{d}/a.pt')", 3), "reads {d}/a.pt"),
    "results of nobody": (lambda n: _source(n, "Path('results/x.json').read_text()", 3), "reads results/x.json"),
    "shell": (lambda n: _source(n, "!pip install x", 3), "shell line"),
    "widget bar": (lambda n: _source(n, "from tqdm.auto import tqdm", 3), "tqdm"),
    "too large": (lambda n: _source(n, "# " + "x" * house.MAX_BYTES, 3), "bytes, at most 500,000"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_the_checker_finds(folder, what):
    spoil, words = BAD[what]
    notebook = copy.deepcopy(_good())
    spoil(notebook)
    (problem,) = _problems(notebook, folder)
    assert words in problem


def _with_exercise():
    """The good lesson, with an exercise, and a cell between with a broken answer, and a teaching note."""
    v4, notebook = nbformat.v4, _good()
    broken = v4.new_code_cell("def tile(images, columns):\n    return images\n\n\nq2.check()", execution_count=4)
    answer = v4.new_code_cell(
        "def tile(images, columns):\n    ### BEGIN SOLUTION\n    return images[0]\n    ### END SOLUTION",
        execution_count=5,
        metadata={"nbgrader": house.nbgrader_metadata("q2", is_check=False)},
    )
    check = v4.new_code_cell(
        house.CHECK.format("q2"),
        execution_count=6,
        metadata={"nbgrader": house.nbgrader_metadata("q2", is_check=True)},
    )
    note = v4.new_markdown_cell(
        "<details>\n<summary>For teachers</summary>\n\nTake your time.\n\n</details>", metadata={"tags": ["teacher"]}
    )
    imports = v4.new_code_cell("from minigen.exercises.lesson_00 import q2\n\nq2", execution_count=3)
    notebook.cells += [imports, broken, answer, check, note]
    return notebook


def test_an_exercise_in_two_cells_has_no_problems(folder):
    assert _problems(_with_exercise(), folder) == []


def _told(notebook, cell, **changed):
    notebook.cells[cell].metadata.nbgrader.update(changed)


UNCHECKED = ["0 cells that check it", "cell 7 tells nbgrader", "cell 7 has the marks", "cell 8 tells nbgrader"]
SEVERED = ["no answer stands right before", "cell 7 tells nbgrader", "cell 7 has the marks"]
BAD_EXERCISE = {  # what is done to cells 5 to 9: import, broken answer, answer, check, note; and what comes of it
    "no check": (lambda n: _source(n, "q2.check()", 8), UNCHECKED),
    "a check that does more": (lambda n: _source(n, n.cells[8].source + "\n1", 8), UNCHECKED),
    "two checks": (
        lambda n: n.cells.append(nbformat.from_dict({**n.cells[8], "id": "x", "execution_count": 7})),
        ["2 cells that check it", "cell 10 checks exercise q2, and no answer"],
    ),
    "prose between": (lambda n: n.cells.insert(8, nbformat.v4.new_markdown_cell("well")), SEVERED),
    "an untold check": (lambda n: n.cells[8].metadata.clear(), ["cell 8 tells nbgrader None"]),
    "an untold answer": (lambda n: n.cells[7].metadata.clear(), ["cell 7 tells nbgrader None"]),
    "a check that is open": (lambda n: _told(n, 8, locked=False), ["'locked': False"]),
    "a check without points": (lambda n: n.cells[8].metadata.nbgrader.pop("points"), ["cell 8 tells nbgrader"]),
    "two of one id": (lambda n: _told(n, 7, grade_id="q2"), ["cell 7 tells nbgrader"]),
    "a stray cell": (lambda n: n.cells[6].update(metadata=n.cells[7].metadata), ["cell 6 tells nbgrader"]),
    "no solution": (lambda n: _source(n, "def tile(images, columns):\n    return images[0]", 7), ["has the marks []"]),
    "an endless solution": (
        lambda n: _source(n, n.cells[7].source.replace("END", "BEGIN"), 7),
        ["cell 7 has the mark"],
    ),
    "a stray solution": (lambda n: _source(n, n.cells[7].source, 6), ["cell 6 has the marks"]),
    "an unfolded note": (lambda n: _source(n, "Take your time.", 9), ["cell 9 is tagged teacher, and not a folded"]),
    "a note for all": (lambda n: n.cells[9].metadata.clear(), ["cell 9 is not tagged teacher, and a folded"]),
}


@pytest.mark.parametrize("what", BAD_EXERCISE)
def test_the_checker_finds_of_an_exercise(folder, what):
    spoil, words = BAD_EXERCISE[what]
    notebook = _with_exercise()
    spoil(notebook)
    for problem, word in zip(_problems(notebook, folder), words, strict=True):
        assert word in problem


@pytest.mark.parametrize("name", ["start.ipynb", "0_start.ipynb", "00-start.ipynb", "00_Start.ipynb", "00_.ipynb"])
def test_the_checker_finds_a_wrong_name(folder, name):
    (problem,) = _problems(_good(), folder, name)
    assert name in problem


@pytest.mark.parametrize(
    "text",
    [
        "print('see https://openmoji.org')",
        "display(Markdown('https://openmoji.org'))",
        "address = 'https://openmoji.org'",
        "data = scenes\ndata.anything",
        "def f(data):\n    return data.anything",
        "await scenes",
        "save(1, f'{d}/a.pt')\nread(f'{d}/a.pt')",
        "figure.savefig('a.png')\nread('a.png')",
        "Path('a.json').write_text('1')\nPath('a.json').read_text()",
        "read('01_next.ipynb')",
    ],
)
def test_the_checker_leaves_alone(folder, text):
    notebook = _good()
    _source(notebook, text, 3)
    assert _problems(notebook, folder) == []
