"""Neural style transfer: the content of one picture in the manner of another, as a trained network sees both.

Either the picture itself is optimised (Gatys et al., 2015, arXiv:1508.06576), or a network learns to do it at once
(Johnson et al., 2016, arXiv:1603.08155), for several styles and any strength (Dumoulin et al., 2017, arXiv:1610.07629).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigen import runtime
from minigen.images import to_signed, to_unit

# --- what a trained network sees --------------------------------------------------------------------------------


class FeatureExtractor(nn.Module):
    """The taps of a frozen network: pictures [N,3,H,W] in [0,1] -> {tap: features [N,C,h,w]}.

    The network comes as stages that follow one another; the tap of a stage is what leaves it. Stages are copied, so the
    network stays as it is, and nothing in the copy works in place: no tap is overwritten by the stage after it.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        *,
        style_taps: Sequence[str],  # whose Gram matrices make a style
        content_taps: Sequence[str],  # which tell what is where
        mean: Sequence[float] = (0.5, 0.5, 0.5),  # of the pictures that the network was trained on, with their
        std: Sequence[float] = (0.5, 0.5, 0.5),  # deviation; these bring [0,1] to [-1,1]
    ):
        super().__init__()
        self.stages = copy.deepcopy(nn.ModuleDict(stages)).eval().requires_grad_(False)
        for module in self.stages.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        self.style_taps, self.content_taps = tuple(style_taps), tuple(content_taps)
        self._last(self.style_taps + self.content_taps)  # refuses what is no tap
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.eval()

    def forward(self, x: Tensor, taps: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The features at `taps`, by default those of style and content; stages after the last are not computed."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"expected pictures of shape (N, 3, H, W), got {tuple(x.shape)}")
        taps = self.style_taps + self.content_taps if taps is None else taps
        last, found = self._last(taps), {}
        h = ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        for name, stage in self.stages.items():
            h = stage(h)
            if name in taps:
                found[name] = h
            if name == last:
                break
        return found

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Stays in eval mode: its batch statistics are those of its training."""
        return super().train(False)

    def _last(self, taps: Sequence[str]) -> str:
        names = list(self.stages)
        unknown = [tap for tap in taps if tap not in names]
        if unknown or not taps:
            raise ValueError(f"expected taps out of {', '.join(names)}, got {', '.join(unknown) or 'none'}")
        return max(taps, key=names.index)

    @classmethod
    def of_efficientnet(cls, network: nn.Module) -> "FeatureExtractor":
        """Of timm's EfficientNet-Lite: its stem and its blocks, which end without a nonlinearity."""
        stages = {"stem": nn.Sequential(network.conv_stem, network.bn1)}
        stages |= {f"block{k}": block for k, block in enumerate(network.blocks)}
        return cls(stages, style_taps=list(stages)[:5], content_taps=["block3"])

    @classmethod
    def of_vgg19(cls, network: nn.Module) -> "FeatureExtractor":
        """Of torchvision's VGG19: the layers that Gatys et al. use, after their ReLU."""
        ends = {"relu1_1": 2, "relu2_1": 7, "relu3_1": 12, "relu4_1": 21, "relu4_2": 23, "relu5_1": 30}
        starts = [0, *ends.values()]
        stages = {name: network.features[start:end] for (name, end), start in zip(ends.items(), starts, strict=False)}
        style_taps = [name for name in stages if name != "relu4_2"]
        imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        return cls(stages, style_taps=style_taps, content_taps=["relu4_2"], **imagenet)

    @classmethod
    def of_classifier(cls, network: nn.Module) -> "FeatureExtractor":
        """Of lesson 01's network: its first convolution, and its three residual blocks."""
        body = list(network.body)
        stages = {"stem": nn.Sequential(*body[:3])} | {f"block{k}": block for k, block in enumerate(body[3:])}
        return cls(stages, style_taps=list(stages), content_taps=[list(stages)[-1]])


# --- losses -----------------------------------------------------------------------------------------------------


def gram_matrix(features: Tensor, weight: Tensor | None = None) -> Tensor:
    """Which features occur together, wherever they are: [N,C,H,W] -> [N,C,C], the mean over the places, over C.

    With a weight [N,1,H,W], above 0 somewhere, places count by it.
    """
    with torch.autocast(features.device.type, enabled=False):  # which would multiply in 16 bits
        f = features.float().flatten(2)  # [N,C,L], L = H W places
        if weight is None:
            return f @ f.mT / f[0].numel()
        w = weight.float().flatten(2)  # [N,1,L]
        return (f * w) @ f.mT / (f.shape[1] * w.sum(dim=2, keepdim=True))


def style_loss(grams: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """The squared distance of the Gram matrices [N,C,C] from their targets, as a share of the targets' own squares.

    Averaged over taps and pictures: each tap counts the same, however large its features are.
    """
    return torch.stack([_relative_error(grams[tap], targets[tap]) for tap in targets]).mean()


def content_loss(found: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """The squared distance of features [N,C,H,W] from their targets, as a share, averaged over taps and pictures."""
    return torch.stack([_relative_error(found[tap], targets[tap]) for tap in targets]).mean()


def total_variation(x: Tensor) -> Tensor:
    """How much neighbouring pixels differ, squared and averaged over all pairs and channels: [N,3,H,W] -> a number."""
    down, right = x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]
    return (down.square().sum() + right.square().sum()) / max(1, down.numel() + right.numel())


def transfer_loss(
    found: Mapping[str, Tensor],  # the features of the picture, at the taps of both
    content: Mapping[str, Tensor],  # the features of the content, at the content taps
    grams: Mapping[str, Tensor],  # the Gram matrices to reach, at the style taps
    *,
    content_weight: float = 0.1,
    weights: Mapping[str, Tensor] | None = None,  # of the places in each Gram matrix, [N,1,h,w]; without, all alike
) -> dict[str, Tensor]:
    """Both losses, and their sum: `loss` = `style` + content_weight * `content`."""
    weights = weights or {}
    style = style_loss({tap: gram_matrix(found[tap], weights.get(tap)) for tap in grams}, grams)
    kept = content_loss(found, content)
    return {"loss": style + content_weight * kept, "style": style, "content": kept}


def mix_grams(grams: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """A manner between several: the weighted sum of their Gram matrices, tap by tap."""
    return {tap: sum(w * g[tap] for w, g in zip(weights, grams, strict=True)) for tap in grams[0]}


def _relative_error(found: Tensor, target: Tensor) -> Tensor:
    error = (found.float() - target.float()).square().flatten(1).sum(dim=1)  # [N]
    return (error / target.float().square().flatten(1).sum(dim=1).clamp(min=1e-12)).mean()


# --- by optimisation --------------------------------------------------------------------------------------------

SMALLEST = 16  # pixels: below, the deeper taps see no more than a place or two


class StyleState(NamedTuple):
    """Where a style transfer stands after a step."""

    step: int  # from 1
    num_steps: int  # of all scales together
    picture: Tensor  # [3,H,W] in [0,1]; smaller than the content until the last scale
    losses: dict[str, float]


def stylize(
    content: Tensor,  # [3,H,W] in [0,1]
    style: Tensor | Sequence[Tensor],  # [3,H,W] in [0,1], of any size, or several of them
    features: FeatureExtractor,
    *,
    style_weights: Sequence[float] | None = None,  # of several styles; they are made to sum to 1
    strength: float = 1.0,  # 0 keeps the content's own manner
    content_weight: float = 0.1,
    smoothness: float = 0.0,  # the weight of the total variation
    num_scales: int = 2,  # of the picture; each is twice as large as the one before, and starts from it
    num_steps: int = 150,  # in each scale
    optimizer: str = "adam",  # or "lbfgs"
    learning_rate: float = 0.05,  # of Adam
    shift: int = 32,  # pixels: see below
    mask: Tensor | None = None,  # [1,H,W] in [0,1]: where to paint; elsewhere the content stays
    start: Tensor | None = None,  # [3,H,W] in [0,1]: the picture to begin with, by default the content
    generator: torch.Generator | None = None,  # of the shifts
) -> Iterator[StyleState]:
    """Optimise a picture until it has the features of the content and the Gram matrices of the style.

    Yields after every step. Adam looks at the picture moved by up to `shift` pixels, anew in each step: a network with
    strides sees its grid of pixels better than what is between, and would fill that with noise. L-BFGS needs a loss
    that stays the same, so it goes without. Raises ValueError where a picture or an option cannot be.
    """
    styles = [style] if isinstance(style, Tensor) else list(style)
    weights = _checked(content, styles, style_weights, strength, num_scales, num_steps, optimizer, mask, start)
    for name, value in {"content_weight": content_weight, "smoothness": smoothness, "shift": shift}.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value}, expected a number from 0 on")
    content, mask = content.detach(), None if mask is None else mask.to(content)
    shift = shift if optimizer == "adam" else 0
    start, step, change = content if start is None else start, 0, None
    sizes = [tuple(side >> k for side in content.shape[1:]) for k in reversed(range(num_scales))]
    sizes = [size for size in sizes if min(size) >= min(2 * SMALLEST, *content.shape[1:])]
    for size in sizes:
        scale = _Scale(content, styles, features, weights, strength, mask, min(size) / min(content.shape[1:]), size)
        picture = _resized(start, size).clone()  # [3,h,w]
        if change is not None:  # the fine detail comes from the start, the rest from the scale before
            picture = (picture + F.interpolate(change[None], size, mode="bicubic")[0]).clamp(0, 1)
        picture.requires_grad_(True)
        if optimizer == "adam":
            optimise = torch.optim.Adam([picture], lr=learning_rate, betas=(0.9, 0.99))
            slow_down = torch.optim.lr_scheduler.CosineAnnealingLR(optimise, num_steps)
        else:
            optimise = torch.optim.LBFGS([picture], max_iter=1, max_eval=25, line_search_fn="strong_wolfe")
            slow_down = None
        for _ in range(num_steps):
            moved = torch.randint(shift + 1, (2,), generator=generator).tolist() if shift else (0, 0)
            losses = {}

            def closure(optimise=optimise, picture=picture, scale=scale, moved=moved, losses=losses):
                optimise.zero_grad()
                found = scale.losses(picture, moved, content_weight, smoothness, exact=optimizer == "lbfgs")
                found["loss"].backward()
                losses.update(losses or found)  # L-BFGS comes several times: the first is where the step begins
                return found["loss"].detach()

            optimise.step(closure)
            if slow_down:
                slow_down.step()
            with torch.no_grad():
                picture.clamp_(0, 1)
            step += 1
            shown = scale.painted(picture).detach().clone()
            yield StyleState(step, num_steps * len(sizes), shown, {k: v.item() for k, v in losses.items()})
        change = picture.detach() - _resized(start, size)


class _Scale:
    """All that stays the same while a picture is optimised at one size."""

    def __init__(self, content, styles, features, weights, strength, mask, scale, size):
        self.features = features
        self.content = _resized(content, size)
        self.mask = None if mask is None else _resized(mask, size).clamp(0, 1)
        with torch.no_grad():
            grams = []
            for style in styles:  # shrunk like the content, so that strokes keep their proportion to it
                fitting = min(1.0, min(content.shape[1:]) / min(style.shape[1:])) * scale
                small = _resized(style, tuple(max(SMALLEST, round(side * fitting)) for side in style.shape[1:]))
                grams.append(grams_of(features, small[None]))
        self.grams, self.strength = mix_grams(grams, weights), strength

    def painted(self, picture: Tensor) -> Tensor:
        """The picture where the mask allows it, the content elsewhere."""
        return picture if self.mask is None else self.content + self.mask * (picture - self.content)

    def losses(self, picture, moved, content_weight, smoothness, exact) -> dict[str, Tensor]:
        pictures = torch.stack([self.painted(picture), self.content]).roll(moved, dims=(2, 3))
        with torch.autocast(picture.device.type, enabled=False) if exact else runtime.autocast(picture.device):
            found = self.features(pictures[:1])
            with torch.no_grad():
                target = self.features(pictures[1:])
        weights = {}
        if self.mask is not None:
            moved_mask = self.mask[None].roll(moved, dims=(2, 3))
            weights = {tap: F.adaptive_avg_pool2d(moved_mask, found[tap].shape[2:]) + 1e-6 for tap in self.grams}
        own = {tap: gram_matrix(target[tap], weights.get(tap)) for tap in self.grams}
        grams = mix_grams([self.grams, own], [self.strength, 1 - self.strength])
        kept = {tap: target[tap] for tap in self.features.content_taps}
        losses = transfer_loss(found, kept, grams, content_weight=content_weight, weights=weights)
        losses["smoothness"] = total_variation(pictures[:1])
        losses["loss"] = losses["loss"] + smoothness * losses["smoothness"]
        return losses


def grams_of(features: FeatureExtractor, pictures: Tensor) -> dict[str, Tensor]:
    """The Gram matrices [N,C,C] of pictures [N,3,H,W] in [0,1] at the style taps."""
    return {tap: gram_matrix(f) for tap, f in features(pictures, features.style_taps).items()}


def style_left(features: FeatureExtractor, pictures: Tensor, before: Tensor, painting: Tensor) -> float:
    """How far pictures [N,3,H,W] still are from a painting [3,H,W] in manner, beside what they were `before`.

    The ratio of their style losses: 1 where nothing was done, 0 for the painting itself.
    """
    targets = {tap: gram.expand(len(before), -1, -1) for tap, gram in grams_of(features, painting[None]).items()}
    now, then = (style_loss(grams_of(features, x), targets) for x in (pictures, before))
    return (now / then).item()


def _checked(content, styles, style_weights, strength, num_scales, num_steps, optimizer, mask, start) -> list[float]:
    """The weights of the styles, summing to 1; refuses everything that cannot be."""
    given = [("content", content), *(("style", style) for style in styles)]
    given += [("start", start)] if start is not None else []
    for name, picture in given + ([("mask", mask)] if mask is not None else []):
        if not isinstance(picture, Tensor):
            raise TypeError(f"the {name} is a {type(picture).__name__}, expected a tensor: see images.load_image")
    for name, picture in given:
        if picture.ndim != 3 or picture.shape[0] != 3 or min(picture.shape[1:]) < SMALLEST:
            raise ValueError(
                f"the {name} has shape {tuple(picture.shape)}, expected (3, H, W) from {SMALLEST} pixels on"
            )
        if not (picture.min() >= 0 and picture.max() <= 1):
            raise ValueError(f"the {name} runs from {picture.min():.3g} to {picture.max():.3g}, expected [0,1]")
        if picture.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"the {name} holds {picture.dtype}, expected torch.float32 in [0,1]")
    if start is not None and start.shape != content.shape:
        raise ValueError(f"the start has shape {tuple(start.shape)}, expected the content's {tuple(content.shape)}")
    if mask is not None and mask.shape != (1, *content.shape[1:]):
        raise ValueError(f"the mask has shape {tuple(mask.shape)}, expected {(1, *content.shape[1:])}")
    if mask is not None and not (mask.min() >= 0 and 0 < mask.max() <= 1):
        raise ValueError(f"the mask runs from {mask.min():.3g} to {mask.max():.3g}, expected [0,1], above 0 somewhere")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}, expected 0 to 1")
    if min(num_scales, num_steps) < 1:
        raise ValueError(f"expected at least one scale and one step, got {num_scales} and {num_steps}")
    if optimizer not in ("adam", "lbfgs"):
        raise ValueError(f"optimizer is {optimizer!r}, expected 'adam' or 'lbfgs'")
    weights = [1.0] * len(styles) if style_weights is None else list(style_weights)
    if not styles or len(weights) != len(styles) or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise ValueError(f"expected one weight for each of {len(styles)} styles, 0 or more, got {weights}")
    return [weight / sum(weights) for weight in weights]


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if picture.shape[1:] == size:
        return picture
    return F.interpolate(picture[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)


def keep_colour(picture: Tensor, content: Tensor) -> Tensor:
    """The picture's light and dark in the colours of the content: both [...,3,H,W] in [0,1] (arXiv:1606.05897)."""
    luma = torch.tensor([0.299, 0.587, 0.114], device=picture.device).view(3, 1, 1)  # of ITU-R BT.601
    lighter = ((picture - content) * luma).sum(dim=-3, keepdim=True)
    return (content + lighter).clamp(0, 1)


# --- at once: a network for several styles ----------------------------------------------------------------------


class StyleNetwork(nn.Module):
    """Repaints pictures in one pass: x [N,3,H,W] in [-1,1], weights [N,S] -> pictures of the same shape.

    The weight of a style is its strength: all 0 give the picture as it is, several above 0 a mixture. The convolutions
    are the same for all styles; what differs is the scale and shift after each normalisation.
    """

    def __init__(
        self,
        *,
        styles: Sequence[str],  # their names, in the order of the weights
        widths: Sequence[int] = (24, 48, 96),  # channels at H, H/2, H/4
        num_blocks: int = 4,
        style_dim: int = 32,
    ):
        super().__init__()
        if not styles:
            raise ValueError("expected the name of at least one style, got none")
        self.config = {
            "styles": list(styles),
            "widths": list(widths),
            "num_blocks": num_blocks,
            "style_dim": style_dim,
        }
        self.styles = list(styles)
        self.embed = nn.Linear(len(self.styles), style_dim)
        fine, middle, coarse = widths
        self.enter = StyledConv(3, fine, style_dim, kernel=5)
        self.down = nn.ModuleList(
            [StyledConv(fine, middle, style_dim, stride=2), StyledConv(middle, coarse, style_dim, stride=2)]
        )
        self.blocks = nn.ModuleList(StyledResidual(coarse, style_dim) for _ in range(num_blocks))
        self.up = nn.ModuleList([StyledConv(coarse, middle, style_dim), StyledConv(middle, fine, style_dim)])
        self.leave = nn.Conv2d(fine, 3, 5, padding=2, padding_mode="reflect")

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < SMALLEST:
            raise ValueError(f"expected pictures of shape (N, 3, H, W) from {SMALLEST} pixels on, got {tuple(x.shape)}")
        if weights.shape != (len(x), len(self.styles)):
            raise ValueError(f"expected weights of shape {(len(x), len(self.styles))}, got {tuple(weights.shape)}")
        height, width = x.shape[2:]
        whole = F.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")  # so that it can be halved twice
        w = self.embed(weights)  # [N,style_dim]
        h = F.relu(self.enter(whole, w))
        for layer in self.down:
            h = F.relu(layer(h, w))  # [N,C,H/2,W/2], [N,C,H/4,W/4]
        for block in self.blocks:
            h = block(h, w)
        for layer in self.up:
            h = F.relu(layer(F.interpolate(h, scale_factor=2, mode="nearest"), w))
        strength = weights.sum(dim=1).clamp(0, 1).view(-1, 1, 1, 1)
        return torch.lerp(x, self.leave(h)[:, :, :height, :width].to(x.dtype), strength.to(x.dtype))

    def weights_of(self, **strengths: float) -> Tensor:
        """The weights [1,S] of styles by name, such as impasto=0.8; those that are not named get 0."""
        unknown = [name for name in strengths if name not in self.styles]
        if unknown:
            raise ValueError(f"there is no style {unknown[0]!r}: choose one of {', '.join(self.styles)}")
        return torch.tensor([[float(strengths.get(name, 0)) for name in self.styles]], device=self.leave.bias.device)

    @torch.no_grad()
    def paint(self, pictures: Tensor, **strengths: float) -> Tensor:
        """Pictures [N,3,H,W] in [0,1] in the manners named, such as impasto=0.8: of the same shape and range."""
        weights = self.weights_of(**strengths)
        return torch.cat([to_unit(self(to_signed(picture[None]), weights)) for picture in pictures])


class StyledConv(nn.Module):
    """A convolution, normalised picture by picture, then scaled and shifted as the style says.

    h [N,in,H,W], w [N,D] -> [N,out,H/stride,W/stride].
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, *, kernel: int = 3, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, padding_mode="reflect", bias=False
        )
        self.style = nn.Linear(style_dim, 2 * out_channels)

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)  # [N,C,1,1] each
        return F.instance_norm(self.conv(h)) * (1 + scale) + shift


class StyledResidual(nn.Module):
    """Two styled convolutions whose result is added to what came in: h [N,C,H,W] -> [N,C,H,W]."""

    def __init__(self, channels: int, style_dim: int):
        super().__init__()
        self.conv1 = StyledConv(channels, channels, style_dim)
        self.conv2 = StyledConv(channels, channels, style_dim)

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        return h + self.conv2(F.relu(self.conv1(h, w)), w)


# --- the moving picture -----------------------------------------------------------------------------------------


def film(picture: Tensor, views: Tensor, size: int) -> Tensor:
    """What a camera sees on its way over the middle square of a picture: [3,H,W], views [T,2,3] -> [T,3,size,size].

    A view is an affine map as `F.affine_grid` takes it: from places in the frame to places in the square.
    """
    from torchvision.transforms.functional import center_crop  # here, as it takes seconds to load

    picture = center_crop(picture, min(picture.shape[1:]))
    grid = F.affine_grid(views, (len(views), 3, size, size), align_corners=False)
    return F.grid_sample(picture.expand(len(views), -1, -1, -1), grid, padding_mode="reflection", align_corners=False)


def pan_and_zoom(num_frames: int) -> Tensor:
    """Views [num_frames,2,3] of a camera that moves to the right by an eighth of the picture, and closer."""
    along = torch.linspace(0, 1, num_frames)
    scale, way = 0.7 - 0.15 * along, 0.25  # the unit is half the picture's width
    x, zero = way * (along - 0.5), torch.zeros(num_frames)
    return torch.stack([torch.stack([scale, zero, x], dim=1), torch.stack([zero, scale, zero], dim=1)], dim=1)


def warp(frames: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """Move pictures [N,3,H,W] by affine maps [N,2,3]: the moved ones, and where they are known [N,1,H,W], 0 or 1."""
    grid = F.affine_grid(motion, frames.shape, align_corners=False)  # [N,H,W,2]
    moved = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    half_a_pixel = 1 / torch.tensor(frames.shape[:1:-1], device=frames.device)  # in x and in y
    return moved, (grid.abs() <= 1 - half_a_pixel + 1e-5).all(dim=3)[:, None].to(frames.dtype)


def motion_between(views: Tensor) -> Tensor:
    """From views [T,2,3] the motions [T-1,2,3] that lay each frame over the next one, as `warp` takes them."""
    last_row = torch.tensor([[[0.0, 0.0, 1.0]]], device=views.device).expand(len(views), -1, -1)
    whole = torch.cat([views, last_row], dim=1)  # [T,3,3]
    return torch.linalg.solve(whole[:-1], whole[1:])[:, :2]  # the inverse of one times the next


def flicker(frames: Tensor, motion: Tensor) -> float:
    """How much frames [T,3,H,W] in [0,1] differ from their predecessors, each laid where the camera moved it to.

    The mean absolute difference, over pixels that both show. Not 0 for a picture that stays the same either, as moving
    by parts of a pixel blurs: the floor is the flicker of the film before it was stylised.
    """
    if len(frames) < 2:
        raise ValueError(f"got {len(frames)} frames, expected at least two frames to compare")
    moved, known = warp(frames[:-1], motion)
    if not known.any():
        raise ValueError("the frames show no pixel in common: give the motion between one frame and the next")
    return (((frames[1:] - moved).abs() * known).sum() / (3 * known.sum())).item()


def temporal_loss(first: Tensor, second: Tensor, motion: Tensor) -> Tensor:
    """The mean squared difference of second pictures [N,3,H,W] from the first ones moved by motion [N,2,3]."""
    moved, known = warp(first, motion)
    return ((second - moved).square() * known).sum() / (3 * known.sum()).clamp(min=1)
