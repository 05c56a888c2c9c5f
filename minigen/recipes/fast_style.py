"""Style transfer at once, by one network for six paintings. `python -m minigen.recipes.fast_style`

Johnson et al., 2016 (arXiv:1603.08155) with a scale and shift for each style (Dumoulin et al., 2017, arXiv:1610.07629).
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop

from minigen import pretrained, runtime
from minigen.data import EmojiScenes, PhotoCrops, batches, paintings, photos
from minigen.images import to_signed
from minigen.recipes.frame import Options, Recipe, Training, main, one_cycle
from minigen.style import (
    FeatureExtractor,
    StyleNetwork,
    content_loss,
    film,
    flicker,
    gram_matrix,
    grams_of,
    motion_between,
    pan_and_zoom,
    style_left,
    transfer_loss,
)
from minigen.training import EMA, make_accelerator, make_step

STYLES = ("impasto", "pointillism", "woodblock", "stained_glass", "watercolour", "mosaic")
SIZE = 128
PAINTING_SIZE = 256  # pixels of a painting's side while its manner is measured: how large strokes become
CONTENT_WEIGHT = 0.2


class Task(NamedTuple):
    """A batch: pictures, and what is to become of them."""

    pictures: Tensor  # [N,3,H,W] in [0,1]
    weights: Tensor  # [N,S], of the styles


def tasks(options: Options, start: int) -> Iterator[Task]:
    """Endless tasks: three crops of photographs to one scene of emoji, three at full strength to one at any."""
    accelerator = make_accelerator()
    each = {"seed": options.seed, "start": start, "device": accelerator.device}
    each |= {"process": accelerator.process_index, "num_processes": accelerator.num_processes}
    streams = (
        batches(PhotoCrops("train", SIZE), options.batch_size, **each),
        batches(EmojiScenes("train", size=SIZE), options.batch_size, **each),
    )
    for crops, scenes in zip(*streams, strict=True):
        n, device = len(crops.images), crops.images.device
        pictures = torch.where(torch.rand(n, 1, 1, 1, device=device) < 0.75, crops.images, scenes.images)
        style = F.one_hot(torch.randint(len(STYLES), (n,)), len(STYLES))  # [N,S]
        strength = torch.where(torch.rand(n, 1) < 0.75, 1.0, torch.rand(n, 1))
        yield Task(pictures, (style * strength).to(device))


class Lesson:
    """The loss function: what the network's pictures lack of the content and of the manner asked for."""

    def __init__(self, features: FeatureExtractor):
        device = make_accelerator().device
        self.features = features.to(device)
        all_paintings = paintings()
        pictures = torch.stack([all_paintings.load(name, PAINTING_SIZE) for name in STYLES]).to(device)
        with torch.no_grad():
            self.grams = grams_of(self.features, pictures)  # {tap: [S,C,C]}

    def __call__(self, model: nn.Module, task: Task) -> dict[str, Tensor]:
        painted = model(to_signed(task.pictures).contiguous(memory_format=torch.channels_last), task.weights)
        found = self.features((painted.float() + 1) / 2)  # not clamped: beyond the range there would be no gradient
        with torch.no_grad():
            target = self.features(task.pictures)
        strength = task.weights.sum(dim=1).view(-1, 1, 1)
        grams = {}
        for tap, of_paintings in self.grams.items():
            manner = torch.einsum("ns,scd->ncd", task.weights, of_paintings)  # already times the strength
            grams[tap] = manner + (1 - strength) * gram_matrix(target[tap])
        kept = {tap: target[tap] for tap in self.features.content_taps}
        return transfer_loss(found, kept, grams, content_weight=CONTENT_WEIGHT)


def set_up(options: Options) -> Training:
    """Adam, a short warm-up, and a learning rate that falls to zero."""
    model = StyleNetwork(styles=STYLES, widths=(24, 48, 96), num_blocks=5).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.99))
    scheduler = one_cycle(optimizer, 3e-3, options.num_steps, warm_up=min(50, options.num_steps / 2))
    ema = EMA(model, decay=0.995)
    lesson = Lesson(pretrained.feature_extractor())
    return Training(
        step=make_step(model, lesson, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=1.0),
        batches=lambda start: tasks(options, start),
        stateful={"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema},
        result=lambda: ema.model,
    )


@torch.no_grad()
def measure(model: StyleNetwork) -> dict[str, float]:
    """On photographs that took no part in training, at 256 pixels, the mean over them and the styles.

    `style_left` is the distance of Gram matrices to the painting's as a share of the photo's own (1 where nothing is
    done, 0 for the painting itself), `content_left` the relative error of the content's features (0 where nothing is
    done); the same in features of the judge, which took no part either. `flicker` is that of films over the photos at
    128 pixels, beside that of the films as they were. `seconds` are those of one picture.
    """
    device = runtime.pick_device()
    gallery, all_paintings = photos(), paintings()
    pictures = torch.stack([center_crop(gallery.load(name, 256), 256) for name in PhotoCrops.TEST]).to(device)
    views = pan_and_zoom(8)
    motion = motion_between(views).to(device)
    films = [film(gallery.load(name, 256), views, 128).to(device) for name in PhotoCrops.TEST]
    found = {"style_left": [], "content_left": [], "style_left_judge": [], "flicker": [], "seconds": []}
    extractors = {
        "": pretrained.feature_extractor().to(device),
        "_judge": pretrained.feature_extractor("judge").to(device),
    }
    for style in model.styles:
        painting = all_paintings.load(style, PAINTING_SIZE).to(device)
        begun = time.perf_counter()
        painted = model.paint(pictures, **{style: 1.0})
        found["seconds"].append((time.perf_counter() - begun) / len(pictures))
        for ending, features in extractors.items():
            found[f"style_left{ending}"].append(style_left(features, painted, pictures, painting))
        features = extractors[""]
        content, kept = (features(x, features.content_taps) for x in (pictures, painted))
        found["content_left"].append(content_loss(kept, content).item())
        found["flicker"].append(sum(flicker(model.paint(f, **{style: 1.0}), motion) for f in films) / len(films))
    means = {name: sum(values) / len(values) for name, values in found.items()}
    means["flicker_of_the_film"] = sum(flicker(f, motion) for f in films) / len(films)
    return means | {"photos": len(pictures), "styles": len(model.styles)}


RECIPE = Recipe(
    name="fast_style",
    about="Repaints a picture in the manner of six paintings, at any strength, in one pass.",
    data="PhotoCrops, split train, EmojiScenes, split train, and the six paintings",
    options=Options(num_steps=6000, batch_size=4, seed=0),
    set_up=set_up,
    measure=measure,
)

if __name__ == "__main__":
    main(RECIPE)
