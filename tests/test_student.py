"""`minigen student` and `minigen teacher`: copies of the one source, which the real nbgrader takes and grades."""

import ast
import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import house
import nbformat
import pytest
from command import complaint, run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from minigen.cli import copies
from minigen.cli.student import student_copy, teacher_copy, without_solutions

PATHS = sorted((house.ROOT / "notebooks").glob("*.ipynb"))
LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
each_lesson = pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)

ANSWER = "def double(x):\n    ### BEGIN SOLUTION\n    y = x + x\n    return y\n    ### END SOLUTION"
NOTE = "<details>\n<summary>For teachers</summary>\n\nTake your time.\n\n</details>"


def role(cell):
    """What nbgrader takes a cell for: "solution", "grade" or None."""
    told = cell.metadata.get("nbgrader", {})
    return next((name for name in ("solution", "grade") if told.get(name)), None)


def drawn(mime, data, alt):
    return nbformat.v4.new_output("display_data", {mime: data, "text/plain": "<Figure>"}, metadata={mime: {"alt": alt}})


def card():
    return nbformat.v4.new_output("execute_result", {"text/html": "<b>Right</b>", "text/plain": "Right"})


def small_lesson():
    """A lesson with a note, a picture of its own, an exercise, and a picture that its right answer draws."""
    answer = new_code_cell(ANSWER, execution_count=2, metadata={"nbgrader": {"solution": True, "locked": False}})
    check = new_code_cell(
        house.CHECK.format("q1"), outputs=[card()], metadata={"nbgrader": {"grade": True, "locked": True}}
    )
    cells = [
        new_markdown_cell("# A lesson"),
        new_markdown_cell(NOTE, metadata={"tags": ["teacher"]}),
        new_code_cell("draw(1)", outputs=[drawn("image/png", "b25l", "a one")], execution_count=1),
        answer,
        check,
        new_code_cell("draw(double(1))", outputs=[drawn("image/jpeg", "dHdv", "a two")], id="drawing"),
        new_code_cell("draw(number.double)", outputs=[drawn("image/png", "b25l", "a one")]),
    ]
    return new_notebook(cells=cells)


# --- a stub -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solved", "stubbed"),
    [
        (ANSWER, 'def double(x):\n    raise NotImplementedError("your answer")'),
        ("### BEGIN SOLUTION\nhalf = 1 / 2\n### END SOLUTION", "half = ..."),
        ("### BEGIN SOLUTION\nx, y = 1, [k for k in (2, 3)]\n### END SOLUTION\nx", "k = ...\nx = ...\ny = ...\nx"),
        (f"### BEGIN SOLUTION\ndef f(x):\n    y = x\n    return y\n### END SOLUTION\n{'# 1'}", "f = ...\n# 1"),
        ("a = 1\nif a:\n\t### BEGIN SOLUTION\n\ta = 2\n\t### END SOLUTION", None),
        ("print('BEGIN SOLUTION')", "print('BEGIN SOLUTION')"),
    ],
    ids=["in a function", "a value", "several values", "a whole function", "indented by a tab", "none"],
)
def test_a_stub_stands_in_place_of_a_solution(solved, stubbed):
    if stubbed is None:
        stubbed = 'a = 1\nif a:\n\traise NotImplementedError("your answer")'
    assert without_solutions(solved) == stubbed


def test_two_solutions_of_a_cell_are_two_stubs():
    assert without_solutions(f"{ANSWER}\n\n\n{ANSWER}").count("NotImplementedError") == 2
    assert "return" not in without_solutions(f"{ANSWER}\n\n\n{ANSWER}")


@pytest.mark.parametrize("mark", ["### BEGIN SOLUTION", "### END SOLUTION"])
def test_a_solution_without_its_beginning_or_end_is_refused_and_not_given_away(mark):
    with pytest.raises(ValueError, match="one of the two is missing"):
        without_solutions(ANSWER.replace(f"    {mark}\n", "").replace(f"\n    {mark}", ""))


# --- a lesson ---------------------------------------------------------------------------------------------------


def test_a_student_gets_stubs_and_the_picture_of_a_right_answer_and_no_notes_and_no_other_output():
    given = student_copy(small_lesson())
    assert "Take your time" not in nbformat.writes(given)
    assert "x + x" not in nbformat.writes(given)
    assert [cell.get("outputs", []) for cell in given.cells] == [[]] * 7
    assert [cell.get("execution_count") for cell in given.cells] == [None] * 7
    pictures = [cell for cell in given.cells if "attachments" in cell]
    assert [cell.attachments for cell in pictures] == [{"right_answer": {"image/jpeg": "dHdv"}}]
    assert "![a two](attachment:right_answer)" in pictures[0].source
    assert given.cells[given.cells.index(pictures[0]) + 1].id == "drawing"
    nbformat.validate(given)


def test_in_a_students_copy_the_check_cannot_be_edited_and_neither_cell_deleted():
    *_, answer, check = (cell.metadata for cell in student_copy(small_lesson()).cells if role(cell))
    assert (answer.editable, answer.deletable) == (True, False)
    assert (check.editable, check.deletable) == (False, False)


def test_a_teacher_gets_all_there_is_with_the_notes_unfolded():
    expected = small_lesson()
    given = teacher_copy(expected)
    expected.cells[1].source = NOTE.replace("<details>", "<details open>")
    for one, other in zip(given.cells, expected.cells, strict=True):
        assert {**one, "id": None} == {**other, "id": None}


@pytest.mark.parametrize("copy_of", [student_copy, teacher_copy])
def test_the_lesson_itself_stays_as_it_is(copy_of):
    lesson = small_lesson()
    before = copy.deepcopy(lesson)
    copy_of(lesson)
    assert lesson == before


# --- the lessons ------------------------------------------------------------------------------------------------


@each_lesson
def test_of_a_lesson_nothing_but_its_answers_and_notes_is_changed(lesson):
    given = student_copy(lesson)
    assert not [cell.id for cell in given.cells if cell.get("outputs")]
    assert "SOLUTION\n" not in "\n".join(cell.source for cell in given.cells if cell.cell_type == "code")
    kept = {cell.id: cell.source for cell in given.cells if "attachments" not in cell}
    for cell in lesson.cells:
        if "teacher" in cell.metadata.get("tags", []):
            assert cell.id not in kept
        elif role(cell) == "solution":
            solved, _, rest = cell.source.partition("### BEGIN SOLUTION")
            assert kept[cell.id].startswith(solved.rstrip(" "))
            assert rest.partition("### END SOLUTION")[0].strip() not in kept[cell.id]
        else:  # a broken answer, which is to be mended, among them
            assert kept[cell.id] == cell.source
    nbformat.validate(given)


def imports_of(lesson, needed=None):
    """What a lesson imports, as code; with `needed` only what brings one of these names."""
    statements = [s for cell in lesson.cells if cell.cell_type == "code" for s in ast.parse(cell.source).body]
    imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    brings = [{(alias.asname or alias.name).split(".")[0] for alias in s.names} for s in imports]
    return "\n".join(
        ast.unparse(s) for s, names in zip(imports, brings, strict=True) if needed is None or names & needed
    )


@each_lesson
def test_the_answers_of_a_lesson_are_right_with_nothing_run_but_its_imports(lesson):
    names = {}
    exec(imports_of(lesson), names)
    for cell in lesson.cells:
        if role(cell):
            exec(cell.source, names)
        if role(cell) == "grade":
            assert names.pop("verdict")


@each_lesson
def test_the_stubs_of_a_lesson_run_and_are_told_to_be_still_to_do(lesson):
    names, told = {}, 0
    exec(imports_of(lesson), names)
    for cell in student_copy(lesson).cells:
        if role(cell) == "solution":
            exec(cell.source, names)
        if role(cell) == "grade":
            with pytest.raises(AssertionError, match=r"^○ Not attempted: .* fill(ed)? (it )?in"):
                exec(cell.source, names)
            told += 1
    assert told == sum(role(cell) == "grade" for cell in lesson.cells)


def test_lesson_00_shows_what_a_right_tile_draws():
    (picture,) = (cell for cell in student_copy(LESSONS["00_start_here"]).cells if "attachments" in cell)
    (shown,) = (
        cell.outputs[0].data["image/png"]
        for cell in LESSONS["00_start_here"].cells
        if cell.cell_type == "code" and "tile(batch" in cell.source
    )
    assert picture.attachments == {"right_answer": {"image/png": shown}}
    assert list(house._picture_problems(picture.source)) == []


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of lessons of one's own, with what belongs to them and what does not."""
    folder = tmp_path / "notebooks"
    for name in ("pictures", "results", "data", "results/.ipynb_checkpoints"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
    nbformat.write(small_lesson(), folder / "00_small.ipynb")
    nbformat.write(small_lesson(), folder / "Untitled.ipynb")
    monkeypatch.setattr(copies, "find_notebooks", lambda: folder)
    return folder


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("command", ["student", "teacher"])
def test_the_lessons_and_what_they_show_and_read_are_copied_and_nothing_else(source, capsys, tmp_path, command):
    said = run(capsys, command, tmp_path / "out")
    assert written(tmp_path / "out") == ["00_small.ipynb", "pictures/file", "results/file"]
    assert str(tmp_path / "out") in said
    assert {"student": "1 lessons, in which 1 answers", "teacher": "with 1 teaching notes"}[command] in said
    given = nbformat.read(tmp_path / "out" / "00_small.ipynb", as_version=4)
    assert ("x + x" in nbformat.writes(given)) == (command == "teacher")
    assert ("<details open>" in nbformat.writes(given)) == (command == "teacher")


def test_an_empty_folder_is_filled(source, capsys, tmp_path):
    (tmp_path / "out").mkdir()
    run(capsys, "student", tmp_path / "out")
    assert "00_small.ipynb" in written(tmp_path / "out")


def test_the_links_of_the_real_copies_lead_somewhere(capsys, tmp_path):
    run(capsys, "student", tmp_path / "out")
    copies = {path: nbformat.read(path, as_version=4) for path in (tmp_path / "out").glob("*.ipynb")}
    assert len(copies) == len(LESSONS)
    assert not [path for path in copies if "badge" in path.read_text(encoding="utf-8")]  # they open the lesson itself
    for path, lesson in copies.items():
        text = "\n\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")
        anchors = {anchor for title in house.headings(text) for anchor in house.anchors_of(title)}
        assert list(house.link_problems(text, path.parent, anchors)) == []


@pytest.mark.parametrize("command", ["student", "teacher"])
def test_a_folder_that_holds_something_is_refused_and_left_alone(source, capsys, command):
    assert "holds 00_small.ipynb and 4 more" in complaint(capsys, command, source)
    assert "00_small.ipynb" in written(source) and len(written(source)) == 6


def test_a_file_or_a_place_that_does_not_exist_is_refused(source, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in complaint(capsys, "student", tmp_path / "file")
    assert "make it first" in complaint(capsys, "student", tmp_path / "nowhere" / "out")
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("content", ["{}", "no notebook", ANSWER])
def test_a_lesson_that_cannot_be_copied_is_named_and_nothing_is_written(source, capsys, tmp_path, content):
    broken = source / "01_broken.ipynb"
    if content is ANSWER:
        nbformat.write(new_notebook(cells=[new_code_cell(ANSWER.replace("END", "THE END OF"))]), broken)
    else:
        broken.write_text(content)
    what = "copied" if content is ANSWER else "read"
    assert f"{broken} cannot be {what}" in complaint(capsys, "student", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("existed", [True, False])
def test_where_a_file_cannot_be_written_none_is(source, capsys, tmp_path, monkeypatch, existed):
    write_bytes, out = Path.write_bytes, tmp_path / "out"
    if existed:
        out.mkdir()

    def fail(path, content):
        if path.parent.name == "results":
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    assert "No space left on device" in complaint(capsys, "student", out)
    assert out.exists() == existed
    assert not existed or written(out) == []


def test_without_the_lessons_it_says_where_to_go(source, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "find_notebooks", lambda: None)
    assert "go to your clone" in complaint(capsys, "student", tmp_path / "out")


# --- nbgrader ---------------------------------------------------------------------------------------------------


def cut_down(lesson):
    """A lesson without all that takes time: the cell for Colab, its exercises, and what they need imported."""
    colab, *cells = [cell for cell in lesson.cells if role(cell) or cell.id == "colab"]
    names = {node.id for cell in cells for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
    return new_notebook(cells=[colab, new_code_cell(imports_of(lesson, names)), *cells], metadata=lesson.metadata)


def with_solutions(given, lesson):
    """A student's copy with the right answers written into it."""
    solved = copy.deepcopy(given)
    answers = {cell.id: cell.source for cell in lesson.cells if role(cell) == "solution"}
    for cell in solved.cells:
        cell.source = answers.get(cell.id, cell.source)
    return solved


def hand_in(course, name, notebook):
    path = course / "submitted" / name / "short" / "lesson.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


def nbgrader(course, *arguments):
    """Run nbgrader's own command in the course's folder, with settings of its own."""
    own = {name: str(course / ".own") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]


def gradebook(course):
    from nbgrader.api import Gradebook

    return Gradebook(f"sqlite:///{course / 'gradebook.db'}")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """An nbgrader course with the lessons and a short one; who answered all, and two who handed in their stubs."""
    course = tmp_path_factory.mktemp("course")
    shutil.copytree(house.ROOT / "notebooks", course / "source" / "lessons", ignore=shutil.ignore_patterns(".*"))
    nbgrader(course, "generate_assignment", "lessons")

    short = cut_down(LESSONS["01_image_classification"])  # which asks for functions and for a value
    (course / "source" / "short").mkdir()
    nbformat.write(short, course / "source" / "short" / "lesson.ipynb")
    nbgrader(course, "generate_assignment", "short")
    hand_in(course, "answered", with_solutions(student_copy(short), short))
    hand_in(course, "not_begun", student_copy(short))
    release = course / "release" / "short" / "lesson.ipynb"
    hand_in(course, "not_begun_of_nbgrader", nbformat.read(release, as_version=4))
    nbgrader(course, "autograde", "short")
    return course


def test_nbgrader_makes_an_assignment_of_every_lesson(course):
    with gradebook(course) as grades:
        notebooks = {notebook.name: notebook for notebook in grades.find_assignment("lessons").notebooks}
        assert sorted(notebooks) == sorted(LESSONS)
        for name, lesson in LESSONS.items():
            exercises = sum(role(cell) == "grade" for cell in lesson.cells)
            assert exercises > 1 and notebooks[name].max_score == exercises
    for name in LESSONS:
        released = nbformat.read(course / "release" / "lessons" / f"{name}.ipynb", as_version=4)
        sources = [cell.source for cell in released.cells if role(cell) == "solution"]
        assert sources and all("NotImplementedError" in source and "SOLUTION" not in source for source in sources)


@pytest.mark.parametrize(
    ("who", "points"), [("answered", 1), ("not_begun", 0), ("not_begun_of_nbgrader", 0)], ids=lambda value: str(value)
)
def test_nbgrader_gives_answers_full_marks_and_stubs_none(course, who, points):
    with gradebook(course) as grades:
        (notebook,) = grades.find_submission("short", who).notebooks
        assert {grade.name: grade.auto_score for grade in notebook.grades} == {f"q{k}": points for k in range(1, 7)}
        assert not notebook.needs_manual_grade
        assert notebook.max_score == 6


@pytest.mark.parametrize("who", ["answered", "not_begun", "not_begun_of_nbgrader"])
def test_nbgrader_keeps_the_cell_for_colab_and_does_not_run_it(course, who):
    graded = nbformat.read(course / "autograded" / who / "short" / "lesson.ipynb", as_version=4)
    counts = {cell.id: cell.execution_count for cell in graded.cells if cell.cell_type == "code"}
    assert counts.pop("colab") is None
    assert all(counts.values())


def test_an_answer_that_is_not_right_ends_in_the_verdict_and_not_in_a_wall(course):
    graded = nbformat.read(course / "autograded" / "not_begun" / "short" / "lesson.ipynb", as_version=4)
    for cell in graded.cells:
        if role(cell) == "grade":
            (error,) = cell.outputs
            assert error.evalue.startswith("○ Not attempted:")
            assert "\n".join(error.traceback).count("\n") < 12
        else:
            assert cell.get("outputs", []) == []  # the stubs themselves run
