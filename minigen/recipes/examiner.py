"""The examiner: grades what generators draw and takes no part in training them. `python -m minigen.recipes.examiner`

Another architecture than the judge's, another seed, and an answer more: "none of these". An ordinary classifier names
nine in ten pictures that no person would recognise, so this one is shown such pictures and learns to refuse them.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.transforms.functional import gaussian_blur

from minigen import runtime
from minigen.classifier import TransformerClassifier, classification_loss
from minigen.data import Batch, EmojiPortraits, EmojiScenes
from minigen.images import to_signed
from minigen.metrics import correct_answers
from minigen.recipes.frame import Options, Recipe, Training, main, one_cycle
from minigen.recipes.judge import LEFT_OUT, SIZE, join, scenes_and_portraits, with_all_questions
from minigen.training import EMA, make_step

NONE_OF_THESE = len(EmojiScenes.questions["object"])  # the answer after the last object


# --- pictures that nobody should recognise: [N,3,64,64] in [0,1], drawn from torch's global generator ------------


def tear(images: Tensor) -> Tensor:
    """Cut each picture into strips, across or along, and shift every other one by an eighth to a third of the width."""
    torn = []
    for image in images:
        along = torch.rand(()) < 0.5
        image = image.mT.clone() if along else image.clone()
        height = int(torch.randint(6, 13, ()))
        for top in range(0, SIZE, 2 * height):
            shift = int(torch.randint(SIZE // 8, SIZE // 3, ())) * (1 if torch.rand(()) < 0.5 else -1)
            image[:, top : top + height] = image[:, top : top + height].roll(shift, dims=2)
        torn.append(image.mT if along else image)
    return torch.stack(torn)


def shuffle_patches(images: Tensor) -> Tensor:
    """Cut each picture into squares of 8 or 16 pixels and lay them out in another order."""
    shuffled = []
    for image in images:
        side = 8 if torch.rand(()) < 0.5 else 16
        patches = F.unfold(image[None], side, stride=side)  # [1, 3 side side, L]
        shuffled.append(F.fold(patches[..., torch.randperm(patches.shape[-1])], (SIZE, SIZE), side, stride=side)[0])
    return torch.stack(shuffled)


def blend(images: Tensor) -> Tensor:
    """Lay each picture over the next one, half transparent."""
    share = 0.35 + 0.3 * torch.rand(len(images), 1, 1, 1, device=images.device)
    return share * images + (1 - share) * images.roll(1, dims=0)


def blur(images: Tensor) -> Tensor:
    """Smooth each picture until its drawing is gone: by 3 to 6 pixels."""
    return torch.stack([gaussian_blur(image, 25, 3 + 3 * torch.rand(()).item()) for image in images])


BREAKS: dict[str, Callable[[Tensor], Tensor]] = {
    "torn": tear,
    "shuffled": shuffle_patches,
    "blended": blend,
    "blurred": blur,
}


# --- training ---------------------------------------------------------------------------------------------------


def batches_with_broken_ones(options: Options, start: int) -> Iterator[Batch]:
    """The judge's batches, a quarter of them broken, and the rest a little softened, as good generators soften."""
    for batch in scenes_and_portraits(options, start):
        order = torch.randperm(len(batch.images), device=batch.images.device)
        broken, whole = order.split([len(order) // 4, len(order) - len(order) // 4])
        images, labels = batch.images.clone(), {q: answers.clone() for q, answers in batch.labels.items()}
        for kind, chosen in zip(BREAKS.values(), broken.chunk(len(BREAKS)), strict=True):
            images[chosen] = kind(images[chosen])
        soft = whole[: len(whole) // 2]
        images[soft] = gaussian_blur(images[soft], 7, 0.2 + torch.rand(()).item())
        images += 0.03 * torch.rand(()) * torch.randn_like(images)
        for question, answers in labels.items():
            answers[broken] = NONE_OF_THESE if question == "object" else LEFT_OUT
        yield Batch(images.clamp(0, 1), batch.captions, labels)


def loss_fn(model: nn.Module, batch: Batch) -> Tensor:
    """The loss of lesson 01; labels that are left out do not count."""
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention takes four times as long to differentiate on a CPU
        return classification_loss(model(to_signed(batch.images)), batch.labels)


def set_up(options: Options) -> Training:
    """A transformer from a seed of its own."""
    answers = {question: len(names) for question, names in EmojiScenes.questions.items()}
    answers["object"] += 1
    model = TransformerClassifier(answers=answers, size=SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    scheduler = one_cycle(optimizer, 1e-3, options.num_steps, warm_up=0.1 * options.num_steps)
    ema = EMA(model, decay=0.998)
    return Training(
        step=make_step(model, loss_fn, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=1.0),
        batches=lambda start: batches_with_broken_ones(options, start),
        stateful={"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema},
        result=lambda: ema.model,
    )


@torch.no_grad()
def measure(model: nn.Module, count: int = 2000) -> dict[str, float]:
    """What it gets right of whole pictures, refusals being wrong; and the share of broken ones that it refuses."""
    device = runtime.pick_device()
    sets = {"scenes": EmojiScenes("test", size=SIZE), "portraits": EmojiPortraits("test", size=SIZE // 2)}
    parts = {name: with_all_questions(dataset.take(range(count))) for name, dataset in sets.items()}

    def answers_to(images: Tensor) -> dict[str, Tensor]:
        found = [model(to_signed(part.to(device))) for part in images.split(250)]
        return {question: torch.cat([logits[question].cpu() for logits in found]) for question in found[0]}

    logits = {name: answers_to(part.images) for name, part in parts.items()}
    everything = join(list(parts.values()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        broken = {name: kind(everything.images[::4]) for name, kind in BREAKS.items()}
    refused = {
        name: (answers_to(images)["object"].argmax(dim=1) == NONE_OF_THESE).float().mean().item()
        for name, images in broken.items()
    }
    right = {name: correct_answers(logits[name], part.labels, _ASKED[name]) for name, part in parts.items()}
    return {
        "accuracy": right["scenes"].float().mean().item(),
        "accuracy_portraits": right["portraits"].float().mean().item(),
        "rejects": sum(refused.values()) / len(refused),
        **{f"rejects_{name}": value for name, value in refused.items()},
        "count": count,
    }


_ASKED = {"scenes": list(EmojiScenes.questions), "portraits": ["object", "background"]}

RECIPE = Recipe(
    name="examiner",
    about="Grades generated pictures; says none of these to what nobody would recognise. Took no part in any training.",
    data="EmojiScenes and EmojiPortraits, split train, a quarter of them torn, patch-shuffled, blended or blurred",
    options=Options(num_steps=2000, batch_size=128, seed=100),
    set_up=set_up,
    measure=measure,
    parts=16,  # a quarter broken, in four ways
)

if __name__ == "__main__":
    main(RECIPE)
