"""`minigen student` and `minigen teacher`: the copies of the lessons that a class and its teacher get.

The lessons themselves are complete, and both are made from them: nothing is written twice.
"""

import ast
import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from minigen.cli.copies import check_free, read_lessons, write_folder

if TYPE_CHECKING:
    from nbformat import NotebookNode

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"  # as nbgrader marks it
SOLUTION = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n(.*?)^[ \t]*{END}[ \t]*$", re.MULTILINE | re.DOTALL)
STUB = 'raise NotImplementedError("your answer")'
NOTE = "teacher"  # the tag of a cell that speaks to whoever teaches the lesson
FOLDED, UNFOLDED = "<details>", "<details open>"
BESIDE = ("pictures", "results")  # what the lessons show and read


def student(out: str) -> str:
    """Write the lessons as a class gets them to the folder `out`; return a line that says so."""
    copies = write_copies(out, student_copy)
    answers = sum(cell.metadata.get("nbgrader", {}).get("solution", False) for c in copies for cell in c.cells)
    return f"wrote {out}: {len(copies)} lessons, in which {answers} answers are to be found"


def teacher(out: str) -> str:
    """Write the lessons as their teacher gets them to the folder `out`; return a line that says so."""
    copies = write_copies(out, teacher_copy)
    notes = sum(_is_note(cell) for c in copies for cell in c.cells)
    return f"wrote {out}: {len(copies)} complete lessons, with {notes} teaching notes"


# --- one lesson -------------------------------------------------------------------------------------------------


def student_copy(notebook: "NotebookNode") -> "NotebookNode":
    """A lesson as a class gets it, as a new notebook.

    A stub stands in place of each solution; teaching notes and outputs are gone. Only where a later cell drew with an
    answer, the picture stands above that cell, to compare one's own with. The cells keep nbgrader's metadata, so that
    it can grade what comes back. Raises ValueError where the beginning or the end of a solution is not marked.
    """
    from nbformat.v4 import new_markdown_cell

    lesson = copy.deepcopy(notebook)
    cells: list[NotebookNode] = []
    answers: set[str] = set()
    for cell in lesson.cells:
        if _is_note(cell):
            continue
        if cell.cell_type == "code":
            if SOLUTION.search(cell.source):
                answers |= _defined(cell.source)
            elif answers & _read(cell.source):
                for mime, data, alt in _pictures(cell):
                    text = f"*With a right answer, the next cell draws this:*\n\n![{alt}](attachment:right_answer)"
                    cells.append(new_markdown_cell(text, id=f"{cell.id}-right"))
                    cells[-1].attachments = {"right_answer": {mime: data}}
            cell.source = without_solutions(cell.source)
            cell.outputs, cell.execution_count = [], None
            if graded := cell.metadata.get("nbgrader"):  # JupyterLab heeds it, so that no such cell gets lost
                cell.metadata.deletable = False
                cell.metadata.editable = not graded.get("locked", False)
        cells.append(cell)
    lesson.cells = cells
    return lesson


def teacher_copy(notebook: "NotebookNode") -> "NotebookNode":
    """A lesson as its teacher gets it, as a new notebook: complete, with its teaching notes unfolded."""
    lesson = copy.deepcopy(notebook)
    for cell in filter(_is_note, lesson.cells):
        cell.source = cell.source.replace(FOLDED, UNFOLDED)
    return lesson


def without_solutions(source: str) -> str:
    """The source of a cell with a stub in place of each solution. It runs, and `check()` knows it for a stub.

    Within a function the stub raises when it is called; outside, each name gets the value `...`. Raises ValueError
    where the beginning or the end of a solution is not marked.
    """

    def stub(found: re.Match) -> str:
        indent, solution = found.groups()
        return indent + STUB if indent else "\n".join(f"{name} = ..." for name in sorted(_defined(solution)))

    stubbed = SOLUTION.sub(stub, source)
    if BEGIN in stubbed or END in stubbed:
        raise ValueError(f"a solution stands between lines {BEGIN!r} and {END!r}, and one of the two is missing")
    return stubbed


def _is_note(cell: "NotebookNode") -> bool:
    return NOTE in cell.metadata.get("tags", [])


def _pictures(cell: "NotebookNode") -> Iterator[tuple[str, str, str]]:
    """MIME type, bytes in base64 and alt text of each picture that a cell shows."""
    for output in cell.outputs:
        for mime, data in output.get("data", {}).items():
            if mime.startswith("image/"):
                yield mime, data, output.metadata.get(mime, {}).get("alt", "")


def _parse(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:  # magics: such a cell is no part of an exercise
        return []


def _defined(source: str) -> set[str]:
    """The names that a cell defines for the cells after it."""
    names = set()
    for statement in _parse(source):
        if isinstance(statement, ast.FunctionDef):
            names.add(statement.name)
        else:
            names |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def _read(source: str) -> set[str]:
    """The names whose values a cell uses."""
    nodes = (node for statement in _parse(source) for node in ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


# --- all of them ------------------------------------------------------------------------------------------------


def write_copies(out: str, copy_of: "Callable[[NotebookNode], NotebookNode]") -> list["NotebookNode"]:
    """Write `copy_of` each lesson to the folder `out`, and what they show and read beside them; return the copies.

    Raises ValueError or OSError, with nothing written, where the lessons are not found or cannot be copied, or where
    the folder holds something or cannot be written.
    """
    import nbformat

    folder = Path(out)
    check_free(folder)
    lessons, notebooks = read_lessons()
    copies, files = [], {}
    for name, lesson in notebooks.items():
        try:
            copies.append(copy_of(lesson))
        except ValueError as error:
            raise ValueError(f"{lessons / name}.ipynb cannot be copied: {error}") from error
        files[f"{name}.ipynb"] = (nbformat.writes(copies[-1]) + "\n").encode()
    for name in BESIDE:
        for path in sorted((lessons / name).glob("[!.]*")):
            files[f"{name}/{path.name}"] = path.read_bytes()
    write_folder(folder, files)
    return copies
