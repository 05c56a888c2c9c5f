"""Turn what a demo draws (a Figure, a tensor, a picture of Pillow's) into a PNG for a page."""

import io
import sys
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image

from minigen import images

SMALLEST = 256  # pixels: a picture of 64x64 is drawn four times as large, each pixel a square


def to_png(picture: Any) -> bytes:
    """The PNG of a Figure, a tensor [3,H,W] in [0,1] or a picture of Pillow's; small ones are enlarged.

    A figure that pyplot made is closed. Raises TypeError for anything else, ValueError for another shape.
    """
    if isinstance(picture, Figure):
        png = images.figure_to_png(picture)
        if "matplotlib.pyplot" in sys.modules:  # pyplot keeps a figure, and would show it a second time
            sys.modules["matplotlib.pyplot"].close(picture)
        return png
    if isinstance(picture, torch.Tensor):
        picture = images.to_pil(picture)
    if not isinstance(picture, Image.Image):
        kind = type(picture).__name__
        raise TypeError(f"the demo drew a {kind}, expected a Figure, a tensor [3,H,W] in [0,1] or a PIL picture")
    times = max(1, SMALLEST // max(picture.size))
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, format="png")
    return file.getvalue()
