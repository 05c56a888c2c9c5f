"""How fast the parts are on this machine: `python -m minigen.recipes.benchmarks` prints a line for each.

`python -m minigen.recipes.benchmarks style` measures that group alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from minigen import pretrained, runtime
from minigen.data import EmojiGlyphs, EmojiScenes, batches, paintings, photos
from minigen.images import to_signed
from minigen.style import FeatureExtractor, StyleNetwork, grams_of, stylize, transfer_loss


def seconds_for(work: Callable[[], object], repetitions: int = 7) -> float:
    """The median time of `work()`, after one run to warm up."""
    work()
    times = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


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


GROUPS = {"data": measure_data, "style": measure_style}


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
