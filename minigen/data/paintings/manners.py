"""Ten ways to paint, each a function of a random generator and a size: generative art in NumPy and Pillow.

Each works as a painter does, from broad to fine, in few colours and with an unsteady hand; and larger than
the picture will be, for bringing it down smooths the edges. All of them return [size,size,3] in [0,1].
"""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

from minigen.data.paintings.brushes import Array, blend, fill, finish, gradient, grid, noise, relief, rgb, step

OVERSIZE = 2  # the picture is worked at this many times its size, or at 3 times where lines are fine


def impasto(rng: Generator, size: int) -> Array:
    """Oil laid on thick: a whirling sky over the sea at sundown."""
    side = size * OVERSIZE
    unit = side / 768
    x, y = grid(side)
    horizon, sun_x, sun_y = 0.68, 0.64, 0.585

    # The sky's colours are looked up at a height that whirls twist: colours and strokes then turn together.
    wx, wy = x, y + 0.02 * noise(rng, side, (4, 2), 2)
    whirls = ((0.26, 0.27, 0.17, 5.0), (0.79, 0.19, 0.12, -4.6), (0.55, 0.44, 0.075, 3.6), (0.06, 0.52, 0.09, -3.4))
    for cx, cy, radius, turn in whirls:
        dx, dy = wx - cx, wy - cy
        spin = turn * np.exp(-(dx**2 + dy**2) / radius**2)
        wx, wy = cx + dx * np.cos(spin) - dy * np.sin(spin), cy + dx * np.sin(spin) + dy * np.cos(spin)
    down, across = np.gradient(ndimage.gaussian_filter(wy, 6 * unit))
    sky_angle = np.arctan2(across, -down)
    night = rgb("0f1440", "1b2f7a", "2a5fae", "58a6b8", "b9d3a0", "f4c95d", "f08a3c")
    sky = gradient(wy + 0.02 * noise(rng, side, (14, 3), 2), [0.0, 0.14, 0.28, 0.42, 0.53, 0.61, 0.68], night)
    bands = np.sin(2 * np.pi * (wy * 15 + 0.3 * noise(rng, side, (5, 3), 2)))
    sky = blend(sky, rgb("f6ecc0"), 0.33 * step(0.55, 0.7, bands))
    sky = blend(sky, rgb("141c5c"), 0.45 * step(0.55, 0.7, -bands) * step(0.62, 0.3, 1 - y))
    far = np.hypot(x - sun_x, y - sun_y)
    sky = blend(sky, rgb("ffb347"), 0.8 * np.exp(-((far / 0.16) ** 2)))
    sky = blend(sky, rgb("fff3b8"), step(0.062, 0.02, 2 * 0.062 - far))
    halo = np.exp(-((far / 0.15) ** 2))  # round the sun the strokes run in rings
    ring = np.arctan2(x - sun_x, -(y - sun_y))
    sine, cosine = ((1 - halo) * f(2 * sky_angle) + halo * f(2 * ring) for f in (np.sin, np.cos))
    sky_angle = np.arctan2(sine, cosine) / 2  # angles are doubled to be mixed, since a stroke has no head

    depth = (y - horizon) / (1 - horizon)  # the sea: 0 at the horizon, 1 at the lower edge
    swell = np.sin(2 * np.pi * (9 * np.sqrt(depth.clip(0.001)) + 0.5 * noise(rng, side, (3, 2), 3)))
    sea = gradient(depth, [0, 0.25, 0.6, 1], rgb("7fb5b0", "2f7f95", "1d4f86", "12265c"))
    sea = blend(sea, rgb("0e1d4e"), 0.5 * step(0.2, 0.8, swell))
    glitter = np.exp(-(((x - sun_x) / (0.035 + 0.12 * depth.clip(0))) ** 2)) * step(0.0, 0.7, -swell)
    sea = blend(sea, rgb("ffc04d"), 0.95 * glitter)
    sea_angle = 0.12 * noise(rng, side, (5, 3), 2)

    shore = 0.91 - 0.36 * np.exp(-(((x + 0.02) / 0.20) ** 2)) - 0.10 * np.exp(-(((x - 1.02) / 0.2) ** 2))
    shore += 0.012 * noise(rng, side, (3, 6), 3)[0][None]
    land_tone = (y - shore) / 0.3 + 0.25 * noise(rng, side, 7, 3)
    land = gradient(land_tone, [0, 0.15, 0.4, 0.8], rgb("a8503f", "6b3a5c", "2c3a66", "101a3c"))
    land = blend(land, rgb("5f7d3a"), 0.7 * step(0.8, 0.5, noise(rng, side, 8, 3)))
    land = blend(land, rgb("f0a83c"), 0.9 * step(1.1, 0.4, noise(rng, side, 16, 3)) * step(0.35, 0.4, x))  # gorse
    land_angle = -1.25 + 0.3 * noise(rng, side, 6, 2)

    canvas = np.ones((side, side, 3)) * rgb("8a4b2d")  # a burnt-sienna ground, left to shine through
    height = 0.15 * noise(rng, side, 90, 2)
    everywhere = np.ones((side, side), bool)
    above, below, ashore = y < horizon - 0.01, (y > horizon) & (y < shore), y > shore
    fill(rng, canvas, height, sky, sky_angle, everywhere, 30 * unit, 110 * unit, 2.2, 0.03)
    fill(rng, canvas, height, sky, sky_angle, above, 17 * unit, 80 * unit, 2.4, 0.04)
    fill(rng, canvas, height, sky, sky_angle, above, 9 * unit, 52 * unit, 1.5, 0.06, streak=0.12)
    fill(rng, canvas, height, sky, sky_angle + 0.5, far < 0.025, 16 * unit, 24 * unit, 2.0, 0.02)
    fill(rng, canvas, height, sea, sea_angle, below, 16 * unit, 70 * unit, 2.6, 0.04)
    fill(rng, canvas, height, sea, sea_angle, below, 8 * unit, 44 * unit, 1.6, 0.06, streak=0.12)
    fill(rng, canvas, height, land, land_angle, ashore, 18 * unit, 60 * unit, 2.6, 0.04)
    fill(rng, canvas, height, land, land_angle, ashore, 8 * unit, 40 * unit, 1.8, 0.07, streak=0.14)
    light = relief(ndimage.gaussian_filter(height, 0.8 * unit), 0.42)
    return finish(canvas * light[..., None], size)


def pointillism(rng: Generator, size: int) -> Array:
    """Dots of pure colour, side by side: poplars and a sail on a river in the afternoon."""
    side = size * OVERSIZE
    unit = side / 768
    x, y = grid(side)
    water, bank = 0.50, 0.83 - 0.13 * x**2 + 0.012 * np.sin(9 * x)

    # First the far side of the river as a plain picture, then its reflection, then the near bank.
    scene = gradient(y, [0, 0.2, 0.4, water], rgb("3f74d9", "86b4f0", "ffd9a0", "ff9a6e"))
    clouds = step(0.9, 1.2, noise(rng, side, (7, 3), 4)) * step(0.4, 0.3, 0.75 - y)
    scene = blend(scene, rgb("fff4e0"), 0.85 * clouds)
    hill = 0.425 + 0.035 * np.sin(5.2 * x + 0.9) + 0.012 * np.sin(13 * x)
    scene = blend(scene, gradient(y - hill, [0, 0.08], rgb("6f78cc", "b596c8")), step(0, 0.01, y - hill))
    leaves = noise(rng, side, 26, 2)
    foliage = rgb("1d2a6b", "1f5a4c", "3f8f3c", "b4c83a", "ffd84a")
    trees = [(0.88, 0.035, 0.10), (0.80, 0.03, 0.08), (0.95, 0.05, 0.13), (0.42, 0.03, 0.06), (0.36, 0.04, 0.07)]
    trees += [(0.05, 0.10, 0.21), (0.15, 0.055, 0.36), (0.235, 0.048, 0.29), (0.305, 0.04, 0.20)]
    for centre, wide, tall in trees:
        across, up = (x - centre) / wide, (y - water + tall * 0.95) / tall
        crown = 1 - across**2 - up**2 + 0.13 * leaves
        tone = 0.42 + 0.42 * across - 0.22 * up + 0.13 * leaves
        scene = blend(scene, gradient(tone, [0, 0.25, 0.5, 0.8, 1], foliage), step(0, 0.1, crown) * (y < water))
    meadow = step(water - 0.025, 0.01, y)
    scene = blend(scene, gradient(x + 0.1 * leaves, [0.1, 0.4, 1], rgb("2f6b45", "9fb83e", "e8cf52")), meadow)
    leech = (x - 0.60) / 0.13  # the sail: 0 at the mast, 1 at its outer corner
    sail = (leech > 0) & (y > 0.15 + 0.28 * leech) & (y < 0.46 + 0.02 * leech)
    scene = blend(scene, gradient(leech, [0, 0.6, 1], rgb("ffffff", "fff2b8", "ffd840")), sail)
    jib = (x < 0.592) & (x > 0.592 - 0.33 * (y - 0.19)) & (y < 0.47)
    scene = blend(scene, rgb("ff7a3c"), jib)
    hull = (np.abs(x - 0.60) < 0.12 - 0.9 * (y - 0.478)) & (y > 0.478) & (y < water)
    scene = blend(scene, rgb("8c2f4b"), hull)

    ripple = 0.02 * (y - water) / 0.3 * noise(rng, side, (40, 5), 2)
    mirror = ((2 * water - y + ripple).clip(0, water - 1e-3) * side).astype(int)
    image = scene[mirror, (x * side).astype(int)]
    image = blend(image, rgb("27509a"), 0.28 + 0.5 * (y - water).clip(0))
    image = blend(image, rgb("ffe2a0"), 0.7 * step(1.5, 0.5, noise(rng, side, (36, 7), 2)))
    scene = blend(scene, image, y > water)
    grass = 0.55 + 0.2 * noise(rng, side, (10, 5), 3) + 0.5 * (x - 0.4)
    grass = gradient(grass, [0, 0.3, 0.6, 1], rgb("2a2f7d", "2e7a4a", "8fb53a", "ffd24a"))
    flowers = step(1.35, 0.3, noise(rng, side, (34, 22), 2))
    grass = blend(blend(grass, rgb("e8344a"), flowers), rgb("ffe9f0"), step(1.9, 0.3, noise(rng, side, 44, 2)))
    scene = blend(scene, grass, step(0, 0.01, y - bank))

    tubes = rgb(
        "ffffff", "fff2b8", "ffd840", "ffab2e", "ff7a3c", "e8344a", "c2275f", "f7a6b4", "b9a2e0", "6f5cc4", "3a2f8f",
        "1d2a6b", "2450a8", "3f86dc", "8cc4f2", "bfe3ea", "1f8f8a", "17604a", "2f8f3f", "7cb83a", "c9d93f", "8c3b2e",
    )  # fmt: skip
    sheet = Image.fromarray((np.ones((side, side, 3)) * rgb("efe0c0") * 255).astype(np.uint8))
    draw = ImageDraw.Draw(sheet)
    for radius, spread, overlap in ((9.0, 0.10, 1.3), (6.0, 0.11, 1.4), (4.6, 0.13, 1.1)):
        radius *= unit
        count = int(overlap * side**2 / (np.pi * radius**2))
        spots = rng.uniform(0, side, (count, 2))
        column, row = spots.astype(int).T
        wanted = scene[row, column] + spread * rng.standard_normal((count, 3))
        tube = cKDTree(tubes).query(wanted)[1]
        colours = (255 * (tubes[tube] + 0.03 * rng.standard_normal((count, 3)))).clip(0, 255).astype(int)
        for (px, py), r, colour in zip(spots, radius * rng.uniform(0.8, 1.15, count), colours, strict=True):
            draw.ellipse((px - r, py - r, px + r, py + r), fill=tuple(colour.tolist()))
    canvas = np.asarray(sheet) / 255
    return finish(canvas * (1 + 0.02 * noise(rng, side, 150, 1))[..., None], size)


def woodblock(rng: Generator, size: int) -> Array:
    """Flat colours printed from cut blocks with a dark key line: breakers before mountains and a red sun."""
    side = size * 3
    y = grid(side)[1]
    paper = np.ones((side, side, 3)) * rgb("f3e4c4")
    wood = noise(rng, side, (5, 2), 3)
    wood = np.sin(2 * np.pi * (34 * y + 1.1 * wood)) + 1.2 * noise(rng, side, (240, 3), 2)  # rings, and fine streaks
    sky = blend(paper, rgb("1f4a70"), 0.95 * step(0.03, 0.28, 0.13 - y + 0.006 * wood))  # a block wiped to a gradient
    sky = blend(sky, rgb("e8957a"), 0.85 * step(0.0, 0.34, y - 0.36))
    sheet = Image.fromarray((sky * 255).round().astype(np.uint8))
    key = Image.new("L", (side, side))  # the black block, printed last
    colour_block, key_block = ImageDraw.Draw(sheet), ImageDraw.Draw(key)

    def cut(points: Array, colour: str, line: float = 0.004) -> None:
        """One flat shape, which hides what lies behind it, and its outline on the key block."""
        pixels = [tuple(p) for p in (points * side).tolist()]
        colour_block.polygon(pixels, fill=tuple((rgb(colour) * 255).astype(int).tolist()))
        key_block.polygon(pixels, fill=0)
        if line:
            key_block.line(pixels + pixels[:1], fill=255, width=round(line * side), joint="curve")

    def disc(cx: float, cy: float, radius: float, wide: float = 0.0) -> Array:
        """A disc; with `wide`, drawn out sideways to a bar with round ends."""
        turn = np.linspace(0, 2 * np.pi, 60)
        return np.stack([cx + wide * np.sign(np.cos(turn)) + radius * np.cos(turn), cy + radius * np.sin(turn)], axis=1)

    cut(disc(0.66, 0.29, 0.145), "d63c2c", line=0)
    for base, tall, colour, peaks in (
        (0.52, 0.23, "93a9b3", ((0.02, 0.8, 0.3), (0.33, 1.0, 0.26), (0.47, 0.72, 0.2), (0.93, 0.75, 0.3))),
        (0.57, 0.20, "446f86", ((0.14, 0.75, 0.3), (0.62, 0.6, 0.32), (1.0, 1.0, 0.34))),
    ):
        at = np.linspace(-0.02, 1.02, 300)
        top = np.max([height * (1 - np.abs(at - peak) / wide).clip(0) ** 1.3 for peak, height, wide in peaks], axis=0)
        top = base - tall * top - 0.0012 * rng.standard_normal(len(at)).cumsum()
        crags = 0.010 * rng.uniform(-1, 1, len(at)) + 0.03 * np.sin(np.arange(len(at)) * 0.5)
        snow = np.minimum(top + 0.002, base - 0.72 * tall)
        cut(np.concatenate([np.stack([at, top], axis=1), [[1.02, 1.2], [-0.02, 1.2]]]), colour)
        drop = np.maximum(snow + (base - 0.66 * tall - top).clip(0) * 0.35 + np.abs(crags) * 0.8, top)
        under = np.where(top < base - 0.62 * tall, drop, top)
        cut(np.concatenate([np.stack([at, top], axis=1), np.stack([at, under], axis=1)[::-1]]), "f3e4c4", 0.002)
    bands = [(0.78, 0.215, 0.16), (0.88, 0.245, 0.12), (0.16, 0.36, 0.13), (0.05, 0.39, 0.12), (0.52, 0.40, 0.1)]
    for cx, cy, wide in bands:  # of cloud
        cut(disc(cx, cy, 0.0145, wide), "f3e4c4", 0.003)

    def row(base: float, tall: float, length: float, lean: float, phase: float, depth: float) -> Array:
        """The line of a row of breakers whose crests lean over; `depth` steps inside it, for the contour lines."""
        t = np.linspace(-0.7, 1.6, 900)
        swell = ((1 + np.cos(2 * np.pi * (t / length + phase))) / 2) ** (1.7 - 0.7 * depth)
        swell = swell * (1 + 0.22 * np.sin(3.1 * t / length + 9 * phase))
        over = t + lean * swell**3 * (1 - 0.75 * depth)
        return np.stack([over, base + 0.75 * tall * depth - tall * swell * (1 - 0.2 * depth)], axis=1)

    blues = ("14305a", "24588c", "5a93b3", "aed0d0", "f3e4c4")
    breakers = [(0.60, 0.06, 0.20, 0.03, 0.1), (0.68, 0.12, 0.33, 0.085, 0.6)]
    breakers += [(0.82, 0.2, 0.54, 0.16, 0.22), (1.0, 0.30, 0.86, 0.24, 0.58)]
    for base, tall, length, lean, phase in breakers:
        for k, colour in enumerate((4, 2, 1, 3, 1, 0, 2, 1, 3, 1, 0)):
            line = row(base, tall, length, lean, phase, 0.13 * k)
            cut(np.concatenate([line, [[1.7, 1.3], [-0.8, 1.3]]]), blues[colour], 0.005 if k == 0 else 0.0025)
        crest = row(base, tall, length, lean, phase, 0.0)
        falling = np.gradient(crest[:, 1]) > -1e-4 * tall
        tips = np.flatnonzero(falling & (crest[:, 1] < base - 0.62 * tall))
        for k in rng.choice(tips, size=round(28 * len(tips) * length / len(crest) / 0.02)):  # foam
            spot = crest[k] + tall * rng.uniform([-0.06, -0.06], [0.10, 0.10])
            cut(disc(*spot, tall * rng.uniform(0.015, 0.065)), "f3e4c4", 0.0025)
        for k in rng.choice(tips, size=40):  # spray
            spot = crest[k] + tall * rng.uniform([0, -0.5], [0.9, 0.3])
            cut(disc(*spot, 0.0022 + 0.002 * rng.random()), "f3e4c4", 0)
    for bx, by, span in ((0.24, 0.20, 0.035), (0.31, 0.235, 0.028), (0.345, 0.185, 0.022), (0.20, 0.26, 0.02)):
        wing = np.array([[-1, -0.35], [-0.6, -0.5], [-0.25, -0.3], [0, 0.12], [0.25, -0.3], [0.6, -0.5], [1, -0.35]])
        bird = [tuple(p) for p in ((wing * span + [bx, by]) * side).tolist()]
        key_block.line(bird, fill=255, width=round(0.0045 * side))

    image = np.asarray(sheet) / 255
    printed = np.abs(image - paper).max(axis=2) > 0.03
    image = image * (1 + printed * 0.035 * wood + 0.012 * noise(rng, side, 180, 2))[..., None]
    image = blend(image, paper, printed * 0.35 * step(2.1, 0.5, noise(rng, side, 200, 2)))  # where the ink did not take
    inked = ndimage.shift(np.asarray(key) / 255, (-0.0015 * side, 0.0015 * side), order=1, mode="nearest")
    image = blend(image, rgb("14202e"), inked * (0.93 - 0.25 * step(1.2, 1, noise(rng, side, 90, 2))))
    return finish(image, size)


def cubism(rng: Generator, size: int) -> Array:
    """A still life seen from many sides at once: each facet shows it shifted, turned and lit in its own way."""
    side = size * OVERSIZE
    unit = side / 768
    still_life = _guitar_and_bottle(side)
    contour = ndimage.gaussian_gradient_magnitude(still_life.mean(axis=2), 1.3 * unit)
    contour = step(0.045, 0.05, contour * unit)
    streaks = 0.7 * noise(rng, side, (150, 16), 2) + 0.5 * noise(rng, side, (60, 5), 2)  # the marks of a flat brush
    canvas, height = still_life.copy(), np.zeros((side, side))
    edges = Image.new("L", (side, side))
    ink = ImageDraw.Draw(edges)
    corners = np.array([[-0.02, -0.02], [1.02, -0.02], [1.02, 1.02], [-0.02, 1.02]]) * side
    for facet in _split(rng, corners, 0.0035 * side**2):
        stencil = Image.new("L", (side, side))
        outline = [tuple(p) for p in facet.tolist()]
        ImageDraw.Draw(stencil).polygon(outline, fill=1)
        row, column = np.nonzero(np.asarray(stencil))
        if len(row) == 0:
            continue
        cx, cy = facet.mean(axis=0)
        turn, zoom = rng.normal(0, 0.13), rng.uniform(0.85, 1.25)
        dx, dy = (column - cx) / zoom, (row - cy) / zoom
        shift = rng.normal(0, 0.022 * side, 2)
        seen_x = (cx + shift[0] + dx * np.cos(turn) - dy * np.sin(turn)).clip(0, side - 1).astype(int)
        seen_y = (cy + shift[1] + dx * np.sin(turn) + dy * np.cos(turn)).clip(0, side - 1).astype(int)
        light = rng.choice([-0.4, 0.2, 0.75, 1.7]) * np.pi / 2 + rng.normal(0, 0.2)  # where this facet's shade falls
        slope, across = np.cos(light) * dx + np.sin(light) * dy, np.cos(light) * dy - np.sin(light) * dx
        bristle = streaks[(slope * 1.3).astype(int) % side, (across * 1.3).astype(int) % side]
        slope = (slope - slope.min()) / (np.ptp(slope) + 1e-9) + 0.05 * bristle
        colours = still_life[seen_y, seen_x]
        tone = rgb("f6e8c8", "e9c98c", "b9c6c9", "dfe3da")[rng.integers(4)]
        colours = colours + (tone - colours) * (rng.uniform(0.3, 0.95) * (1 - slope).clip(0, 1) ** 1.7)[:, None]
        shade = rgb("2a1c16", "1f2a33", "3a2416")[rng.integers(3)]
        colours = colours + (shade - colours) * (rng.uniform(0.3, 0.75) * slope.clip(0, 1) ** 2.2)[:, None]
        colours = colours * (1 + 0.07 * bristle)[:, None]
        drawn = 0.85 * contour[seen_y, seen_x] * (rng.random() < 0.7)
        canvas[row, column] = colours + (rgb("1c1512") - colours) * drawn[:, None]
        height[row, column] = 0.5 * bristle
        for here, there in zip(outline, outline[1:] + outline[:1], strict=True):
            if rng.random() < 0.4:
                ink.line([here, there], fill=int(rng.uniform(120, 255)), width=round(rng.uniform(1.5, 4) * unit))
    line = np.asarray(edges) / 255 * (0.85 + 0.3 * noise(rng, side, 20, 3))
    canvas = blend(canvas, rgb("1c1512"), line)
    height = height + 0.2 * noise(rng, side, 190, 1)  # the canvas itself
    light = relief(ndimage.gaussian_filter(height, 0.8 * unit), 0.2)
    return finish(canvas * light[..., None], size)


def _split(rng: Generator, polygon: Array, smallest: float) -> list[Array]:
    """Cut a convex polygon [K,2] by straight lines, again and again, into facets of about `smallest` square pixels."""
    x, y = polygon.T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    if area < smallest * rng.choice([1.0, 2.0, 4.0]):
        return [polygon]
    slant = rng.choice([0.33, 0.62, -0.38, 1.52, -0.75]) + rng.normal(0, 0.12)  # a few directions hold it together
    across = np.array([-np.sin(slant), np.cos(slant)])
    distance = (polygon - polygon.mean(axis=0)) @ across
    distance = distance - rng.normal(0, 0.15) * np.ptp(distance)
    halves: list[list[Array]] = [[], []]
    for k in range(len(polygon)):
        here, there = distance[k], distance[(k + 1) % len(polygon)]
        halves[int(here < 0)].append(polygon[k])
        if (here < 0) != (there < 0):
            corner = polygon[k] + (polygon[(k + 1) % len(polygon)] - polygon[k]) * here / (here - there)
            halves[0].append(corner)
            halves[1].append(corner)
    if min(len(half) for half in halves) < 3:  # the line missed
        return [polygon]
    return [facet for half in halves for facet in _split(rng, np.array(half), smallest)]


def _guitar_and_bottle(side: int) -> Array:
    """The still life itself, in flat colours."""
    sheet = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(sheet)

    def shape(points: list[tuple[float, float]], colour: str) -> None:
        draw.polygon([(px * side, py * side) for px, py in points], fill="#" + colour)

    def oval(cx: float, cy: float, rx: float, ry: float, colour: str) -> None:
        draw.ellipse([(cx - rx) * side, (cy - ry) * side, (cx + rx) * side, (cy + ry) * side], fill="#" + colour)

    shape([(0, 0), (1, 0), (1, 1), (0, 1)], "5f6f73")
    shape([(0, 0), (0.33, 0), (0.26, 0.72), (0, 0.75)], "38474f")
    shape([(0.70, 0), (1, 0), (1, 0.7), (0.76, 0.66)], "8c8f86")
    shape([(0.08, 0.70), (0.95, 0.62), (1, 1), (0, 1)], "7d4a2b")
    shape([(0.14, 0.78), (0.62, 0.70), (0.72, 0.93), (0.2, 0.99)], "e6d9b8")
    for k in range(7):
        left, right = 0.80 + 0.024 * k, 0.735 + 0.024 * k
        shape([(0.2, left), (0.62, right), (0.62, right + 0.008), (0.2, left + 0.008)], "4a4640")
    oval(0.40, 0.68, 0.205, 0.19, "b8742f")
    oval(0.46, 0.46, 0.155, 0.14, "c98a3d")
    shape([(0.30, 0.50), (0.57, 0.46), (0.56, 0.62), (0.27, 0.62)], "c07f36")
    oval(0.435, 0.575, 0.068, 0.066, "231a15")
    shape([(0.475, 0.40), (0.535, 0.40), (0.66, 0.04), (0.60, 0.03)], "2f211a")
    shape([(0.585, 0.06), (0.68, 0.07), (0.70, 0.0), (0.60, -0.02)], "e2c48a")
    shape([(0.34, 0.74), (0.47, 0.72), (0.475, 0.745), (0.345, 0.765)], "231a15")
    for k in range(5):
        string = [((0.365 + 0.022 * k) * side, 0.75 * side), ((0.615 + 0.013 * k) * side, 0.03 * side)]
        draw.line(string, fill="#f0e2c0", width=side // 300)
    bottle = [
        (0.69, 0.86),
        (0.69, 0.46),
        (0.735, 0.36),
        (0.735, 0.2),
        (0.79, 0.2),
        (0.79, 0.36),
        (0.84, 0.46),
        (0.84, 0.86),
    ]
    shape(bottle, "23514a")
    shape([(0.71, 0.55), (0.82, 0.55), (0.82, 0.72), (0.71, 0.72)], "ecdcb4")
    shape([(0.735, 0.5), (0.75, 0.38), (0.75, 0.2), (0.76, 0.2), (0.76, 0.5)], "a9c2b4")
    oval(0.90, 0.84, 0.065, 0.062, "b5432f")
    oval(0.62, 0.88, 0.055, 0.052, "d9a441")
    goblet = [
        (0.05, 0.58),
        (0.19, 0.58),
        (0.155, 0.72),
        (0.13, 0.86),
        (0.17, 0.9),
        (0.07, 0.9),
        (0.11, 0.86),
        (0.085, 0.72),
    ]
    shape(goblet, "b9c4c2")
    shape([(0.06, 0.64), (0.18, 0.64), (0.155, 0.72), (0.085, 0.72)], "8c2f3b")
    return np.asarray(sheet) / 255


def stained_glass(rng: Generator, size: int) -> Array:
    """Panes of coloured glass in lead, lit from behind: a sun with its rays over hills and a stream."""
    side = size * OVERSIZE
    unit = side / 768
    x, y = grid(side)
    cx, cy = 0.5, 0.36
    radius, turn = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx) / (2 * np.pi) + 0.5
    bent = radius * (1 + 0.02 * noise(rng, side, 4, 2))

    def shards(count: int, stretch: float) -> Array:
        """Which of `count` scattered panes each pixel belongs to; `stretch` makes them wide."""
        sites = rng.uniform(0, 1, (count, 2)) * [1, stretch]
        return cKDTree(sites).query(np.stack([x, y * stretch], axis=-1).reshape(-1, 2))[1].reshape(side, side)

    # Every region has its own way of being cut; a pane is a region's number and a number within it.
    region, pane = np.zeros((side, side), int), np.zeros((side, side), int)
    rings = [0.05, 0.095, 0.145, 0.20, 0.265, 0.34, 0.43, 0.54, 0.95]
    petals = [1, 9, 18, 18, 18, 18, 36, 36, 36]
    ring = np.searchsorted(rings, bent)
    for k, count in enumerate(petals):
        inside = ring == k
        region[inside] = k
        sway = 0.02 * np.sin(k + 9 * bent[inside]) if k > 3 else 0.0
        pane[inside] = np.floor((turn[inside] + 0.5 * (k % 2) / count + sway) * count) % count
    skylines = [0.60 + 0.05 * np.sin(6.5 * x + 0.5), 0.70 + 0.06 * np.sin(5.0 * x + 3.4)]
    skylines += [0.82 - 0.05 * np.sin(4.2 * x + 0.3)]
    for k, (skyline, count) in enumerate(zip(skylines, (110, 90, 70), strict=True)):
        below = y > skyline
        region[below] = 10 + k
        pane[below] = (shards(count, 2.0) + np.floor((y - skyline) / 0.055) * 1000)[below]
    stream = 0.50 + 0.13 * np.sin(13 * (y - 0.50))
    across = (x - stream) / (0.02 + 0.55 * (y - 0.66).clip(0) ** 1.2)
    wet = (np.abs(across) < 1) & (y > skylines[1])
    region[wet] = 13
    pane[wet] = (np.floor((across + 1) * 1.5) * 100 + np.floor(19 * (y + 0.02 * np.floor((across + 1) * 1.5))))[wet]
    edge = np.minimum.reduce([x, y, 1 - x, 1 - y])
    frame = edge < 0.055
    region[frame] = 14
    along = np.where((x - 0.5) ** 2 < (y - 0.5) ** 2, x, y)
    pane[frame] = (np.floor(along * 18) + 100 * np.floor(4 * ((x > y) + 2 * (x > 1 - y))))[frame]

    numbers, label = np.unique(region * 100_000 + pane + 50_000, return_inverse=True)
    label = label.reshape(side, side)
    glass = {
        0: ["fff6c8"],  # the sun and the rings round it
        1: ["ffd23f", "ffe27a"],
        2: ["ff9a1f", "ffb52e", "f5c542"],
        3: ["e8481f", "d8232a", "f26a21"],
        4: ["f7a733", "d8327f", "e8589a"],
        5: ["6a3fb8", "8a4fd0", "b03fa0"],
        6: ["2f62e0", "3f8df5", "5a4fd0"],
        7: ["1740b8", "1f66d8", "2fa4e8"],
        8: ["0f2280", "1638a8", "1f58c8", "122a70"],
        10: ["2f9a8a", "1f7f8f", "4fb89a"],  # the hills
        11: ["2f8f3a", "56a832", "1f6f3f"],
        12: ["9fc131", "c9d93f", "5fa02f", "e0c23a"],
        13: ["8fe3f2", "4fc0e8", "d8f6f8", "2f9ad8"],  # the stream
        14: ["a81f2f", "d8a62a", "1f4fa0", "7a1f5f"],  # the frame
    }
    colours = np.empty((len(numbers), 3))
    for k, number in enumerate(numbers // 100_000):
        palette = glass.get(int(number), glass[8])
        colours[k] = rgb(palette[rng.integers(len(palette))]) * rng.uniform(0.82, 1.12) + 0.03 * rng.standard_normal(3)

    def borders(labels: Array) -> Array:
        """The distance of each pixel to the nearest border between labels."""
        lines = np.zeros((side, side), bool)
        lines[:, 1:] |= labels[:, 1:] != labels[:, :-1]
        lines[1:] |= labels[1:] != labels[:-1]
        return ndimage.distance_transform_edt(~lines) / unit

    to_pane, to_region = borders(label), borders(region)
    swirl = np.sin(2.5 * noise(rng, side, (3, 9), 4) + 0.9 * rng.uniform(0, 6.28, len(numbers))[label])
    seeds = step(2.4, 0.4, noise(rng, side, 110, 1))  # bubbles in the glass
    backlight = 0.72 + 0.55 * np.exp(-((radius / 0.42) ** 2)) + 0.10 * noise(rng, side, 5, 2)
    image = colours[label] * (backlight * (1 + 0.14 * swirl))[..., None]
    image = image * (0.55 + 0.45 * step(5, 9, to_pane))[..., None]
    image = blend(image, rgb("ffffff"), 0.20 * seeds + 0.22 * step(0.75, 0.6, swirl) * step(9, 8, to_pane))
    lead = np.maximum(step(-2.8, 1.6, -to_pane), step(-4.6, 1.6, -to_region))
    lead = np.maximum(lead, step(-0.012, 0.003, -edge))
    body = np.minimum(to_pane / 2.8, to_region / 4.6).clip(0, 1)
    metal = rgb("15161c") + (0.22 * relief(ndimage.gaussian_filter((1 - body**2) * 2, unit), 1.2) - 0.17)[..., None]
    metal = metal.clip(0.03, 0.6) * (1 + 0.15 * noise(rng, side, 120, 2))[..., None]
    return finish(blend(image, metal, lead), size)


def watercolour(rng: Generator, size: int) -> Array:
    """Transparent washes on rough paper, darker where they dried: poppies in a wet meadow."""
    side = size * OVERSIZE
    x, y = grid(side)
    grain = 0.6 * noise(rng, side, 130, 2) + 0.4 * noise(rng, side, 60, 2)  # the tooth of the paper
    cloud, fringe = noise(rng, 2 * side, 10, 5), noise(rng, 2 * side, 28, 5)  # larger than the sheet: see `wash`
    depth = np.zeros((side, side, 3))  # optical depth: what light is lost to pigment, a channel each

    def wash(
        shape: Array,  # the puddle lies where it is above 0; at most 1
        pigments: Array,  # [K,3], which run into each other
        strength: float = 1.0,
        soft: float = 0.02,  # how far its edge bleeds
        rim: float = 0.9,  # how much pigment gathers where it dried
        fray: float = 0.08,
        lift: float = 0.0,  # how much of what lies below is wiped off
        corner: tuple[int, int] = (0, 0),  # where `shape` lies on the sheet
    ) -> None:
        place = tuple(slice(start, start + length) for start, length in zip(corner, shape.shape, strict=True))
        down, across = rng.integers(0, side, 2)  # another piece of the noise for each wash
        piece = (slice(down, down + shape.shape[0]), slice(across, across + shape.shape[1]))
        pool, ragged = cloud[piece], fringe[piece]
        inside = shape + fray * (ragged + 0.5 * pool)
        amount = step(0, soft, inside) * (0.66 + 0.22 * pool + 0.13 * ragged + 0.10 * grain[place])
        amount = (amount + rim * 0.45 * np.exp(-((inside / 0.04) ** 2)) * step(0, 0.02, inside)).clip(0)
        hue = gradient(0.5 + 0.35 * pool + 0.15 * ragged, np.linspace(0, 1, len(pigments)).tolist(), pigments)
        depth[place] *= 1 - lift * step(0, soft, inside)[..., None]
        depth[place] -= strength * amount[..., None] * np.log(hue)

    def puddle(cx: float, cy: float, long: float, wide: float, turn: float, pigments: Array, fan=0.0, **how) -> None:
        """A wash of the shape of a petal or a leaf; `fan` makes its far end the broader."""
        reach = 1.5 * max(long, wide)
        left, right = (int(np.clip(edge, 0, 1) * side) for edge in (cx - reach, cx + reach))
        top, bottom = (int(np.clip(edge, 0, 1) * side) for edge in (cy - reach, cy + reach))
        dx, dy = x[top:bottom, left:right] - cx, y[top:bottom, left:right] - cy
        u, v = (dx * np.cos(turn) + dy * np.sin(turn)) / long, (dy * np.cos(turn) - dx * np.sin(turn)) / wide
        wash(1 - u**2 - (v / (1 + fan * u).clip(0.15)) ** 2, pigments, corner=(top, left), **how)

    # Wet in wet: the sky runs into the hills, the hills into the meadow.
    mist = cloud[:side, :side]
    wash(0.45 - y + 0.25 * mist, rgb("d5e6f5", "9fc3ee", "c3b3e6"), 0.9, soft=0.5, rim=0, fray=0)
    wash(0.34 - np.hypot(x - 0.85, 1.6 * (y - 0.12)), rgb("f9dcc0", "f6b5a6"), 1.0, soft=0.5, rim=0, fray=0.05)
    wash(0.10 - np.abs(y - 0.53 - 0.05 * np.sin(5 * x)), rgb("a5b8e0", "7f9fc6", "93bda5"), 0.9, soft=0.10, rim=0.4)
    wash(y - 0.57 + 0.03 * np.sin(7 * x + 1), rgb("f0eb9f", "bcd871", "84b86a", "e0d97a"), 0.9, soft=0.1, rim=0.3)
    wash(y - 0.77 + 0.03 * np.sin(5 * x + 3), rgb("9fcf6a", "4f985f", "d3d35f"), 0.8, soft=0.2, rim=0.3)
    for _ in range(26):
        turn = -1.57 + rng.normal(0, 0.35)
        leaf = (*rng.uniform([0, 0.6], [1, 1]), rng.uniform(0.05, 0.14), rng.uniform(0.015, 0.04), turn)
        puddle(*leaf, rgb("a5d06a", "3f8a52", "6fa595"), strength=0.45, soft=0.3, rim=0.5)

    poppies = [(0.46, 0.16, 0.065), (0.94, 0.41, 0.06), (0.17, 0.67, 0.09), (0.68, 0.29, 0.13)]
    poppies += [(0.52, 0.69, 0.105), (0.32, 0.40, 0.155), (0.81, 0.63, 0.115)]
    for cx, cy, radius in poppies:
        t = ((y - cy) / (1.05 - cy)).clip(0)
        curve = cx + rng.uniform(-0.06, 0.06) * t + rng.uniform(-0.05, 0.05) * np.sin(np.pi * t)
        stem = 0.2 - np.abs(x - curve) / (0.02 + 0.15 * radius)
        wash(np.where(y > cy, stem, -1), rgb("6f9f4f", "2f6a4a", "9fae4f"), 0.9, soft=0.1, fray=0.03)
    for _ in range(34):
        blade = (*rng.uniform([0, 0.75], [1, 1.05]), rng.uniform(0.07, 0.2), 0.006, -1.57 + rng.normal(0, 0.25))
        puddle(*blade, rgb("5f9f4f", "2f7a5f", "b3be4f"), strength=0.8, soft=0.2)
    for cx, cy, radius in poppies:
        puddle(cx, cy, 1.02 * radius, 0.92 * radius, 0, rgb("ffffff", "fff2e8"), soft=0.2, lift=0.75, rim=0)
        lean = rng.uniform(0, 2 * np.pi)
        for k in rng.permutation(5):
            turn = lean + 2 * np.pi * (k + rng.normal(0, 0.12)) / 5
            scarlet, rose = rgb("ffb07a", "f4553a", "e02a30", "f8843f"), rgb("fba0a8", "e0355a", "f8785f")
            reds = scarlet if rng.random() < 0.7 else rose
            petal = (cx + 0.52 * radius * np.cos(turn), cy + 0.44 * radius * np.sin(turn), 0.6 * radius, 0.6 * radius)
            puddle(*petal, turn, reds, fan=0.35, strength=0.85, soft=0.05, fray=0.11)
            vein = (cx + 0.42 * radius * np.cos(turn), cy + 0.36 * radius * np.sin(turn), 0.34 * radius, 0.09 * radius)
            puddle(*vein, turn, rgb("c8203a", "e8484a"), strength=0.55, soft=0.9, rim=0, fray=0.2)
        dark = rgb("4a3a6f", "2a1f38", "5f3a5a")
        puddle(cx, cy, 0.25 * radius, 0.22 * radius, 0, dark, strength=1.1, soft=0.5, fray=0.15)
        for turn in rng.uniform(0, 2 * np.pi, 18):
            reach = radius * rng.uniform(0.28, 0.42)
            anther = (cx + reach * np.cos(turn), cy + 0.85 * reach * np.sin(turn), 0.05 * radius, 0.04 * radius)
            puddle(*anther, 0, dark, strength=1.1, soft=0.4)
    for _ in range(70):
        drop = 0.003 + 0.008 * rng.random() ** 3
        tint = rgb("f0503a", "e02a30") if rng.random() < 0.55 else rgb("4f985f", "6f9fce")
        puddle(*rng.uniform(0, 1, 2), drop, 0.9 * drop, 0, tint, strength=0.7, soft=0.4)
    sheet = rgb("fdfaf2") * np.exp(-depth)
    light = relief(ndimage.gaussian_filter(grain, side / 768), 0.05)
    return finish(sheet * light[..., None], size)


def ink(rng: Generator, size: int) -> Array:
    """One black, from a mist to a full brush, and paper left empty: bamboo before mountains, and a red seal."""
    side = size * OVERSIZE
    x, y = grid(side)
    cloud, fine = noise(rng, side, 4, 5), noise(rng, side, 40, 3)
    depth = np.zeros((side, side))  # how much ink lies on the paper

    def sweep(a, b, c, widest: float, tone: float, dry: float = 0.3, tip: float = 1.0, heel: float = 0.3) -> None:
        """One stroke from `a` to `c`, bent towards `b`; it swells from its heel and narrows to its tip (1: a point)."""
        t = np.linspace(0, 1, 24)[:, None]
        path = (1 - t) ** 2 * np.array(a) + 2 * t * (1 - t) * np.array(b) + t**2 * np.array(c)
        leg = np.hypot(*np.diff(path, axis=0).T)
        along = np.concatenate([[0], np.cumsum(leg)])
        n, m = int(along[-1] * side * 1.6) + 2, int(widest * side * 1.8) + 4
        u, v = np.linspace(0, 1, n)[:, None], np.linspace(-1, 1, m)[None]
        px, py = (np.interp(u[:, 0] * along[-1], along, path[:, k]) for k in (0, 1))
        heading = np.arctan2(np.gradient(py), np.gradient(px))
        swell = np.minimum(1, heel + (1 - heel) * u / 0.18) * (1 - tip * u**2.2) * (1 + 0.05 * rng.standard_normal())
        hairs = ndimage.gaussian_filter1d(rng.standard_normal(m + 8), 0.9)[4:-4] * 1.5
        wear = ndimage.gaussian_filter(rng.standard_normal((n, m)), (18, 0.8)) * 6
        wet = 1.9 - dry * (1.2 + 2.6 * u) + 0.55 * dry * (hairs[None] + wear)
        amount = tone * np.clip(wet, 0, 1) * (0.85 + 0.10 * hairs[None] * dry + 0.35 * np.abs(v) ** 4)
        column = ((px[:, None] - np.sin(heading)[:, None] * v * swell * widest / 2) * side).astype(int)
        row = ((py[:, None] + np.cos(heading)[:, None] * v * swell * widest / 2) * side).astype(int)
        inside = (row >= 0) & (column >= 0) & (row < side) & (column < side)
        row, column, amount = row[inside], column[inside], amount[inside]
        depth[row, column] = np.maximum(depth[row, column], amount)

    at = np.linspace(0, 1, side)
    for base, tall, tone, peaks in (  # mountains, from the farthest to the nearest
        (0.40, 0.24, 0.32, ((0.30, 0.8, 0.20), (0.52, 1.0, 0.16), (0.75, 0.6, 0.2))),
        (0.50, 0.27, 0.55, ((0.10, 0.9, 0.20), (0.26, 0.55, 0.12), (0.62, 0.5, 0.16))),
        (0.60, 0.22, 0.95, ((0.0, 0.9, 0.24), (0.40, 0.42, 0.14), (0.9, 0.3, 0.2))),
    ):
        top = np.max([high * np.exp(-(np.abs((at - where) / wide) ** 1.5)) for where, high, wide in peaks], axis=0)
        jag = noise(rng, side, (1, 9), 6)[0]
        ridge = base - tall * top * (1 + 0.10 * jag) + 0.008 * jag
        below = y - ridge[None]
        rock = noise(rng, side, (9, 26), 4) + 0.6 * fine
        body = np.exp(-below.clip(0) / (0.30 * tall)) * (0.60 + 0.30 * rock + 0.20 * cloud)
        outline = np.exp(-((below / 0.006) ** 2)) * (0.5 + 0.5 * rock).clip(0, 1)
        veins = step(0.9, 0.8, noise(rng, side, (5, 40), 4)) * np.exp(-below.clip(0) / (0.45 * tall))
        slope = tone * (body + 0.7 * outline + 0.35 * veins).clip(0)
        behind = depth * np.exp(-below.clip(0) / 0.02)
        depth = np.where(below > -0.004, np.maximum(behind, slope), depth)
    water = step(1.2, 0.8, noise(rng, side, (60, 4), 2)) * step(0.72, 0.2, y) * step(-0.98, 0.2, -y)
    depth = np.maximum(depth, 0.16 * water)

    sweep((0.24, 0.795), (0.32, 0.825), (0.40, 0.79), 0.016, 1.9, 0.15, tip=0.8)  # the boat and the boatman
    sweep((0.285, 0.80), (0.30, 0.77), (0.345, 0.80), 0.022, 0.9, 0.3, tip=0.9)
    sweep((0.365, 0.79), (0.362, 0.765), (0.372, 0.745), 0.014, 1.8, 0.1, tip=0.4)
    sweep((0.352, 0.748), (0.370, 0.732), (0.388, 0.750), 0.008, 1.9, 0.1, tip=0.4)
    sweep((0.378, 0.76), (0.43, 0.74), (0.475, 0.80), 0.0035, 1.4, 0.2, tip=0.5)
    for bx, by, span in ((0.20, 0.17, 0.022), (0.27, 0.14, 0.017), (0.33, 0.19, 0.014), (0.14, 0.12, 0.013)):  # birds
        wing = by - 0.7 * span
        sweep((bx - span, by - 0.4 * span), (bx - 0.3 * span, wing), (bx, by), 0.006, 1.6, 0.2, tip=0.3)
        sweep((bx, by), (bx + 0.3 * span, wing), (bx + span, by - 0.3 * span), 0.006, 1.6, 0.2, tip=0.9)

    twigs = []  # where each ends, to which side it grows, and how dark it is
    for foot, top, width, tone in ((0.93, 0.99, 0.020, 0.7), (0.70, 0.80, 0.030, 1.3), (0.86, 0.83, 0.040, 1.9)):
        knots = np.linspace(1.04, -0.05, 9) + rng.normal(0, 0.012, 9)
        stalk = foot + (top - foot) * (1 - knots) + 0.02 * np.sin(3 * knots)
        for k in range(8):
            low, high, x0, x1 = knots[k], knots[k + 1], stalk[k], stalk[k + 1]
            middle = ((x0 + x1) / 2, (low + high) / 2)
            sweep((x0, low - 0.006), middle, (x1, high + 0.006), width, tone, 0.62, tip=0.04, heel=0.92)
            left, right = (x1 - 0.6 * width, high + 0.002), (x1 + 0.6 * width, high - 0.002)
            sweep(left, (x1, high + 0.010), right, 0.009, tone * 1.25, 0.2, tip=0.5)
            if rng.random() < 0.75 and 0.05 < high < 0.8:
                sense = rng.choice([-1, -1, 1])
                ex, ey = x1 + sense * rng.uniform(0.06, 0.16), high - rng.uniform(0.0, 0.07)
                sweep((x1, high), ((x1 + ex) / 2, high - 0.02), (ex, ey), 0.006, tone, 0.3, tip=0.5)
                twigs.append((ex, ey, sense, tone))
    for ex, ey, sense, tone in twigs:
        for _ in range(rng.integers(4, 7)):  # leaves
            droop, reach = rng.uniform(0.1, 1.35), rng.uniform(0.09, 0.17)
            tx, ty = ex + sense * reach * np.cos(droop) * rng.choice([1, 1, 1, -0.6]), ey + reach * np.sin(droop)
            bend = ((ex + tx) / 2 + 0.01 * sense, (ey + ty) / 2 - 0.02)
            sweep((ex, ey), bend, (tx, ty), rng.uniform(0.015, 0.026), tone * rng.uniform(0.8, 1.3), 0.34, heel=0.12)

    near, wide = (ndimage.gaussian_filter(depth, side / part) for part in (160, 40))
    bled = 0.78 * depth + 0.22 * near + 0.12 * wide
    fibres = noise(rng, side, (150, 22), 2) + noise(rng, side, (22, 150), 2)
    paper = rgb("f2e8d2") * (1 + 0.022 * cloud + 0.014 * fibres)[..., None]
    bled = (bled * (1 + 0.08 * fibres + 0.05 * fine)).clip(0)[..., None]
    sheet = paper * np.exp(-1.35 * bled * np.array([0.98, 1.0, 1.03]))
    u, v = (x - 0.085) / 0.042, (y - 0.905) / 0.042  # the seal: a square with four cut marks
    stamp = step(-1, 0.1, -np.maximum(np.abs(u), np.abs(v)) - 0.04 * fine)
    marks = (np.abs(u) < 0.09) | (np.abs(v) < 0.09) | (np.abs(np.abs(u) - 0.5) + np.abs(np.abs(v) - 0.5) < 0.22)
    sheet = blend(sheet, rgb("b8281f"), stamp * ~marks * (0.86 + 0.10 * fine).clip(0, 1))
    return finish(sheet, size)


def marbling(rng: Generator, size: int) -> Array:
    """Inks dropped on water, combed, curled and lifted off on paper.

    Every step has a formula, and so has its undoing (Lu, Jaffer, Jin et al., "Mathematical Marbling", 2012):
    each point of the paper is led back through all steps, until it meets the drop that coloured it.
    """
    side = size * 3
    x, y = grid(side)

    # Combing, undone from the last step to the first.
    curls = [(0.24, 0.24, 3.2), (0.77, 0.27, -3.0), (0.47, 0.66, 3.4), (0.90, 0.80, -2.8), (0.08, 0.84, -2.8)]
    for cx, cy, turn in curls:
        dx, dy = x - cx, y - cy
        spin = -turn * np.exp(-((np.hypot(dx, dy) / 0.12) ** 2))
        x, y = cx + dx * np.cos(spin) - dy * np.sin(spin), cy + dx * np.sin(spin) + dy * np.cos(spin)
    for spacing, drag, reach in ((0.08, 0.06, 0.014), (0.26, 0.15, 0.03)):  # a fine comb sideways, a coarse one upwards
        place = y % spacing
        there, back = np.minimum(place, spacing - place), np.abs(place - spacing / 2)  # to the nearest teeth
        x = x - drag * (0.5 ** (there / reach) - 0.5 ** (back / reach))
        x, y = y, x

    # The drops, from the last to the first: inside one it is found; outside, the water had been pushed away by it.
    inks = rgb("13305c", "1d7480", "f5ecd6", "e8a92e", "cc4630", "0e1a30", "8cc4b8", "f2d7a6", "a82c4c", "f5ecd6")
    pools, rounds = 25, 8
    across, down = np.meshgrid(np.linspace(-0.05, 1.05, 5), np.linspace(-0.05, 1.05, 5))
    sites = np.stack([across, down], axis=-1).reshape(-1, 2) + rng.normal(0, 0.035, (pools, 2))
    order = [rng.permutation(len(inks)) for _ in range(pools)]
    found = np.full((side, side), 5)  # the ink that the water was covered with at first
    loose, rim = np.ones((side, side), bool), np.ones((side, side))
    for turn in range(rounds - 1, -1, -1):
        for pool in rng.permutation(pools):
            cx, cy = sites[pool] + rng.normal(0, 0.006, 2)
            radius = rng.uniform(0.8, 1.2) * (0.094 - 0.006 * turn)
            dx, dy = x - cx, y - cy
            square = dx**2 + dy**2
            hit = loose & (square < radius**2)
            found[hit] = order[pool][turn]
            rim[hit] = 1 - np.sqrt(square[hit]) / radius
            loose &= ~hit
            back = np.sqrt((1 - radius**2 / np.maximum(square, 1e-12)).clip(0))
            x, y = cx + dx * back, cy + dy * back
    image = inks[found]
    image = image * (0.84 + 0.16 * step(0.05, 0.10, rim))[..., None]  # ink gathers at the rim of a drop
    image = blend(image, rgb("f5ecd6"), 0.4 * step(2.3, 0.5, noise(rng, side, 190, 2)))  # and leaves pinholes
    image = image * (1 + 0.03 * noise(rng, side, 6, 4) + 0.02 * noise(rng, side, 190, 2))[..., None]
    return finish(image, size)


def mosaic(rng: Generator, size: int) -> Array:
    """Small square stones set in rows that follow the drawing: two fish circling in blue water.

    The stones find their places as in Hausner, "Simulating Decorative Mosaics", 2001.
    """
    side = size * OVERSIZE
    unit = side / 768
    image, parts = _two_fish(side)
    x, y = grid(side)

    # Stones lie along the nearest contour of the drawing.
    outline = ndimage.gaussian_gradient_magnitude(parts.astype(float), unit) > 0.02
    away = ndimage.gaussian_filter(ndimage.distance_transform_edt(~outline), 5 * unit)
    down, across = np.gradient(away)
    angle = np.arctan2(down, across)

    spacing = 15.0 * unit
    rows, columns = np.nonzero(np.ones((side // 2, side // 2), bool))  # half the pixels are enough to find the places
    pixels = 2.0 * np.stack([columns, rows], axis=1) + 0.5
    free = ~outline[2 * rows, 2 * columns]
    steps = np.arange(spacing / 2, side, spacing)
    sites = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    sites = sites + rng.normal(0, 0.3 * spacing, sites.shape)
    for _ in range(30):
        owner, _ = _nearest_stone(pixels, sites, angle)
        weight = np.bincount(owner, free, len(sites)) + 1e-9
        middle = [np.bincount(owner, free * pixels[:, k], len(sites)) / weight for k in (0, 1)]
        sites = np.where(weight[:, None] > 1, np.stack(middle, axis=1), sites)
    every = np.stack([(x * side).ravel(), (y * side).ravel()], axis=1)
    owner, offset = _nearest_stone(every, sites, angle)
    owner, offset = owner.reshape(side, side), offset.reshape(side, side, 2)

    column, row = sites.astype(int).clip(0, side - 1).T
    colours = image[row, column] * rng.uniform(0.80, 1.15, (len(sites), 1))
    colours = colours + 0.035 * rng.standard_normal(colours.shape)
    half = spacing * rng.uniform(0.40, 0.47, len(sites))
    wobble = 0.5 * unit * noise(rng, side, 60, 2)
    rim = half[owner] - (np.abs(offset) ** 5).sum(axis=2) ** 0.2 + wobble  # how deep inside its stone a pixel is
    tilt = rng.normal(0, 0.5, (len(sites), 2))  # no two stones lie flat
    dome = (rim / (2.5 * unit)).clip(0, 1) ** 0.5
    slope = (offset * tilt[owner]).sum(axis=2) / spacing
    light = relief(ndimage.gaussian_filter(dome, 0.7 * unit), 0.55) * (1 + 0.28 * slope)
    stone = colours[owner] * (light + 0.05 * noise(rng, side, 90, 3))[..., None]
    stone = blend(stone, rgb("ffffff"), 0.35 * step(0.55, 0.25, slope) * step(3, 3, rim / unit))  # glints
    grout = rgb("4a4038") * (1 + 0.10 * noise(rng, side, 150, 2))[..., None]
    return finish(blend(grout, stone, step(0, 1.6 * unit, rim)), size)


def _nearest_stone(pixels: Array, sites: Array, angle: Array) -> tuple[Array, Array]:
    """For each pixel [N,2] the number of its stone, and its place seen from it [N,2] along the stone's sides."""
    column, row = sites.astype(int).clip(0, len(angle) - 1).T
    turn = angle[row, column]
    _, near = cKDTree(sites).query(pixels, k=6)
    best, owner, offset = np.full(len(pixels), np.inf), near[:, 0].copy(), np.zeros_like(pixels)
    for k in range(near.shape[1]):  # squares rather than circles: the larger of the two distances counts
        dx, dy = (pixels - sites[near[:, k]]).T
        cos, sin = np.cos(turn[near[:, k]]), np.sin(turn[near[:, k]])
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        far = np.maximum(np.abs(along), np.abs(across))
        closer = far < best
        best[closer], owner[closer] = far[closer], near[closer, k]
        offset[closer] = np.stack([along, across], axis=1)[closer]
    return owner, offset


def _two_fish(side: int) -> tuple[Array, Array]:
    """The cartoon of the mosaic, [side,side,3], and the numbers of its parts, along whose borders stones are laid."""
    x, y = grid(side)
    ripple = np.hypot(x - 0.5, y - 0.5) + 0.012 * np.sin(14 * np.arctan2(y - 0.5, x - 0.5))
    image = gradient(ripple, [0, 0.16, 0.32, 0.5, 0.7], rgb("9fe0d8", "3fb0c0", "1f78a8", "17458a", "122a60"))
    rings = np.floor(ripple / 0.085).astype(int)
    parts = rings % 2
    image[rings % 2 == 1] *= 0.66
    image[rings % 4 == 2] = 0.5 * image[rings % 4 == 2] + 0.5 * rgb("a8ecea")

    def paint(where: Array, colour: Array, part: int) -> None:
        image[where] = colour[where] if colour.ndim == 3 else colour
        parts[where] = part

    for sign in (1, -1):
        px, py = sign * (x - 0.5), sign * (y - 0.5)  # the second fish is the first, turned half round
        reach, turn = np.hypot(px, py), np.arctan2(py, px)
        u = (turn + 2.75) / 2.35  # along the fish: 0 at its nose, 1 where the tail begins
        v = (reach - 0.265) / 0.095  # across: -1 inside, 1 outside
        body = np.abs(v) < (1 - (2 * u - 0.86) ** 2).clip(0) ** 0.6 * (1 - 0.35 * u)
        tail = (u > 0.88) & (u < 1.16) & (np.abs(v) < 0.22 + 3.6 * (u - 0.90)) & (np.abs(v) >= 6 * (u - 1.02))
        fin = (u > 0.3) & (u < 0.72) & (v > 0) & (v < 1.55 - 2.6 * np.abs(u - 0.45)) & ~body
        belly_fin = (u > 0.38) & (u < 0.6) & (v < 0) & (v > -1.6 + 4 * np.abs(u - 0.45)) & ~body
        stripes = np.floor(u * 16).astype(int) % 2 == 0
        paint(fin | belly_fin | tail, np.where(stripes[..., None], rgb("c8322a"), rgb("f0b030")), 20)
        scales = np.floor(u * 9 + 0.9 * np.abs(v) ** 1.5).astype(int)
        skin = np.stack([rgb("f08a2a"), rgb("d8502a"), rgb("f6b23a")])[scales % 3]
        skin = np.where((v < -0.30)[..., None], rgb("fbe8c0"), skin)
        paint(body, skin, 30)
        parts[body & (scales % 2 == 0)] = 33
        head = body & (u < 0.21 + 0.05 * np.cos(2.5 * v))
        paint(head, rgb("a8243a"), 40)
        eye = np.hypot((u - 0.115) * 0.63, (v - 0.18) * 0.095)
        paint(eye < 0.030, rgb("fbf3d8"), 50)
        paint(eye < 0.014, rgb("15131a"), 60)
    edge = np.minimum.reduce([x, y, 1 - x, 1 - y])
    paint(edge < 0.085, rgb("d8a832"), 70)
    blocks = (np.floor(x * 24).astype(int) + np.floor(y * 24).astype(int)) % 2 == 0
    paint((edge < 0.085) & (edge > 0.042) & blocks, rgb("f4dc8a"), 70)
    paint(edge < 0.042, rgb("7a1f2f"), 80)
    return image, parts


def engraving(rng: Generator, size: int) -> Array:
    """Tone made of lines alone, which swell in the dark and cross in the darkest: a ringed planet above the hills."""
    side = size * 3
    x, y = grid(side)
    hand = 0.10 * noise(rng, side, 9, 3)  # the burin's tremor, in line spacings
    paper = rgb("f1e4c6") * (1 + 0.015 * noise(rng, side, 6, 4) + 0.014 * noise(rng, side, 190, 2))[..., None]
    gap = 0.0088  # between two lines, of the picture's width

    def lines(across: Array, tone: Array) -> Array:
        """Ink along the lines on which `across` is a whole number of gaps; `tone` from 0 (no line) to 1 (black)."""
        place = across / gap + hand
        slope = np.hypot(*np.gradient(place)) + 1e-9  # line spacings a pixel
        off = np.abs(place - np.round(place)) - 0.5 * tone.clip(0, 0.86)
        return step(0, 1, -off / slope) * (tone > 0.04)

    def lay(below: Array, above: Array, where: Array) -> Array:
        return np.where(where, above, below)

    # The sky: level lines, which thin out round the planet and towards the hills.
    cx, cy, radius = 0.56, 0.37, 0.205
    far = np.hypot(x - cx, y - cy)
    clouds = noise(rng, side, (9, 3), 4)
    bank = step(0.5, 1.2, clouds) * step(0.32, 0.2, y)
    tone = 0.80 - 0.75 * y - 0.30 * np.exp(-(((far - radius) / 0.10) ** 2)) - 0.35 * bank
    drawing = lines(y + 0.010 * np.sin(7 * x) + 0.012 * clouds * step(0.2, 0.2, y), tone)
    drawing = np.maximum(drawing, lines(0.7 * x + 0.7 * y, tone - 0.52))
    stars = Image.new("L", (side, side))
    for sx, sy, long in rng.uniform([0, 0, 0.004], [1, 0.5, 0.013], (60, 3)) * side:
        thin = 0.22 * long
        rays = [(0, long), (thin, thin), (long, 0), (thin, -thin)]
        rays += [(-dx, -dy) for dx, dy in rays]
        ImageDraw.Draw(stars).polygon([(sx + dx, sy + dy) for dx, dy in rays], fill=255)
    drawing = drawing * (1 - np.asarray(stars) / 255)

    # The planet: circles of latitude on a tilted globe lit from the left, and its ring behind and before it.
    tilt, axis = 0.42, -0.38
    px, py = (x - cx) * np.cos(axis) - (y - cy) * np.sin(axis), (x - cx) * np.sin(axis) + (y - cy) * np.cos(axis)
    depth = np.sqrt((radius**2 - px**2 - py**2).clip(0))
    latitude = np.arcsin(((py * np.cos(tilt) + depth * np.sin(tilt)) / radius).clip(-1, 1))
    longitude = np.arctan2(px, depth * np.cos(tilt) - py * np.sin(tilt))
    lit = (-0.72 * (x - cx) - 0.42 * (y - cy) + 0.55 * depth) / radius
    belts = 0.14 * np.sin(11 * latitude) + 0.10 * np.sin(23 * latitude + 0.6 * np.sin(3 * longitude))
    tone = 0.62 - 0.70 * lit + belts * (0.4 + lit.clip(0))
    globe = np.maximum(lines(latitude * radius * 0.95, tone), lines(longitude * radius * 0.8, tone - 0.5))
    outline = np.exp(-(((far - radius) / 0.0022) ** 2))
    flat = np.hypot(px, py / np.sin(tilt)) / radius
    ring = (flat > 1.28) & (flat < 2.15) & ~((flat > 1.70) & (flat < 1.76))
    shadow = step(-0.075, 0.06, -np.abs(py + 0.62 * px - 0.10)) * (px > 0) * (py < 0)
    ring_tone = 0.26 + 0.22 * np.sin(19 * flat) + 0.45 * shadow + 0.2 * step(2.02, 0.1, flat)
    hoops = np.maximum(lines(flat * radius * 0.55, ring_tone), lines(flat * radius * 0.55 + px, ring_tone - 0.55))
    for edge in (1.28, 1.70, 1.76, 2.15):
        hoops = np.maximum(hoops, np.abs(flat - edge) < 0.012)
    drawing = lay(drawing, hoops, ring & (py < 0))
    drawing = lay(drawing, np.maximum(globe, outline), far < radius + 0.002)
    drawing = lay(drawing, hoops, ring & (py >= 0))
    tint = blend(paper, rgb("7fb0b8"), 0.75 * step(0.52, 0.75, 1 - y) * step(radius, 0.3, far))  # coloured by hand
    tint = blend(tint, rgb("eba98c"), 0.55 * np.exp(-(((y - 0.62) / 0.16) ** 2)))
    tint = blend(tint, rgb("f2d59a"), 0.8 * ring)
    tint = lay(tint, blend(tint, rgb("e08a4e"), 0.62 + 0.5 * belts), ((far < radius) & ~(ring & (py >= 0)))[..., None])

    # The hills: lines that run down their sides.
    hills = [(0.70, 0.06, 0.02, 1.0, "9fb59a"), (0.77, 0.08, 0.12, 4.1, "b9b96a"), (0.88, 0.12, 0.30, 2.2, "6f9a68")]
    for base, tall, dark, wave, colour in hills:
        skyline = base - tall * (0.6 * np.sin(4.2 * x + wave) + 0.3 * np.sin(9.7 * x + 2 * wave))
        skyline = skyline - 0.004 * noise(rng, side, (1, 40), 3)[:1]
        below = y - skyline
        bumps = noise(rng, side, (6, 5), 3)
        slant = np.gradient(skyline, axis=1) * side
        tone = dark + 0.34 + 0.30 * slant + 0.20 * bumps - 0.25 * np.exp(-below.clip(0) / 0.02) + 0.5 * below.clip(0)
        fall = x + (0.55 + 0.3 * np.cos(4.2 * x + wave)) * below + 0.02 * bumps
        hill = np.maximum(lines(fall, tone), lines(below + 0.015 * bumps + 0.3 * x, tone - 0.42))
        hill = np.maximum(hill, np.exp(-((below / 0.002) ** 2)))
        drawing = lay(drawing, hill, below > 0)
        green = blend(paper, rgb(colour), 0.6 + 0.1 * bumps)
        tint = lay(tint, green, (below > 0)[..., None])
    firs = [(0.10, 0.90, 0.30), (0.175, 0.915, 0.22), (0.045, 0.93, 0.24), (0.92, 0.99, 0.19), (0.86, 1.0, 0.14)]
    for foot, base, tall in firs:
        up = (base - y) / tall  # 0 at the foot, 1 at the top
        tiers = 0.5 + 0.5 * np.abs((up * 9 + 0.1 * bumps) % 1 - 1)
        wide = 0.20 * tall * (1 - up) * tiers + 0.002
        tree = (up > 0.02) & (up < 1) & (np.abs(x - foot) < wide)
        tone = 0.72 + 0.35 * (x - foot) / (0.1 * tall) + 0.25 * (tiers - 0.75)
        needles = np.maximum(lines(y + 0.9 * np.abs(x - foot), tone), lines(0.8 * x - y, tone - 0.45))
        drawing = lay(drawing, needles, tree)

    edge = np.minimum.reduce([x, y, 1 - x, 1 - y])
    drawing, tint = np.where(edge < 0.030, 0, drawing), lay(tint, paper, (edge < 0.030)[..., None])
    drawing = np.maximum(drawing, (np.abs(edge - 0.030) < 0.0022) | (np.abs(edge - 0.021) < 0.0010))
    drawing = drawing * (0.92 + 0.07 * noise(rng, side, 60, 3)).clip(0, 1)
    return finish(blend(tint, rgb("261a18"), drawing), size)


MANNERS = {
    "impasto": impasto,
    "pointillism": pointillism,
    "woodblock": woodblock,
    "cubism": cubism,
    "stained_glass": stained_glass,
    "watercolour": watercolour,
    "ink": ink,
    "marbling": marbling,
    "mosaic": mosaic,
    "engraving": engraving,
}
