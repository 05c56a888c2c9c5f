"""A live demo: a pure function `render(**parameters) -> picture`, and controls that call it anew.

A panel knows nothing of ipywidgets until it is shown, so a demo is tested without a browser:
`panel.set(noise=0.5)`, then `panel.picture`.
"""

import asyncio
import base64
import html
import os
from collections.abc import Callable
from functools import partial
from inspect import Parameter, signature
from typing import Any

from minigen.widgets.pictures import to_png

Control = tuple | list | str | bool  # (low, high, step), the choices of a menu, a text box, a tick box
PAUSE = 0.05  # seconds without a further change before a picture is drawn
HOW_TO_MOVE = "A still picture: to move the controls, run this cell in Jupyter (with `pip install ipywidgets`)."


def live(render: Callable, /, *, alt: str, **controls: Control) -> "Panel":
    """A panel that draws `render(**parameters)` anew when a control is moved; end a cell with it.

    A control is a range (low, high, step), a list of choices, a text or a bool. It starts at the default of
    the parameter of that name if `render` has one, else at low, at the first choice, or at itself. The
    picture is a Figure, a tensor [3,H,W] in [0,1] or a PIL picture; `alt` says in words what it shows. An
    error of the first drawing is raised; a later one is told on the panel, where the last picture stays.
    Raises TypeError for a control that is none of these or that `render` does not take, ValueError for an
    empty range or list.

    Where ipywidgets is missing, or MINIGEN_WIDGETS=0 asks for a page without widgets, the panel shows itself
    as a still picture.
    """
    return Panel(render, alt, controls)


def still(render: Callable, /, *, alt: str, **parameters: Any) -> None:
    """Show `render(**parameters)` as a PNG with alt text: what the page says without a kernel."""
    display_png(to_png(render(**parameters)), alt)


class Panel:
    """A demo and where its controls stand: `set` moves them, `picture` and `message` say what came of it.

    `picture` is what `render` returned last, `message` one sentence while drawing and after an error.
    """

    def __init__(self, render: Callable, alt: str, controls: dict[str, Control]):
        self.render, self.alt, self.controls = render, alt, controls
        self.parameters = {name: _start(render, name, control) for name, control in controls.items()}
        self.picture: Any = None
        self.png = b""
        self.message = ""
        self.error: Exception | None = None  # raise it to see where `render` failed
        self._view: _View | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self.draw()

    def set(self, **parameters: Any) -> None:
        """Move controls and draw; TypeError for an unknown control, ValueError for a value it cannot take."""
        for name, value in parameters.items():
            if name not in self.controls:
                raise TypeError(f"there is no control {name!r}: the controls are {', '.join(self.controls)}")
            _refuse_outside(name, self.controls[name], value)
        self.parameters.update(parameters)
        self.draw()

    def draw(self) -> None:
        """Call `render` with the parameters as they stand, and show what comes of it."""
        self._waiting = None
        self._say("Drawing …")
        try:
            picture = self.render(**self.parameters)
            self.png, self.picture, self.error = to_png(picture), picture, None
        except Exception as error:  # whatever it is, it belongs on the panel, where the learner looks
            if self.picture is None:
                raise
            self.error = error
        self._say("" if self.error is None else f"✗ No picture for these settings: {one_line(self.error)}")

    def draw_soon(self) -> None:
        """Draw once the changes that have piled up are all taken in, so that slow pictures do not queue."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self.draw()
        if self._waiting:
            self._waiting.cancel()
        self._waiting = loop.call_later(PAUSE, self.draw)

    def _say(self, message: str) -> None:
        self.message = message
        if self._view:
            self._view.update(self)

    def __repr__(self) -> str:
        standing = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"Panel({standing})" + (f"  {self.message}" if self.message else "")

    def _ipython_display_(self) -> None:
        ipywidgets = find_ipywidgets()
        if ipywidgets is None:
            display_png(self.png, self.alt)
            print(self.message or HOW_TO_MOVE)
            return
        from IPython.display import display

        self._view = self._view or _View(self, ipywidgets)
        display(self._view.box)


class _View:
    """The thin widget on top of a panel: one control for each parameter, a line of text, the picture."""

    def __init__(self, panel: Panel, ipywidgets: Any):
        self.controls = {
            name: _make_control(ipywidgets, name, control, panel.parameters[name])
            for name, control in panel.controls.items()
        }
        self.line, self.picture = ipywidgets.HTML(), ipywidgets.HTML()
        self.box = ipywidgets.VBox([*self.controls.values(), self.line, self.picture])
        self._png = b""
        self.update(panel)
        for name, control in self.controls.items():
            control.observe(partial(self._moved, panel, name), names="value")

    def _moved(self, panel: Panel, name: str, change: Any) -> None:
        if change["new"] != panel.parameters[name]:  # else it was `panel.set` that moved it
            panel.parameters[name] = change["new"]
            panel.draw_soon()

    def update(self, panel: Panel) -> None:
        for name, control in self.controls.items():
            control.value = panel.parameters[name]
        # A blank keeps the line's height, so that the picture does not jump
        self.line.value = f'<span role="status">{html.escape(panel.message) or "&nbsp;"}</span>'
        if panel.png != self._png:
            self._png = panel.png
            alt, data = html.escape(panel.alt), base64.b64encode(panel.png).decode()
            self.picture.value = f'<img alt="{alt}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def find_ipywidgets() -> Any:
    if os.environ.get("MINIGEN_WIDGETS") == "0":
        return None
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets


def _make_control(ipywidgets: Any, name: str, control: Control, value: Any) -> Any:
    look = {"description": name.replace("_", " "), "style": {"description_width": "10em"}}
    look["layout"] = ipywidgets.Layout(width="32em", max_width="100%")
    if isinstance(control, bool):
        return ipywidgets.Checkbox(value=value, **look)
    if isinstance(control, str):
        return ipywidgets.Text(value=value, continuous_update=False, **look)
    if isinstance(control, list):
        return ipywidgets.Dropdown(options=control, value=value, **look)
    low, high, step = control
    if all(isinstance(number, int) for number in control):
        return ipywidgets.IntSlider(value, low, high, step, continuous_update=False, **look)
    digits = max(0, len(f"{step % 1:.6f}".rstrip("0")) - 2)  # as many as the step has
    look["readout_format"] = f".{digits}f"
    return ipywidgets.FloatSlider(value, min=low, max=high, step=step, continuous_update=False, **look)


def _start(render: Callable, name: str, control: Control) -> Any:
    """Where a control stands at first; refuses a control that cannot be."""
    known = signature(render).parameters
    if name not in known and not any(p.kind is Parameter.VAR_KEYWORD for p in known.values()):
        raise TypeError(f"there is a control {name!r}, but the demo takes {', '.join(known) or 'no parameters'}")
    is_range = isinstance(control, tuple) and len(control) == 3 and all(map(is_number, control))
    if not is_range and not isinstance(control, list | str | bool):
        raise TypeError(f"control {name} is {control!r}, expected (low, high, step), a list, a text or a bool")
    if isinstance(control, list) and not control:
        raise ValueError(f"control {name} is an empty list: give at least one choice")
    if is_range and not (control[0] < control[1] and control[2] > 0):
        raise ValueError(f"control {name} is {control}, expected (low, high, step) with low < high and step > 0")
    first = control if isinstance(control, bool | str) else control[0]
    if name not in known or known[name].default is Parameter.empty:
        return first
    _refuse_outside(name, control, known[name].default)
    return known[name].default


def _refuse_outside(name: str, control: Control, value: Any) -> None:
    if isinstance(control, tuple):
        fits, expected = (
            is_number(value) and control[0] <= value <= control[1],
            f"{control[0]} to {control[1]}",
        )
    elif isinstance(control, list):
        fits, expected = value in control, f"one of {', '.join(map(repr, control))}"
    else:
        fits, expected = isinstance(value, type(control)), f"a {type(control).__name__}"
    if not fits:
        raise ValueError(f"{name} is {value!r}, expected {expected}")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_line(error: Exception) -> str:
    message = next(iter(str(error).strip().splitlines()), "")[:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def display_png(png: bytes, alt: str) -> None:
    from IPython.display import display

    # The metadata are where exporters look for alt text; where no picture can be shown, the text stands in
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})
