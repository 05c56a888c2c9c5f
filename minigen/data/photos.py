"""Freely licensed photographs, read from scikit-image's own wheel: nothing is downloaded, nothing is copied.

Who took each and under which licence stands in `datasets/photos/README.md`.
"""

from importlib import resources

from torch import Tensor

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
