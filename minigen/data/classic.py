"""MNIST, Fashion-MNIST and CIFAR-10, read by torchvision from the folders it keeps them in.

Nothing is downloaded unless asked for. CIFAR-10's files are pickles, which could run code when they are read:
torchvision compares their MD5 sums with the originals' before it reads them. Nothing else here is unpickled.
"""

import gzip
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from minigen.data.base import Batch, PictureDataset

SPLITS = ("train", "val", "test")
NUM_VAL = 5_000  # of the training pictures, the last; they are in mixed order
SIDE = 32  # what MNIST's 28 x 28 are padded to, so that every net that halves a picture five times takes them


class _Set(NamedTuple):
    captions: dict[str, str]  # name of a class -> what is said of its pictures
    credit: str


_SETS = {  # by the names of torchvision's classes
    "MNIST": _Set(
        {str(digit): f"the digit {digit}" for digit in range(10)},
        "MNIST by Yann LeCun, Corinna Cortes and Christopher Burges, CC BY-SA 3.0",
    ),
    "FashionMNIST": _Set(
        {
            "t-shirt": "a photo of a t-shirt",
            "trousers": "a photo of trousers",
            "pullover": "a photo of a pullover",
            "dress": "a photo of a dress",
            "coat": "a photo of a coat",
            "sandal": "a photo of a sandal",
            "shirt": "a photo of a shirt",
            "sneaker": "a photo of a sneaker",
            "bag": "a photo of a bag",
            "ankle boot": "a photo of an ankle boot",
        },
        "Fashion-MNIST by Zalando SE, MIT License",
    ),
    "CIFAR10": _Set(
        {
            "airplane": "a photo of an airplane",
            "automobile": "a photo of an automobile",
            "bird": "a photo of a bird",
            "cat": "a photo of a cat",
            "deer": "a photo of a deer",
            "dog": "a photo of a dog",
            "frog": "a photo of a frog",
            "horse": "a photo of a horse",
            "ship": "a photo of a ship",
            "truck": "a photo of a truck",
        },
        "CIFAR-10 by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton, who state no licence",
    ),
}


class ClassicSet(PictureDataset):
    """MNIST, FashionMNIST or CIFAR10 from `root`, where torchvision keeps it: `root/MNIST/raw` and the like.

    Pictures are [3,size,size], 32 by default: grey ones in three equal channels, MNIST's and Fashion-MNIST's
    28 x 28 padded with black; `size=28` gives these as they are. "val" is the last 5,000 of the training files.
    Raises FileNotFoundError where files are missing or cannot be downloaded, ValueError where one is damaged.
    """

    def __init__(
        self,
        name: str,
        root: str | Path = "data",
        split: str = "train",
        size: int | None = None,
        download: bool = False,
    ):
        spelled = {known.lower(): known for known in _SETS}
        known = spelled.get(name.lower().replace("-", "").replace("_", ""))
        if known is None:
            raise ValueError(f"there is no classic set called {name!r}: choose one of {', '.join(_SETS)}")
        if split not in SPLITS:
            raise ValueError(f"there is no split called {split!r}: choose one of {', '.join(SPLITS)}")
        if size is not None and size < 1:
            raise ValueError(f"size is {size}, but a picture is at least 1 pixel wide")
        self.name, self.split, self.size = known, split, size or SIDE
        self.credit = _SETS[known].credit
        self.questions = {"object": list(_SETS[known].captions)}
        self._captions = list(_SETS[known].captions.values())

        read = _read_cifar10 if known == "CIFAR10" else _read_mnist
        images, answers = read(known, Path(root).expanduser(), split != "test", download)  # [N,1 or 3,H,W], [N]
        if split != "test":
            part = slice(-NUM_VAL, None) if split == "val" else slice(-NUM_VAL)
            images, answers = images[part].clone(), answers[part].clone()  # or the rest would stay in memory
        padding = (SIDE - images.shape[-1]) // 2
        if padding and self.size != images.shape[-1]:
            images = F.pad(images, [padding] * 4)
        self._images, self._answers = images, answers  # uint8, int64

    def __len__(self) -> int:
        return len(self._answers)

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        """The examples at `indices`, with the label "object": the class."""
        numbers = range(len(self))
        chosen = torch.tensor([numbers[k] for k in torch.as_tensor(indices).tolist()], dtype=torch.int64)
        images = self._images[chosen].float().div_(255)  # [N,1 or 3,H,W]
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True).clamp_(0, 1)
        answers = self._answers[chosen]
        captions = [self._captions[answer] for answer in answers.tolist()]
        return Batch(images.expand(-1, 3, -1, -1).contiguous(), captions, {"object": answers})


def _read_mnist(name: str, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor]:
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    folder, part = root / name / "raw", "train" if train else "t10k"
    files = [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]
    if download and _missing(folder, files):
        _download(getattr(datasets, name), root, folder, files)
    _must_be_there(name, folder, files)
    images = _read_idx(folder / files[0], read_image_file)
    answers = _read_idx(folder / files[1], read_label_file)
    if images.shape[1:] != (28, 28) or len(images) != len(answers):
        raise ValueError(
            f"{folder / files[0]} holds pictures {tuple(images.shape)} for {len(answers)} labels, expected 28 x 28 "
            "and one label each: delete the files and get them again"
        )
    return _checked(images.unsqueeze(1), answers, train, folder)


def _read_idx(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    """A tensor from a file of MNIST's format, which may be zipped still."""
    try:
        if path.is_file():
            return read(str(path))
        path = path.with_name(f"{path.name}.gz")
        with tempfile.TemporaryDirectory() as folder:  # unpacked elsewhere: the data may lie in a read-only place
            unpacked = Path(folder, path.stem)
            unpacked.write_bytes(gzip.decompress(path.read_bytes()))
            return read(str(unpacked))
    except Exception as error:  # torchvision reads without looking, so damage shows itself in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged ({reason}): delete it and get it again") from error


def _read_cifar10(name: str, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    folder = root / CIFAR10.base_folder
    sums = dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])
    if download and _missing(folder, list(sums)):
        _download(CIFAR10, root, folder, list(sums))
    _must_be_there(name, folder, list(sums))
    try:
        data = CIFAR10(root, train=train)  # which reads nothing before it has checked all sums
    except RuntimeError as error:
        wrong = [file for file, md5 in sums.items() if not check_integrity(folder / file, md5)]
        raise ValueError(
            f"{', '.join(wrong) or 'a file'} in {folder} is not the original, by its MD5 sum, and was not opened: "
            "delete it and get it again"
        ) from error
    images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()  # [N,3,32,32]
    return _checked(images, torch.tensor(data.targets), train, folder)


def _checked(images: Tensor, answers: Tensor, train: bool, folder: Path) -> tuple[Tensor, Tensor]:
    least = NUM_VAL + 1 if train else 1
    if len(images) < least:
        raise ValueError(f"{folder} holds {len(images)} pictures, expected at least {least:,}: get them again")
    if answers.max() > 9:
        raise ValueError(f"{folder} holds the label {answers.max()}, expected 0 to 9: get the files again")
    return images, answers


def _missing(folder: Path, files: list[str]) -> list[str]:
    return [file for file in files if not ((folder / file).is_file() or (folder / f"{file}.gz").is_file())]


def _must_be_there(name: str, folder: Path, files: list[str]) -> None:
    if missing := _missing(folder, files):
        raise FileNotFoundError(
            f"{name} is not in {folder}, which lacks {', '.join(missing)}: put the files there, or pass "
            "download=True where there is a network"
        )


def _download(kind: type, root: Path, folder: Path, files: list[str]) -> None:
    try:
        kind(root, download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{kind.__name__} could not be downloaded ({reason}): put {', '.join(files)} into {folder} yourself"
        ) from error
