"""Generative adversarial networks: a generator and a discriminator for small pictures, each told the class.

Goodfellow et al. (2014, arXiv:1406.2661), with StyleGAN's mapping network and truncation (2019, arXiv:1812.04948) and
the projection discriminator (Miyato and Koyama, 2018, arXiv:1802.05637). Left out: style mixing, noise inputs.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from minigen.training import EMA, make_accelerator

# --- losses: logits [N] in, nats averaged over N out ------------------------------------------------------------


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log D(real) - log(1 - D(fake)), D = sigmoid(logit): the binary cross-entropies of both kinds, added up."""
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-log D(fake), the non-saturating loss: steep where the discriminator is sure that the fakes are fakes."""
    return F.softplus(-fake_logits.float()).mean()


def minimax_generator_loss(fake_logits: Tensor) -> Tensor:
    """log(1 - D(fake)), the game as it is defined: flat where the discriminator is sure that the fakes are fakes."""
    return -F.softplus(fake_logits.float()).mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Nothing to learn from logits that are beyond 1 on the right side (Lim and Ye, 2017, arXiv:1705.02894)."""
    return F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """Minus the mean logit: the generator's side of the hinge loss."""
    return -fake_logits.float().mean()


def r1_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """Half the squared length of the logit's gradient at real pictures, averaged over N (arXiv:1801.04406).

    real_logits [N] were computed from real [N,...], which requires gradients. The result can be differentiated.
    """
    if not real.requires_grad:
        raise ValueError("the real pictures need requires_grad_(True) before the discriminator sees them")
    (gradient,) = torch.autograd.grad(real_logits.float().sum(), real, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1).mean() / 2


# --- networks ---------------------------------------------------------------------------------------------------


class Generator(nn.Module):
    """Noise and a class in, a picture out: z [N,latent_dim], classes [N] -> [N,3,size,size] in [-1,1].

    A mapping network turns z and the class into a latent w, which sets the scale and shift of every feature of the
    synthesis network; that grows a learnt 4x4 block to the picture, whose size is 4 * 2 ** len(widths). No layer mixes
    the pictures of a batch.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        latent_dim: int = 64,
        widths: Sequence[int] = (192, 128, 64),  # channels at 4x4, 8x8, 16x16; the last doubling has few
    ):
        super().__init__()
        self.config = {"num_classes": num_classes, "latent_dim": latent_dim, "widths": list(widths)}
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.embed = nn.Embedding(num_classes, latent_dim)
        self.mapping_layers = nn.Sequential(
            nn.Linear(2 * latent_dim, 2 * latent_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(2 * latent_dim, 2 * latent_dim),
            nn.LeakyReLU(0.2),
        )
        self.start = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.first = StyledConv(widths[0], widths[0], 2 * latent_dim)
        self.blocks = nn.ModuleList(StyledBlock(a, b, 2 * latent_dim) for a, b in pairwise(widths))
        self.finish = nn.Sequential(
            nn.Conv2d(widths[-1], 32, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 3, 3, padding=1),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):  # so that w and the styles differ from picture to picture from the start
                nn.init.kaiming_normal_(layer.weight, a=0.2 if layer.out_features == 2 * latent_dim else 1)

    def mapping(self, z: Tensor, classes: Tensor) -> Tensor:
        """z [N,latent_dim], classes [N] -> w [N,2 latent_dim]."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim or classes.shape != z.shape[:1]:
            raise ValueError(
                f"expected z of shape (N, {self.latent_dim}) and classes of shape (N,), "
                f"got {tuple(z.shape)} and {tuple(classes.shape)}"
            )
        return self.mapping_layers(torch.cat([F.rms_norm(z, (self.latent_dim,)), self.embed(classes)], dim=1))

    def synthesis(self, w: Tensor) -> Tensor:
        """w [N,2 latent_dim] -> pictures [N,3,size,size] in [-1,1]."""
        h = self.start.expand(len(w), -1, -1, -1)  # [N,C,4,4]
        h = self.first(h, w)
        for block in self.blocks:
            h = block(h, w)  # [N,C,8,8], [N,C,16,16], ...
        return self.finish(h).tanh()  # [N,3,size,size]

    def forward(self, z: Tensor, classes: Tensor) -> Tensor:
        return self.synthesis(self.mapping(z, classes))


class StyledConv(nn.Module):
    """A convolution whose result is normalised, then scaled and shifted as w says (AdaIN: Huang and Belongie, 2017).

    h [N,in,H,W], w [N,D] -> [N,out,H,W].
    """

    def __init__(self, in_channels: int, out_channels: int, w_dim: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.style = nn.Linear(w_dim, 2 * out_channels)

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)  # [N,C,1,1] each
        return F.leaky_relu(F.instance_norm(self.conv(h)) * (1 + scale) + shift, 0.2)


class StyledBlock(nn.Module):
    """Two styled convolutions, and between them twice the height and width: h [N,in,H,W] -> [N,out,2H,2W]."""

    def __init__(self, in_channels: int, out_channels: int, w_dim: int):
        super().__init__()
        self.before = StyledConv(in_channels, out_channels, w_dim)
        self.after = StyledConv(out_channels, out_channels, w_dim)

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        h = F.interpolate(self.before(h, w), scale_factor=2, mode="nearest")
        return self.after(h, w)


class Discriminator(nn.Module):
    """How real a picture of a class looks: x [N,3,size,size] in [-1,1], classes [N] -> logits [N].

    The class enters at the end: its embedding is compared with what was seen (the projection discriminator).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        size: int = 32,
        widths: Sequence[int] = (48, 96, 192),  # channels at size/2, size/4, size/8, ...
    ):
        super().__init__()
        self.config = {"num_classes": num_classes, "size": size, "widths": list(widths)}
        self.size = size
        self.from_rgb = nn.Conv2d(3, widths[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(DownBlock(a, b) for a, b in pairwise(widths))
        places = (size >> len(widths)) ** 2
        self.mix = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.look = nn.Linear(widths[-1] * places, widths[-1])
        self.score = nn.Linear(widths[-1], 1)
        self.embed = nn.Embedding(num_classes, widths[-1])

    def features(self, x: Tensor) -> Tensor:
        """What it sees in the pictures, whatever their class: x [N,3,size,size] -> [N,D]."""
        h = F.leaky_relu(self.from_rgb(x), 0.2)
        for block in self.blocks:
            h = block(h)
        h = F.leaky_relu(self.mix(append_spread(h)), 0.2)  # [N,D,4,4]
        return F.leaky_relu(self.look(h.flatten(1)), 0.2)  # [N,D]

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        if x.shape[1:] != (3, self.size, self.size) or classes.shape != x.shape[:1]:
            raise ValueError(
                f"expected pictures of shape (N, 3, {self.size}, {self.size}) and classes of shape (N,), "
                f"got {tuple(x.shape)} and {tuple(classes.shape)}"
            )
        h = self.features(x)
        return self.score(h)[:, 0] + (self.embed(classes) * h).sum(dim=1) / h.shape[1] ** 0.5


class DownBlock(nn.Module):
    """A residual block that halves the picture: [N,in,H,W] -> [N,out,H/2,W/2]. Without normalisation."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv1(x), 0.2)
        h = F.leaky_relu(self.conv2(h), 0.2)
        return (h + self.skip(F.avg_pool2d(x, 2))) / 2**0.5


def append_spread(h: Tensor) -> Tensor:
    """Add a channel that says how much the pictures of a group differ, so that sameness shows (arXiv:1710.10196).

    [N,C,H,W] -> [N,C+1,H,W]. Groups are four neighbours of the batch, or all N where four does not divide N; where
    they are of one class, as `data.grouped_batches` arranges, a generator that ignores its noise gives itself away.
    """
    n, _, height, width = h.shape
    group = 4 if n % 4 == 0 else n
    grouped = h.unflatten(0, (-1, group)).float()  # [N/4,4,C,H,W]
    # By hand, as var along a dimension that is not the last takes a CPU many times as long
    apart = (grouped - grouped.mean(dim=1, keepdim=True)).square().mean(dim=1).add(1e-8).sqrt()  # [N/4,C,H,W]
    told = apart.mean(dim=(1, 2, 3)).to(h.dtype).repeat_interleave(group).view(n, 1, 1, 1)
    return torch.cat([h, told.expand(n, 1, height, width)], dim=1)


# --- the two-player step ----------------------------------------------------------------------------------------


class GanStep:
    """A step for `training.train`: the discriminator learns from real pictures and fakes, then the generator from it.

    A batch is (real [N,3,H,W] in [-1,1], classes [N]). The metrics are both losses, and the share of the pictures that
    the discriminator takes for what they are. Neither player's gradients reach the other. Raises FloatingPointError
    if a player's loss is not finite, before that player's weights change.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        generator_optimizer: Optimizer,
        discriminator_optimizer: Optimizer,
        *,
        d_loss: Callable[[Tensor, Tensor], Tensor] = discriminator_loss,
        g_loss: Callable[[Tensor], Tensor] = generator_loss,
        r1_weight: float = 0.5,
        r1_every: int = 8,  # the penalty costs as much as the rest of a step, and changes slowly (StyleGAN2)
        schedulers: Sequence[LRScheduler] = (),  # move on after every update
        ema: EMA | None = None,
        accelerator: Accelerator | None = None,
    ):
        self.accelerator = accelerator or make_accelerator()
        self.generator = generator.to(self.accelerator.device)
        self.discriminator = discriminator.to(self.accelerator.device)
        self.optimizers = {generator: generator_optimizer, discriminator: discriminator_optimizer}
        for optimizer in self.optimizers.values():
            optimizer.load_state_dict(optimizer.state_dict())  # a restored state follows the model to its device
        self.d_loss, self.g_loss = d_loss, g_loss
        self.r1_weight, self.r1_every = r1_weight, r1_every
        self.schedulers, self.ema = schedulers, ema
        if ema is not None:
            ema.model.to(self.accelerator.device)
        self.num_updates = 0

    def __call__(self, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        real, classes = (part.to(self.accelerator.device) for part in batch)
        self.generator.train()
        self.discriminator.train()
        metrics = self._train_discriminator(real, classes) | self._train_generator(classes)
        for scheduler in self.schedulers:
            scheduler.step()
        if self.ema is not None:
            self.ema.update(self.generator)
        self.num_updates += 1
        return metrics

    def _train_discriminator(self, real: Tensor, classes: Tensor) -> dict[str, float]:
        penalise = self.r1_weight > 0 and self.num_updates % self.r1_every == 0
        with self.accelerator.autocast():
            with torch.no_grad():  # the generator is not to learn from this
                fake = self._draw(classes)
            real = real.detach().requires_grad_(penalise)
            real_logits, fake_logits = self.discriminator(real, classes), self.discriminator(fake, classes)
            loss = self.d_loss(real_logits, fake_logits)
            total = loss
            if penalise:  # every eighth time, so it counts eight times
                total = loss + self.r1_weight * self.r1_every * r1_penalty(real_logits, real)
        self._update(self.discriminator, total)
        told_apart = torch.cat([real_logits > 0, fake_logits < 0]).float().mean()
        return {"d_loss": loss.item(), "told_apart": told_apart.item()}

    def _train_generator(self, classes: Tensor) -> dict[str, float]:
        with self.accelerator.autocast():
            loss = self.g_loss(self.discriminator(self._draw(classes), classes))
        self._update(self.generator, loss)
        return {"g_loss": loss.item()}

    def _draw(self, classes: Tensor) -> Tensor:
        z = torch.randn(len(classes), self.generator.latent_dim).to(classes.device)
        return self.generator(z, classes)

    def _update(self, model: nn.Module, loss: Tensor) -> None:
        if not loss.isfinite():
            raise FloatingPointError(f"a loss is {loss.item()}: lower the learning rate, or raise r1_weight")
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss, parameters)  # of this player alone
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = self.accelerator.reduce(gradient, "mean")  # over the processes
        self.optimizers[model].step()

    def state_dict(self) -> dict:
        return {"num_updates": self.num_updates}

    def load_state_dict(self, state: dict) -> None:
        self.num_updates = state["num_updates"]


# --- truncation -------------------------------------------------------------------------------------------------


@torch.no_grad()
def mean_latent(generator: Generator, classes: Tensor, *, count: int = 256, rng: torch.Generator) -> Tensor:
    """The mean w of each class over `count` draws of z: classes [N] -> [N,2 latent_dim]."""
    z = torch.randn(count, generator.latent_dim, generator=rng).to(classes.device)
    return torch.stack([generator.mapping(z, c.expand(count)).mean(dim=0) for c in classes])


def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    """Draw w [N,D] towards the mean [N,D]: psi 1 leaves it, 0 gives the mean; below 1 is safer and more alike."""
    return mean + psi * (w - mean)
