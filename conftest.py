"""What all tests share, the lessons too: their part of the cores, no network, and the mark `gpu`.

Tests marked `gpu` run wherever CUDA is present, and are skipped elsewhere. It lies beside the folders of both since
pytest reads, of a folder that it is asked for, only what lies in it or above it.
"""

import os

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # threads of two trainings on the same cores would wait for one another
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))  # before PyTorch is imported, which reads it then

from pathlib import Path

import pytest
import torch
from offline import sitecustomize  # it cuts this process off

# And all that are started from here
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(sitecustomize.__file__).parent), os.environ.get("PYTHONPATH")])
)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU with CUDA"))
