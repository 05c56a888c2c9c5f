"""Train a network that draws what a caption says, on the pictures of a folder. `python train.py --help`

Latent diffusion (Rombach et al., 2022, arXiv:2112.10752): minigen's codec, a text encoder and a small denoiser.
"""

import argparse
import warnings
import zlib
from pathlib import Path

from torch import nn

from minigen import pretrained, runtime
from minigen.data import CaptionedFolder, Subset
from minigen.denoiser import Denoiser
from minigen.images import image_grid, to_signed
from minigen.painter import Painter
from minigen.recipes.caption_diffusion import encode, latents_and_captions, loss_fn
from minigen.recipes.frame import Options, muon_adamw
from minigen.text import TextEncoder, Tokenizer
from minigen.training import EMA, RandomState, load_checkpoint, make_accelerator, make_step, save_checkpoint, train

SIZE = 64  # width and height of the pictures, in pixels


def read(folder: str) -> CaptionedFolder:
    """The pictures of a folder, each with a caption; raises ValueError or FileNotFoundError where one is missing."""
    with warnings.catch_warnings(action="ignore"):  # it warns of what is refused here
        pictures = CaptionedFolder(folder, SIZE)
    empty = [name for name, caption in zip(pictures.names, pictures.captions, strict=True) if not caption]
    if without := empty + pictures.without_caption:
        names = ", ".join(without[:3]) + (" and others" if len(without) > 3 else "")
        raise ValueError(f"{folder} holds pictures without a caption ({names}): write one for each")
    return pictures


def split(pictures: CaptionedFolder) -> tuple[Subset, Subset]:
    """Four fifths to train on, and a fifth to measure with; which, a checksum of the file's name says."""
    names = sorted(set(pictures.names), key=lambda name: zlib.crc32(name.encode()))
    if len(names) < 10:
        raise ValueError(f"{pictures.path} holds {len(names)} pictures: add some, 10 to try it out, 200 to learn from")
    held_out = set(names[: len(names) // 5])
    rows = {part: [k for k, name in enumerate(pictures.names) if (name in held_out) is part] for part in (False, True)}
    return pictures.subset(rows[False]), pictures.subset(rows[True])


def make_model(captions: list[str]) -> nn.ModuleDict:
    """A text encoder for these words and a denoiser, which learn together: small, as the pictures are few."""
    tokenizer = Tokenizer.from_captions(captions)
    encoder = TextEncoder(words=tokenizer.words, max_length=tokenizer(captions).ids.shape[1])
    return nn.ModuleDict({"encoder": encoder, "denoiser": Denoiser(width=128, depth=4, num_heads=4)})


def captions_to_watch(pictures: CaptionedFolder, count: int = 8) -> list[str]:
    """Different captions of the folder, drawn again and again while it trains."""
    different = sorted(set(pictures.captions))
    return different[:: -(-len(different) // count)]


def draw(painter: Painter, captions: list[str], path: Path) -> None:
    """A picture of each caption, in a grid."""
    image_grid(painter.paint(captions), captions=captions).savefig(path, dpi=150)


def run(*, data: str, out: str, codec: str, steps: int, batch_size: int, every: int, seed: int) -> None:
    """Train, or go on where a run was stopped; leaves samples, a checkpoint and in the end the network in `out`."""
    config = {"data": data, "codec": codec, "steps": steps, "batch_size": batch_size, "every": every, "seed": seed}
    if min(steps, batch_size, every) < 1:
        raise ValueError(f"steps, batch size and every are {steps}, {batch_size} and {every}, expected 1 or more")
    pictures = read(data)
    training_set, _ = split(pictures)
    all_of_it = training_set.take(range(len(training_set)))
    coder = pretrained.load(codec)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)

    runtime.seed_everything(seed)
    device = make_accelerator().device
    coder.to(device)
    model = make_model(pictures.captions)
    optimizer, scheduler = muon_adamw(model, steps)
    ema = EMA(model)
    step = make_step(model, loss_fn, optimizer, scheduler=scheduler, ema=ema, max_grad_norm=1.0)

    start, checkpoint = 0, folder / "checkpoint.safetensors"
    stateful = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "ema": ema, "random": RandomState()}
    if checkpoint.exists():
        saved = load_checkpoint(checkpoint)
        if saved.config != config:
            raise ValueError(f"{out} holds a run with {saved.config}: finish it with the same, or name another --out")
        saved.restore(**stateful)
        start = saved["updates"]
        print(f"going on from step {start}")

    coder.measure_latents(to_signed(all_of_it.images).to(device))  # mean 0, deviation 1 in these pictures too
    encoded = encode(coder, training_set, [all_of_it.captions], model["encoder"].tokenizer, device=device)
    print(f"training on {len(training_set)} of {len(pictures)} examples, {len(encoded.words)} words, on {device}")

    painter, watched = Painter(**ema.model, codec=coder), captions_to_watch(pictures)
    batches = latents_and_captions(encoded, Options(steps, batch_size, seed), start)
    losses = []
    for state in train(step, batches, num_steps=steps, start=start):
        losses.append(state.metrics["loss"])
        if state.step % every == 0 or state.step == steps:
            loss = sum(losses) / len(losses)
            print(f"step {state.step} of {steps}, {state.seconds:.0f} s: loss {loss:.3f}", flush=True)
            losses.clear()
            save_checkpoint(checkpoint, config=config, updates=state.step, **stateful)
            draw(painter, watched, folder / f"step_{state.step:06}.png")

    network = folder / "network.safetensors"
    card = {"name": str(network), "about": "Draws what a caption says.", **config, "metrics": {}}
    pretrained.save(network, nn.ModuleDict({**ema.model, "codec": coder}), card=card)
    print(f"wrote {network}")


def main(arguments: list[str] | None = None) -> None:
    """The command line: what cannot be is said in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--data", default="data", help="the folder of pictures and captions")
    add("--out", default="runs/first", help="the folder of this run; one that was stopped goes on from there")
    add("--codec", default="codec", help="minigen's, or the file of one that teach_codec.py wrote")
    add("--steps", type=int, default=1500, help="updates of the weights")
    add("--batch-size", type=int, default=32, help="pictures an update")
    add("--every", type=int, default=250, metavar="N", help="loss, samples and a checkpoint every N steps")
    add("--seed", type=int, default=0, help="of weights, batches and noise")
    options = parser.parse_args(arguments)
    try:
        run(**vars(options))
    except (ValueError, OSError) as error:
        raise SystemExit(f"train.py: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("train.py: stopped; the same command goes on from the last checkpoint") from None


if __name__ == "__main__":
    main()
