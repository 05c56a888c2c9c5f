"""The paint box that the manners share: colours, ramps, noise, light on a surface, and a brush with bristles."""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

Array = np.ndarray


def rgb(*codes: str) -> Array:
    """Colours [N,3] in [0,1] from their hexadecimal codes; one code gives [3]."""
    colours = np.array([[int(code[k : k + 2], 16) / 255 for k in (0, 2, 4)] for code in codes])
    return colours[0] if len(codes) == 1 else colours


def grid(side: int) -> tuple[Array, Array]:
    """The pixels' centres x and y, each [side,side], from 0 to 1."""
    centres = (np.arange(side) + 0.5) / side
    return np.meshgrid(centres, centres)


def gradient(position: Array, stops: list[float], colours: Array) -> Array:
    """Colours [...,3] along a ramp that has `colours[k]` at `stops[k]`."""
    return np.stack([np.interp(position, stops, colours[:, c]) for c in range(3)], axis=-1)


def blend(below: Array, above: Array, cover: Array) -> Array:
    """`above` laid over `below` where `cover` [H,W] is 1, mixed in between."""
    return below + (above - below) * np.clip(cover, 0, 1)[..., None]


def step(edge: float, width: float, x: Array) -> Array:
    """0 below `edge`, 1 above it, smooth over `width`."""
    t = np.clip((x - edge) / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: Generator, side: int, cells: int | tuple[int, int], octaves: int = 4) -> Array:
    """Cloudy noise [side,side] of mean 0 and deviation 1; its broadest clouds are side/cells pixels (down, across)."""
    down, across = (cells, cells) if isinstance(cells, int) else cells
    total = np.zeros((side, side))
    for k in range(octaves):
        values = rng.standard_normal((down * 2**k + 3, across * 2**k + 3))
        total += _enlarge(_enlarge(values, side).T, side).T / 2**k
    return (total - total.mean()) / total.std()


def _enlarge(values: Array, rows: int) -> Array:
    """Cubic B-spline through the rows of `values`, at `rows` places between its second and its last but one."""
    place = np.linspace(0, len(values) - 3, rows, endpoint=False)
    base = place.astype(int)
    t = (place - base)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum(weight * values[base + k] for k, weight in enumerate(weights)) / 6


def relief(height: Array, strength: float) -> Array:
    """How much light from the upper left falls on a surface [H,W]: about 1, more on slopes that face it."""
    down, across = np.gradient(height)
    return 1 + strength * (down + 0.7 * across)


def finish(canvas: Array, size: int) -> Array:
    """The canvas brought down to [size,size,3] in [0,1]."""
    factor = len(canvas) // size
    return canvas.reshape(size, factor, size, factor, 3).mean(axis=(1, 3)).clip(0, 1)


def follow(angle: Array, starts: Array, length: Array, steps: int = 9) -> Array:
    """Paths [N,steps,2] (x, y in pixels) through `starts` [N,2] along a field of directions [H,W]."""
    side = len(angle)
    halves = []
    for sense in (-1, 1):
        point, path = starts.copy(), []
        for _ in range(steps // 2):
            column, row = point.astype(int).clip(0, side - 1).T
            heading = angle[row, column]
            move = np.stack([np.cos(heading), np.sin(heading)], axis=1)
            point = point + sense * move * (length / (steps - 1))[:, None]
            path.append(point)
        halves.append(path)
    return np.stack(halves[0][::-1] + [starts] + halves[1], axis=1)


def brush(
    rng: Generator,
    canvas: Array,  # [H,W,3], painted on in place
    height: Array,  # [H,W], the thickness of the paint, raised in place
    path: Array,  # [K,2], x and y in pixels
    width: float,
    colour: Array,  # [3]
    streak: float = 0.08,  # how much the bristles differ in colour
    dryness: float = 0.5,  # how far the stroke breaks up towards its end
) -> None:
    """One loaded stroke along `path`: streaks, ridges at its edges, and an end where the bristles run dry."""
    leg = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0], np.cumsum(leg)])
    n, m = int(along[-1] * 1.4) + 2, int(width * 1.6) + 2
    u, v = np.linspace(0, 1, n)[:, None], np.linspace(-1, 1, m)[None]  # along the stroke, and across it
    x, y = (np.interp(u[:, 0] * along[-1], along, path[:, k]) for k in (0, 1))
    heading = np.arctan2(np.gradient(y), np.gradient(x))
    bristles = ndimage.gaussian_filter1d(rng.standard_normal(m + 8), 1.1)[4:-4] * 1.6
    wobble = ndimage.gaussian_filter1d(rng.standard_normal(n + 8), 4)[4:-4]
    half = width / 2 * (1 + 0.15 * wobble) * np.sqrt(1 - (2 * u[:, 0] - 1).clip(-1, 1) ** 8)
    px = x[:, None] - np.sin(heading)[:, None] * v * half[:, None]
    py = y[:, None] + np.cos(heading)[:, None] * v * half[:, None]
    wet = bristles[None] + 2.2 * (1 - u) / max(dryness, 1e-6) - 1.2  # negative: this bristle is dry by now
    inside = (wet > 0) & (px >= 0) & (py >= 0) & (px < len(canvas)) & (py < len(canvas))
    row, column = py[inside].astype(int), px[inside].astype(int)
    shade = (1 + streak * bristles[None] + 0 * u)[inside]
    canvas[row, column] = colour * shade[:, None]
    ridge = 0.55 + 0.3 * bristles[None] + 0.5 * np.abs(v) ** 3 + 0.35 * (u > 0.9)
    height[row, column] = 0.35 * height[row, column] + ridge[inside]


def fill(
    rng: Generator,
    canvas: Array,
    height: Array,
    target: Array,  # [H,W,3], the colours to paint with
    angle: Array,  # [H,W], the strokes' directions
    mask: Array,  # [H,W], where strokes start
    width: float,
    length: float,
    overlap: float = 2.0,  # how many strokes lie on a spot
    jitter: float = 0.05,
    **bristles: float,
) -> None:
    """Brush strokes over a region, each in the colour that it starts on, a little off."""
    rows, columns = np.nonzero(mask)
    count = int(overlap * len(rows) / (width * length)) + 1
    pick = rng.integers(len(rows), size=count)
    starts = np.stack([columns[pick], rows[pick]], axis=1) + 0.5
    lengths = length * rng.uniform(0.6, 1.3, count)
    paths = follow(angle, starts, lengths)
    colours = target[rows[pick], columns[pick]] + jitter * rng.standard_normal((count, 3))
    colours += jitter * rng.standard_normal((count, 1))
    for path, colour, size in zip(paths, colours, width * rng.uniform(0.7, 1.3, count), strict=True):
        brush(rng, canvas, height, path, size, colour, **bristles)
