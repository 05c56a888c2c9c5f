"""Does the examiner see what is there? Its answers beside those of two viewers who looked at the pictures one by one.

`python -m minigen.recipes.verdicts datasets/verdicts`
"""

import argparse
import csv
import itertools
import json
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from minigen import pretrained, runtime
from minigen.data import EmojiScenes
from minigen.images import load_image
from minigen.metrics import collect_logits, correct_answers, share

SIDE = 64  # pixels of a picture on a sheet


def cut(sheet: Tensor) -> Tensor:
    """The pictures [N,3,64,64] of a sheet [3,H,W], row by row."""
    rows = sheet.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)  # [3,rows,columns,64,64]
    return rows.flatten(1, 2).transpose(0, 1).contiguous()


def agreement(folder: Path) -> dict[str, dict]:
    """For each sheet: in how many of its pictures examiner and viewers see just the objects of the caption.

    And how often two of them agree. `verdicts.csv` has a line for each picture: its sheet, its number there, split and
    row of the scene whose caption it was drawn from, that caption, and what the two viewers say (1 or 0).
    """
    device = runtime.pick_device()
    examiner = pretrained.load("examiner").to(device)
    with (folder / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        lines = defaultdict(list)
        for line in csv.DictReader(file):
            lines[line["sheet"]].append(line)
    found = {}
    for name, verdicts in lines.items():
        pictures = cut(load_image(folder / f"{name}.png"))[[int(line["number"]) for line in verdicts]]
        truth = [EmojiScenes(line["split"]).truth([int(line["row"])]) for line in verdicts]
        labels = {question: torch.cat([one[question] for one in truth]) for question in truth[0]}
        logits, _ = collect_logits(examiner, pictures, len(pictures), device=device)
        right = {"examiner": correct_answers(logits, labels, ["object", "other"])}
        right |= {viewer: torch.tensor([line[viewer] == "1" for line in verdicts]) for viewer in ("first", "second")}
        found[name] = {"pictures": len(verdicts)} | {f"right_by_{who}": int(sees.sum()) for who, sees in right.items()}
        for one, other in itertools.combinations(right, 2):
            found[name][f"{one}_agrees_with_{other}"] = share(right[one] == right[other]).value
    return found


def main(arguments: list[str] | None = None) -> None:
    """The command line: one JSON object on the last line."""
    parser = argparse.ArgumentParser(prog="python -m minigen.recipes.verdicts", description=__doc__)
    parser.add_argument("folder", type=Path, help="where verdicts.csv and its sheets are")
    print(json.dumps(agreement(parser.parse_args(arguments).folder)))


if __name__ == "__main__":
    main()
