"""The machine: which device, which precision, which seed; and a report of what is there."""

import contextlib
import os
import platform
import random
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path

import numpy as np
import torch


def pick_device() -> torch.device:
    """The best device at hand: CUDA, Apple's MPS, or the CPU; the variable MINIGEN_DEVICE overrides it.

    Raises ValueError where MINIGEN_DEVICE names no device that computes here.
    """
    if name := os.environ.get("MINIGEN_DEVICE"):
        return _working_device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _working_device(name: str) -> torch.device:
    try:
        torch.ones(1, device=name).item()
    except Exception as error:  # each kind of device has its own way to be absent
        raise ValueError(
            f"MINIGEN_DEVICE is {name!r}, which is no device that computes here: set it to cpu, cuda, cuda:1 "
            "or mps, or leave it unset"
        ) from error
    return torch.device(name)


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch, and return a generator of its own with the same seed (on the CPU)."""
    generator = torch.Generator().manual_seed(seed)  # first: it refuses what is no seed
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return generator


def supports_bf16(device: torch.device | str) -> bool:
    """Whether bfloat16 is fast on `device`: on GPUs from Ampere on, on x86 CPUs with AVX-512 BF16 or AMX.

    Of a CPU, older versions of PyTorch cannot tell, and the answer is no.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def is_slow(device: torch.device | str) -> bool:
    """Whether `device` takes many times as long to train as what the lessons are planned for: then they train less.

    So is a CPU without fast bfloat16 on which PyTorch uses fewer than eight threads.
    """
    return torch.device(device).type == "cpu" and not supports_bf16(device) and torch.get_num_threads() < 8


def autocast(device: torch.device | str) -> AbstractContextManager:
    """Mixed precision in bfloat16 where the device computes it fast, and nothing elsewhere."""
    if supports_bf16(device):
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def report() -> dict:
    """What there is to compute with, in values that JSON can hold; None for what cannot be found out.

    `memory_gb` is what this process may use in all. Raises ValueError where MINIGEN_DEVICE names no device.
    """
    device = pick_device()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "torchvision": _version("torchvision"),
        "device": str(device),
        "device_name": _device_name(device),
        "precision": "bfloat16" if supports_bf16(device) else "float32",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str | None:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        name = torch.cpu.get_capabilities().get("cpu_name")
        if name:
            return str(name)
    return platform.processor() or platform.machine() or None


def _memory_gb() -> float | None:
    sizes = []
    with contextlib.suppress(ImportError):
        import psutil  # accelerate brings it

        sizes.append(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):  # a container may be allowed less than the machine has
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return round(min(sizes) / 2**30, 1) if sizes else None
