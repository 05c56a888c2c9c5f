"""`minigen new`: a folder with a small project of one's own, which trains minigen's parts on one's own pictures."""

import keyword
import os
from pathlib import Path

from minigen.cli.copies import write_folder

TEMPLATES = Path(__file__).parent / "project"
PLACEHOLDER = "PROJECT_NAME"  # stands in the templates for the name


def new(name: str) -> str:
    """Write the project `name` into the working directory; return lines that say so and what to do next.

    Raises ValueError where the name is none, FileExistsError where it is taken, OSError where nothing can be written;
    then nothing is left.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} cannot be the name of a project: use letters, digits and _, such as my_flowers")
    if os.path.lexists(name):  # also a link that leads nowhere
        raise FileExistsError(f"there is already something called {name} here: choose another name, or move it away")
    templates = [path for path in TEMPLATES.iterdir() if path.is_file()]  # and no folder of compiled code
    files = {path.name: path.read_text(encoding="utf-8").replace(PLACEHOLDER, name).encode() for path in templates}
    write_folder(Path(name), files | {"data/.gitkeep": b""})
    return f"wrote {name}: put pictures and captions into {name}/data, as {name}/README.md says"
