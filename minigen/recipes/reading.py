"""Teaches a text encoder to read before a denoiser listens to it: what a word names, where that is, and how large.

An encoder that learns by drawing alone stays a bag of words for most of a short training: in "a cat to the left of a
fox" it finds a cat and a fox, and tosses a coin for their places. The large models do not wait for that either: theirs
have read before (Imagen: Saharia et al., 2022, arXiv:2205.11487). Here a small grammar gives the answers.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigen.data import parse_caption
from minigen.data.grammar import BACKGROUNDS, OBJECTS, SIZES, parts_of
from minigen.recipes.frame import muon_adamw
from minigen.text import TextEncoder, Tokenizer, split
from minigen.training import fit, make_step

QUESTIONS = {  # that words are asked, with the answers that there are
    "what": tuple(OBJECTS),
    "where": ("alone", "left", "right", "above", "below"),
    "size": tuple(SIZES),
    "ground": tuple(BACKGROUNDS),
}
UNASKED = -1
BATCH_SIZE = 64
_PLACES = {None: ("alone",), "left of": ("left", "right"), "above": ("above", "below")}


def answers_of(caption: str) -> Tensor:
    """What each token of a caption should answer to each question, [L,4] int64: of most words nothing is asked.

    The words for an object are asked what it is, where it stands and how large it is, those for a ground which it is.
    Raises ValueError for a caption that `parse_caption` cannot read.
    """
    scene = parse_caption(caption)
    truth = {
        thing.name: {"what": thing.name, "where": place, "size": thing.size}
        for thing, place in zip(scene.objects, _PLACES[scene.relation], strict=True)
    }
    rows = []
    for text, kind, value in parts_of(caption):
        known = truth[value] if kind == "object" else {"ground": value} if kind == "background" else {}
        row = [names.index(known[q]) if q in known else UNASKED for q, names in QUESTIONS.items()]
        rows += [row] * len(split(text))
    return torch.tensor(rows)


class Lesson(NamedTuple):
    """Captions as tokens, with what each token should answer."""

    ids: Tensor  # [N,L] int64; 0 is filling
    answers: Tensor  # [N,L,4] int64; UNASKED where nothing is asked


def lesson_of(tokenizer: Tokenizer, captions: Sequence[str]) -> Lesson:
    """Raises ValueError for a caption that cannot be read, or holds a word that the tokenizer does not know."""
    ids = tokenizer(captions).ids
    answers = nn.utils.rnn.pad_sequence([answers_of(c) for c in captions], batch_first=True, padding_value=UNASKED)
    return Lesson(ids, answers)


def make_reader(encoder: TextEncoder) -> nn.ModuleDict:
    """The encoder, and a linear map for each question: what is linear in its vectors, attention can look for."""
    width = encoder.config["width"]
    heads = nn.ModuleDict({question: nn.Linear(width, len(names)) for question, names in QUESTIONS.items()})
    return nn.ModuleDict({"encoder": encoder, "heads": heads})


def read(reader: nn.ModuleDict, ids: Tensor) -> dict[str, Tensor]:
    """ids [N,L] -> what the reader answers for each token, {question: logits [N,L,answers]}."""
    ids = ids.to(reader["encoder"].empty_token.device)
    tokens = reader["encoder"](ids, ids > 0).tokens  # [N,L,D]
    return {question: head(tokens) for question, head in reader["heads"].items()}


def loss_fn(reader: nn.ModuleDict, batch: Lesson) -> Tensor:
    """The cross-entropy of each question, averaged over the words that are asked it, summed over the questions."""
    logits, answers = read(reader, batch.ids), batch.answers.unbind(dim=2)
    return sum(
        F.cross_entropy(said.flatten(0, 1), right.flatten(), ignore_index=UNASKED)
        for said, right in zip(logits.values(), answers, strict=True)
    )


@torch.no_grad()
def share_right(reader: nn.ModuleDict, lesson: Lesson) -> dict[str, float]:
    """Of the words that are asked a question, the share that answer it rightly, {question: share}."""
    shares = {}
    for (question, said), right in zip(read(reader, lesson.ids).items(), lesson.answers.unbind(dim=2), strict=True):
        asked = right != UNASKED
        shares[question] = (said.argmax(dim=2).cpu() == right)[asked].float().mean().item()
    return shares


def teach(encoder: TextEncoder, captions: Sequence[str], *, num_steps: int = 200, seed: int = 0) -> nn.ModuleDict:
    """Teach the encoder to read these captions, then freeze all of it but the empty caption; returns its reader.

    Two hundred steps are some ten seconds on two cores.
    """
    device = encoder.empty_token.device
    reader = make_reader(encoder).to(device)
    lesson = Lesson(*(part.to(device) for part in lesson_of(encoder.tokenizer, captions)))
    optimizer, scheduler = muon_adamw(reader, num_steps)
    step = make_step(reader, loss_fn, optimizer, scheduler=scheduler, max_grad_norm=1.0)
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Lesson]:
        while True:
            rows = torch.randint(len(captions), (BATCH_SIZE,), generator=generator)
            yield Lesson(lesson.ids[rows], lesson.answers[rows])

    fit(step, batches(), num_steps=num_steps)
    encoder.requires_grad_(False)
    encoder.empty_token.requires_grad_(True)
    return reader.eval()
