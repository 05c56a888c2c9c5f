"""What an exercise says to the learner: a coloured card in a notebook, plain text elsewhere.

A symbol and a word carry the meaning; the colour only repeats it. The text takes the page's own colour, so
that it can be read in a light and in a dark theme.
"""

import enum
import html
import re
from dataclasses import dataclass

# Okabe and Ito's palette, which the colour-blind can tell apart.
GREEN, ORANGE, BLUE = (0, 158, 115), (213, 94, 0), (0, 114, 178)


class State(enum.Enum):
    """How an exercise stands; the value is the word that the learner reads."""

    NOT_ATTEMPTED = "Not attempted"
    WRONG = "Not right yet"
    RIGHT = "Right"


LOOKS = {State.NOT_ATTEMPTED: ("○", BLUE), State.WRONG: ("✗", ORANGE), State.RIGHT: ("✓", GREEN)}


@dataclass(frozen=True, repr=False)
class Card:
    """A heading, a text in which `backticks` mark code, and perhaps a piece of code below."""

    heading: str
    text: str
    code: str = ""
    symbol: str = "→"
    colour: tuple[int, int, int] = BLUE

    def __repr__(self) -> str:
        return f"{self.symbol} {self.heading}: {self.text}" + (f"\n\n{self.code}" if self.code else "")

    def _repr_html_(self) -> str:
        rgb = ", ".join(map(str, self.colour))
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.text))
        code = f'<pre style="margin: 8px 0 0 0">{html.escape(self.code)}</pre>' if self.code else ""
        return (
            f'<div style="border-left: 5px solid rgb({rgb}); background: rgba({rgb}, 0.12); '
            f'padding: 8px 12px"><b>{self.symbol} {html.escape(self.heading)}:</b> {text}{code}</div>'
        )


@dataclass(frozen=True, repr=False)
class Result:
    """What `check()` found; true only where the answer is right, so `assert q1.check()` grades it."""

    state: State
    message: str

    def __bool__(self) -> bool:
        return self.state is State.RIGHT

    def card(self) -> Card:
        symbol, colour = LOOKS[self.state]
        return Card(self.state.value, self.message, symbol=symbol, colour=colour)

    def __repr__(self) -> str:
        return repr(self.card())

    def _repr_html_(self) -> str:
        return self.card()._repr_html_()
