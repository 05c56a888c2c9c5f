"""A live demo and an exercise in JupyterLab, driven as a learner would: by a headless Chromium."""

import os

import pytest
from browser import LabNotebook, browser_page, find_chromium, jupyterlab

DEMO = """
import time, torch
from minigen.widgets import live, still

drawn = []

def render(level=5, caption="a cat"):
    drawn.append(level)
    time.sleep(0.5)  # slow enough that changes could queue
    if caption != "a cat":
        raise ValueError(f"there is no {caption!r} here")
    return torch.full((3, 8, 8), level / 20)

live(render, alt="a grey square", level=(0, 20, 1), caption="")
"""
STILL = 'still(render, alt="a still grey square", level=10)'
STUB = """
from minigen.exercises.lesson_01 import q2

loss_at_start = ...
q2.panel()
"""
ANSWER = "loss_at_start = 3.69"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook with a demo, a still picture and an exercise, open in JupyterLab."""
    missing = find_chromium() is None and "there is no Chromium on the path, which this test drives"
    try:
        import ipywidgets  # noqa: F401
        import jupyterlab as _  # noqa: F401
        import nbformat
        import playwright  # noqa: F401
    except ImportError as error:
        missing = f"{error.name} is not installed"
    if missing:  # on a learner's machine this may be; where CI runs, it would go unnoticed
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)

    folder = tmp_path_factory.mktemp("notebooks")
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in (DEMO, STILL, STUB, ANSWER)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "demo.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MINIGEN_WIDGETS", raising=False)
        with jupyterlab(folder) as url, browser_page() as page:
            yield LabNotebook(page, url, "demo.ipynb")


@pytest.fixture(scope="module")
def demo(notebook):
    """The output of the demo's cell, once it has run."""
    notebook.run_cell(0)
    output = notebook.output(0)
    output.locator("img").wait_for()
    return output


def test_moving_a_control_changes_the_picture(notebook, demo, tmp_path):
    from playwright.sync_api import expect

    picture = demo.locator("img")
    expect(picture).to_have_attribute("alt", "a grey square")
    before = picture.get_attribute("src")
    notebook.photograph(0, tmp_path / "before.png")
    demo.locator(".noUi-handle").press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before)
    expect(demo.locator(".widget-readout")).to_have_text("6")
    expect(demo.get_by_role("status")).to_have_text("\N{NO-BREAK SPACE}")
    notebook.photograph(0, tmp_path / "after.png")
    assert (tmp_path / "before.png").read_bytes() != (tmp_path / "after.png").read_bytes()


def test_changes_during_a_slow_picture_do_not_queue(notebook, demo):
    from playwright.sync_api import expect

    handle = demo.locator(".noUi-handle")
    start = int(handle.get_attribute("aria-valuetext").split(".")[0])
    for _ in range(8):
        handle.press("ArrowRight")
    expect(demo.get_by_role("status")).to_have_text("Drawing …")
    expect(demo.get_by_role("status")).to_have_text("\N{NO-BREAK SPACE}")
    notebook.page.wait_for_timeout(1000)
    notebook.type_and_run(3, "print(drawn)")
    drawn = eval(notebook.output(3).inner_text())
    assert drawn[-1] == start + 8
    assert len(drawn) - drawn.index(start) - 1 <= 4


def test_an_error_is_shown_on_the_panel_and_the_picture_stays(notebook, demo, tmp_path):
    from playwright.sync_api import expect

    picture = demo.locator("img")
    before = picture.get_attribute("src")
    text = demo.locator("input[type=text]")
    text.fill("dog")
    text.press("Enter")
    expect(demo.get_by_role("status")).to_contain_text("ValueError: there is no 'dog' here")
    notebook.photograph(0, tmp_path / "error.png")
    assert picture.get_attribute("src") == before


def test_a_still_picture_is_shown_as_a_picture(notebook, demo, tmp_path):
    notebook.run_cell(1)
    notebook.output(1).locator("img[src^='data:image/png']").wait_for(timeout=5000)
    notebook.photograph(1, tmp_path / "still.png")


def test_the_buttons_of_an_exercise_lead_from_not_attempted_to_right(notebook, tmp_path):
    from playwright.sync_api import expect

    notebook.run_cell(2)
    panel = notebook.output(2)
    panel.get_by_role("button", name="Check").click()
    expect(panel).to_contain_text("○ Not attempted:")
    panel.get_by_role("button", name="Hint").click()
    expect(panel).to_contain_text("Hint 1 of 2:")
    notebook.photograph(2, tmp_path / "hint.png")
    notebook.type_and_run(3, ANSWER)
    panel.get_by_role("button", name="Check").click()
    expect(panel).to_contain_text("✓ Right:")
    notebook.photograph(2, tmp_path / "right.png")
