"""What is said of the examiner beside an eye: the file of verdicts, and the counting."""

import csv
import json

import house
import pytest
import torch
from torch.testing import assert_close

from minigen.data import EmojiScenes
from minigen.images import save_image
from minigen.recipes import verdicts

FOLDER = house.ROOT / "datasets" / "verdicts"
COLUMNS = ["sheet", "number", "split", "row", "caption", "first", "second"]


def test_a_sheet_is_cut_row_by_row():
    pictures = torch.rand(6, 3, 64, 64)
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in pictures.split(3)], dim=1)
    assert_close(verdicts.cut(sheet), pictures, rtol=0, atol=0)


def test_each_picture_has_a_verdict_and_the_caption_of_its_scene():
    with (FOLDER / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for sheet in {line["sheet"] for line in lines}:
        assert sorted(int(line["number"]) for line in lines if line["sheet"] == sheet) == list(range(100))
    for split in ("test", "held_out"):
        of_split = [line for line in lines if line["split"] == split]
        assert EmojiScenes(split).captions([int(line["row"]) for line in of_split]) == [x["caption"] for x in of_split]
    assert {line[viewer] for line in lines for viewer in ("first", "second")} == {"0", "1"}


def test_the_lesson_shows_what_comes_out(monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    shown = json.loads((house.ROOT / "notebooks" / "results" / "verdicts.json").read_text(encoding="utf-8"))
    found = verdicts.agreement(FOLDER)
    assert found.keys() == shown.keys()
    for sheet, values in found.items():
        assert values == pytest.approx(shown[sheet], abs=0.021, rel=0.025), sheet  # another machine's rounding


def test_real_scenes_pass_the_examiner_and_the_viewers_are_counted_beside_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    images = EmojiScenes("test").take(range(8)).images
    save_image(torch.cat([torch.cat(list(row), dim=2) for row in images.split(4)], dim=1), tmp_path / "real.png")
    with (tmp_path / "verdicts.csv").open("w", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        written.writerow(COLUMNS)
        written.writerows(["real", k, "test", k, "", int(k < 6), int(k < 4)] for k in range(8))
    verdicts.main([str(tmp_path)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "real": {
            "pictures": 8,
            "right_by_examiner": 8,
            "right_by_first": 6,
            "right_by_second": 4,
            "examiner_agrees_with_first": 0.75,
            "examiner_agrees_with_second": 0.5,
            "first_agrees_with_second": 0.75,
        }
    }
