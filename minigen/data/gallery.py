"""A handful of pictures called by name: what the photographs and the paintings have in common."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor

from minigen.data.base import Batch, PictureDataset
from minigen.images import from_pil, resize, to_pil


class Gallery(PictureDataset):
    """Named pictures as a data set of squares, or whole through `load`; a subclass gives `captions` and `_read`."""

    captions: dict[str, str] = {}  # name -> what the picture shows

    def __init__(self, size: int = 256):
        if size < 1:
            raise ValueError(f"size is {size}, but a picture is at least 1 pixel wide")
        self.size = size
        self._pictures: dict[str, Tensor] = {}  # what has been read so far,
        self._squares: dict[str, Tensor] = {}  # and cut

    @abstractmethod
    def _read(self, name: str) -> Tensor:
        """The whole picture as it is kept, [3,H,W] in [0,1]."""

    @property
    def names(self) -> list[str]:
        """What the pictures are called, in the order of the data set."""
        return list(self.captions)

    def __len__(self) -> int:
        return len(self.captions)

    def load(self, name: str, size: int | None = None) -> Tensor:
        """One whole picture, [3,H,W] in [0,1]; with `size`, its shorter side is that long and its shape is kept.

        Raises ValueError where no picture is called `name`.
        """
        if name not in self.captions:
            raise ValueError(f"there is no picture called {name!r}: choose one of {', '.join(self.names)}")
        if name not in self._pictures:
            self._pictures[name] = self._read(name)
        picture = self._pictures[name]
        return picture.clone() if size is None else resize(picture, size)

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        """The centred squares of the pictures at `indices`, [N,3,size,size]."""
        names = [self.names[int(k)] for k in indices]
        images = torch.stack([self._square(name) for name in names])
        return Batch(images, [self.captions[name] for name in names], {})

    def _square(self, name: str) -> Tensor:
        if name not in self._squares:
            whole = to_pil(self.load(name))
            self._squares[name] = from_pil(ImageOps.fit(whole, (self.size, self.size), Image.Resampling.LANCZOS))
        return self._squares[name]
