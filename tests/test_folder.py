"""CaptionedFolder: a folder as people really have it is taken in, or refused in one sentence that names the file."""

import json
import os
import pickle
import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from minigen.data import folder as folder_module
from minigen.data.base import batches
from minigen.data.folder import CaptionedFolder
from minigen.images import load_image


@pytest.fixture(autouse=True)
def no_warnings():
    """Whatever warns unasked fails; the warnings that are meant are caught by `pytest.warns`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def put(folder, name, colour="red", size=(8, 8), **options):
    """A picture of one colour, and its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path, **options)
    return path


def write_csv(folder, *rows, encoding="utf-8", header="file_name,text"):
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n", encoding=encoding)


def write_jsonl(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def refusal(folder, *mentioned, kind=ValueError):
    with pytest.raises(kind) as caught:
        CaptionedFolder(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(folder), *mentioned):
        assert word in message, message
    return message


@pytest.fixture
def three(tmp_path):
    """Three pictures and no metadata yet."""
    for name, colour in (("a.png", "red"), ("b.png", "green"), ("c.png", "blue")):
        put(tmp_path, name, colour)
    return tmp_path


ROWS = ("a.png,a red square", "b.png,a green square", "c.png,a blue square")


# --- what a good folder gives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_folder_gives_its_pictures_and_captions_in_the_order_of_the_rows(three, kind):
    rows = [row.split(",") for row in reversed(ROWS)]
    if kind == "csv":
        write_csv(three, *reversed(ROWS))
    else:
        write_jsonl(three, *({"file_name": name, "text": text} for name, text in rows))
    dataset = CaptionedFolder(three, size=4)
    assert len(dataset) == 3 and dataset.questions == {} and dataset.without_caption == []
    batch = dataset.take([0, 1, 2])
    assert batch.captions == ["a blue square", "a green square", "a red square"]
    assert batch.images.dtype == torch.float32 and batch.images.shape == (3, 3, 4, 4)
    assert_close(batch.images[:, :, 0, 0], torch.eye(3).flip(0))
    assert batch.labels == {}
    example = dataset[1]
    assert example.caption == "a green square" and example.labels == {} and torch.equal(example.image, batch.images[1])


def test_pictures_in_folders_below_are_found(tmp_path):
    put(tmp_path, "cats/tabby/1.png", "green")
    write_csv(tmp_path, "cats/tabby/1.png,a cat")
    assert_close(CaptionedFolder(tmp_path).take([0]).images[0, 1], torch.ones(64, 64))


@pytest.mark.parametrize("name", ["./cats/1.png", "cats\\1.png", "cats//1.png", " cats/1.png "])
def test_a_name_as_windows_or_a_shell_writes_it_is_found(tmp_path, name):
    put(tmp_path, "cats/1.png")
    write_jsonl(tmp_path, {"file_name": name, "text": "a cat"})
    assert CaptionedFolder(tmp_path).names == ["cats/1.png"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_accent_is_the_same_in_one_letter_or_two(tmp_path, form):
    put(tmp_path, unicodedata.normalize(form, "café.png"))
    write_csv(tmp_path, unicodedata.normalize("NFD" if form == "NFC" else "NFC", "café.png") + ",coffee")
    assert CaptionedFolder(tmp_path).take([0]).captions == ["coffee"]


def test_other_columns_are_ignored_in_any_order(three):
    write_csv(three, "1,a red square,me,a.png", "2,b,me,b.png", "3,c,me,c.png", header="id, text ,by,file_name")
    assert CaptionedFolder(three).captions == ["a red square", "b", "c"]


def test_quotes_commas_and_line_breaks_in_a_caption_are_kept(three):
    write_csv(three, '"a.png","a ""red"" square, alone"', '"b.png","two\nlines"', "c.png,c")
    assert CaptionedFolder(three).captions == ['a "red" square, alone', "two\nlines", "c"]


def test_what_a_spreadsheet_leaves_behind_does_no_harm(three):
    data = "\ufeff" + "\r\n".join(["file_name,text", *ROWS, ",", "", ""])  # Excel's mark, line ends and empty rows
    (three / "metadata.csv").write_bytes(data.encode())
    assert CaptionedFolder(three).captions == ["a red square", "a green square", "a blue square"]


def test_line_ends_of_an_old_mac_are_line_ends(three):
    (three / "metadata.csv").write_bytes("\r".join(["file_name,text", *ROWS]).encode())
    assert len(CaptionedFolder(three)) == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_chinese_captions_and_names_come_through(tmp_path, encoding):
    put(tmp_path, "猫.png")
    write_csv(tmp_path, "猫.png,一只红色的猫，坐着", encoding=encoding)
    dataset = CaptionedFolder(tmp_path)
    assert dataset.names == ["猫.png"] and dataset.captions == ["一只红色的猫，坐着"]


def test_json_lines_may_hold_chinese_a_mark_and_empty_lines(tmp_path):
    put(tmp_path, "a.png")
    text = '\ufeff{"file_name": "a.png", "text": "\\u732b 猫"}\r\n\r\n'
    (tmp_path / "metadata.jsonl").write_text(text, encoding="utf-8", newline="")
    assert CaptionedFolder(tmp_path).captions == ["猫 猫"]


def test_a_line_separator_inside_a_caption_does_not_end_its_row(tmp_path):
    put(tmp_path, "a.png")
    write_jsonl(tmp_path, {"file_name": "a.png", "text": "one\u2028two\x85three"})
    assert CaptionedFolder(tmp_path).captions == ["one\u2028two\x85three"]


def test_several_captions_for_one_picture_are_several_examples(three):
    write_csv(three, *ROWS, "a.png,a scarlet square")
    dataset = CaptionedFolder(three)
    assert len(dataset) == 4
    batch = dataset.take([0, 3])
    assert batch.captions == ["a red square", "a scarlet square"] and torch.equal(*batch.images)


def test_an_empty_caption_is_kept_and_told_of(three):
    write_csv(three, "a.png,", "b.png,   ", "c.png,c")
    with pytest.warns(UserWarning, match=r"empty text in .*metadata\.csv.*a\.png, b\.png"):
        dataset = CaptionedFolder(three)
    assert dataset.captions == ["", "", "c"] and dataset.take([0]).captions == [""]


def test_a_null_caption_is_an_empty_one(tmp_path):
    put(tmp_path, "a.png")
    write_jsonl(tmp_path, {"file_name": "a.png", "text": None})
    with pytest.warns(UserWarning, match="empty text"):
        assert CaptionedFolder(tmp_path).captions == [""]


def test_a_picture_without_a_row_is_listed_and_told_of(three):
    put(three, "below/d.JPG")
    write_csv(three, ROWS[0], ROWS[2])
    with pytest.warns(UserWarning, match=r"without a row .* left out: b\.png, below/d\.JPG") as caught:
        dataset = CaptionedFolder(three)
    assert dataset.without_caption == ["b.png", "below/d.JPG"] and len(dataset) == 2
    assert caught[0].filename == __file__  # it points at the learner's line, not at ours


def test_what_is_no_picture_needs_no_row(three):
    for name in ("notes.txt", ".hidden.png", "__MACOSX/._a.png", ".ipynb_checkpoints/a-checkpoint.png", "Thumbs.db"):
        path = three / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    write_csv(three, *ROWS)
    assert CaptionedFolder(three).without_caption == []


# --- what the Dataset contract asks for --------------------------------------------------------------------------


def test_an_example_does_not_depend_on_what_else_is_taken(three):
    write_csv(three, *ROWS)
    dataset, fresh = CaptionedFolder(three), CaptionedFolder(three)
    together = dataset.take(torch.tensor([2, 0, 2]))
    assert torch.equal(together.images[0], fresh.take([2]).images[0])
    assert torch.equal(together.images[0], together.images[2])


def test_taking_nothing_gives_an_empty_batch(three):
    write_csv(three, *ROWS)
    batch = CaptionedFolder(three, size=4).take([])
    assert batch.images.shape == (0, 3, 4, 4) and batch.captions == []


def test_an_index_beyond_the_end_is_an_index_error(three):
    write_csv(three, *ROWS)
    dataset = CaptionedFolder(three)
    for index in (3, -4):
        with pytest.raises(IndexError):
            dataset[index]
        with pytest.raises(IndexError):
            dataset.take([0, index])
    with pytest.raises(TypeError):
        dataset.take([0.5])


def test_the_same_pictures_come_from_the_file_and_from_memory(three):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(three / "a.png")
    write_csv(three, *ROWS)
    dataset = CaptionedFolder(three, size=5)
    first, again = dataset.take([0]).images, dataset.take([0]).images
    assert torch.equal(first, again) and torch.equal(first[0], load_image(three / "a.png", 5))


def test_changing_a_batch_does_not_change_the_data_set(three):
    write_csv(three, *ROWS)
    dataset = CaptionedFolder(three)
    batch = dataset.take([0])
    batch.images.zero_()
    batch.captions.clear()
    assert dataset.take([0]).images.sum() > 0 and dataset[0].caption == "a red square"


def test_each_file_is_read_once_until_memory_is_used_up(three, monkeypatch):
    read = []
    monkeypatch.setattr(
        folder_module, "load_image", lambda path, size: read.append(path.name) or load_image(path, size)
    )
    write_csv(three, *ROWS)
    monkeypatch.setattr(folder_module, "CACHE_BYTES", 2 * 3 * 4 * 4)  # room for two pictures of 4 x 4
    dataset = CaptionedFolder(three, size=4)
    assert read == []  # nothing is decoded before it is asked for
    for _ in range(3):
        dataset.take([0, 1, 2])
    assert sorted(read) == ["a.png", "b.png", "c.png", "c.png", "c.png"]


def test_batches_resume_and_the_data_set_travels_to_other_processes(three):
    write_csv(three, *ROWS)
    dataset = pickle.loads(pickle.dumps(CaptionedFolder(three, size=4)))
    stream = batches(dataset, 4, seed=1)
    next(stream)
    second = next(stream)
    resumed = next(batches(dataset, 4, seed=1, start=1))
    assert torch.equal(second.images, resumed.images) and second.captions == resumed.captions


@pytest.mark.gpu
def test_a_batch_arrives_on_the_gpu(three):
    write_csv(three, *ROWS)
    batch = CaptionedFolder(three).batch(4, torch.Generator().manual_seed(0), device="cuda")
    here = CaptionedFolder(three).batch(4, torch.Generator().manual_seed(0))
    assert batch.images.device.type == "cuda" and torch.equal(batch.images.cpu(), here.images)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(three, size):
    with pytest.raises(ValueError, match=f"size is {size}"):
        CaptionedFolder(three, size=size)


# --- pictures of every kind --------------------------------------------------------------------------------------


def save_odd_pictures(folder):
    """One file of each odd kind, and what the middle of it should look like."""
    grey = Image.new("L", (8, 8), 51)
    grey.save(folder / "grey.png")
    Image.fromarray(np.full((8, 8), 13107, np.uint16)).save(folder / "sixteen.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "cmyk.jpg", quality=100)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(folder / "alpha.png")
    put(folder, "pixel.png", "green", size=(1, 1))
    put(folder, "wide.png", "blue", size=(10_000, 2))
    put(folder, "LOUD.JPG", "red", quality=100)
    turned = Image.new("RGB", (24, 8), "white")
    turned.paste("black", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by a quarter: black on top, so the middle is white
    turned.save(folder / "turned.jpg", exif=exif, quality=100)
    return {
        "grey.png": (0.2, 0.2, 0.2),
        "sixteen.png": (0.2, 0.2, 0.2),
        "cmyk.jpg": (1, 0, 0),
        "alpha.png": (1, 1, 1),
        "pixel.png": (0, 1, 0),
        "wide.png": (0, 0, 1),
        "LOUD.JPG": (1, 0, 0),
        "turned.jpg": (1, 1, 1),
    }


def test_odd_pictures_come_in_as_they_are_meant_to_be_seen(tmp_path):
    expected = save_odd_pictures(tmp_path)
    write_csv(tmp_path, *(f"{name},{name}" for name in expected))
    dataset = CaptionedFolder(tmp_path, size=16)
    assert dataset.verify() == []
    batch = dataset.take(range(len(dataset)))
    assert batch.captions == list(expected)
    assert_close(batch.images[:, :, 8, 8], torch.tensor([*expected.values()]).float(), rtol=0, atol=0.02)


def spoil(folder):
    """One file of each kind that cannot be read."""
    path = put(folder, "cut.jpg", size=(200, 200))
    path.write_bytes(path.read_bytes()[:-300])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    return ["cut.jpg", "empty.png", "notes.txt", "IMG_1.HEIC"]


def test_a_picture_that_cannot_be_read_is_named_when_it_is_taken(tmp_path):
    names = spoil(tmp_path)
    put(tmp_path, "good.png")
    write_csv(tmp_path, "good.png,good", *(f"{name},x" for name in names))
    dataset = CaptionedFolder(tmp_path)
    assert dataset[0].caption == "good"
    for k, name in enumerate(names, start=1):
        with pytest.raises(ValueError, match=name):
            dataset[k]
    with pytest.raises(ValueError, match="save it as PNG or JPEG first"):
        dataset[4]


def test_verify_tells_of_every_bad_picture_at_once(tmp_path):
    names = spoil(tmp_path)
    put(tmp_path, "good.png")
    put(tmp_path, "gone.png")
    write_csv(tmp_path, "gone.png,x", "good.png,good", *(f"{name},x" for name in names), "cut.jpg,another caption")
    dataset = CaptionedFolder(tmp_path)
    dataset.take([0, 1])
    (tmp_path / "gone.png").unlink()  # also where an older copy is in memory
    problems = dataset.verify()
    assert len(problems) == 5
    for name, problem in zip(["gone.png", *names], problems, strict=True):
        assert str(tmp_path / name) in problem and "\n" not in problem


# --- what is refused ---------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path):
    refusal(tmp_path / "missing", "no folder", kind=FileNotFoundError)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    refusal(put(tmp_path, "a.png"), "is a file")


def test_a_folder_without_metadata_is_refused_with_the_cure(three):
    refusal(three, "holds no metadata.csv or metadata.jsonl", "file_name and text", kind=FileNotFoundError)


def test_an_empty_folder_is_refused(tmp_path):
    refusal(tmp_path, "holds no metadata.csv", kind=FileNotFoundError)


def test_metadata_one_folder_below_is_pointed_at(tmp_path):
    put(tmp_path, "train/a.png")
    write_csv(tmp_path / "train", "a.png,a")
    refusal(tmp_path, str(tmp_path / "train"), kind=FileNotFoundError)


def test_two_metadata_files_are_refused(three):
    write_csv(three, *ROWS)
    write_jsonl(three, {"file_name": "a.png", "text": "another"})
    refusal(three, "both", "keep one")


@pytest.mark.parametrize(
    "header", ["file_name,caption", "image,text", "file_name;text", "file_name\ttext", "a.png,a red square"]
)
def test_missing_columns_are_named_beside_what_is_there(three, header):
    write_csv(three, *ROWS, header=header)
    refusal(three, "line 1 of", "metadata.csv", "file_name and text", repr(header))


@pytest.mark.parametrize("content", ["", "\n\n", "file_name,text\n", "file_name,text\n\n,\n"])
def test_metadata_without_a_row_is_refused(three, content):
    (three / "metadata.csv").write_text(content)
    refusal(three, "metadata.csv", "holds no captions")


def test_an_unquoted_comma_is_refused_with_its_line_and_cure(three):
    write_csv(three, ROWS[0], "b.png,a square, green", ROWS[2])
    refusal(three, "line 3 of", "3 values for 2 columns", "double quotes")


def test_a_row_that_is_too_short_is_refused_with_its_line(three):
    write_csv(three, "a.png", *ROWS[1:])
    refusal(three, "line 2 of", "1 values for 2 columns")


def test_a_quote_left_open_is_refused_where_it_begins(three):
    write_csv(three, ROWS[0], 'b.png,"a green square', ROWS[2])
    refusal(three, "line 3 of", "quotes")


@pytest.mark.parametrize(
    "line", ['{"file_name": "b.png", "text": ', "b.png,b", "{'file_name': 'b.png', 'text': 'b'}", "[" * 100_000]
)
def test_a_broken_json_line_is_named(three, line):
    write_jsonl(three, {"file_name": "a.png", "text": "a"}, line, {"file_name": "c.png", "text": "c"})
    refusal(three, "line 2 of", "metadata.jsonl", "is not JSON")


@pytest.mark.parametrize("row", [["b.png", "b"], "just words", 7, None])
def test_a_json_line_that_is_no_row_is_named(three, row):
    write_jsonl(three, {"file_name": "a.png", "text": "a"}, json.dumps(row))
    refusal(three, "line 2 of", 'expected {"file_name"')


@pytest.mark.parametrize(
    ("row", "missing"), [({"file_name": "b.png"}, "text"), ({"text": "b"}, "file_name"), ({}, "file_name")]
)
def test_a_json_row_without_a_key_is_named(three, row, missing):
    write_jsonl(three, {"file_name": "a.png", "text": "a"}, row)
    refusal(three, f"line 2 of {three / 'metadata.jsonl'} has no {missing}")


@pytest.mark.parametrize(
    "row", [{"file_name": 7, "text": "b"}, {"file_name": None, "text": "b"}, {"file_name": " ", "text": "b"}]
)
def test_a_file_name_that_is_none_is_refused_with_its_line(three, row):
    write_jsonl(three, row)
    refusal(three, "line 1 of", repr(row["file_name"]))


@pytest.mark.parametrize("text", [7, ["a"], {"en": "a"}, True])
def test_a_caption_that_is_no_text_is_refused_with_its_line_and_file(three, text):
    write_jsonl(three, {"file_name": "a.png", "text": text})
    refusal(three, "line 1 of", "a.png", repr(text))


@pytest.mark.parametrize("encoding", ["gbk", "big5", "utf-16", "latin-1"])
def test_another_encoding_is_refused_with_the_cure(tmp_path, encoding):
    put(tmp_path, "a.png")
    # Not fewer: the six bytes of 一只猫 in GBK happen to be three letters in UTF-8, and nothing can tell
    text = {"latin-1": "café", "big5": "我家有一隻貓"}.get(encoding, "一只猫坐在红色的垫子上")
    write_csv(tmp_path, f"a.png,{text}", encoding=encoding)
    line = 1 if encoding == "utf-16" else 2
    refusal(tmp_path, f"line {line} of", "metadata.csv", "not in UTF-8", "CSV UTF-8")


def test_a_row_without_its_file_is_named_with_its_line(three):
    write_csv(three, *ROWS, "missing.png,nothing")
    refusal(three, "missing.png in line 5", kind=FileNotFoundError)


def test_all_missing_files_are_told_of_but_not_at_any_length(three):
    write_csv(three, *(f"{k}.jpg,x" for k in range(50)), *ROWS)
    message = refusal(three, "0.jpg in line 2, 1.jpg in line 3", "and 45 more", kind=FileNotFoundError)
    assert "7.jpg" not in message


@pytest.mark.parametrize(("written", "there"), [("CAT.png", "cat.png"), ("cat.jpg", "cat.png"), ("cat", "cat.png")])
def test_a_name_that_is_nearly_right_is_refused_alike_everywhere_with_a_hint(tmp_path, written, there):
    put(tmp_path, there)
    write_csv(tmp_path, f"{written},a cat")
    refusal(tmp_path, f"{written} in line 2, where there is {there}", kind=FileNotFoundError)


@pytest.mark.parametrize("name", [".", "cats", "a\0.png", "metadata.csv/a.png"])
def test_a_name_of_something_else_is_not_found(tmp_path, name):
    put(tmp_path, "cats/1.png")
    write_jsonl(tmp_path, {"file_name": name, "text": "x"})
    refusal(tmp_path, name, kind=FileNotFoundError)


def test_a_row_that_repeats_another_is_refused_with_both_lines(three):
    write_csv(three, *ROWS, "./a.png, a red square ")
    refusal(three, "line 5 of", "repeats line 2", "a.png")


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.png", "..\\secret.png", "cats/../../secret.png", "..", "cats/..\\..\\secret.png"),
        *("/etc/secret.png", "C:\\secret.png", "C:secret.png", "\\\\server\\share\\secret.png"),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused_unread(tmp_path, name):
    put(tmp_path, "secret.png")
    inside = tmp_path / "inside"
    put(inside, "cats/1.png")
    write_jsonl(inside, {"file_name": name, "text": "x"})
    refusal(inside, "line 1 of", name, "leaves the folder")


def test_an_absolute_name_is_refused_even_into_the_folder(three):
    write_csv(three, f"{three / 'a.png'},a")
    refusal(three, "leaves the folder")


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    secret = put(tmp_path, "secret.png")
    inside = tmp_path / "inside"
    inside.mkdir()
    link(inside / "a.png", secret)
    write_csv(inside, "a.png,a")
    refusal(inside, "a.png", "a link that leaves the folder")


def test_a_linked_folder_that_leads_out_is_not_followed(tmp_path):
    put(tmp_path, "outside/secret.png")
    inside = tmp_path / "inside"
    inside.mkdir()
    link(inside / "cats", tmp_path / "outside")
    write_csv(inside, "cats/secret.png,a")
    refusal(inside, "cats/secret.png", kind=FileNotFoundError)


def test_a_link_within_the_folder_and_a_link_to_the_folder_are_fine(three):
    link(three / "d.png", "a.png")
    write_csv(three, *ROWS, "d.png,another red square")
    link(three.parent / f"{three.name}-link", three)
    dataset = CaptionedFolder(three.parent / f"{three.name}-link")
    assert_close(dataset.take([3]).images, dataset.take([0]).images)


def test_a_loop_of_links_does_not_hang(three):
    link(three / "loop", three)
    write_csv(three, *ROWS)
    assert len(CaptionedFolder(three)) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_among_the_pictures_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    write_csv(tmp_path, "a.png,a")
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        CaptionedFolder(tmp_path)[0]


def test_nothing_is_written_into_the_folder(three):
    write_csv(three, *ROWS)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in three.iterdir())
    CaptionedFolder(three).verify()
    assert sorted((path.name, path.stat().st_mtime_ns) for path in three.iterdir()) == before


# --- the card ----------------------------------------------------------------------------------------------------


def test_the_cards_own_code_makes_a_folder_that_loads(tmp_path, monkeypatch):
    card = (Path(__file__).parents[1] / "datasets" / "your_own" / "README.md").read_text(encoding="utf-8")
    load, make = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    for name in ("a_red_square.jpg", "dogs/rex.JPG"):
        put(tmp_path / "my_pictures", name)
    monkeypatch.chdir(tmp_path)
    exec(make, {})
    shown = {}
    exec(load, shown)
    assert shown["pictures"].captions == ["a red square", "rex"]
    assert shown["pictures"].verify() == [] and shown["pictures"].without_caption == []
