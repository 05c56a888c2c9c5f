"""Three buttons for an exercise, by ipywidgets, which is imported only here and may be missing."""

import os
from typing import TYPE_CHECKING, Any

from minigen.exercises.cards import Card

if TYPE_CHECKING:
    from minigen.exercises.frame import Exercise


def make_panel(exercise: "Exercise") -> Any:
    """Buttons that show below them what `check()`, `hint()` and `solution()` say.

    Where ipywidgets is missing, or MINIGEN_WIDGETS=0 forbids widgets, a card that explains the three methods.
    """
    try:
        if os.environ.get("MINIGEN_WIDGETS") == "0":
            raise ImportError
        import ipywidgets
    except ImportError:
        text = "`check()` judges your answer, `hint()` helps, `solution()` shows one; with ipywidgets, by buttons."
        return Card("Three methods", text)

    said = ipywidgets.HTML()
    said.layout.margin = "4px 0 0 0"

    def make_button(word: str, method: str) -> Any:
        button = ipywidgets.Button(description=word, tooltip=f"{exercise.name}: {method}()")
        button.on_click(lambda _: setattr(said, "value", getattr(exercise, method)()._repr_html_()))
        return button

    buttons = [
        make_button("Check", "check"),
        make_button("Hint", "hint"),
        make_button("Solution", "solution"),
    ]
    return ipywidgets.VBox([ipywidgets.HBox(buttons), said])
