"""Teach the codec your pictures, where it reproduces them too roughly. `python teach_codec.py --help`"""

import argparse
from pathlib import Path

import torch
from train import read, split

from minigen import pretrained, runtime
from minigen.data import PictureDataset, batches
from minigen.images import to_signed, to_unit
from minigen.metrics import psnr
from minigen.recipes.codec import loss_fn
from minigen.recipes.frame import one_cycle
from minigen.training import fit, make_accelerator, make_step
from minigen.vae import Codec


@torch.no_grad()
def reproduction(codec: Codec, pictures: PictureDataset) -> float:
    """How near pictures are to themselves after there and back, in dB, averaged over the pictures."""
    images = pictures.take(range(len(pictures))).images
    x = to_signed(images).to(codec.latent_mean.device)
    again = torch.cat([to_unit(codec.decode(codec.encode(part).mean)).cpu() for part in x.split(100)])
    return psnr(again, images).mean().item()


def run(*, data: str, out: str, steps: int, batch_size: int, seed: int) -> None:
    """Train the shipped codec on; writes it to the file `out`."""
    training_set, held_out = split(read(data))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    runtime.seed_everything(seed)
    device = make_accelerator().device
    codec = pretrained.load("codec").to(device, memory_format=torch.channels_last)
    before = reproduction(codec, held_out)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=5e-4, betas=(0.9, 0.99), weight_decay=1e-4)
    scheduler = one_cycle(optimizer, 5e-4, steps, warm_up=min(100, steps / 2))
    step = make_step(codec, loss_fn, optimizer, scheduler=scheduler, max_grad_norm=1.0)
    fit(step, (to_signed(batch.images) for batch in batches(training_set, batch_size, seed=seed)), num_steps=steps)
    after = reproduction(codec, held_out)
    card = {"name": out, "about": "The codec, taught other pictures.", "data": data, "steps": steps, "metrics": {}}
    pretrained.save(out, codec, card=card)
    print(f"pictures that it was not taught: {before:.1f} dB before, {after:.1f} dB now; wrote {out}")


def main(arguments: list[str] | None = None) -> None:
    """The command line: what cannot be is said in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--data", default="data", help="the folder of pictures and captions")
    add("--out", default="runs/codec.safetensors", help="the file to write, for train.py --codec")
    add("--steps", type=int, default=1000, help="updates of the weights")
    add("--batch-size", type=int, default=16, help="pictures an update")
    add("--seed", type=int, default=0, help="of batches and noise")
    options = parser.parse_args(arguments)
    try:
        run(**vars(options))
    except (ValueError, OSError) as error:
        raise SystemExit(f"teach_codec.py: {error}") from None


if __name__ == "__main__":
    main()
