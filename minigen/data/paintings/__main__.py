"""Paints all pictures anew: `python -m minigen.data.paintings --out datasets/paintings`."""

import argparse
from pathlib import Path

from minigen.data.paintings import SEEDS, paint


def main(arguments: list[str] | None = None) -> None:
    """Write each painting to a PNG file of its name."""
    parser = argparse.ArgumentParser(prog="python -m minigen.data.paintings", description="Paint all pictures anew.")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the PNG files")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    for name in SEEDS:
        file = folder / f"{name}.png"
        paint(name).save(file, optimize=True)
        print(f"{file}  {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
