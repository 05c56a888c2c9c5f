"""A live demo, an exercise and the studio in JupyterLab, driven as a learner would: by a headless Chromium."""

import pytest
from browser import LabNotebook, browser_page, jupyterlab, need_browser

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
STUDIO = """
from minigen import pretrained
from minigen.painter import Painter
from minigen.widgets import studio

painter = Painter(**pretrained.load("caption_diffusion"), codec=pretrained.load("codec"))
studio(painter.paint_steps, size=painter.size, styles={"negative": lambda picture: 1 - picture})
"""
WATCH = """output => {
    window.seen = [];
    const look = () => window.seen.push([
        output.querySelector('[role=status]').textContent, output.querySelector('img').src,
    ]);
    new MutationObserver(look).observe(output, {subtree: true, childList: true, characterData: true});
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder that JupyterLab shows, its address, and a page of the browser."""
    need_browser("ipywidgets", "jupyterlab", "nbformat")
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MINIGEN_WIDGETS", raising=False)
        with jupyterlab(folder) as url, browser_page() as page:
            yield folder, url, page


def open_notebook(lab, name, *cells):
    """A new notebook with these cells, open in JupyterLab."""
    import nbformat

    folder, url, page = lab
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / name)
    opened = LabNotebook(page, url, name)
    # A cell that is told to run before its kernel is there forgets it
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
    return opened


@pytest.fixture(scope="module")
def notebook(lab):
    """A notebook with a demo, a still picture and an exercise, open in JupyterLab."""
    return open_notebook(lab, "demo.ipynb", DEMO, STILL, STUB, ANSWER)


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
    handle.evaluate(  # eight strokes at once: by a slow machine they would come no faster than the pictures
        "h => { for (let k = 0; k < 8; k++)"
        " h.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true, cancelable: true})) }"
    )
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


def test_in_the_studio_a_typed_caption_becomes_a_picture_step_by_step(lab, tmp_path):
    from playwright.sync_api import expect

    notebook = open_notebook(lab, "studio.ipynb", STUDIO)  # in place of the one above, so this test comes last
    notebook.run_cell(0)
    studio = notebook.output(0)
    status, picture, caption = studio.get_by_role("status"), studio.locator("img").first, studio.get_by_label("caption")
    expect(status).to_have_text("Picture 1: 20 steps, guidance 4, seed 0.")
    assert picture.bounding_box()["width"] >= 256
    first = picture.get_attribute("src")
    notebook.photograph(0, tmp_path / "first.png")

    studio.evaluate(WATCH)
    caption.fill("a small dog on a blue background")
    studio.get_by_label("seed").fill("1")
    studio.get_by_role("button", name="Draw").click()
    expect(status).to_have_text("Picture 2: 20 steps, guidance 4, seed 1.")
    assert picture.get_attribute("src") != first
    expect(picture).to_have_attribute("alt", "Picture 2: a small dog on a blue background")
    forming = [(text, src) for text, src in notebook.page.evaluate("window.seen") if text.startswith("Drawing: step")]
    assert len({text for text, _ in forming}) >= 15  # of 20: the page is told of each while the kernel is busy
    assert len({src for _, src in forming}) >= 15

    caption.fill("a small dgo")
    caption.press("Enter")
    expect(status).to_contain_text("'dgo'; did you mean 'dog'?")
    expect(picture).to_have_attribute("alt", "Picture 2: a small dog on a blue background")
    notebook.photograph(0, tmp_path / "unknown_word.png")

    def upload(name, data):
        with notebook.page.expect_file_chooser() as chooser:
            studio.get_by_role("button", name="Upload").click()
        chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": data})

    upload("broken.png", b"no picture")
    expect(status).to_contain_text("broken.png cannot be used: it is in none of the formats")
    upload("page.png", (tmp_path / "first.png").read_bytes())
    expect(status).to_have_text("The next picture starts from picture 3.")
    caption.fill("a small dog")
    studio.get_by_label("draw in").select_option("left half")
    studio.get_by_role("button", name="Draw").click()
    expect(status).to_have_text("Picture 4: 20 steps, guidance 4, seed 1, from picture 3 with strength 0.6, left half.")
    studio.get_by_role("button", name="Paint in this style").click()
    expect(status).to_have_text("Picture 5: a small dog, in the style negative.")
    notebook.photograph(0, tmp_path / "history.png")

    notebook.page.set_viewport_size({"width": 520, "height": 1000})
    notebook.photograph(0, tmp_path / "narrow.png")
    box, cell = picture.bounding_box(), studio.bounding_box()
    assert box["x"] + box["width"] <= cell["x"] + cell["width"]
