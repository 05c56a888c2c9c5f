"""The studio without a browser: what it draws, keeps and says, and the widgets on top of it."""

import asyncio
import base64
import io
import math
import re
from datetime import datetime
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from minigen.text import Tokenizer
from minigen.widgets import Studio, studio
from minigen.widgets.studio import REGIONS, region

SIZE = 8
CAPTION = "a cat"
TOKENIZER = Tokenizer(["a", "cat", "dog", "green"])


class Painter:
    """In place of a painter: noise of the seed that fades in over the start; remembers what it was asked."""

    def __init__(self):
        self.asked, self.heard, self.seen = [], [], []
        self.studio = None
        self.fails_at = None
        self.error = RuntimeError("out of memory")

    def __call__(self, captions, *, guidance_scale, num_inference_steps, seed, start, strength, mask):
        (caption,) = captions
        TOKENIZER(captions, max_length=32)
        options = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps, "seed": seed}
        self.asked.append({"caption": caption, **options, "start": start, "strength": strength, "mask": mask})
        noise = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed + len(caption)))
        for step in range(1, num_inference_steps + 1):
            if step == self.fails_at:
                raise self.error
            share = step / num_inference_steps * strength
            picture = noise * share + (1 - share) * (torch.zeros_like(noise) if start is None else start)
            if mask is not None:
                picture = mask * picture + (1 - mask) * start
            yield SimpleNamespace(step=step, num_steps=num_inference_steps, images=picture)
            if self.studio:  # what the page shows by now
                self.heard.append(self.studio.message)
                self.seen.append((self.studio.picture, picture[0], self.studio.alt))


@pytest.fixture
def painter():
    return Painter()


@pytest.fixture
def drawn(painter):
    """A studio that has drawn its first picture."""
    styles = {"negative": lambda picture: 1 - picture, "large": lambda picture: picture.repeat(1, 3, 4)}
    made = studio(painter, size=SIZE, caption=CAPTION, styles=styles)
    painter.studio = made
    return made


def make_file(colour="red", shape=(30, 20), kind="png"):
    file = io.BytesIO()
    Image.new("RGB", shape, colour).save(file, format=kind)
    return file.getvalue()


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_first_picture_is_there_at_once(drawn, painter):
    assert isinstance(drawn, Studio)
    (kept,) = drawn.history
    assert (kept.number, kept.caption, kept.settings) == (1, CAPTION, drawn.settings)
    assert drawn.picture.shape == (3, SIZE, SIZE)
    equal(drawn.picture, kept.picture)
    assert drawn.message == "Picture 1: 20 steps, guidance 4, seed 0."
    assert drawn.alt == "Picture 1: a cat"


def test_an_error_of_the_first_drawing_is_raised(painter):
    with pytest.raises(ValueError, match="'zebra'"):
        studio(painter, size=SIZE, caption="a zebra")


def test_the_settings_reach_the_painter_and_setting_them_does_not_draw(drawn, painter):
    drawn.set(caption="a green dog", guidance_scale=7.5, num_inference_steps=3, seed=5)
    assert len(painter.asked) == 1
    drawn.draw()
    assert painter.asked[1] == {
        "caption": "a green dog",
        "guidance_scale": 7.5,
        "num_inference_steps": 3,
        "seed": 5,
        "start": None,
        "strength": 1.0,
        "mask": None,
    }
    assert drawn.message == "Picture 2: 3 steps, guidance 7.5, seed 5."


def test_the_picture_forms_step_by_step(drawn, painter):
    drawn.set(num_inference_steps=3, seed=1)
    drawn.draw()
    assert painter.heard == [f"Drawing: step {step} of 3 …" for step in (1, 2, 3)]
    for shown, yielded, alt in painter.seen:
        equal(shown, yielded)
        assert alt == "A picture forming"
    equal(drawn.picture, painter.seen[-1][1])
    assert len(drawn.history) == 2


def test_the_picture_of_a_seed_is_repeatable_and_drawn_twice_in_a_row_is_kept_once(drawn):
    first = drawn.picture
    drawn.draw()
    equal(drawn.picture, first)
    assert [kept.number for kept in drawn.history] == [1]
    drawn.set(seed=1)
    drawn.draw()
    assert not torch.equal(drawn.picture, first)
    drawn.set(seed=0)
    drawn.draw()
    equal(drawn.picture, first)
    assert [kept.number for kept in drawn.history] == [1, 2, 3]


@pytest.mark.parametrize(
    ("caption", "said"),
    [
        ("", "the caption '' holds no word"),
        ("a caat", "the caption 'a caat' holds words that are not known: 'caat'; did you mean 'cat'?"),
        ("a " * 500, "has 500 words, and may have 32"),
        ("a 🦊", "words that are not known: '🦊'"),
        ("кот", "words that are not known: 'кот'"),
    ],
)
def test_a_caption_that_cannot_be_read_is_told_and_the_last_picture_stays(drawn, caption, said):
    before = drawn.picture
    drawn.set(caption=caption)
    drawn.draw()
    assert drawn.message.startswith("✗ No picture: the caption ")
    assert said in drawn.message
    assert "\n" not in drawn.message
    equal(drawn.picture, before)
    assert len(drawn.history) == 1
    with pytest.raises(ValueError, match="the caption"):
        raise drawn.error
    drawn.set(caption="a dog")
    drawn.draw()
    assert drawn.error is None
    assert drawn.message.startswith("Picture 2:")


def test_an_error_half_way_brings_the_last_picture_back(drawn, painter):
    before = drawn.picture
    drawn.set(seed=3)
    painter.fails_at = 3
    drawn.draw()
    assert drawn.message == "✗ No picture: RuntimeError: out of memory"
    assert len(painter.seen) == 2  # it was forming
    equal(drawn.picture, before)
    assert len(drawn.history) == 1


def test_an_interrupt_half_way_brings_the_last_picture_back_and_goes_on_to_the_kernel(drawn, painter):
    before = drawn.picture
    drawn.set(seed=3)
    painter.fails_at, painter.error = 3, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        drawn.draw()
    assert drawn.message == "Stopped."
    equal(drawn.picture, before)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((1, 3, SIZE, SIZE), math.nan), "the picture holds NaN"),
        (torch.zeros(1, SIZE, SIZE), "expected (3, H, W)"),
        (None, "`paint_steps` yielded no state"),
    ],
)
def test_what_is_no_picture_is_told(drawn, images, said):
    states = [] if images is None else [SimpleNamespace(step=1, num_steps=1, images=images)]
    drawn.paint_steps = lambda captions, **options: iter(states)
    before = drawn.picture
    drawn.draw()
    assert said in drawn.message
    equal(drawn.picture, before)
    assert len(drawn.history) == 1


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"guidance_scale": math.nan}, ValueError, "guidance_scale is nan, expected 0.0 to 10.0"),
        ({"guidance_scale": 11}, ValueError, "guidance_scale is 11, expected 0.0 to 10.0"),
        ({"num_inference_steps": 0}, ValueError, "expected a whole number from 1 to 50"),
        ({"num_inference_steps": 2.5}, ValueError, "expected a whole number from 1 to 50"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": True}, ValueError, "seed is True"),
        ({"strength": 0}, ValueError, "strength is 0, expected 0.05 to 1.0"),
        ({"caption": None}, ValueError, "caption is None, expected a text"),
        ({"mask": "corner"}, ValueError, "mask is 'corner', expected one of whole, left half"),
        ({"start": 2}, ValueError, "start is 2, expected None or the number of a picture: 1"),
        ({"start": 1.0}, ValueError, "start is 1.0, expected None or the number of a picture: 1"),
        ({"cpation": "a"}, TypeError, "there is no control 'cpation': the controls are caption, guidance_scale"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_nothing_changes(drawn, settings, error, said):
    before = dict(drawn.settings)
    good = {"caption": "a dog"} if "caption" not in settings else {"seed": 4}
    with pytest.raises(error, match=re.escape(said)):
        drawn.set(**good, **settings)
    assert drawn.settings == before


def test_a_picture_of_the_history_is_the_start(drawn, painter):
    first = drawn.picture
    drawn.set(seed=1)
    drawn.draw()
    drawn.use_as_start(1)
    assert drawn.message == "The next picture starts from picture 1."
    drawn.set(strength=0.3)
    drawn.draw()
    equal(painter.asked[-1]["start"], first)
    assert painter.asked[-1]["strength"] == 0.3
    assert drawn.message == "Picture 3: 20 steps, guidance 4, seed 1, from picture 1 with strength 0.3."
    drawn.set(start=None)
    drawn.draw()
    assert painter.asked[-1]["start"] is None
    assert painter.asked[-1]["strength"] == 1.0
    for k in (99, None):
        with pytest.raises(ValueError, match=f"there is no picture {k}: the history holds 1, 2, 3"):
            drawn.use_as_start(k)


def test_a_painter_that_changes_its_start_in_place_changes_no_history(drawn, painter):
    kept = drawn.picture.clone()
    drawn.use_as_start(1)

    def careless(captions, *, start, **options):
        yield SimpleNamespace(step=1, num_steps=1, images=start.mul_(0)[None])

    drawn.paint_steps = careless
    drawn.draw()
    equal(drawn.history[0].picture, kept)
    assert drawn.picture.max() == 0


def test_the_last_twelve_are_kept_and_a_start_outlives_them(drawn, painter):
    first = drawn.picture
    drawn.use_as_start(1)
    for seed in range(1, 15):
        drawn.set(seed=seed)
        drawn.draw()
    assert [kept.number for kept in drawn.history] == list(range(4, 16))
    assert [kept.settings["seed"] for kept in drawn.history] == list(range(3, 15))
    equal(painter.asked[-1]["start"], first)
    assert list(drawn.choices) == [1, *range(4, 16)]


@pytest.mark.parametrize(("name", "share"), [(n, 0.25 if n == "middle" else 0.5) for n in REGIONS if n != "whole"])
def test_only_the_region_is_drawn_in_and_the_rest_stays_to_the_pixel(drawn, painter, name, share):
    before = drawn.picture
    drawn.use_as_start(1)
    drawn.set(mask=name, seed=9)
    drawn.draw()
    changed = (drawn.picture != before).any(dim=0)
    equal(changed, painter.asked[-1]["mask"][0] == 1)
    assert changed.float().mean() == share
    assert drawn.message.endswith(f", {name}.")


def test_the_regions_are_where_their_names_say():
    row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    assert region("whole", 64) is None
    equal(region("left half", 64)[0] == 1, column < 32)
    equal(region("right half", 64)[0] == 1, column >= 32)
    equal(region("upper half", 64)[0] == 1, row < 32)
    equal(region("lower half", 64)[0] == 1, row >= 32)
    equal(region("middle", 64)[0] == 1, ((row - 31.5).abs() < 16) & ((column - 31.5).abs() < 16))


def test_a_region_without_a_start_is_told(drawn):
    drawn.set(mask="middle")
    drawn.draw()
    assert drawn.message == "✗ No picture: the middle can be drawn only in a picture: choose a start, or the whole"
    assert len(drawn.history) == 1


def test_an_uploaded_file_enters_the_history_and_is_the_start(drawn, painter):
    drawn.upload("photo.jpg", make_file("red"))
    assert drawn.history[-1].caption == "photo.jpg"
    assert drawn.message == "The next picture starts from picture 2."
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, SIZE, SIZE)
    equal(drawn.picture, red)
    drawn.draw()
    equal(painter.asked[-1]["start"], red)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty, so it is no picture"),
        (b"no picture at all", "it is in none of the formats"),
        (make_file(shape=(300, 200), kind="jpeg")[:900], "it cannot be read whole"),
    ],
)
def test_a_broken_upload_is_told_under_the_learners_name_for_it(drawn, data, said):
    before = drawn.picture
    drawn.upload("photo.jpg", data)
    assert drawn.message.startswith(f"✗ photo.jpg cannot be used: {said}")
    assert drawn.settings["start"] is None
    equal(drawn.picture, before)
    assert len(drawn.history) == 1


def test_a_picture_is_handed_on_to_a_style_and_what_comes_of_it_can_be_a_start(drawn, painter):
    first = drawn.picture.clone()
    drawn.hand_on(1, "negative")
    equal(drawn.picture, 1 - first)
    assert drawn.history[-1].caption == "a cat, in the style negative"
    assert drawn.message == "Picture 2: a cat, in the style negative."
    drawn.hand_on(2, "large")
    assert drawn.picture.shape == (3, 3 * SIZE, 4 * SIZE)
    drawn.use_as_start(3)
    drawn.draw()
    assert painter.asked[-1]["start"].shape == (3, SIZE, SIZE)
    equal(drawn.history[0].picture, first)


def test_a_style_that_fails_is_told_and_one_that_is_not_there_is_refused(drawn):
    before = drawn.picture
    drawn.styles["broken"] = lambda picture: picture.mul_(0) / 0
    drawn.hand_on(1, "broken")
    assert drawn.message.startswith("✗ No picture in the style broken: the picture holds NaN")
    assert before.max() > 0
    equal(drawn.picture, before)
    with pytest.raises(ValueError, match="there is no style 'oil': there are negative, large, broken"):
        drawn.hand_on(1, "oil")
    with pytest.raises(ValueError, match="there is no picture 7"):
        drawn.hand_on(7, "negative")


def test_half_an_emoji_becomes_a_question_mark_that_can_be_sent_to_the_page(drawn):
    drawn.set(caption="a \ud83e cat")
    assert drawn.settings["caption"] == "a ? cat"
    drawn.upload("\ud83e.png", make_file())
    assert drawn.history[-1].caption == "?.png"
    drawn.upload("\ud83e.png", b"")
    assert drawn.message.startswith("✗ ?.png cannot be used")


# The widgets on top


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: a list of (object, keyword arguments)."""
    import IPython.display

    monkeypatch.delenv("MINIGEN_WIDGETS", raising=False)
    calls = []
    monkeypatch.setattr(IPython.display, "display", lambda thing, **options: calls.append((thing, options)))
    return calls


@pytest.fixture
def view(drawn, shown):
    pytest.importorskip("ipywidgets")
    drawn._ipython_display_()
    assert shown[-1][0] is drawn._view.box
    return drawn._view


def test_moving_the_widgets_sets_and_the_button_draws(view, drawn, painter):
    view.controls["caption"].value = "a dog"
    view.controls["guidance_scale"].value = 2.5
    assert len(painter.asked) == 1
    view.button.click()
    assert (painter.asked[1]["caption"], painter.asked[1]["guidance_scale"]) == ("a dog", 2.5)
    assert 'alt="Picture 2: a dog"' in view.picture.value
    assert "Picture 2: 20 steps, guidance 2.5, seed 0." in view.line.value
    assert [number for _, number in view.controls["start"].options] == [0, 1, 2]
    assert view.given.value == 2


def test_the_page_shows_each_step(view, drawn, painter):
    pages = []
    view.picture.observe(lambda change: pages.append(change["new"]), names="value")
    drawn.set(num_inference_steps=4, seed=2)
    drawn.draw()
    assert len(pages) == 5  # the fifth is the last one, with its alt text
    last = re.search('base64,([^"]+)', pages[-1])[1]
    assert Image.open(io.BytesIO(base64.b64decode(last))).size == (SIZE, SIZE)
    assert "pixelated" in pages[-1]


def test_setting_the_studio_moves_the_widgets_and_strength_waits_for_a_start(view, drawn):
    assert view.controls["strength"].disabled
    drawn.set(seed=7, start=1, mask="middle")
    assert {name: control.value for name, control in view.controls.items()} == drawn.settings
    assert not view.controls["strength"].disabled
    drawn.set(seed=8)
    drawn.draw()  # the menus get new choices, and stay where they are
    assert view.controls["start"].value == drawn.settings["start"] == 1


def test_what_the_page_cannot_take_is_told_and_taken_back(view, drawn):
    view._moved("guidance_scale", math.nan)
    assert "✗ guidance_scale is nan, expected 0.0 to 10.0" in view.line.value
    assert drawn.settings["guidance_scale"] == view.controls["guidance_scale"].value == 4.0


def test_nothing_that_is_typed_or_uploaded_becomes_html(view, drawn):
    drawn.set(caption='"><script>')
    drawn.draw()
    assert "&lt;script&gt;" in view.line.value
    drawn.upload('"><img src=x>.png', make_file())
    assert "&quot;&gt;&lt;img src=x&gt;.png" in view.picture.value
    for html in (view.line.value, view.picture.value, view.row.value):
        assert "<script" not in html
        assert "<img src=x" not in html


def test_an_upload_is_taken_in_and_the_widget_is_ready_for_the_next(view, drawn):
    content = {"name": "red.png", "type": "image/png", "size": 1, "content": memoryview(make_file())}
    view.file.value = ({**content, "last_modified": datetime.now()},)
    assert drawn.history[-1].caption == "red.png"
    assert view.controls["start"].value == 2
    assert view.file.value == ()


def test_the_style_button_hands_on_what_the_menus_say(view, drawn):
    first = drawn.picture
    drawn.set(seed=1)
    drawn.draw()
    view.given.value = 1
    view.style.value = "negative"
    view.apply.click()
    equal(drawn.picture, 1 - first)


def test_enter_in_the_caption_draws_with_the_caption_that_comes_after_it(view, painter):
    async def press():
        view.controls["caption"]._handle_custom_msg({"event": "submit"}, [])
        view.controls["caption"].value = "a dog"
        await asyncio.sleep(0.2)

    asyncio.run(press())
    assert [asked["caption"] for asked in painter.asked] == ["a cat", "a dog"]


def test_no_menu_is_blank_and_noise_alone_can_be_chosen_again(view, drawn):
    assert (view.controls["start"].label, view.style.label, view.given.value) == ("noise alone", "negative", 1)
    view.controls["start"].value = 1
    assert drawn.settings["start"] == 1
    view.controls["start"].label = "noise alone"
    assert drawn.settings["start"] is None
    assert view.controls["start"].label == "noise alone"


def test_the_button_is_off_while_drawing_so_that_presses_do_not_queue(view, drawn, painter):
    heard = []

    def paint(captions, **options):
        heard.append(view.button.disabled)
        yield from painter(captions, **options)

    drawn.paint_steps = paint
    view.button.click()
    painter.fails_at, painter.error = 1, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        view.button.click()
    assert heard == [True, True]
    assert not view.button.disabled


def test_without_styles_there_is_no_menu_of_them(painter, shown):
    pytest.importorskip("ipywidgets")
    plain = studio(painter, size=SIZE, caption=CAPTION)
    plain._ipython_display_()
    wrap = plain._view.box.children[0]
    assert plain._view.apply not in wrap.children[1].children


def test_without_widgets_a_studio_shows_its_still_picture(drawn, shown, monkeypatch, capsys):
    monkeypatch.setenv("MINIGEN_WIDGETS", "0")
    drawn._ipython_display_()
    ((data, options),) = shown
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (256, 256)
    assert data["text/plain"] == "Picture 1: a cat"
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "Picture 1: a cat"}}}
    assert "pip install ipywidgets" in capsys.readouterr().out
