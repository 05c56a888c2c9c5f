"""`minigen show`: a grid of a data set's pictures with their captions and their credit, in a file."""

import io
import textwrap
from pathlib import Path

import torch

from minigen import data, images
from minigen.data.base import PictureDataset

CLASSIC = ("mnist", "fashion-mnist", "cifar10")
NAMES = ("glyphs", "scenes", "photos", "paintings", *CLASSIC)
MOST = 400  # a grid of more is neither drawn in reasonable time nor looked at


def open_dataset(name: str, split: str | None = None) -> PictureDataset:
    """The data set called `name`, or the captioned folder at that path.

    Raises ValueError on a name that is neither, and on a split where there is none.
    """
    if name == "scenes":
        return data.EmojiScenes(split=split or "train")
    if name in CLASSIC:
        return data.ClassicSet(name, split=split or "train")
    if split is not None:
        raise ValueError(f"{name} has no splits, so --split {split} means nothing: leave it out")
    if name == "glyphs":
        return data.EmojiGlyphs(size=72)
    if name == "photos":
        return data.photos()
    if name == "paintings":
        return data.paintings()
    if Path(name).is_dir():
        return data.CaptionedFolder(name)
    raise ValueError(f"there is no data set and no folder called {name!r}: choose one of {', '.join(NAMES)}, or a path")


def show(name: str, out: str | Path, *, count: int = 16, seed: int = 0, split: str | None = None) -> str:
    """Draw `count` pictures of a data set, chosen by `seed`, into the file `out`; return a line that says so.

    Raises ValueError or OSError, with nothing written, on a count, a name or a file that is not possible.
    """
    if not 1 <= count <= MOST:
        raise ValueError(f"--count is {count}, but a grid holds 1 to {MOST} pictures")
    out = Path(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"the folder of {out} does not exist: make {out.parent} first, or name another file")
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: name a file in it, such as {out / 'grid.png'}")
    dataset = open_dataset(name, split)
    if len(dataset) == 0:
        raise ValueError(f"{name} holds no pictures, so there is nothing to draw")
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))[:count]
    batch = dataset.take(chosen.tolist())
    figure = images.image_grid(batch.images, captions=batch.captions)
    if dataset.credit:
        letters = max(int(figure.get_figwidth() * 20), 24)  # of size 6, in a line as wide as the grid
        figure.text(0.5, 0, textwrap.fill(dataset.credit, letters), ha="center", va="top", fontsize=6)
    picture = io.BytesIO()  # drawn whole before the file is touched, so that none is left half-written
    figure.savefig(picture, format=out.suffix.lstrip(".").lower() or "png", dpi=150, bbox_inches="tight")
    out.write_bytes(picture.getvalue())
    line = f"wrote {out}: {len(chosen)} of {len(dataset):,} pictures"
    return f"{line}. {dataset.credit}" if dataset.credit else line
