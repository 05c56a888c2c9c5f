"""Freely licensed photographs, read from scikit-image's own wheel: nothing is downloaded, nothing is copied.

Who took each and under which licence stands in `datasets/photos/README.md`.
"""

from collections.abc import Sequence
from importlib import resources

import torch
import torch.nn.functional as F
from torch import Tensor

from minigen.data.base import Batch, PictureDataset
from minigen.data.gallery import Gallery
from minigen.images import load_image

FILES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}


class Photos(Gallery):
    """Ten photographs in the public domain, under the names that scikit-image gives them."""

    captions = {
        "astronaut": "an astronaut in an orange space suit",
        "brick": "a brick wall in black and white",
        "camera": "a man behind a camera in black and white",
        "chelsea": "the face of a tabby cat",
        "coffee": "a cup of coffee on a red saucer",
        "grass": "grass in black and white",
        "gravel": "gravel in black and white",
        "hubble_deep_field": "galaxies in a black sky",
        "retina": "the back of a human eye",
        "rocket": "a rocket on its launch pad at dusk",
    }
    credit = (
        "Photos from scikit-image, public domain or CC0: NASA (astronaut, hubble_deep_field), SpaceX (rocket), "
        "Lav Varshney (camera), Stefan van der Walt (chelsea), Rachel Michetti (coffee), Mikael Häggström (retina), "
        "CC0Textures (brick, gravel), Linolafett (grass)"
    )

    def _read(self, name: str) -> Tensor:
        with resources.as_file(resources.files("skimage") / "data" / FILES[name]) as path:
            return load_image(path)


def photos(size: int = 256) -> Photos:
    """The photographs, as a data set of squares [3,size,size] in [0,1] and, by `load`, whole."""
    return Photos(size)


class PhotoCrops(PictureDataset):
    """Squares cut out of the photographs at random, in random light: pictures for a network to practise on.

    Crop k of a split is always the same. The split "test" has the photographs that the lessons show: astronaut, chelsea
    and coffee; "train" has the other seven.
    """

    credit = Photos.credit
    TEST = ("astronaut", "chelsea", "coffee")
    LARGEST = 320  # pixels of a photo's shorter side, before it is cut

    def __init__(self, split: str = "train", size: int = 128):
        if split not in ("train", "test"):
            raise ValueError(f"there is no split {split!r}: choose train or test")
        if not 1 <= size <= self.LARGEST:
            raise ValueError(f"size is {size}, expected 1 to {self.LARGEST}, the pixels of a photo's shorter side")
        self.split, self.size = split, size
        gallery = photos()
        self.names = [name for name in gallery.names if (name in self.TEST) == (split == "test")]
        self._photos = [gallery.load(name, self.LARGEST) for name in self.names]

    def __len__(self) -> int:
        return 100_000

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        """The crops at `indices`, [N,3,size,size]."""
        images = [self._crop(self._photos[int(k) % len(self.names)], int(k)) for k in indices]
        captions = [Photos.captions[self.names[int(k) % len(self.names)]] for k in indices]
        return Batch(torch.stack(images), captions, {})

    def _crop(self, photo: Tensor, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(2 * index + (self.split == "test"))

        def whole_number(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=generator))

        side = whole_number(self.size, min(photo.shape[1:]))
        top, left = (whole_number(0, length - side) for length in photo.shape[1:])
        crop = photo[:, top : top + side, left : left + side]
        crop = F.interpolate(crop[None], (self.size, self.size), mode="bilinear", antialias=True)[0]
        if whole_number(0, 1):
            crop = crop.flip(2)
        # Another light: each channel becomes a mixture of all three, brighter or darker
        mixture = torch.eye(3) + 0.2 * torch.randn(3, 3, generator=generator)
        brighter = 0.1 * torch.randn(3, 1, generator=generator)
        return (mixture @ (crop.flatten(1) - 0.5) + 0.5 + brighter).view_as(crop).clamp(0, 1)
