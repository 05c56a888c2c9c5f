"""A folder of your own pictures with their captions, laid out as the Hugging Face datasets library expects.

It holds pictures and `metadata.csv` or `metadata.jsonl`, whose `file_name` and `text` say what is on each.
`datasets/your_own/README.md` shows how to make one.
"""

import csv
import io
import json
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch
from torch import Tensor

from minigen.data.base import Batch, PictureDataset
from minigen.images import load_image

METADATA = ("metadata.csv", "metadata.jsonl")
ENDINGS = {".jpg", ".jpeg", ".jfif", ".jp2", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm"} | {
    *(".avif", ".heic", ".heif")  # the last two cannot be read, and `load_image` says what to do
}
CACHE_BYTES = 512 * 2**20  # decoded pictures are kept up to here: 43,690 of 64x64


class CaptionedFolder(PictureDataset):
    """The pictures of a folder with the captions in its metadata file, each row one example.

    Names are checked at once, pictures when they are taken; `verify` reads them all. A row with an empty
    caption is kept: its picture trains the model as the empty caption does. A picture may have several rows,
    with a caption each. Pictures without a row are left out and listed in `without_caption`. A warning tells
    of both. Raises FileNotFoundError where the folder, its metadata or a row's picture is missing, ValueError
    where the metadata cannot be read or a row points out of the folder.
    """

    credit = "pictures from a folder of your own"

    def __init__(self, path: str | Path, size: int = 64):
        if size < 1:
            raise ValueError(f"size is {size}, but a picture is at least 1 pixel wide")
        self.path, self.size = Path(path), size
        self._cache: dict[str, Tensor] = {}  # file name -> [3,size,size] uint8
        metadata = _find_metadata(self.path)
        files = _list_files(self.path)
        root = self.path.resolve()
        lines: dict[tuple[str, str], int] = {}  # file name and caption -> where they stand
        missing = []
        for line, name, caption in _read_rows(metadata):
            where = f"line {line} of {metadata}"
            name = _inside_name(name, where)
            if name not in files:
                missing.append((line, name))
                continue
            name = files[name]
            if not (self.path / name).resolve().is_relative_to(root):
                raise ValueError(f"{where} names {name}, a link that leaves the folder: copy the picture into it")
            if (name, caption) in lines:
                raise ValueError(f"{where} repeats line {lines[name, caption]} for {name}: delete one of the two")
            lines[name, caption] = line
        if missing:
            raise FileNotFoundError(
                f"{metadata} names pictures that are not beside it ({_listed(_hinted(missing, files))}): "
                "mend the names, add the pictures or delete the rows"
            )
        if not lines:
            raise ValueError(f"{metadata} holds no captions: write a row with file_name and text for each picture")
        self.names = [name for name, _ in lines]  # of each example, relative to the folder
        self.captions = [caption for _, caption in lines]
        named = set(self.names)
        self.without_caption = [name for name in files.values() if name not in named and _is_picture(name)]
        if self.without_caption:
            names = _listed(self.without_caption)
            warnings.warn(f"pictures without a row in {metadata} are left out: {names}", stacklevel=2)
        if "" in self.captions:
            names = _listed([name for name, caption in lines if not caption])
            warnings.warn(
                f"pictures with an empty text in {metadata} will train as the empty caption does: {names}",
                stacklevel=2,
            )

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        """The examples at `indices`; raises ValueError, naming the file, where a picture cannot be read."""
        chosen = [range(len(self))[index] for index in torch.as_tensor(indices).tolist()]
        images = torch.empty(len(chosen), 3, self.size, self.size)
        for k, index in enumerate(chosen):
            torch.div(self._pixels(self.names[index]), 255, out=images[k])
        return Batch(images, [self.captions[index] for index in chosen], {})

    def _pixels(self, name: str) -> Tensor:
        if name in self._cache:
            return self._cache[name]
        pixels = load_image(self.path / name, self.size).mul(255).round().byte()  # [3,size,size]
        if (len(self._cache) + 1) * pixels.numel() <= CACHE_BYTES:
            self._cache[name] = pixels
        return pixels

    def verify(self) -> list[str]:
        """Read every picture anew; returns a sentence for each that cannot be read, [] where all is well."""
        problems = []
        for name in dict.fromkeys(self.names):
            try:
                load_image(self.path / name, self.size)
            except (ValueError, OSError) as error:
                problems.append(str(error))
        return problems


def _find_metadata(folder: Path) -> Path:
    if folder.is_file():
        raise ValueError(f"{folder} is a file: give the folder that holds the pictures and {METADATA[0]}")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give the one with the pictures and {METADATA[0]}")
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) == 2:
        raise ValueError(f"{folder} holds both {METADATA[0]} and {METADATA[1]}: keep one of them")
    if not found:
        below = sorted(path.parent for name in METADATA for path in folder.glob(f"*/{name}"))
        cure = f"give one of its folders, such as {below[0]}" if below else "write one, with file_name and text"
        raise FileNotFoundError(f"{folder} holds no {METADATA[0]} or {METADATA[1]}: {cure}")
    return found[0]


def _list_files(folder: Path) -> dict[str, str]:
    """All files below the folder: relative name, in composed letters -> the same as the disk spells it."""
    files = {}
    for place, folders, names in os.walk(folder):  # which does not follow links to other folders
        folders.sort()
        for name in sorted(names):
            relative = (Path(place) / name).relative_to(folder).as_posix()
            files[unicodedata.normalize("NFC", relative)] = relative  # macOS writes é as two letters
    return files


def _read_rows(metadata: Path) -> Iterator[tuple[int, str, str]]:
    """Line, file name and caption of each row; raises ValueError, naming the line, on the first bad one."""
    data = metadata.read_bytes()
    try:
        text = data.decode("utf-8-sig")  # with or without the mark that Excel puts in front
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} of {metadata} is not in UTF-8: save it as UTF-8 (in Excel, as type 'CSV UTF-8')"
        ) from error
    read = _read_csv if metadata.suffix == ".csv" else _read_jsonl
    for line, row in read(text, metadata):
        where = f"line {line} of {metadata}"
        for column in ("file_name", "text"):
            if column not in row:
                raise ValueError(f"{where} has no {column}, only {', '.join(map(str, row)) or 'nothing'}: add it")
        name, caption = row["file_name"], row["text"]
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{where} has the file_name {name!r}: write the name of a picture there")
        if not isinstance(caption, str | None):
            raise ValueError(f"{where} has the text {caption!r} for {name}: write a caption in quotes there")
        yield line, name.strip(), (caption or "").strip()


def _read_csv(text: str, metadata: Path) -> Iterator[tuple[int, dict]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)  # strict: a quote left open is an error
    columns, line = None, 1  # a quoted caption may hold line breaks: `line` is where its row begins
    try:
        for values in reader:
            where = f"line {line} of {metadata}"
            if not any(value.strip() for value in values):
                pass  # an empty line, or the row of commas that a spreadsheet leaves
            elif columns is None:
                columns = [value.strip() for value in values]
                if not {"file_name", "text"} <= set(columns):
                    raise ValueError(
                        f"{where} should name the columns file_name and text, separated by a comma, "
                        f"but reads {','.join(columns)!r}: mend it"
                    )
            elif len(values) != len(columns):
                raise ValueError(
                    f"{where} has {len(values)} values for {len(columns)} columns: put a caption that holds "
                    'a comma between double quotes, "so, like this"'
                )
            else:
                yield line, dict(zip(columns, values, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"the row at line {line} of {metadata} is broken ({error}): mend its quotes") from error


def _read_jsonl(text: str, metadata: Path) -> Iterator[tuple[int, dict]]:
    for line, content in enumerate(text.split("\n"), start=1):  # splitlines would also split inside a caption
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {line} of {metadata} is not JSON ({error}): mend it") from error
        if not isinstance(row, dict):
            raise ValueError(
                f'line {line} of {metadata} is {content.strip()[:40]!r}, expected {{"file_name": "...", "text": "..."}}'
            )
        yield line, row


def _inside_name(name: str, where: str) -> str:
    """The name with forward slashes and composed letters; raises ValueError where it leaves the folder."""
    path = PureWindowsPath(unicodedata.normalize("NFC", name))  # which knows both kinds of slash, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError(f"{where} names {name}, which leaves the folder: put the picture in the folder")
    return path.as_posix()


def _hinted(missing: list[tuple[int, str]], files: dict[str, str]) -> list[str]:
    """Each missing name with its line, and the file, if any, that differs in capitals or ending only."""

    def stem(name: str) -> str:
        return name.lower().rsplit(".", 1)[0]

    like = {stem(file): file for file in files if _is_picture(file)}
    return [
        f"{name} in line {line}" + (f", where there is {like[stem(name)]}" if stem(name) in like else "")
        for line, name in missing
    ]


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)  # macOS leaves pictures of its own in __MACOSX and in names that begin with a dot
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in ENDINGS and not hidden


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
