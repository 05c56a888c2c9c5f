"""runtime: the device that computes, seeds that repeat, bfloat16 where it pays, and a report that JSON can hold."""

import json
import random
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
import torch

from minigen import runtime


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv("MINIGEN_DEVICE", raising=False)


@pytest.fixture
def machine(monkeypatch):
    """Pretend that the machine has, or has not, a device or an instruction set."""

    def pretend(cuda=False, mps=False, capability=(8, 0), cpu=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu or {}, raising=False)

    return pretend


# --- device -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_at_hand_is_picked(machine, cuda, mps, expected):
    machine(cuda, mps)
    assert runtime.pick_device() == torch.device(expected)


def test_the_variable_overrides_the_choice(machine, monkeypatch):
    machine(cuda=True)
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    assert runtime.pick_device() == torch.device("cpu")


def test_an_empty_variable_counts_as_unset(machine, monkeypatch):
    machine()
    monkeypatch.setenv("MINIGEN_DEVICE", "")
    assert runtime.pick_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "CPU", "cpu;rm", "7.5", "mps:99"])
def test_a_device_that_does_not_compute_here_is_one_sentence(monkeypatch, name):
    monkeypatch.setenv("MINIGEN_DEVICE", name)
    with pytest.raises(ValueError, match="set it to cpu") as caught:
        runtime.pick_device()
    message = str(caught.value)
    assert message.startswith(f"MINIGEN_DEVICE is {name!r}") and "\n" not in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_asking_for_a_gpu_where_there_is_none_is_the_same_sentence(monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cuda")
    with pytest.raises(ValueError, match="MINIGEN_DEVICE is 'cuda', which is no device that computes here"):
        runtime.pick_device()


@pytest.mark.gpu
def test_a_gpu_is_picked_and_can_be_named(monkeypatch):
    assert runtime.pick_device().type == "cuda"
    monkeypatch.setenv("MINIGEN_DEVICE", "cuda:0")
    assert runtime.pick_device() == torch.device("cuda:0")


# --- seeds ------------------------------------------------------------------------------------------------------


def draws():
    return random.random(), np.random.rand(), torch.rand(1).item()


@pytest.mark.parametrize("seed", [0, 1, -5, 2**40])
def test_a_seed_repeats_every_draw(seed):
    first_own = runtime.seed_everything(seed)
    first = draws()
    own = torch.rand(3, generator=first_own)
    second_own = runtime.seed_everything(seed)
    assert draws() == first
    assert torch.equal(torch.rand(3, generator=second_own), own)


def test_other_seeds_give_other_draws():
    runtime.seed_everything(0)
    first = draws()
    runtime.seed_everything(1)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_the_generator_is_apart_from_the_global_one():
    own = runtime.seed_everything(0)
    before = torch.get_rng_state()
    torch.rand(5, generator=own)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_no_seed_changes_nothing():
    runtime.seed_everything(3)
    random_state, torch_state = random.getstate(), torch.get_rng_state()
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        runtime.seed_everything("three")
    assert random.getstate() == random_state and torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.gpu
def test_a_seed_repeats_draws_on_the_gpu():
    runtime.seed_everything(0)
    first = torch.rand(4, device="cuda")
    runtime.seed_everything(0)
    assert torch.equal(torch.rand(4, device="cuda"), first)


# --- precision --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx512_f": True, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_if_it_has_the_instructions(machine, capabilities, expected):
    machine(cpu=capabilities)
    assert runtime.supports_bf16("cpu") is expected


def test_a_pytorch_that_cannot_tell_means_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert runtime.supports_bf16("cpu") is False
    assert runtime.report()["precision"] in ("float32", "bfloat16")


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_computes_in_bfloat16_from_ampere_on(machine, capability, expected):
    machine(cuda=True, capability=capability)
    assert runtime.supports_bf16("cuda") is expected


def test_other_devices_compute_in_float32():
    assert runtime.supports_bf16("mps") is False


@pytest.mark.parametrize(
    ("device", "bf16", "threads", "expected"),
    [
        ("cpu", False, 1, True),
        ("cpu", False, 7, True),
        ("cpu", False, 8, False),
        ("cpu", True, 1, False),
        ("cuda", False, 1, False),
        ("mps", False, 1, False),
    ],
)
def test_slow_is_a_cpu_of_few_threads_without_fast_bfloat16(monkeypatch, device, bf16, threads, expected):
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: bf16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert runtime.is_slow(device) is expected


def test_autocast_computes_in_bfloat16_where_that_is_fast(machine):
    x = torch.ones(2, 2)
    machine(cpu={"avx512_bf16": True})
    with runtime.autocast("cpu"):
        assert (x @ x).dtype == torch.bfloat16
    machine(cpu={})
    with runtime.autocast(torch.device("cpu")):
        assert (x @ x).dtype == torch.float32
    assert (x @ x).dtype == torch.float32  # nothing is left switched on


@pytest.mark.gpu
def test_autocast_follows_the_gpu():
    x = torch.ones(2, 2, device="cuda")
    expected = torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float32
    with runtime.autocast("cuda"):
        assert (x @ x).dtype == expected


# --- report -----------------------------------------------------------------------------------------------------


def test_the_report_says_what_there_is_in_plain_values():
    report = runtime.report()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["python"] == sys.version.split()[0]
    assert report["torch"] == torch.__version__ and report["torchvision"] == metadata.version("torchvision")
    assert report["device"] == str(runtime.pick_device())
    assert report["threads"] == torch.get_num_threads()
    assert 1 <= report["cores"] <= 4096 and 0.5 < report["memory_gb"] < 100_000
    assert report["platform"] and report["device_name"]


@pytest.mark.parametrize(("capabilities", "expected"), [({"avx512_bf16": True}, "bfloat16"), ({}, "float32")])
def test_the_report_names_the_precision_that_autocast_uses(machine, capabilities, expected):
    machine(cpu=capabilities)
    assert runtime.report()["precision"] == expected


def test_a_missing_package_is_none_and_does_not_end_the_report(monkeypatch):
    def version(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setitem(sys.modules, "psutil", None)  # importing it fails
    report = runtime.report()
    assert report["torchvision"] is None and report["torch"] == torch.__version__


def test_the_report_refuses_a_nonsense_device(monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "toaster")
    with pytest.raises(ValueError, match="toaster"):
        runtime.report()


@pytest.mark.gpu
def test_the_report_names_the_gpu():
    report = runtime.report()
    assert report["device"] == "cuda" and report["device_name"] == torch.cuda.get_device_name()


def test_importing_runtime_imports_nothing_heavy_beside_torch():
    code = "import torch, sys; before = set(sys.modules); import minigen.runtime; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "minigen.runtime" in loaded
    assert not {name.split(".")[0] for name in loaded} & {"matplotlib", "torchvision", "PIL", "psutil", "accelerate"}
