"""What all tests share: no network, and those marked `gpu` run wherever CUDA is present, and are skipped elsewhere."""

import os
from pathlib import Path

import pytest
import torch
from offline import sitecustomize  # it cuts this process off

# And all that are started from here. It is read with the tests: `pytest notebooks` by itself is not cut off
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(sitecustomize.__file__).parent), os.environ.get("PYTHONPATH")])
)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU with CUDA"))
