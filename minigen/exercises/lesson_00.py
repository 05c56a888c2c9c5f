"""Lesson 00: a picture is a tensor."""

import torch

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2"]


# 1. From the pixels of a file to the tensor that a network takes


def to_tensor(pixels):
    return pixels.permute(2, 0, 1).float() / 255  # [H,W,3] -> [3,H,W]


def _to_tensor_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a picture 4 pixels high and 6 wide": (torch.randint(256, (4, 6, 3), dtype=torch.uint8, generator=generator),),
        "a square picture": (torch.randint(256, (5, 5, 3), dtype=torch.uint8, generator=generator),),
        "a white pixel": (torch.full((1, 1, 3), 255, dtype=torch.uint8),),
    }


@mistake(
    "The numbers are right, but the channels still come last: networks take [3,H,W], so move that axis to the front."
)
def channels_last(pixels):
    return pixels.float() / 255


@mistake(
    "The shape is right and the picture is scrambled: `reshape` only cuts the same row of numbers anew, "
    "while `permute` moves an axis together with what lies on it."
)
def reshaped(pixels):
    height, width, channels = pixels.shape
    return pixels.reshape(channels, height, width).float() / 255


@mistake("The channels are in front, but rows and columns have changed places: the picture lies on its side.")
def on_its_side(pixels):
    return pixels.permute(2, 1, 0).float() / 255


@mistake("Every number is 0 or 1: `//` throws the fraction away; turn the pixels into floats and divide by `/`.")
def whole_numbers(pixels):
    return (pixels.permute(2, 0, 1) // 255).float()


@mistake("Almost: a byte ends at 255 and not at 256, so white would be 0.996 and not 1.")
def by_256(pixels):
    return pixels.permute(2, 0, 1).float() / 256


@mistake("This is the range [-1,1] that some models take inside; here 0 is black and 1 is white.")
def signed(pixels):
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


@mistake(
    "The values still go up to 255, and a picture in this course goes from 0 to 1: divide.",
    looks_like=lambda given, expected: given.max() > 2,
)
def not_divided(pixels):
    return pixels.permute(2, 0, 1).float()


q1 = Exercise(
    question="Write `to_tensor(pixels)`: from bytes [H,W,3] between 0 and 255 to float32 [3,H,W] between 0 and 1.",
    reference=to_tensor,
    cases=_to_tensor_cases,
    mistakes=[channels_last, reshaped, on_its_side, whole_numbers, by_256, signed, not_divided],
    hints=[
        "Two things change: where the channels stand, and how large the numbers are.",
        "`pixels.permute(...)` takes the old axes in their new order; axis 2 comes first.",
        "`.float()` turns bytes into float32; after that, `/ 255` makes white 1.",
    ],
    praise="Any picture you find can now go into any network of this course.",
    explanation=(
        "A file stores red, green and blue of a pixel side by side, a network one whole plane for each "
        "colour. `permute` carries every pixel along; the shape alone would not show a mix-up, a look at "
        "the picture does."
    ),
)


# 2. Many pictures on one sheet


def tile(images, columns):
    n, channels, height, width = images.shape
    grid = images.reshape(n // columns, columns, channels, height, width)  # [rows, columns, C, H, W]
    grid = grid.permute(2, 0, 3, 1, 4)  # [C, rows, H, columns, W]
    return grid.reshape(channels, n // columns * height, columns * width)


def _tile_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "6 pictures in 3 columns": (torch.rand(6, 3, 4, 5, generator=generator), 3),
        "4 pictures in 2 columns": (torch.rand(4, 3, 4, 4, generator=generator), 2),
        "3 pictures in 1 column": (torch.rand(3, 3, 2, 5, generator=generator), 1),
    }


@mistake(
    "The shape is right and the pictures are cut to shreds: a row of the sheet runs through several "
    "pictures, so the axes must change their order before the last `reshape`."
)
def only_reshaped(images, columns):
    n, channels, height, width = images.shape
    return images.reshape(channels, n // columns * height, columns * width)


@mistake("The pictures run down the columns; they should run along the rows, as one reads.")
def down_the_columns(images, columns):
    n, channels, height, width = images.shape
    grid = images.reshape(columns, n // columns, channels, height, width)
    return grid.permute(2, 1, 3, 0, 4).reshape(channels, n // columns * height, columns * width)


@mistake(
    "Close: rows of the sheet and rows of a picture are the wrong way round, so that the pictures are "
    "interlaced. The number of the picture changes slowly, the pixel inside it fast: [C, rows, H, "
    "columns, W]."
)
def interlaced(images, columns):
    n, channels, height, width = images.shape
    grid = images.reshape(n // columns, columns, channels, height, width)
    return grid.permute(2, 3, 0, 4, 1).reshape(channels, n // columns * height, columns * width)


@mistake("That is one strip: after `columns` pictures a new row begins.")
def one_strip(images, columns):
    return torch.cat(list(images), dim=2)


@mistake("Every picture lies on its side: within a picture, H must stay before W.")
def transposed(images, columns):
    return tile(images.transpose(2, 3), columns)


q2 = Exercise(
    question=(
        "Write `tile(images, columns)`: lay pictures [N,3,H,W] out on one sheet [3, rows*H, columns*W], in "
        "reading order. N is a multiple of `columns`."
    ),
    reference=tile,
    cases=_tile_cases,
    mistakes=[only_reshaped, down_the_columns, interlaced, one_strip, transposed],
    hints=[
        "Split the axis of the pictures in two with `reshape`: [rows, columns, 3, H, W].",
        "Then let `permute` bring together what becomes one axis: rows with H, columns with W.",
        "Before the last `reshape`: [3, rows, H, columns, W]. Two loops and `torch.cat` do as well.",
    ],
    praise="You can see a whole batch at a glance now, and you know what `reshape` does and what it does not.",
    explanation=(
        "`reshape` never moves a number, it only renames the places. So first the axes are put in the order "
        "in which the sheet is read, and only then two and two of them are merged."
    ),
)
