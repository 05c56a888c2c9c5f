"""What the guide for teachers says of the lessons is true: headings, figures, exercises, wrong answers, minutes."""

import functools
import importlib
import json
import re
from collections.abc import Iterator

import house
import nbformat
import pytest

from minigen.metrics import spread

FOLDER = house.ROOT / "notebooks"
GUIDE = (FOLDER / "TEACHING.md").read_text(encoding="utf-8")
LESSONS = {path.name[:2]: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))}
PARTS = [
    "Goals of",
    "Before the class of",
    "90 minutes for",
    "Questions learners ask in",
    "Wrong answers in",
    "Projects after",
    "When time is short for",
    "Adapting",
]
FIGURES = {  # lesson -> what the guide quotes of its results: the name there, its factor, and how it is written
    "01": [
        ("named_right", 100, "named right {mean:.1f} % ± {std:.1f}"),
        ("linear_named_right", 100, "linear model {mean:.1f} %"),
        ("chance", 100, "chance {mean:.1f} %"),
    ],
    "02": [
        ("by_the_examiner", 100, "names {mean:.1f} % ± {std:.1f} right"),
        ("frechet_distance", 1, "Fréchet distance {mean:.2f} ± {std:.2f}"),
        ("floor", 1, "real pictures {mean:.2f}"),
    ],
    "03": [
        ("reconstruction_db", 1, "{mean:.1f} dB ± {std:.1f}"),
        ("frechet_by_object", 1, "{mean:.1f} ± {std:.1f} drawn where the codes are"),
        ("frechet_prior", 1, "{mean:.1f} ± {std:.1f} from the prior"),
    ],
    "04": [
        ("style_left", 1, "{mean:.3f} ± {std:.3f} of the distance in style"),
        ("content_kept", 100, "content kept {mean:.0f} % ± {std:.0f}"),
    ],
    "05": [
        ("by_the_examiner", 100, "names {mean:.1f} % ± {std:.1f} right"),
        ("frechet_distance", 1, "Fréchet distance {mean:.2f} ± {std:.2f}"),
        ("floor", 1, "real pictures {mean:.2f}"),
    ],
    "06": [
        ("objects_seen", 100, "all objects right {mean:.1f} % ± {std:.1f}"),
        ("relation_seen", 100, "relation {mean:.1f} % ± {std:.1f}"),
        ("frechet_distance", 1, "Fréchet distance {mean:.2f} ± {std:.2f}"),
        ("frechet_distance_of_real", 1, "real scenes {mean:.2f}"),
    ],
}


def sections(text: str) -> dict[str, str]:
    """{"01": the section of lesson 01, ...}, each without its heading."""
    pieces = re.split(r"^## (\d\d) · .*\n", text, flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def parts(section: str) -> dict[str, str]:
    """{"Goals of lesson 01": what stands below that heading, ...}"""
    pieces = re.split(r"^### (.+)\n", section, flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of all tables of a text, row by row, without the headings and the lines below them."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    ruled = [bool(re.fullmatch(r"[|:\- ]+", line)) and "---" in line for line in lines] + [False]
    kept = [line for k, line in enumerate(lines) if not ruled[k] and not ruled[k + 1]]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in kept]


@functools.cache
def lesson(number: str) -> tuple[set[str], str, str]:
    """The headings of a lesson, its code, and what it prints and says."""
    notebook = nbformat.read(LESSONS[number], as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = "\n".join(house._texts(cell.outputs) for cell in code)
    return set(house.headings(house._FENCE.sub("", prose))), "\n".join(cell.source for cell in code), printed


def exercises(number: str) -> dict:
    """{"q1": the exercise, ...} of a lesson."""
    module = importlib.import_module(f"minigen.exercises.lesson_{number}")
    return {name: getattr(module, name) for name in module.__all__}


def problems_of_form(section: str) -> Iterator[str]:
    """What is missing in the section of a lesson, whatever the lesson is."""
    found = parts(section)
    names = [re.sub(r" ?lesson \d\d$", "", name) for name in found]
    if names != PARTS:
        yield f"its parts are {names}, expected {PARTS}"
        return
    goals, _, plan, questions, _, projects, *_ = found.values()
    if not 3 <= len(re.findall(r"^- ", goals, re.M)) <= 5:
        yield "it has not three to five goals"
    minutes = [int(row[0]) for row in rows(plan)]
    if sum(minutes) != 90:
        yield f"its plan takes {sum(minutes)} minutes, expected 90"
    if len(re.findall(r"^- \*\*[^*]+\?\*\* \S", questions, re.M)) < 5:
        yield "it answers fewer than five questions"
    if len(re.findall(r"^\*\*[^*]+[.?]\*\* ", projects, re.M)) != 2:
        yield "it has not two projects"
    criteria = rows(projects)
    if len(criteria) != 8 or any(len(row) != 4 or not all(row) for row in criteria):
        yield "its two rubrics have not four criteria each with full, half and none"


def problems_of_content(section: str, number: str) -> Iterator[str]:
    """What the section of a lesson names and the lesson has not."""
    _, code, printed = lesson(number)
    plain = re.sub(r"\s+", " ", re.sub(r"`[^`]*`", "", section))
    for other, heading in re.findall(r'(?:lesson (\d\d) )?"([^"]+)"', plain):
        if heading not in lesson(other or number)[0]:
            yield f"it names the heading {heading!r}, which lesson {other or number} has not"
    for title in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", re.sub(r"\*\*[^*]+\*\*", "", plain)):
        if title not in code:
            yield f"it names the figure {title!r}, which lesson {number} does not draw"
    for figure in re.findall(r"`([\d.,]+%?)`", section):
        if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d%])", printed):
            yield f"it quotes {figure}, which lesson {number} does not print"

    of_lesson = exercises(number)
    named = re.findall(r"\b(q\d+) `(\w+)`", section)
    for name, exercise in named:
        if name not in of_lesson or of_lesson[name].name != exercise:
            yield f"it names the exercise {name} {exercise}, which lesson {number} has not"
    yield from (f"it does not introduce {name}" for name in of_lesson if name not in dict(named))
    for name in sorted(set(re.findall(r"\bq\d+\b", section)) - set(of_lesson)):
        yield f"it mentions {name}, and lesson {number} has no such exercise"
    for exercise, wrong, *_ in rows(parts(section)[f"Wrong answers in lesson {number}"]):
        name = re.match(r"`(\w+)`", wrong)[1]
        if name not in [known.example.__name__ for known in of_lesson[exercise.split()[0]].mistakes]:
            yield f"it names the wrong answer {name} to {exercise}, which the check does not know"


def problems_of_figures(text: str, number: str, results: dict) -> Iterator[str]:
    """Figures of a lesson's results that the table in front or the section of that lesson does not give as they are."""
    row = next(line for line in text.splitlines() if line.startswith(f"| [{number} · "))
    seconds = ""  # where they were not measured on a machine that did nothing else
    if "train_seconds" in results:
        low, high = (f"{end(results['train_seconds']):.0f}" for end in (min, max))
        seconds = low if low == high else f"{low} to {high}"
    for found in (row.split("|")[3].strip(), *re.findall(r"(\d+(?: to \d+)?) s\b", sections(text)[number])):
        if found != seconds:
            yield f"lesson {number} is said to train for {found or 'unsaid'} s, expected {seconds}"
    for name, factor, form in FIGURES.get(number, []):
        measured = spread([factor * value for value in results[name]])
        expected = form.format(mean=measured.mean, std=measured.std)
        if expected not in row:
            yield f"the table lacks {expected!r} of lesson {number}"
    for figure in re.findall(r"[\d.]+ ± [\d.]*\d", sections(text)[number]):
        if figure not in row:
            yield f"the section of lesson {number} says {figure}, and the table does not"


# --- the guide ----------------------------------------------------------------------------------------------


def test_every_lesson_has_a_section():
    missing = [number for number in LESSONS if number not in sections(GUIDE)]
    assert missing == []


@pytest.mark.parametrize("number", sections(GUIDE))
def test_a_section_has_all_its_parts_and_90_minutes(number):
    assert list(problems_of_form(sections(GUIDE)[number])) == []


@pytest.mark.parametrize("number", [number for number in sections(GUIDE) if number in LESSONS])
def test_a_section_names_what_is_in_its_lesson(number):
    assert list(problems_of_content(sections(GUIDE)[number], number)) == []


@pytest.mark.parametrize("path", sorted((FOLDER / "results").glob("[0-9][0-9]_*.json")), ids=lambda path: path.stem)
def test_its_figures_are_those_of_the_results(path):
    results = json.loads(path.read_text(encoding="utf-8"))
    assert list(problems_of_figures(GUIDE, path.name[:2], results)) == []


def test_its_links_lead_somewhere():
    anchors = {anchor for title in house.headings(GUIDE) for anchor in house.anchors_of(title)}
    assert list(house.link_problems(GUIDE, FOLDER, anchors)) == []


def test_a_plan_of_so_many_sessions_has_so_many():
    plan = parts(GUIDE.split("\n## ")[1])["Six, eight or twelve sessions"]
    columns = list(zip(*rows(plan), strict=True))[1:]
    assert [sum(bool(cell) for cell in column) for column in columns] == [6, 8, 12]


def test_the_readme_points_to_it():
    assert "(notebooks/TEACHING.md)" in (house.ROOT / "README.md").read_text(encoding="utf-8")


# --- the checkers themselves --------------------------------------------------------------------------------

BAD = {  # what is written in the section of lesson 02 in place of what, and a word of the one problem that comes of it
    "minutes": ('| 15 | "Measuring"', '| 20 | "Measuring"', "takes 95 minutes"),
    "part": ("### Adapting lesson 02", "### Other things", "its parts are"),
    "goals": ("- write the three losses", "- read\n- write the three losses", "three to five goals"),
    "project": ("**The same game elsewhere.**", "The same game elsewhere.", "two projects"),
    "criterion": ("| one command | a notebook in order |", "| one command | |", "four criteria"),
    "heading": ('"The game" |', '"The play" |', "heading 'The play'"),
    "figure": ("*No loss here falls to zero*", "*No loss falls*", "figure 'No loss falls'"),
    "number": ("`91.6%`", "`91.7%`", "quotes 91.7%"),
    "exercise": ("q3 `best_discriminator`", "q3 `worst_discriminator`", "q3 worst_discriminator"),
    "exercise too many": ("During the second cell q3", "During the second cell q9", "mentions q9"),
    "wrong answer": ("`never_in_doubt`", "`always_in_doubt`", "always_in_doubt"),
}


@pytest.mark.parametrize("what", BAD)
def test_the_checkers_find(what):
    before, after, words = BAD[what]
    section = sections(GUIDE)["02"]
    assert before in section
    spoilt = section.replace(before, after, 1)
    form = list(problems_of_form(spoilt))
    (problem,) = form or problems_of_content(spoilt, "02")
    assert words in problem


def test_the_checkers_find_an_exercise_left_out():
    section = re.sub(r"^\| q7 .*\n", "", sections(GUIDE)["02"], flags=re.M)
    assert list(problems_of_content(section, "02")) == ["it does not introduce q7"]


def test_the_checkers_find_figures_that_are_no_longer_true():
    results = json.loads((FOLDER / "results" / "02_gan.json").read_text(encoding="utf-8"))
    later = results | {"frechet_distance": [1.5, 1.5, 1.5], "train_seconds": [100, 120, 140]}
    table, section, distance = problems_of_figures(GUIDE, "02", later)
    assert "180 to 191 s, expected 100 to 140" in table and table == section
    assert "1.50 ± 0.00" in distance


def test_the_checkers_find_a_figure_that_only_the_section_has():
    results = json.loads((FOLDER / "results" / "02_gan.json").read_text(encoding="utf-8"))
    text = GUIDE.replace("with 1.68 ± 0.29", "with 1.29 ± 0.29")
    (problem,) = problems_of_figures(text, "02", results)
    assert "1.29 ± 0.29" in problem
