"""What the README promises holds: its snippets run, its commands are the agreed ones, its links lead somewhere."""

import re
import tomllib

import house
import pytest

TEXT = (house.ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)


def test_the_snippets_run_in_order(tmp_path, monkeypatch):
    assert SNIPPETS
    monkeypatch.chdir(tmp_path)  # what they save is not left in the checkout
    names = {"__name__": "__readme__"}
    for snippet in SNIPPETS:
        exec(compile(snippet, "README.md", "exec"), names)


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
