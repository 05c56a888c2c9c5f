"""What all tests share: those marked `gpu` run wherever CUDA is present, and are skipped elsewhere."""

import pytest
import torch


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU with CUDA"))
