"""What every data set yields, so that a lesson runs on any of them by changing one line."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Example(NamedTuple):
    """One picture with what is known of it."""

    image: Tensor  # [3,H,W] float32 in [0,1]
    caption: str
    labels: dict[str, int]  # question -> index of its answer in `dataset.questions[question]`


class Batch(NamedTuple):
    """N pictures with what is known of them."""

    images: Tensor  # [N,3,H,W] float32 in [0,1]
    captions: list[str]
    labels: dict[str, Tensor]  # question -> [N] int64

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        labels = {question: answers.to(device) for question, answers in self.labels.items()}
        return Batch(self.images.to(device), self.captions, labels)


class PictureDataset(Dataset, ABC):
    """A data set of pictures, captions and labels; a subclass gives `__len__` and `take`."""

    questions: dict[str, list[str]] = {}  # question -> the names of its answers
    credit: str = ""  # who made the pictures, under which licence

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        """The examples at `indices`; example k does not depend on what else is asked for."""

    def labels(self, question: str) -> Tensor:
        """The answer to one question about every example: [len] int64. Raises ValueError for an unknown question."""
        self._must_ask(question)
        parts = torch.arange(len(self)).split(1000)
        return torch.cat([self.take(part).labels[question] for part in parts])

    def _must_ask(self, question: str) -> None:
        if question not in self.questions:
            known = ", ".join(self.questions) or "none"
            raise ValueError(f"the data set does not answer {question!r}; its questions are: {known}")

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no example {index}: the data set holds {len(self)}")
        images, captions, labels = self.take([index % len(self)])
        return Example(images[0], captions[0], {question: int(answer[0]) for question, answer in labels.items()})

    def batch(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Batch:
        """`n` examples drawn with replacement; `generator` makes the draw repeatable."""
        if n < 1:
            raise ValueError(f"a batch of {n} examples was asked for; ask for at least 1")
        if len(self) == 0:
            raise ValueError("the data set is empty, so no batch can be drawn from it")
        batch = self.take(torch.randint(len(self), (n,), generator=generator))
        return batch if device is None else batch.to(device)

    def subset(self, indices: Sequence[int] | Tensor) -> "Subset":
        """The examples at `indices`, in that order, as a data set of their own."""
        return Subset(self, indices)


class Subset(PictureDataset):
    """Some examples of another data set."""

    def __init__(self, dataset: PictureDataset, indices: Sequence[int] | Tensor):
        indices = torch.as_tensor(indices)
        if len(indices) and (indices.is_floating_point() or indices.dtype == torch.bool):
            raise TypeError(
                f"the indices are {indices.dtype}, expected whole numbers: of a mask, mask.nonzero().flatten()"
            )
        if indices.ndim != 1 or not all(0 <= index < len(dataset) for index in indices.tolist()):
            raise IndexError(f"a subset takes a list of indices from 0 to {len(dataset) - 1}")
        self.dataset, self.indices = dataset, indices.to(torch.int64, copy=True)  # the caller may change the original
        self.questions, self.credit = dataset.questions, dataset.credit

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        return self.dataset.take(self.indices[torch.as_tensor(indices, dtype=torch.int64)])

    def labels(self, question: str) -> Tensor:
        return self.dataset.labels(question)[self.indices]


def batches(
    dataset: PictureDataset,
    batch_size: int,
    *,
    seed: int = 0,
    start: int = 0,  # the number of the first batch: where an interrupted run goes on
    device: torch.device | str | None = None,
    process: int = 0,  # this process's number, and how many share each batch
    num_processes: int = 1,
) -> Iterator[Batch]:
    """Endless random batches of `batch_size` examples; batch k depends on `seed` and k alone.

    Of several processes each gets its own slice of the same batch, so that together they train as one would.
    Raises ValueError at once where the data set is empty, the batch does not divide among the processes, or
    `process` is none of them.
    """

    def choose(generator: torch.Generator) -> Tensor:
        return torch.randint(len(dataset), (batch_size,), generator=generator)

    return _stream(dataset, choose, batch_size, 1, seed, start, device, process, num_processes)


def grouped_batches(
    dataset: PictureDataset,
    batch_size: int,
    question: str,
    *,
    group: int = 4,
    seed: int = 0,
    start: int = 0,
    device: torch.device | str | None = None,
    process: int = 0,
    num_processes: int = 1,
) -> Iterator[Batch]:
    """`batches` in which every `group` neighbours have the same answer to `question`; all answers are equally frequent.

    Raises ValueError also where groups do not fill the batch, or an answer that the question allows never occurs.
    """
    if group < 1 or batch_size % group:
        raise ValueError(f"groups of {group} do not fill a batch of {batch_size}")
    labels = dataset.labels(question)
    members = [(labels == answer).nonzero().flatten() for answer in range(len(dataset.questions[question]))]
    if missing := [name for name, own in zip(dataset.questions[question], members, strict=True) if not len(own)]:
        raise ValueError(f"no picture answers {question!r} with {', '.join(missing)}")

    def choose(generator: torch.Generator) -> Tensor:
        answers = torch.randint(len(members), (batch_size // group,), generator=generator).tolist()
        return torch.cat([members[a][torch.randint(len(members[a]), (group,), generator=generator)] for a in answers])

    return _stream(dataset, choose, batch_size, group, seed, start, device, process, num_processes)


def _stream(dataset, choose, batch_size, group, seed, start, device, process, num_processes) -> Iterator[Batch]:
    if batch_size < 1 or num_processes < 1 or batch_size % (num_processes * group):
        raise ValueError(f"a batch of {batch_size} examples does not divide among {num_processes} processes")
    if not 0 <= process < num_processes:
        raise ValueError(f"process is {process}, expected 0 to {num_processes - 1}: {num_processes} share the batch")
    if len(dataset) == 0:
        raise ValueError("the data set is empty, so no batch can be drawn from it")
    share = batch_size // num_processes
    mine = slice(process * share, (process + 1) * share)

    def draw(k: int) -> Batch:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        batch = dataset.take(choose(generator)[mine])
        return batch if device is None else batch.to(device)

    return map(draw, itertools.count(start))
