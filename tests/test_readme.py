"""What the README promises holds: its snippets run, its commands are the agreed ones, its links lead somewhere."""

import json
import re
import tomllib

import house
import pytest

from minigen import images
from minigen.metrics import spread

TEXT = (house.ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)


@pytest.mark.parametrize("number", range(5), ids=("classify", "gan", "codec", "stylise", "draw"))
def test_each_snippet_runs_by_itself_in_ten_lines(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # what they save is not left in the checkout
    assert len(SNIPPETS) == 5 and len(SNIPPETS[number].splitlines()) <= 10
    exec(compile(SNIPPETS[number], "README.md", "exec"), {"__name__": "__readme__"})
    if number == 0:
        caption, answer, *_ = capsys.readouterr().out.splitlines()
        assert answer.removeprefix("object -> ") in caption
    else:
        (picture,) = tmp_path.iterdir()
        assert images.load_image(picture).std() > 0.02


def test_the_names_in_the_snippets_exist():
    assert house.unknown_names("\n".join(SNIPPETS)) == []


@pytest.mark.parametrize("command", ['pip install -e ".[lab]" && minigen lab', 'pip install -e ".[dev]" && pytest'])
def test_the_two_commands_stand_as_lines_to_copy(command):
    assert command in TEXT.splitlines()


def test_the_extras_in_its_commands_exist():
    project = tomllib.loads((house.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"\.\[(\w+)\]", TEXT)) <= set(project["optional-dependencies"])


def test_its_links_lead_somewhere_and_its_pictures_have_words():
    anchors = {anchor for title in house.headings(TEXT) for anchor in house.anchors_of(title)}
    assert list(house.link_problems(TEXT, house.ROOT, anchors)) == []
    assert list(house._picture_problems(TEXT)) == []


def test_every_lesson_is_listed_with_a_link():
    for path in (house.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"):
        assert f"(notebooks/{path.name})" in TEXT


def test_it_names_the_three_licences():
    for name in ("MIT", "CC BY 4.0", "CC BY-SA 4.0", "OpenMoji"):
        assert name in TEXT


def test_figures_of_the_lessons_are_those_of_their_results():
    """Every "mean ± deviation" in the rows of a lesson is that of a list in its results file, or a hundred times it."""
    spreads = {}  # lesson -> those of its results
    for path in (house.ROOT / "notebooks" / "results").glob("[0-9][0-9]_*.json"):
        lists = [v for v in json.loads(path.read_text(encoding="utf-8")).values() if isinstance(v, list)]
        spreads[path.name[:2]] = [spread([factor * v for v in values]) for values in lists for factor in (1, 100)]
    checked, number = 0, None
    for row in re.findall(r"^\| .*", TEXT, re.M):
        begins = re.match(r"\| lesson (\d\d): ", row)  # the rows after it are of the same lesson
        number = begins[1] if begins else number if re.match(r"\| (its|flicker|Fréchet|a photo)", row) else None
        if number is None:
            continue
        measured = [found for lesson in {number, *re.findall(r"of lesson (\d\d)", row)} for found in spreads[lesson]]
        for mean, std in re.findall(r"([\d.]+)(?: %| dB| nats)? ± ([\d.]*\d)", row):
            here, there = (len(figure.partition(".")[2]) for figure in (mean, std))
            written = {(f"{s.mean:.{here}f}", f"{s.std:.{there}f}") for s in measured}
            assert (mean, std) in written, f"the results of lesson {number} do not give {mean} ± {std}"
            checked += 1
    assert checked >= 20
