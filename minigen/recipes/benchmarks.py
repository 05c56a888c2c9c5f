"""How fast the parts are on this machine: `python -m minigen.recipes.benchmarks` prints a line for each."""

import statistics
import time

import torch

from minigen.data import EmojiGlyphs, EmojiScenes, batches


def seconds_for(work, repetitions: int = 7) -> float:
    """The median time of `work()`, after one run to warm up."""
    work()
    times = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> None:
    """Print the rates at which data is made."""
    print(f"{torch.get_num_threads()} threads")
    for size in (32, 64):
        source = batches(EmojiScenes("train", size=size), 256)
        print(f"scenes of {size}x{size}: {256 / seconds_for(lambda source=source: next(source)):,.0f} a second")
    scenes = EmojiScenes("train")
    print(f"captions and labels alone: {10_000 / seconds_for(lambda: scenes.scenes(range(10_000))):,.0f} a second")
    begun = time.perf_counter()
    glyphs = EmojiGlyphs(size=64)
    glyphs.take(range(len(glyphs)))
    print(f"all {len(glyphs):,} glyphs at 64x64, drawn once: {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
