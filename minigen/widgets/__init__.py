"""Live demos: a pure function that draws a picture, controls on top, and a still picture for the page."""

from minigen.widgets.live import Panel, live, still
from minigen.widgets.studio import Studio, studio

__all__ = ["Panel", "Studio", "live", "still", "studio"]
