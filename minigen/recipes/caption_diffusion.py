"""Lesson 06's model, twice as wide and trained for longer: draws what a caption says, in English or in Chinese.

`python -m minigen.recipes.caption_diffusion`
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minigen import pretrained, runtime
from minigen.data import EmojiScenes, PictureDataset
from minigen.denoiser import Denoiser
from minigen.diffusion import RectifiedFlow, diffusion_loss
from minigen.images import to_signed
from minigen.metrics import caption_adherence, collect_features, collect_logits, fidelity, nearest_neighbours
from minigen.painter import Painter
from minigen.recipes.benchmarks import seconds_for
from minigen.recipes.frame import Options, Recipe, Training, main, muon_adamw
from minigen.text import TextEncoder, Tokenizer, Tokens
from minigen.training import EMA, make_accelerator, make_step
from minigen.vae import Codec

NUM_SCENES = 100_000  # to train on
LANGUAGES = ("en", "zh")
DROPPED = 0.1  # the share of captions that are left empty, for guidance
FLOW = RectifiedFlow()


class Encoded(NamedTuple):
    """N pictures as latents, with the tokens of their captions in one language or more."""

    latents: Tensor  # [N,8,H/8,W/8] in 16 bits
    ids: Tensor  # [languages,N,L] int64; 0 is filling
    words: list[str]  # the vocabulary


def encode(
    codec: Codec,
    pictures: PictureDataset,
    captions: Sequence[Sequence[str]],  # of each language one list, with a caption a picture
    tokenizer: Tokenizer,
    *,
    device: torch.device | str,
) -> Encoded:
    """Read every picture once, before the training: as the codec does not learn, its latents stay the same.

    Raises what the tokenizer raises: ValueError where a caption is empty, or holds a word that it does not know.
    """
    codec = codec.to(device, memory_format=torch.channels_last)
    tokens = [tokenizer(texts).ids for texts in captions]
    longest = max(ids.shape[1] for ids in tokens)
    ids = torch.stack([nn.functional.pad(ids, (0, longest - ids.shape[1])) for ids in tokens])
    parts = torch.arange(len(pictures)).split(250)
    latents = torch.cat([_latents(codec, pictures.take(rows).images.to(device)) for rows in parts])
    return Encoded(latents, ids, tokenizer.words)


def captions_of(split: str, count: int, objects: Sequence[str] | None = None) -> list[list[str]]:
    """The captions of a split's first `count` scenes (of these objects), in each language one list."""
    datasets = [EmojiScenes(split, length=count, language=language, objects=objects) for language in LANGUAGES]
    return [dataset.captions(range(count)) for dataset in datasets]


def encode_scenes(
    codec: Codec, count: int, *, device: torch.device | str, objects: Sequence[str] | None = None
) -> Encoded:
    """The first `count` scenes of the training split (of these objects), with their captions in both languages."""
    captions = captions_of("train", count, objects)
    tokenizer = Tokenizer.from_captions(itertools.chain(*captions))
    return encode(codec, EmojiScenes("train", length=count, objects=objects), captions, tokenizer, device=device)


def latents_and_captions(pictures: Encoded, options: Options, start: int) -> Iterator[tuple[Tensor, Tokens]]:
    """Endless batches of latents with the tokens of their captions, each in one of their languages."""
    accelerator = make_accelerator()
    share = options.batch_size // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    for k in itertools.count(start):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + k)
        rows = torch.randint(len(pictures.latents), (options.batch_size,), generator=generator)[mine]
        languages = torch.randint(len(pictures.ids), (options.batch_size,), generator=generator)[mine]
        ids = pictures.ids[languages, rows]
        ids = ids[:, : int((ids > 0).sum(dim=1).max())]  # [N,L], no longer than the longest of them
        yield pictures.latents[rows].float(), Tokens(ids, ids > 0)


@torch.no_grad()
def _latents(codec: Codec, images: Tensor) -> Tensor:
    with runtime.autocast(images.device):
        x = to_signed(images).contiguous(memory_format=torch.channels_last)
        return codec.encode(x).mean.half().cpu()


def loss_fn(model: nn.ModuleDict, batch: tuple[Tensor, Tokens], process: RectifiedFlow = FLOW) -> Tensor:
    """The mean squared error of the velocity; some captions are left empty."""
    x0, tokens = batch
    encoder, denoiser = model["encoder"], model["denoiser"]
    return diffusion_loss(denoiser, process, x0, encoder.drop(encoder(*tokens), DROPPED), prediction_type="v")


def set_up(options: Options) -> Training:
    """Muon with AdamW, a short warm-up, and a learning rate that falls to nearly zero."""
    scenes = encode_scenes(pretrained.load("codec"), NUM_SCENES, device=make_accelerator().device)
    model = nn.ModuleDict({"encoder": TextEncoder(words=scenes.words), "denoiser": Denoiser()})
    optimizer, scheduler = muon_adamw(model, options.num_steps)
    ema = EMA(model, decay=0.999)
    return Training(
        step=make_step(model, loss_fn, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=1.0),
        batches=lambda start: latents_and_captions(scenes, options, start),
        stateful={"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema},
        result=lambda: ema.model,
    )


def draw(painter: Painter, captions: list[str], **options) -> Tensor:
    """One picture a caption, [N,3,64,64] in [0,1] on the CPU, a hundred at a time; picture k from seed k."""
    parts = [captions[k : k + 100] for k in range(0, len(captions), 100)]
    with runtime.autocast(painter.device):
        return torch.cat([painter.paint(part, seed=100 * k, **options).float().cpu() for k, part in enumerate(parts)])


def measure(model: nn.ModuleDict, count: int = 1000) -> dict[str, float]:
    """How often everything is as asked for, as the examiner sees it, on combinations that training had and had not.

    Beside it how near the pictures come to real ones, how far they are from copies, and the seconds that four take.
    """
    device = runtime.pick_device()
    judge, examiner = (pretrained.load(name).to(device) for name in ("judge", "examiner"))
    painter = Painter(**model, codec=pretrained.load("codec").to(device))
    metrics = {}
    for language, ending in zip(LANGUAGES, ("", "_zh"), strict=True):
        for split, told in (("held_out", "held_out"), ("test", "seen")):
            dataset = EmojiScenes(split, language=language)
            images = draw(painter, dataset.captions(range(count)))
            labels = dataset.truth(range(count))
            found = caption_adherence(collect_logits(examiner, images, count, device=device)[0], labels)
            metrics[f"everything_{told}{ending}"] = found.everything.value
            metrics[f"objects_{told}{ending}"] = found.objects.value
            if (language, split) == ("en", "test"):
                drawn = collect_features(judge.features, images, count, device=device)
        for name in ("relation", "size", "background", "refused"):  # of the seen combinations, which came last
            metrics[f"{name}{ending}"] = getattr(found, name).value
    real = collect_features(judge.features, EmojiScenes("test"), 2 * count, device=device)
    near = fidelity(real[count:], drawn, real[:count])  # not against the scenes whose captions were drawn
    trained_on = collect_features(judge.features, EmojiScenes("train"), 10 * count, device=device)
    return metrics | {
        "frechet_distance": near.distance,
        "frechet_distance_of_real": near.floor_distance,
        "precision": near.precision,
        "recall": near.recall,
        "to_nearest_training_scene": nearest_neighbours(drawn, trained_on).distances.median().item(),
        "to_nearest_training_scene_of_real": nearest_neighbours(real[:count], trained_on).distances.median().item(),
        "seconds_for_four": seconds_for(lambda: draw(painter, EmojiScenes("test").captions([0] * 4)), 3),
        "count": count,
    }


RECIPE = Recipe(
    name="caption_diffusion",
    about="Draws what a caption says, in English or Chinese, in the latents of the codec.",
    data=f"the first {NUM_SCENES:,} of EmojiScenes, split train, with captions in English and Chinese",
    options=Options(num_steps=20_000, batch_size=64, seed=0),
    set_up=set_up,
    measure=measure,
)

if __name__ == "__main__":
    main(RECIPE)
