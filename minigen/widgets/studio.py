"""The studio: type a caption, watch the picture form, start again from a picture, hand one on to a style.

It knows neither painter nor style, only functions, and nothing of ipywidgets until it is shown, so it is tested
without a browser: `studio.set(caption="a fox")`, `studio.draw()`, then `studio.picture`.
"""

import asyncio
import base64
import html
import io
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor

from minigen import images
from minigen.widgets.live import HOW_TO_MOVE, PAUSE, display_png, find_ipywidgets, is_number, one_line
from minigen.widgets.pictures import to_png

RANGES = {  # low, high, step of the page's control
    "guidance_scale": (0.0, 10.0, 0.5),
    "num_inference_steps": (1, 50, 1),
    "seed": (0, 2**31 - 1, 1),
    "strength": (0.05, 1.0, 0.05),
}
REGIONS = {  # top, bottom, left and right of what is drawn, as shares of the picture
    "whole": (0, 1, 0, 1),
    "left half": (0, 1, 0, 0.5),
    "right half": (0, 1, 0.5, 1),
    "upper half": (0, 0.5, 0, 1),
    "lower half": (0.5, 1, 0, 1),
    "middle": (0.25, 0.75, 0.25, 0.75),
}
NOISE = 0  # in the menu of starts, where a choice of None would show as a blank
KEPT = 12  # pictures of the history
SHOWN = 320  # pixels of the picture on the page, and at most of its width


class Drawing(NamedTuple):
    """A picture of the history and how it came about."""

    number: int  # from 1
    caption: str  # or what else it is: a file, a style
    settings: dict[str, Any]  # that it was drawn with; of an uploaded or restyled picture none
    picture: Tensor  # [3,H,W] in [0,1], on the CPU


def studio(
    paint_steps: Callable[..., Iterable],
    *,
    size: int = 64,
    caption: str = "a large cat on a yellow background",
    styles: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> "Studio":
    """A studio that draws with `paint_steps`, for the end of a cell; it draws `caption` at once.

    `paint_steps(captions, *, guidance_scale, num_inference_steps, seed, start, strength, mask)` yields states with
    `step`, `num_steps` and `images` [1,3,H,W] in [0,1]; it is given one caption in a list, `start` [3,size,size] in
    [0,1] or None, and `mask` [1,size,size], 1 where to draw, or None for everywhere. A painter of captions has it:
    `studio(painter.paint_steps, size=painter.size)`.
    `styles` are functions by name, each picture [3,H,W] -> picture, both in [0,1]; it may change the size.

    An error of the first drawing is raised; a later one is told in the studio, where the last picture stays. Where
    ipywidgets is missing, or MINIGEN_WIDGETS=0 asks for a page without widgets, it shows itself as a still picture.
    """
    return Studio(paint_steps, size, caption, styles or {})


class Studio:
    """Where the controls stand (`settings`), the `picture` on show, the `history`, and a `message` in one sentence.

    The settings go to `paint_steps` under their names, but for two: `start` is the number of a picture of the
    history, or None, and `mask` is a region's name. Without a start, `strength` waits for one.
    """

    def __init__(self, paint_steps: Callable, size: int, caption: str, styles: Mapping[str, Callable]):
        self.paint_steps, self.size, self.styles = paint_steps, size, dict(styles)
        self.settings: dict[str, Any] = {
            "caption": caption,
            "guidance_scale": 4.0,
            "num_inference_steps": 20,
            "seed": 0,
            "start": None,
            "strength": 0.6,
            "mask": "whole",
        }
        self.history: list[Drawing] = []  # the last ones, the oldest first
        self.picture: Tensor | None = None  # [3,H,W] in [0,1]: while drawing, what is seen in the noise
        self.message = ""
        self.error: Exception | None = None  # raise it to see where it failed
        self._start: Drawing | None = None  # kept here, as the history may drop it
        self._count = 0
        self._view: _View | None = None
        self.draw()
        if self.error:
            raise self.error

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        for drawing in self.history[-1:]:
            if self.picture is drawing.picture:
                return f"Picture {drawing.number}: {drawing.caption}"
        return "A picture forming"

    @property
    def choices(self) -> dict[int, Drawing]:
        """The pictures that can be started from, by number: the history, and the start if it is older."""
        return {drawing.number: drawing for drawing in ([self._start] if self._start else []) + self.history}

    def set(self, **settings: Any) -> None:
        """Move controls, without drawing; TypeError for an unknown one, ValueError for a value it cannot take."""
        for name, value in settings.items():
            self._refuse(name, value)
        if "start" in settings:
            number = settings["start"]
            self._start = None if number is None else self.choices[number]
        if "caption" in settings:
            settings["caption"] = _whole(settings["caption"])
        self.settings.update(settings)
        self._show()

    def draw(self) -> None:
        """Draw with the settings as they stand; the picture and the message change at every step."""
        settings = dict(self.settings)

        def steps() -> Drawing:
            self._show(message="Drawing …")
            picture = None
            for state in self.paint_steps([settings["caption"]], **self._options(settings)):
                picture = _checked(state.images[0])
                self._show(picture, f"Drawing: step {state.step} of {state.num_steps} …")
            if picture is None:
                raise ValueError("`paint_steps` yielded no state, expected one after each step")
            return self._keep(settings["caption"], settings, picture)

        self._try(steps, "No picture")

    def use_as_start(self, k: int) -> None:
        """Start from picture k of the history from now on; ValueError where it holds none of that number."""
        self._chosen(k)
        self.set(start=k)
        self._show(message=f"The next picture starts from picture {k}.")

    def upload(self, name: str, data: bytes) -> None:
        """Take a file in: its largest centred square enters the history, at `size`, and is the next start."""

        def take() -> Drawing:
            return self._keep(name, {}, _decoded(data, self.size))

        name = _whole(name)
        if drawing := self._try(take, f"{name} cannot be used"):
            self.use_as_start(drawing.number)

    def hand_on(self, k: int, style: str) -> None:
        """Give picture k of the history to a style; what comes of it enters the history.

        Raises ValueError where there is no such picture or style; an error of the style's own is told.
        """
        given = self._chosen(k)
        if style not in self.styles:
            raise ValueError(f"there is no style {style!r}: there are {', '.join(self.styles) or 'none'}")

        def restyle() -> Drawing:
            self._show(given.picture, f"Painting picture {k} in the style {style} …")
            picture = _checked(self.styles[style](given.picture.clone()))
            return self._keep(f"{given.caption}, in the style {style}", {}, picture)

        self._try(restyle, f"No picture in the style {style}")

    def _try(self, make: Callable[[], Drawing], failed: str) -> Drawing | None:
        """What `make` makes, on show and announced; if it fails, the last picture, and why."""
        try:
            drawing = make()
        except Exception as error:  # whatever it is, it belongs in the studio, where the learner looks
            self.error = error
            self._show(self._last(), f"✗ {failed}: {one_line(error).removeprefix('ValueError: ')}")
            return None
        except BaseException:  # the kernel was interrupted
            self._show(self._last(), "Stopped.")
            raise
        self.error = None
        self._show(drawing.picture, f"Picture {drawing.number}: {_told(drawing)}.")
        return drawing

    def _chosen(self, k: int) -> Drawing:
        if k not in self.choices:
            raise ValueError(f"there is no picture {k}: the history holds {', '.join(map(str, self.choices))}")
        return self.choices[k]

    def _last(self) -> Tensor | None:
        return self.history[-1].picture if self.history else None

    def _keep(self, caption: str, settings: dict[str, Any], picture: Tensor) -> Drawing:
        last = self.history[-1] if self.history else None
        if last and settings and last.settings == settings and torch.equal(last.picture, picture):
            return last  # the same once more, as a second press of the button draws it
        self._count += 1
        self.history = [*self.history, Drawing(self._count, caption, settings, picture)][-KEPT:]
        return self.history[-1]

    def _options(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings as `paint_steps` takes them, but for the caption."""
        options = {name: value for name, value in settings.items() if name != "caption"}
        mask = region(settings["mask"], self.size)
        if self._start is None:
            if mask is not None:
                raise ValueError(f"the {settings['mask']} can be drawn only in a picture: choose a start, or the whole")
            return options | {"start": None, "strength": 1.0, "mask": None}
        return options | {"start": _fitted(self._start.picture, self.size), "mask": mask}

    def _refuse(self, name: str, value: Any) -> None:
        if name not in self.settings:
            raise TypeError(f"there is no control {name!r}: the controls are {', '.join(self.settings)}")
        if name == "caption":
            fits, expected = isinstance(value, str), "a text"
        elif name == "start":
            fits = value is None or (type(value) is int and value in self.choices)  # True is no number
            expected = f"None or the number of a picture: {', '.join(map(str, self.choices))}"
        elif name == "mask":
            fits, expected = value in tuple(REGIONS), f"one of {', '.join(REGIONS)}"
        else:
            low, high, step = RANGES[name]
            whole = isinstance(step, int)
            fits = is_number(value) and low <= value <= high and (isinstance(value, int) or not whole)
            expected = f"{'a whole number from ' if whole else ''}{low} to {high}"
        if not fits:
            raise ValueError(f"{name} is {value!r}, expected {expected}")

    def _show(self, picture: Tensor | None = None, message: str | None = None) -> None:
        """Put a new picture or message, or both, in place of the old, and bring the page up to date."""
        self.picture = self.picture if picture is None else picture
        self.message = self.message if message is None else message
        if self._view:
            self._view.update(self)

    def __repr__(self) -> str:
        standing = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"Studio({standing})  {self.message}"

    def _ipython_display_(self) -> None:
        ipywidgets = find_ipywidgets()
        if ipywidgets is None:
            display_png(to_png(self.picture), self.alt)
            print(f"{self.message}\n{HOW_TO_MOVE}")
            return
        from IPython.display import display

        self._view = self._view or _View(self, ipywidgets)
        display(self._view.box)


def region(name: str, size: int) -> Tensor | None:
    """The mask [1,size,size] of a region of `REGIONS`, 1 inside; None for the whole."""
    if name == "whole":
        return None
    top, bottom, left, right = (round(share * size) for share in REGIONS[name])
    mask = torch.zeros(1, size, size)
    mask[:, top:bottom, left:right] = 1
    return mask


def _checked(picture: Any) -> Tensor:
    """A picture as it is kept: [3,H,W] float32 in [0,1] on the CPU, and nobody else's."""
    images.to_pil(picture)  # refuses another type, another shape and NaN
    return picture.detach().float().cpu().clamp(0, 1).expand(3, -1, -1).clone()


def _fitted(picture: Tensor, size: int) -> Tensor:
    """The largest centred square, resized to [3,size,size]; one that fits stays as it is, to the bit."""
    if picture.shape[1:] == (size, size):
        return picture.clone()
    return images.from_pil(ImageOps.fit(images.to_pil(picture), (size, size), Image.Resampling.LANCZOS))


def _decoded(data: bytes, size: int) -> Tensor:
    """The picture in the bytes of a file, [3,size,size] in [0,1]; ValueError where they hold none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(data)
        try:
            return images.load_image(file, size)
        except ValueError as error:  # which names a file that the learner has never seen
            raise ValueError(str(error).replace(str(file), "it")) from error


def _whole(text: str) -> str:
    """The text with a question mark for half an emoji, as a browser may send it: it could not be sent back."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _told(drawing: Drawing) -> str:
    """How a picture came about, in a few words."""
    settings = drawing.settings
    if not settings:
        return drawing.caption
    told = f"{settings['num_inference_steps']} steps, guidance {settings['guidance_scale']:g}, seed {settings['seed']}"
    if settings["start"] is not None:
        told += f", from picture {settings['start']} with strength {settings['strength']:g}"
    return told if settings["mask"] == "whole" else f"{told}, {settings['mask']}"


# --- the page -------------------------------------------------------------------------------------------------


class _View:
    """The thin widget on top of a studio: the picture, beside it the controls, below it the history."""

    def __init__(self, studio: Studio, ipywidgets: Any):
        w = self.widgets = ipywidgets
        self.studio = studio
        self.controls = {
            "caption": w.Text(continuous_update=False, **self._look("caption")),
            "guidance_scale": self._slider(w.FloatSlider, "guidance_scale", "guidance", readout_format=".1f"),
            "num_inference_steps": self._slider(w.IntSlider, "num_inference_steps", "steps"),
            "seed": w.BoundedIntText(min=0, max=RANGES["seed"][1], **self._look("seed")),
            "start": w.Dropdown(options=[("noise alone", NOISE)], **self._look("start from")),
            "strength": self._slider(w.FloatSlider, "strength", "strength", readout_format=".2f"),
            "mask": w.Dropdown(options=list(REGIONS), **self._look("draw in")),
        }
        self.button = w.Button(description="Draw", button_style="primary", tooltip="draw what the caption says")
        self.file = w.FileUpload(accept="image/*", description="Upload", tooltip="a picture of up to 10 MB")
        self.line, self.picture, self.row = w.HTML(), w.HTML(), w.HTML()
        self.given, self.style = w.Dropdown(**self._look("hand on")), w.Dropdown(**self._look("to style"))
        self.style.options = list(studio.styles)
        self.style.value = next(iter(studio.styles), None)
        self.apply = w.Button(description="Paint in this style")

        column = [*self.controls.values(), self._wrapped([self.button, self.file])]
        if studio.styles:
            column += [self.given, self.style, self.apply]
        look = w.Layout(flex="1 1 18em", min_width="0", max_width="34em")
        seen = w.VBox([self.picture, self.line], layout=w.Layout(width=f"{SHOWN + 16}px", max_width="100%"))
        self.box = w.VBox([self._wrapped([seen, w.VBox(column, layout=look)]), self.row])
        self._shown: tuple = (None, "", [])  # the picture, its alt text and the numbers that the page holds
        self._waiting: asyncio.TimerHandle | None = None
        self._updating = False
        self.update(studio)

        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._moved(name, change["new"]), names="value")
        self.controls["caption"].on_msg(self._entered)
        self.button.on_click(lambda _: self._draw())
        self.file.observe(self._uploaded, names="value")
        self.apply.on_click(lambda _: self._tell(studio.hand_on, self.given.value, self.style.value))

    def _look(self, description: str) -> dict[str, Any]:
        layout = self.widgets.Layout(width="auto")
        return {"description": description, "style": {"description_width": "5.5em"}, "layout": layout}

    def _slider(self, kind: Callable, name: str, description: str, **options: Any) -> Any:
        low, high, step = RANGES[name]
        return kind(min=low, max=high, step=step, continuous_update=False, **self._look(description), **options)

    def _wrapped(self, children: list) -> Any:
        return self.widgets.HBox(children, layout=self.widgets.Layout(flex_flow="row wrap"))

    def _moved(self, name: str, value: Any) -> None:
        if not self._updating and value != self.studio.settings[name]:
            self._tell(self.studio.set, **{name: None if name == "start" and value == NOISE else value})

    def _entered(self, _: Any, content: dict, __: Any) -> None:
        """Draw on Enter, a moment later: the page says that it was pressed before it sends the new caption."""
        if content.get("event") != "submit":
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._draw()
        if self._waiting:
            self._waiting.cancel()
        self._waiting = loop.call_later(PAUSE, self._draw)

    def _draw(self) -> None:
        self.button.disabled = True  # or impatient presses would queue
        try:
            self.studio.draw()
        finally:
            self.button.disabled = False

    def _uploaded(self, change: dict) -> None:
        for file in change["new"]:
            self.studio.upload(file["name"], bytes(file["content"]))
        if change["new"]:
            self.file.value = ()  # or the same file could not be given again

    def _tell(self, action: Callable, *args: Any, **options: Any) -> None:
        try:
            action(*args, **options)
        except (TypeError, ValueError) as error:
            self.studio._show(message=f"✗ {error}")

    def update(self, studio: Studio) -> None:
        choices = list(studio.choices.values())
        numbers = [drawing.number for drawing in choices]
        (picture, alt, before), self._shown = self._shown, (studio.picture, studio.alt, numbers)
        self._updating = True  # a menu with new choices moves by itself
        try:
            if numbers != before:
                names = [(f"{drawing.number}: {drawing.caption[:60]}", drawing.number) for drawing in choices]
                self.controls["start"].options = [("noise alone", NOISE), *names]
                self.given.options = names
                self.given.value = studio.history[-1].number if studio.history else None
                self.row.value = _history_html(studio.history)
            for name, control in self.controls.items():
                value = studio.settings[name]
                control.value = NOISE if value is None else value
            self.controls["strength"].disabled = studio.settings["start"] is None
        finally:
            self._updating = False
        # A blank keeps the line's height, so that nothing jumps
        look = "display: block; margin: 5px 0; line-height: 1.4"  # Jupyter's own is that of a row of controls
        self.line.value = f'<span role="status" style="{look}">{html.escape(studio.message) or "&nbsp;"}</span>'
        if picture is not studio.picture or alt != studio.alt:
            self.picture.value = _picture_html(studio.picture, studio.alt, SHOWN)


def _picture_html(picture: Tensor, alt: str, width: int) -> str:
    """The picture at its own size, enlarged on the page; each pixel of a small one shows as a square."""
    file = io.BytesIO()
    images.to_pil(picture).save(file, format="png")
    squares = "image-rendering: pixelated; " if picture.shape[-1] < width else ""
    style = f"{squares}display: block; margin: 0; width: {width}px; max-width: 100%"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'


def _history_html(history: list[Drawing]) -> str:
    """The pictures in a row, the newest first, each with its number, its caption and how it came about."""
    cards = []
    for drawing in reversed(history):
        number, caption, told = drawing.number, html.escape(drawing.caption), html.escape(_told(drawing))
        small = _picture_html(drawing.picture, f"Picture {number}: {drawing.caption}", 96)
        lines = "display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden"
        text = f'<div title="{caption}" style="{lines}; overflow-wrap: anywhere"><b>{number}</b> {caption}</div>'
        if drawing.settings:
            text += f'<div style="opacity: 0.75">{told}</div>'
        cards.append(f'<div style="width: 96px; font-size: 11px; line-height: 1.3">{small}{text}</div>')
    return f'<div style="display: flex; flex-wrap: wrap; gap: 10px; margin-top: 8px">{"".join(cards)}</div>'
