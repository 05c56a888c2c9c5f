"""The judge: lesson 01's network, which grades and steers the generators of the later lessons.

Trained on scenes and on portraits, sharp and at half the resolution. `python -m minigen.recipes.judge`
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigen import runtime
from minigen.classifier import Classifier, classification_loss
from minigen.data import Batch, EmojiPortraits, EmojiScenes, batches
from minigen.images import to_signed
from minigen.metrics import collect_logits, correct_answers
from minigen.recipes.frame import Options, Recipe, Training, main, my_share, one_cycle
from minigen.training import make_step

SIZE = 64
LEFT_OUT = -100  # a label that the loss passes over


def scenes_and_portraits(options: Options, start: int) -> Iterator[Batch]:
    """Endless batches: half of them scenes, the other half portraits, of which again half were made at 32x32."""
    each = my_share(options, start)
    half, quarter = options.batch_size // 2, options.batch_size // 4
    streams = (
        batches(EmojiScenes("train", size=SIZE), half, **each),
        batches(EmojiPortraits("train", size=SIZE), quarter, **each),
        batches(EmojiPortraits("train", size=SIZE // 2), quarter, **each),
    )
    for parts in zip(*streams, strict=True):
        yield join([with_all_questions(part) for part in parts])


def with_all_questions(batch: Batch) -> Batch:
    """A batch at the judge's size, with labels for all questions of scenes."""
    images = F.interpolate(batch.images, (SIZE, SIZE), mode="bilinear")
    labels = batch.labels
    if "relation" not in labels:  # a portrait: one object, whose size is not that of scenes
        objects = labels["object"]
        nothing = {question: len(answers) - 1 for question, answers in EmojiScenes.questions.items()}
        fixed = {"other": nothing["other"], "other_size": nothing["other_size"], "relation": 0, "size": LEFT_OUT}
        labels = {q: torch.full_like(objects, value) for q, value in fixed.items()}
        labels |= {"object": objects, "background": batch.labels["background"]}
    return Batch(images, batch.captions, labels)


def join(parts: list[Batch]) -> Batch:
    """Several batches as one."""
    labels = {question: torch.cat([part.labels[question] for part in parts]) for question in parts[0].labels}
    captions = [caption for part in parts for caption in part.captions]
    return Batch(torch.cat([part.images for part in parts]), captions, labels)


def loss_fn(model: nn.Module, batch: Batch) -> Tensor:
    """The loss of lesson 01."""
    return classification_loss(model(to_signed(batch.images)), batch.labels)


def set_up(options: Options) -> Training:
    """The network and schedule of lesson 01, for longer."""
    answers = {question: len(names) for question, names in EmojiScenes.questions.items()}
    model = Classifier(answers=answers, size=SIZE).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    scheduler = one_cycle(optimizer, 3e-3, options.num_steps, warm_up=0.15 * options.num_steps)
    return Training(
        step=make_step(model, loss_fn, optimizer, scheduler=scheduler),
        batches=lambda start: scenes_and_portraits(options, start),
        stateful={"model": model, "optimizer": optimizer, "scheduler": scheduler},
        result=lambda: model,
    )


def measure(model: nn.Module, count: int = 4000) -> dict[str, float]:
    """The share of held-out pictures about which everything is right; `accuracy` is that of scenes."""
    device = runtime.pick_device()
    scenes, portraits = EmojiScenes("test", size=SIZE), EmojiPortraits("test", size=SIZE // 2)
    logits, labels = collect_logits(model, scenes, count, device=device)
    small, small_labels = collect_logits(model, portraits, count, device=device)
    unseen, unseen_labels = collect_logits(model, EmojiScenes("held_out", size=SIZE), count, device=device)
    return {
        "accuracy": correct_answers(logits, labels).float().mean().item(),
        "accuracy_of_objects": correct_answers(logits, labels, ["object", "other"]).float().mean().item(),
        "accuracy_held_out": correct_answers(unseen, unseen_labels).float().mean().item(),
        "accuracy_portraits": correct_answers(small, small_labels, ["object", "background"]).float().mean().item(),
        "count": count,
    }


RECIPE = Recipe(
    name="judge",
    about="Names objects, relation, sizes and background; its features measure distances between sets of pictures.",
    data="EmojiScenes and EmojiPortraits, split train",
    options=Options(num_steps=1200, batch_size=128, seed=0),
    set_up=set_up,
    measure=measure,
    parts=4,
)

if __name__ == "__main__":
    main(RECIPE)
