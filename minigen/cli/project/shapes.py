"""Draw coloured shapes with their captions: pictures to try it all on, until you have your own. `python shapes.py`"""

import csv
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIZES = {"small": 10, "large": 22}  # the radius, of 64 pixels
COLOURS = ("red", "orange", "green", "blue", "purple")
CORNERS = {"triangle": 3, "square": 4, "hexagon": 6, "circle": 90}


def draw_shapes(folder: str | Path, count: int = 200, seed: int = 0) -> None:
    """Write `count` pictures and their metadata.csv; raises FileExistsError where the folder has one already."""
    folder, chance = Path(folder), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("x", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text"])
        for k in range(count):
            size, colour, shape = (chance.choice(list(words)) for words in (SIZES, COLOURS, CORNERS))
            x, y = (chance.uniform(SIZES[size], 64 - SIZES[size]) for _ in "xy")
            picture = Image.new("RGB", (256, 256), "white")  # drawn large and made smaller: smooth edges
            circle = (4 * x, 4 * y, 4 * SIZES[size])
            ImageDraw.Draw(picture).regular_polygon(circle, CORNERS[shape], fill=colour)
            picture.resize((64, 64), Image.Resampling.LANCZOS).save(folder / f"{k:03}.png")
            table.writerow([f"{k:03}.png", f"a {size} {colour} {shape}"])


if __name__ == "__main__":
    try:
        draw_shapes("data")
    except OSError as error:
        sys.exit(f"shapes.py: {error}")
