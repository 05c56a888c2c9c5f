"""Live demos without a browser: what a panel draws, says and keeps, and the widget on top of it."""

import asyncio
import base64
import io
import json
import re
import subprocess
import sys
import textwrap

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from minigen.widgets import live, still


def shade(level=0.5, colour="grey", inverted=False):
    """A plain picture [3,8,8] whose shade is `level`."""
    weights = {"grey": (1.0, 1.0, 1.0), "red": (1.0, 0.0, 0.0)}[colour]
    picture = torch.tensor(weights)[:, None, None].expand(3, 8, 8) * level
    return 1 - picture if inverted else picture


def make_panel(render=shade, **controls):
    return live(render, alt="a plain square", **controls)


def read_png(data):
    return Image.open(io.BytesIO(data))


def test_a_panel_starts_at_the_defaults_of_the_demo():
    panel = make_panel(level=(0.0, 1.0, 0.1), colour=["red", "grey"], inverted=True)
    assert panel.parameters == {"level": 0.5, "colour": "grey", "inverted": False}
    torch.testing.assert_close(panel.picture, shade(0.5), rtol=0, atol=0)
    assert panel.message == ""


def test_without_defaults_a_panel_starts_at_low_first_choice_and_the_given_text():
    def render(level, colour, text, on):
        return torch.zeros(3, 4, 4)

    panel = make_panel(render, level=(2, 5, 1), colour=["red", "grey"], text="一只猫", on=True)
    assert panel.parameters == {"level": 2, "colour": "red", "text": "一只猫", "on": True}


def test_setting_a_control_draws_a_new_picture():
    panel = make_panel(level=(0.0, 1.0, 0.1), colour=["grey", "red"])
    before = panel.png
    panel.set(level=1.0, colour="red")
    torch.testing.assert_close(panel.picture, shade(1.0, "red"), rtol=0, atol=0)
    assert panel.png != before
    assert read_png(panel.png).getpixel((0, 0)) == (255, 0, 0)


def test_an_error_is_told_in_one_sentence_and_the_last_picture_stays():
    def render(level=1):
        if level > 2:
            raise ValueError(f"level is {level}, expected at most 2\nand more")
        return torch.full((3, 4, 4), level / 2)

    panel = make_panel(render, level=(0, 3, 1))
    picture, png = panel.picture, panel.png
    panel.set(level=3)
    assert panel.message == "✗ No picture for these settings: ValueError: level is 3, expected at most 2"
    assert panel.picture is picture
    assert panel.png == png
    with pytest.raises(ValueError, match="expected at most 2"):
        raise panel.error
    panel.set(level=2)
    assert panel.message == ""
    assert panel.error is None
    assert panel.picture.max() == 1


def test_an_error_of_the_first_drawing_is_raised():
    def render(level):
        raise RuntimeError("nothing works")

    with pytest.raises(RuntimeError, match="nothing works"):
        make_panel(render, level=(0, 3, 1))


def test_a_panel_says_that_it_is_drawing_while_it_draws():
    heard = []

    def render(level=0):
        if level:
            heard.append(panel.message)
        return torch.zeros(3, 4, 4)

    panel = make_panel(render, level=(0, 3, 1))
    panel.set(level=2)
    assert heard == ["Drawing …"]
    assert panel.message == ""


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"levle": 1}, TypeError, "there is no control 'levle': the controls are level, colour, inverted"),
        ({"level": 2.0}, ValueError, "level is 2.0, expected 0.0 to 1.0"),
        ({"level": "much"}, ValueError, "level is 'much', expected 0.0 to 1.0"),
        ({"colour": "green"}, ValueError, "colour is 'green', expected one of 'grey', 'red'"),
        ({"inverted": 1}, ValueError, "inverted is 1, expected a bool"),
    ],
)
def test_a_value_that_a_control_cannot_take_is_refused_and_nothing_changes(values, error, said):
    panel = make_panel(level=(0.0, 1.0, 0.1), colour=["grey", "red"], inverted=False)
    before = dict(panel.parameters)
    with pytest.raises(error, match=re.escape(said)):
        panel.set(inverted=True, **values) if "inverted" not in values else panel.set(**values)
    assert panel.parameters == before


@pytest.mark.parametrize(
    ("control", "error", "said"),
    [
        (
            {"colour": 3},
            TypeError,
            "control colour is 3, expected (low, high, step), a list, a text or a bool",
        ),
        ({"level": (0, 1)}, TypeError, "control level is (0, 1), expected (low, high, step)"),
        ({"level": ("a", "b", "c")}, TypeError, "expected (low, high, step)"),
        ({"level": (1.0, 0.0, 0.1)}, ValueError, "low < high"),
        ({"level": (0.0, 1.0, 0)}, ValueError, "step > 0"),
        ({"level": (0.6, 1.0, 0.1)}, ValueError, "level is 0.5, expected 0.6 to 1.0"),
        ({"colour": []}, ValueError, "control colour is an empty list"),
        (
            {"size": (1, 2, 1)},
            TypeError,
            "there is a control 'size', but the demo takes level, colour, inverted",
        ),
    ],
)
def test_a_control_that_cannot_be_is_refused(control, error, said):
    with pytest.raises(error, match=re.escape(said)):
        make_panel(**control)


def test_figures_tensors_and_pil_pictures_become_pngs():
    def make_figure():
        figure = Figure(figsize=(2, 1), dpi=100)
        figure.subplots().plot([0, 1])
        return figure

    for picture in (make_figure(), torch.rand(3, 300, 20), Image.new("RGB", (300, 20), "red")):
        panel = make_panel(lambda picture=picture: picture)
        assert panel.png.startswith(b"\x89PNG")
        assert panel.picture is picture


@pytest.mark.gpu
def test_a_picture_drawn_on_the_gpu_becomes_the_same_png():
    assert make_panel(lambda: shade().cuda()).png == make_panel(lambda: shade()).png


def test_a_small_picture_is_enlarged_by_whole_pixels():
    picture = torch.zeros(3, 2, 4)
    picture[:, 0, 0] = 1
    png = read_png(make_panel(lambda: picture).png)
    assert png.size == (256, 128)
    assert png.getpixel((63, 63)) == (255, 255, 255)
    assert png.getpixel((64, 63)) == png.getpixel((63, 64)) == (0, 0, 0)


def test_a_figure_of_pyplot_is_closed_so_that_it_is_not_shown_twice():
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    panel = make_panel(lambda: pyplot.figure(figsize=(1, 1)))
    assert panel.png
    assert pyplot.get_fignums() == []


def test_something_that_is_no_picture_is_refused_by_its_kind():
    with pytest.raises(TypeError, match="the demo drew a dict, expected a Figure"):
        make_panel(dict)
    with pytest.raises(ValueError, match=r"\(8, 8\), expected \(3, H, W\)"):
        make_panel(lambda: torch.zeros(8, 8))


# The widget on top


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: a list of (object, keyword arguments)."""
    import IPython.display

    monkeypatch.delenv("MINIGEN_WIDGETS", raising=False)
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda thing, **options: calls.append((thing, options)))
    return calls


def show(panel, shown):
    """The widget of a panel: its controls by name, its line of text and its picture."""
    pytest.importorskip("ipywidgets")
    panel._ipython_display_()
    *controls, line, picture = shown[-1][0].children
    return dict(zip(panel.controls, controls, strict=True)), line, picture


def test_each_kind_of_control_has_its_widget_and_waits_for_the_hand_to_let_go(shown):
    widgets = pytest.importorskip("ipywidgets")

    def render(level=0.5, steps=3, colour="red", caption="a cat", on=True):
        return torch.zeros(3, 4, 4)

    panel = make_panel(render, level=(0, 1, 0.25), steps=(1, 9, 1), colour=["red", "grey"], caption="", on=False)
    controls, _, _ = show(panel, shown)
    kinds = [widgets.FloatSlider, widgets.IntSlider, widgets.Dropdown, widgets.Text, widgets.Checkbox]
    assert [type(control) for control in controls.values()] == kinds
    assert {name: control.value for name, control in controls.items()} == panel.parameters
    assert (controls["level"].min, controls["level"].max, controls["level"].step) == (0, 1, 0.25)
    assert controls["level"].readout_format == ".2f"
    assert not any(controls[name].continuous_update for name in ("level", "steps", "caption"))


def test_moving_a_widget_draws_and_the_picture_carries_its_alt_text(shown):
    panel = make_panel(level=(0.0, 1.0, 0.1))
    controls, _, picture = show(panel, shown)
    controls["level"].value = 1.0
    torch.testing.assert_close(panel.picture, shade(1.0), rtol=0, atol=0)
    assert 'alt="a plain square"' in picture.value
    assert base64.b64encode(panel.png).decode() in picture.value


def test_setting_the_panel_moves_its_widgets_and_draws_once(shown):
    calls = []

    def render(level=0.5, colour="grey"):
        calls.append((level, colour))
        return shade(level, colour)

    panel = make_panel(render, level=(0.0, 1.0, 0.1), colour=["grey", "red"])
    controls, _, _ = show(panel, shown)
    panel.set(level=1.0, colour="red")
    assert (controls["level"].value, controls["colour"].value) == (1.0, "red")
    assert calls == [(0.5, "grey"), (1.0, "red")]


def test_the_widget_says_what_is_wrong_and_never_as_html(shown):
    def render(caption="a cat"):
        if caption != "a cat":
            raise ValueError(f"no object in {caption}")
        return torch.zeros(3, 4, 4)

    panel = make_panel(render, caption="")
    controls, line, picture = show(panel, shown)
    before = picture.value
    controls["caption"].value = "<script>"
    assert "No picture for these settings: ValueError: no object in &lt;script&gt;" in line.value
    assert picture.value == before


def test_changes_that_pile_up_during_a_slow_picture_are_drawn_once(shown):
    calls = []

    def render(level=0, other=0):
        calls.append((level, other))
        return torch.zeros(3, 4, 4)

    async def move():
        for level in range(1, 6):
            controls["level"].value = level
            await asyncio.sleep(0)  # as between two messages of the browser
        controls["other"].value = 3
        await asyncio.sleep(0.3)

    panel = make_panel(render, level=(0, 9, 1), other=(0, 9, 1))
    controls, _, _ = show(panel, shown)
    asyncio.run(move())
    assert calls == [(0, 0), (5, 3)]


@pytest.mark.parametrize("way", ["missing", "forbidden"])
def test_without_widgets_a_panel_shows_its_still_picture_and_says_how_to_move_it(shown, monkeypatch, capsys, way):
    if way == "missing":
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
    else:
        monkeypatch.setenv("MINIGEN_WIDGETS", "0")
    panel = make_panel(level=(0.0, 1.0, 0.1))
    panel._ipython_display_()
    ((data, options),) = shown
    assert base64.b64decode(data["image/png"]) == panel.png
    assert data["text/plain"] == "a plain square"
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "a plain square"}}}
    assert "pip install ipywidgets" in capsys.readouterr().out


def test_a_still_picture_is_a_png_with_alt_text(shown):
    still(shade, alt="a red square", level=1.0, colour="red")
    ((data, options),) = shown
    assert read_png(base64.b64decode(data["image/png"])).getpixel((0, 0)) == (255, 0, 0)
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "a red square"}}}


def test_importing_the_widgets_imports_no_notebook_machinery():
    code = """
        import json, sys, torch
        import minigen.widgets
        panel = minigen.widgets.live(lambda: torch.zeros(3, 4, 4), alt="black")
        print(json.dumps([name for name in ("ipywidgets", "IPython", "matplotlib.pyplot") if name in sys.modules]))
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    assert json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout) == []


@pytest.mark.parametrize("widgets", ["0", "1"])
def test_a_page_executed_without_widgets_holds_the_picture_and_no_widget_state(monkeypatch, widgets):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipywidgets")
    cell = """
import torch
from minigen.widgets import live
live(lambda level=1: torch.full((3, 8, 8), level / 3), alt="a grey square", level=(0, 3, 1))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    monkeypatch.setenv("MINIGEN_WIDGETS", widgets)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    pictures = [o for o in notebook.cells[0].outputs if "image/png" in o.get("data", {})]
    if widgets == "0":
        assert "widgets" not in notebook.metadata
        assert [o.metadata["image/png"]["alt"] for o in pictures] == ["a grey square"]
        exporter = pytest.importorskip("nbconvert").HTMLExporter(template_name="classic")
        page, _ = exporter.from_notebook_node(notebook)
        assert re.search(r'<img [^>]*alt="a grey square"', page)
    else:  # the test can fail: this is what would be saved
        assert "widgets" in notebook.metadata
        assert pictures == []
