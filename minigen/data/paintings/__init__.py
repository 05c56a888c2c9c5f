"""Style pictures in ten manners, painted by the package itself and kept as PNG files in `datasets/paintings/`.

`python -m minigen.data.paintings --out datasets/paintings` paints them anew, and so does the package, one by one
as they are asked for, where it is installed without that folder.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from minigen.data.gallery import Gallery
from minigen.images import from_pil, load_image

FOLDER = Path(__file__).parents[3] / "datasets" / "paintings"  # in a checkout of the repository
SIZE = 384
SHADES = 52  # of each channel: steps of 5 in 255, which the eye does not see and which make the files a third smaller
SEEDS = {  # chosen by eye
    "impasto": 1,
    "pointillism": 2,
    "woodblock": 1,
    "cubism": 4,
    "stained_glass": 1,
    "watercolour": 4,
    "ink": 4,
    "marbling": 1,
    "mosaic": 2,
    "engraving": 1,
}


class Paintings(Gallery):
    """Ten paintings, each in a manner of its own."""

    captions = {
        "impasto": "a whirling sky over the sea at sundown in thick oil paint",
        "pointillism": "poplars and a sail on a river in dots of pure colour",
        "woodblock": "breakers before mountains and a red sun, printed from woodblocks",
        "cubism": "a guitar and a bottle broken into facets",
        "stained_glass": "a sun over hills in stained glass",
        "watercolour": "poppies in a meadow in watercolour",
        "ink": "bamboo before mountains in brush and ink",
        "marbling": "marbled paper",
        "mosaic": "two fish in a mosaic of small stones",
        "engraving": "a ringed planet above hills, engraved and coloured by hand",
    }
    credit = "Paintings: minigen, CC BY 4.0"

    def _read(self, name: str) -> Tensor:
        file = FOLDER / f"{name}.png"
        return load_image(file) if file.is_file() else from_pil(_painted(name))


def paintings(size: int = 256) -> Paintings:
    """The paintings, as a data set of squares [3,size,size] in [0,1] and, by `load`, whole."""
    return Paintings(size)


def paint(name: str) -> Image.Image:
    """Paint one of the pictures from its seed: the same pixels every time.

    Raises ValueError where no manner is called `name`.
    """
    from minigen.data.paintings.manners import MANNERS  # here, since who only looks at the pictures needs none of it

    if name not in MANNERS:
        raise ValueError(f"there is no manner called {name!r}: choose one of {', '.join(MANNERS)}")
    picture = MANNERS[name](np.random.default_rng(SEEDS[name]), SIZE)  # [H,W,3] in [0,1]
    steps = SHADES - 1
    return Image.fromarray((np.round(picture * steps) * (255 / steps)).round().astype(np.uint8))


_painted = cache(paint)
