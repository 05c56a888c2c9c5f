"""`minigen lab`: JupyterLab on the course's notebooks, in the environment that holds the package."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import minigen

_ROOT_OPTIONS = ("--ServerApp.root_dir", "--notebook-dir")  # what JupyterLab calls the folder it opens


def find_notebooks() -> Path | None:
    """The folder of the lessons: beside the package, or in the working directory or above it; or None."""
    package = Path(minigen.__file__).resolve().parent
    here = Path.cwd()
    for folder in (package.parent, here, *here.parents):
        if any((folder / "notebooks").glob("00_*.ipynb")):
            return folder / "notebooks"
    return None


def open_lab(arguments: Sequence[str]) -> int:
    """Open JupyterLab on the lessons, passing `arguments` on to it, and return its exit status.

    Raises FileNotFoundError where JupyterLab or the lessons are not found.
    """
    notebooks = find_notebooks()
    if notebooks is None:
        raise FileNotFoundError(
            "the folder notebooks/ with the lessons is neither beside the package nor here: "
            'go to your clone of minigen and run pip install -e ".[lab]" && minigen lab'
        )
    if importlib.util.find_spec("jupyterlab") is None:
        raise FileNotFoundError(
            f'JupyterLab is not installed in {sys.prefix}: in {notebooks.parent} run pip install -e ".[lab]"'
        )
    # As a module of this Python, and not as `jupyter`: that may be another environment's
    command = [sys.executable, "-m", "jupyterlab", *arguments]
    if not any(argument.startswith(_ROOT_OPTIONS) for argument in arguments):  # it takes one root only
        command.append(f"--ServerApp.root_dir={notebooks}")
    os.chdir(notebooks)  # so that a notebook can be named as it is called
    if os.name == "posix":
        os.execv(command[0], command)  # signals and the exit status are JupyterLab's own
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # JupyterLab, which got it too, asks whether to stop
            continue
