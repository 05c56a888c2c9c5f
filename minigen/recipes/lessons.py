"""Run the lessons: execute them in place as they are committed, repeat one over seeds, or measure what they cost.
Or put them online: write where at GitHub the repository is, for the links that open them in Colab and Binder.

python -m minigen.recipes.lessons run NOTEBOOK ...
python -m minigen.recipes.lessons repeat NOTEBOOK --seeds 0 1 2
python -m minigen.recipes.lessons cost NOTEBOOK ...
python -m minigen.recipes.lessons online OWNER/NAME
"""

import argparse
import base64
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from nbclient import NotebookClient
from nbformat import NotebookNode

from minigen import runtime

TIMEOUT = 1200  # seconds for one cell: those of a slow machine take longer than the 90 that are meant
ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg"}
MINUTES, LONGER, MINUTES_OF_ALL, MEMORY_GB = 6, {"06": 10}, 36, 4  # what a lesson may take on two cores
KEPT = {"tags", "nbgrader"}  # of a cell's metadata: the rest is what an editor or a run left there

OWNER_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9._-]+(?<!\.git)")
REPOSITORY = re.compile(r'^Repository = "https://github\.com/(.+)"$', re.MULTILINE)  # in pyproject.toml
BADGES = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]\
(https://colab.research.google.com/github/{address}/blob/main/notebooks/{name}) \
[![launch binder](https://mybinder.org/badge_logo.svg)]\
(https://mybinder.org/v2/gh/{address}/HEAD?labpath=notebooks/{name})
"""
COLAB = """\
import os
import subprocess
import sys

if "google.colab" in sys.modules:  # only on Colab
    url = "https://github.com/{address}"
    get = f"cd /content; [ -e minigen ] || git clone --depth 1 {{url}} minigen && pip install -q ./minigen"
    subprocess.check_call(get, shell=True)
    os.chdir("/content/minigen/notebooks")
"""


def run(path: Path) -> None:
    """Execute a lesson from top to bottom and save it with its outputs, ready to be committed.

    The figure of the cell tagged "cover" is also saved, as pictures/NAME.png or .jpg: the page begins with it.
    """
    notebook = nbformat.read(path, as_version=4)
    os.environ["MINIGEN_WIDGETS"] = "0"  # still pictures: a saved widget is an empty box without its kernel
    cost = execute(notebook, path.parent)
    clean(notebook)
    nbformat.write(notebook, path)
    for cell in notebook.cells:
        if "cover" in cell.metadata.get("tags", []):
            shown = ((o.data, kind) for o in cell.outputs for kind in ENDINGS if kind in o.get("data", {}))
            data, kind = next(shown)
            cover = path.parent / "pictures" / f"{path.stem}{ENDINGS[kind]}"
            cover.parent.mkdir(exist_ok=True)
            cover.write_bytes(base64.b64decode(data[kind]))
    print(f"{path.name}: {cost.seconds:.0f} s, {path.stat().st_size / 1000:.0f} KB", flush=True)


def repeat(path: Path, seeds: list[int]) -> None:
    """Run a lesson up to its cell tagged "results" once a seed, and save what it measured to results/NAME.json.

    The lesson sets `SEED = ...` in one line and puts what it measured, as numbers, into a dict `results`.
    """
    measured = []
    for seed in seeds:
        notebook = nbformat.read(path, as_version=4)
        end = next(k for k, cell in enumerate(notebook.cells) if "results" in cell.metadata.get("tags", []))
        notebook.cells = notebook.cells[: end + 1]
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source = re.sub(r"^SEED = \d+", f"SEED = {seed}", cell.source, flags=re.MULTILINE)
        notebook.cells.append(nbformat.v4.new_code_cell("import json; print(json.dumps(results))"))
        cost = execute(notebook, path.parent)
        measured.append(json.loads(notebook.cells[-1].outputs[0].text))
        print(f"seed {seed}: {cost.seconds:.0f} s, {measured[-1]}", flush=True)
    results = {name: [run[name] for run in measured] for name in measured[0]}
    file = path.parent / "results" / f"{path.stem}.json"
    file.parent.mkdir(exist_ok=True)
    command = f"python -m minigen.recipes.lessons repeat notebooks/{path.name} --seeds {' '.join(map(str, seeds))}"
    file.write_text(json.dumps({"command": command, "seeds": seeds, **results}, indent=2) + "\n", encoding="utf-8")


def cost(paths: list[Path]) -> bool:
    """Execute lessons without saving them, print what each takes as a table, and return whether that is within budget.

    The budget is meant for two cores that have nothing else to do.
    """
    machine = runtime.report()
    print(f"{machine['device_name']}, {machine['threads']} threads, {machine['precision']}, torch {machine['torch']}\n")
    print("| lesson | minutes | at most | memory, GB | at most |\n|---|---:|---:|---:|---:|", flush=True)
    total, within = 0.0, True
    for path in paths:
        seconds, memory = execute(nbformat.read(path, as_version=4), path.parent)
        most = LONGER.get(path.stem[:2], MINUTES)
        print(f"| {path.stem} | {seconds / 60:.1f} | {most} | {memory / 1e9:.1f} | {MEMORY_GB} |", flush=True)
        within = within and seconds <= 60 * most and memory <= MEMORY_GB * 1e9
        total += seconds
    if len(paths) > 1:
        print(f"| all | {total / 60:.1f} | {MINUTES_OF_ALL} | | |")
    return within and total <= 60 * MINUTES_OF_ALL


class Cost(NamedTuple):
    """What a lesson took."""

    seconds: float
    memory: int  # bytes, at the most, of the kernel and what it started


def execute(notebook: NotebookNode, folder: Path) -> Cost:
    """Run all cells in `folder`, as Jupyter does; an error in a cell is raised."""
    begun, ended, memory = time.perf_counter(), threading.Event(), [0]

    def watch():
        while not ended.wait(0.2):
            memory.append(sum(map(_memory_of, psutil.Process().children(recursive=True))))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        # Without widget state: GitHub refuses to show a page that holds it
        NotebookClient(
            notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(folder)}}, store_widget_state=False
        ).execute()
    finally:
        ended.set()
        watcher.join()
    return Cost(time.perf_counter() - begun, max(memory))


def _memory_of(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0


def clean(notebook: NotebookNode) -> None:
    """Take out what changes with every run or machine and is not shown on the page."""
    notebook.metadata.language_info = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata = NotebookNode({key: value for key, value in cell.metadata.items() if key in KEPT})


def online(address: str, clone: Path) -> None:
    """Write the repository's address at GitHub, OWNER/NAME, into pyproject.toml, README.md and all lessons of a clone.

    A lesson has it in the badges below its title and in the cell that installs the course in Colab. Outputs stay.
    Raises ValueError or OSError, with nothing written, for what is no such address or no clone.
    """
    if not OWNER_NAME.fullmatch(address):
        raise ValueError(f"{address!r} is no address at GitHub: expected OWNER/NAME, such as ada/minigen")
    pages = [clone / "pyproject.toml", clone / "README.md"]
    if not all(path.is_file() for path in pages):
        raise FileNotFoundError("the lessons are not below this folder: go to the top folder of your clone of minigen")
    texts = {path: path.read_text(encoding="utf-8") for path in pages}
    found = REPOSITORY.search(texts[pages[0]])
    if found is None:
        raise ValueError(f'{pages[0]} has no line Repository = "https://github.com/OWNER/NAME": go to your clone')
    present = re.compile(rf"(github\.com/|/github/|/gh/){re.escape(found[1])}(?![\w-]|\.\w)")
    texts = {path: present.sub(rf"\g<1>{address}", text) for path, text in texts.items()}
    for path in sorted((clone / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        put_online(notebook, address, path.name)
        texts[path] = nbformat.writes(notebook) + "\n"
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    print(f"https://github.com/{address} now stands in {len(texts)} files: commit them")


def put_online(notebook: NotebookNode, address: str, name: str) -> None:
    """Give the lesson `name` its badges, and the cell for Colab, which opens a notebook without its repository.

    Colab has PyTorch, and pip leaves it as it is. Whatever runs the lessons elsewhere skips the cell.
    """
    first, *others = notebook.cells
    title, _, text = first.source.partition("\n\n")
    text = re.sub(r"\A\[!\[.+\n+", "", text)
    first.source = f"{title}\n\n{BADGES.format(address=address, name=name)}\n{text}"
    colab = nbformat.v4.new_code_cell(COLAB.format(address=address).rstrip(), id="colab")
    colab.metadata.tags = ["nbval-skip", "skip-execution"]
    notebook.cells = [first, colab, *(cell for cell in others if cell.id != colab.id)]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m minigen.recipes.lessons", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="execute lessons in place")
    running.add_argument("notebooks", nargs="+", type=Path)
    repeating = commands.add_parser("repeat", help="measure the spread over seeds")
    repeating.add_argument("notebook", type=Path)
    repeating.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    costing = commands.add_parser("cost", help="measure time and memory, on cores with nothing else to do")
    costing.add_argument("notebooks", nargs="+", type=Path)
    going_online = commands.add_parser("online", help="write the repository's address, in the top folder of a clone")
    going_online.add_argument("address", metavar="OWNER/NAME", help="where at GitHub the repository is")
    options = parser.parse_args(arguments)
    if options.command in ("run", "repeat") and runtime.is_slow(runtime.pick_device()):
        # Its outputs and results would not be those of the lesson that is told
        parser.exit(2, f"{parser.prog}: on this slow processor a lesson trains less than it says: use another\n")
    if options.command == "run":
        for path in options.notebooks:
            run(path)
    elif options.command == "cost":
        if not cost(options.notebooks):
            parser.exit(1, "that is more than a lesson may take\n")
    elif options.command == "online":
        try:
            online(options.address, Path())
        except (ValueError, OSError) as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
    else:
        repeat(options.notebook, options.seeds)


if __name__ == "__main__":
    main()
