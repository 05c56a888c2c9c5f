"""What the commands share that copy: the lessons are read, and a folder is written whole or not at all."""

import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from minigen.cli.lab import find_notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

BADGES = re.compile(r"^(\[!\[[^\]]*\]\(https://[^)]*\)\]\([^)]*\) ?)+\n\n", re.MULTILINE)


def read_lessons() -> tuple[Path, dict[str, "NotebookNode"]]:
    """The folder of the lessons, and the lessons by their names without the ending.

    They come without the badges below their titles, which open the lesson itself and not a copy of it.
    Raises FileNotFoundError where there is none, ValueError where one is no notebook.
    """
    import nbformat

    folder = find_notebooks()
    if folder is None:
        raise FileNotFoundError(
            "the folder notebooks/ with the lessons is neither beside the package nor here: go to your clone of minigen"
        )
    lessons = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        try:
            lessons[path.stem] = nbformat.read(path, as_version=4)
            nbformat.validate(lessons[path.stem])
            for cell in lessons[path.stem].cells[:1]:
                cell.source = BADGES.sub("", cell.source)
        except Exception as error:  # whatever is wrong with a file, nbformat raises many kinds
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ValueError(
                f"{path} cannot be read as a notebook ({reason}): take it from the repository anew"
            ) from error
    return folder, lessons


def check_free(out: Path) -> None:
    """Raise FileExistsError or FileNotFoundError where `out` holds something, is a file, or has no place to be."""
    if out.is_dir():
        if held := sorted(path.name for path in out.iterdir()):
            more = f" and {len(held) - 1} more" if len(held) > 1 else ""
            raise FileExistsError(f"the folder {out} holds {held[0]}{more}: name one that is empty or not there yet")
    elif out.exists():
        raise FileExistsError(f"{out} is a file: name a folder that is empty or not there yet")
    elif not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to make {out.name} in: make it first")


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files, by their paths below it, into the folder `out`, which is new or empty: all of them or none.

    Raises OSError where that cannot be.
    """
    try:
        # In an empty folder that is there already, which may be a disk of its own, else beside it
        unfinished = (out if out.is_dir() else out.parent) / f".{uuid.uuid4().hex}.part"
        try:
            unfinished.mkdir()  # whether a folder can be written to is known for certain only afterwards
            for name, content in files.items():
                path = unfinished / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            if out.is_dir():
                for path in unfinished.iterdir():
                    path.replace(out / path.name)
            else:
                unfinished.rename(out)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise OSError(f"{out} cannot be written ({error.strerror or error}): name another folder") from error
