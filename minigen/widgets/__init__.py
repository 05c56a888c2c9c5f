"""Live demos: a pure function that draws a picture, controls on top, and a still picture for the page."""

from minigen.widgets.live import Panel, live, still

__all__ = ["Panel", "live", "still"]
