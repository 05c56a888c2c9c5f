"""How fast the parts are on this machine: `python -m minigen.recipes.benchmarks` prints a line for each.

`python -m minigen.recipes.benchmarks style` measures that group alone.
"""

import argparse
import importlib
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from importlib import metadata

import torch
import torchvision
from torch import Tensor, nn

from minigen import pretrained, runtime
from minigen.data import EmojiGlyphs, EmojiScenes, batches, paintings, photos
from minigen.denoiser import Denoiser
from minigen.diffusion import RectifiedFlow, diffusion_loss, guided, sample
from minigen.images import to_signed
from minigen.layers import Condition
from minigen.recipes.diffusion import make_model
from minigen.style import FeatureExtractor, StyleNetwork, grams_of, stylize, transfer_loss


def seconds_for(work: Callable[[], object], repetitions: int = 7) -> float:
    """The median time of `work()`, after one run to warm up."""
    return seconds_for_each([work], repetitions)[0]


def seconds_for_each(works: Sequence[Callable[[], object]], repetitions: int = 7) -> list[float]:
    """The same for several works, which take turns: what disturbs the machine meanwhile meets them all."""
    for work in works:
        work()
    times = [[] for _ in works]
    for _ in range(repetitions):
        for work, of_this in zip(works, times, strict=True):
            begun = time.perf_counter()
            work()
            of_this.append(time.perf_counter() - begun)
    return [statistics.median(of_this) for of_this in times]


def measure_data() -> None:
    """Print the rates at which data is made."""
    for size in (32, 64):
        source = batches(EmojiScenes("train", size=size), 256)
        print(f"scenes of {size}x{size}: {256 / seconds_for(lambda source=source: next(source)):,.0f} a second")
    scenes = EmojiScenes("train")
    print(f"captions and labels alone: {10_000 / seconds_for(lambda: scenes.scenes(range(10_000))):,.0f} a second")
    begun = time.perf_counter()
    glyphs = EmojiGlyphs(size=64)
    glyphs.take(range(len(glyphs)))
    print(f"all {len(glyphs):,} glyphs at 64x64, drawn once: {time.perf_counter() - begun:.1f} s")


def measure_style(size: int = 256, timed_steps: int = 5) -> None:
    """Print what it takes to stylise a picture: by optimisation, at once, and by optimisation on VGG19."""
    device = runtime.pick_device()
    content = photos(size)[0].image.to(device)
    painting = paintings().load("impasto", size).to(device)

    features = pretrained.feature_extractor().to(device)
    begun = time.perf_counter()
    *_, last = stylize(content, painting, features)
    seconds = time.perf_counter() - begun
    print(f"style transfer of {size}x{size}, {last.num_steps} steps at the defaults of stylize: {seconds:.1f} s")

    shipped = "fast_style" in pretrained.names()
    network = pretrained.load("fast_style") if shipped else StyleNetwork(styles=list("abcdef"))
    network, x = network.to(device), to_signed(content[None])
    weights = torch.eye(len(network.styles), device=device)[:1]
    with torch.no_grad():
        seconds = seconds_for(lambda: network(x, weights).cpu())
    kind = "shipped network" if shipped else "network, not shipped yet, with random weights"
    print(f"the same at once, by the {kind} for {len(network.styles)} styles: {seconds:.3f} s")

    for name, features in vgg19_extractors().items():  # random weights: the time does not depend on them
        seconds = seconds_for(step_of_transfer(features.to(device), content, painting), timed_steps)
        print(
            f"as many steps on VGG19's layers of {name}, all at {size}x{size}, in float32: "
            f"{last.num_steps * seconds:.0f} s ({last.num_steps} times the {seconds:.2f} s that a step takes, "
            f"the median of {timed_steps})"
        )


def vgg19_extractors() -> dict[str, FeatureExtractor]:
    """VGG19 with random weights, cut where Gatys et al. tap it, and where PyTorch's own tutorial does, much earlier."""
    network = torchvision.models.vgg19(weights=None)
    ends = {"conv1_1": 1, "conv1_2": 3, "conv2_1": 6, "conv2_2": 8, "conv3_1": 11}
    stages = {
        name: network.features[start:end] for (name, end), start in zip(ends.items(), [0, *ends.values()], strict=False)
    }
    tutorial = FeatureExtractor(stages, style_taps=list(stages), content_taps=["conv2_2"])
    return {"Gatys et al.": FeatureExtractor.of_vgg19(network), "PyTorch's neural-style tutorial": tutorial}


def step_of_transfer(features: FeatureExtractor, content: Tensor, painting: Tensor) -> Callable[[], float]:
    """One step of optimising a picture [3,H,W], as those who do it on VGG19 take it: no shift, no smaller scale."""
    with torch.no_grad():
        kept = features(content[None], features.content_taps)
        grams = grams_of(features, painting[None])
    picture = content.clone().requires_grad_()
    adam = torch.optim.Adam([picture], lr=0.02)

    def step() -> float:
        adam.zero_grad()
        loss = transfer_loss(features(picture[None]), kept, grams)["loss"]
        loss.backward()
        adam.step()
        return loss.item()

    return step


def measure_diffusion(batch_size: int = 64, timed_steps: int = 5) -> None:
    """Print how fast our denoisers train and sample, each beside the U-Nets of two libraries, as large as it is.

    What they are given is random: the time does not depend on it.
    """
    device = runtime.pick_device()
    for told, (ours, num_tokens) in our_denoisers().items():
        shape, width = (ours.channels, ours.size, ours.size), ours.config["cond_width"]
        print(
            f"denoisers of {'x'.join(map(str, shape))}, told {told} that were read before ({num_tokens}x{width}), "
            f"trained on {batch_size} at a time with AdamW; four sampled in 20 steps; the median of {timed_steps}:"
        )
        models = {"our Denoiser": ours}
        for kind in (UnetWithoutText, UnetWithText):
            try:
                name = f"the {kind.network} of {kind.library} {metadata.version(kind.library)}"
                model, channels = as_large_as(ours, kind)
            except ModuleNotFoundError as error:
                print(f'- {kind.library} is not measured: there is no {error.name}; pip install -e ".[bench]"')
            else:
                models[f"{name} with {channels} channels"] = model

        x0 = torch.randn(batch_size, *shape, device=device)
        tokens = torch.randn(batch_size, num_tokens, width, device=device)
        cond = Condition(tokens, torch.ones_like(tokens[:, :, 0], dtype=torch.bool))
        training = seconds_for_each([step_of_diffusion(m.to(device), x0, cond) for m in models.values()], timed_steps)
        sampling = seconds_for_each([sampling_of_four(m, x0, cond) for m in models.values()], timed_steps)
        for (name, model), of_step, of_four in zip(models.items(), training, sampling, strict=True):
            how = "guided" if is_conditional(model) else "it is unconditional: no guidance, so half the passes"
            print(
                f"- {name}, {num_parameters(model):,} parameters: trains on {batch_size / of_step:.0f} a second, "
                f"samples four in {of_four:.2f} s ({how})"
            )


def our_denoisers() -> dict[str, tuple[Denoiser, int]]:
    """Those of the recipes, by what they are told, and in how many tokens."""
    return {"captions": (Denoiser(), 14), "classes": (make_model()["denoiser"], 1)}


class UnetWithoutText(nn.Module):
    """The U-Net of denoising-diffusion-pytorch for x_t of the shape of ours, called as ours is. It hears nothing."""

    library, network = "denoising-diffusion-pytorch", "Unet"

    def __init__(self, ours: Denoiser, channels: int):
        super().__init__()
        library = importlib.import_module("denoising_diffusion_pytorch")  # by name: minigen does without it
        # Widths like those of diffusers: with its own, (1, 2, 4, 8), no even number of channels comes near enough
        self.unet = library.Unet(channels, dim_mults=(1, 2, 4, 4), channels=ours.channels)

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return self.unet(x_t, 1000 * t)


class UnetWithText(nn.Module):
    """The U-Net of diffusers for x_t and conditions of the shape of ours, called as ours is.

    Four levels, as by default. It attends where ours does, on 8x8 places, and in its middle: on 32x32, as by default,
    it would take several times as long. Two heads and two groups fit any even number of channels, and were fastest.
    """

    library, network = "diffusers", "UNet2DConditionModel"

    def __init__(self, ours: Denoiser, channels: int):
        super().__init__()
        ways = ["CrossAttn" if ours.size // 2**level == 8 else "" for level in range(4)]
        self.unet = importlib.import_module("diffusers").UNet2DConditionModel(
            in_channels=ours.channels,
            out_channels=ours.channels,
            block_out_channels=[channels * times for times in (1, 2, 4, 4)],
            down_block_types=[f"{way}DownBlock2D" for way in ways],
            up_block_types=[f"{way}UpBlock2D" for way in reversed(ways)],
            cross_attention_dim=ours.config["cond_width"],
            attention_head_dim=2,  # the number of heads, whatever its name
            norm_num_groups=2,
        )

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return self.unet(x_t, 1000 * t, cond.tokens).sample


def is_conditional(model: nn.Module) -> bool:
    return not isinstance(model, UnetWithoutText)


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def as_large_as(ours: Denoiser, kind: Callable[[Denoiser, int], nn.Module]) -> tuple[nn.Module, int]:
    """The network `kind(ours, channels)` whose number of parameters is nearest to that of ours, and its channels."""

    def size(channels: int) -> int:
        with torch.device("meta"):  # no memory is needed to count
            return num_parameters(kind(ours, channels))

    wanted, candidates = num_parameters(ours), range(8, 513, 2)
    k = bisect_left(candidates, wanted, hi=len(candidates) - 1, key=size)  # the first that is not too small
    channels = min(candidates[max(k - 1, 0) : k + 1], key=lambda channels: abs(size(channels) - wanted))
    return kind(ours, channels), channels


def step_of_diffusion(model: nn.Module, x0: Tensor, cond: Condition) -> Callable[[], float]:
    """One step of training a denoiser on x0 [N,C,H,W], in mixed precision."""
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> float:
        adam.zero_grad()
        with runtime.autocast(x0.device):
            loss = diffusion_loss(model, RectifiedFlow(), x0, cond, prediction_type="v")
        loss.backward()
        adam.step()
        return loss.item()

    return step


def sampling_of_four(model: nn.Module, like: Tensor, cond: Condition) -> Callable[[], Tensor]:
    """Four samples in 20 steps, in mixed precision; with guidance, so in two passes a step, if it is conditional."""
    noise = torch.randn(4, *like.shape[1:], device=like.device)
    wanted, empty = Condition(cond.tokens[:4], cond.mask[:4]), Condition(cond.tokens[:4, :1], cond.mask[:4, :1])
    denoiser = guided(model, wanted, empty, guidance_scale=4.0 if is_conditional(model) else 1.0)
    options = {"prediction_type": "v", "num_inference_steps": 20, "sampler": "dpm2m"}

    def draw() -> Tensor:
        with runtime.autocast(noise.device):
            return sample(denoiser, RectifiedFlow(), noise, **options).cpu()

    return draw


GROUPS = {"data": measure_data, "style": measure_style, "diffusion": measure_diffusion}


def main(arguments: list[str] | None = None) -> None:
    """Measure the groups that are named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m minigen.recipes.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{' or '.join(GROUPS)}; all by default")
    groups = parser.parse_args(arguments).groups or list(GROUPS)
    if unknown := [group for group in groups if group not in GROUPS]:
        parser.error(f"there is no group {unknown[0]!r}: choose one of {', '.join(GROUPS)}")
    machine = runtime.report()
    print(
        f"{machine['threads']} threads, {machine['device_name']}, mixed precision in {machine['precision']}", flush=True
    )
    for group in dict.fromkeys(groups):
        GROUPS[group]()


if __name__ == "__main__":
    main()
