import copy
import hashlib
import itertools
import math
import os
import pickle
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
import training_worker as worker
from accelerate.state import AcceleratorState, GradientState
from nbclient import NotebookClient
from torch import Tensor, nn
from torch.nn import functional as F

from minigen import runtime, training
from minigen.training.muon import Muon, orthogonalize

EXACT = {"rtol": 0, "atol": 0}


@pytest.fixture(autouse=True)
def fresh_accelerate(monkeypatch):
    """Accelerate keeps its settings for the life of a process; here each test has its own: the CPU in float32."""

    def forget():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    forget()
    yield
    forget()


@pytest.fixture
def on_cuda(monkeypatch):
    """The choice that a learner with a GPU gets: CUDA, and bfloat16 where it is fast."""
    monkeypatch.setenv("MINIGEN_DEVICE", "cuda")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")


class Net(nn.Module):
    """A small network with all that a checkpoint could lose: batch norm, dropout, an integer buffer."""

    def __init__(self, *, width: int = 8):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(width * 36, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(images)).relu().flatten(1)))


def seeded_net(seed: int = 0, **arguments) -> Net:
    torch.manual_seed(seed)
    return Net(**arguments)


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def classification_loss_with_accuracy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    images, labels = batch
    logits = model(images)
    accuracy = (logits.argmax(1) == labels).float().mean()
    return {"loss": F.cross_entropy(logits, labels), "accuracy": accuracy}


def one_batch() -> tuple[Tensor, Tensor]:
    return next(worker.batches())


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def state_copy(stateful) -> dict:
    return copy.deepcopy(stateful.state_dict())


def assert_same_state(state, expected) -> None:
    """The two are equal bit for bit, down to the types of their parts."""
    if isinstance(expected, Tensor):
        assert state.dtype == expected.dtype
        torch.testing.assert_close(state, expected, equal_nan=True, **EXACT)
    elif isinstance(expected, dict):
        assert list(state) == list(expected)
        for key, value in expected.items():
            assert_same_state(state[key], value)
    elif isinstance(expected, list | tuple):
        assert type(state) is type(expected) and len(state) == len(expected)
        for value, expected_value in zip(state, expected, strict=True):
            assert_same_state(value, expected_value)
    else:
        assert type(state) is type(expected) and repr(state) == repr(expected)


# The step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_step_equals_the_hand_written_loop_bit_for_bit(monkeypatch, precision):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: precision == "bf16")

    model = seeded_net()
    optimizer = adam(model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)
    ema = training.EMA(model)
    losses = []
    torch.manual_seed(1)
    for images, labels in itertools.islice(worker.batches(), 12):
        model.train()
        optimizer.zero_grad()
        with runtime.autocast("cpu"):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        ema.update(model)
        losses.append(loss.item())

    ours = seeded_net()
    our_optimizer = adam(ours)
    our_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(our_optimizer, 15)
    our_ema = training.EMA(ours)
    step = training.make_step(
        ours, classification_loss, our_optimizer, scheduler=our_scheduler, ema=our_ema, max_grad_norm=1.0
    )
    torch.manual_seed(1)
    history = training.fit(step, worker.batches(), num_steps=12)

    assert [state.metrics["loss"] for state in history] == losses
    assert_same_state(ours.state_dict(), model.state_dict())
    assert_same_state(our_optimizer.state_dict(), optimizer.state_dict())
    assert_same_state(our_scheduler.state_dict(), scheduler.state_dict())
    assert_same_state(our_ema.state_dict(), ema.state_dict())


def test_training_lowers_the_loss():
    model = seeded_net()
    step = training.make_step(model, classification_loss, adam(model))
    history = training.fit(step, itertools.repeat(one_batch()), num_steps=30)
    assert history[-1].metrics["loss"] < 0.3 * history[0].metrics["loss"]


def test_metrics_are_floats_and_hold_all_that_the_loss_function_returns():
    model = seeded_net()
    step = training.make_step(model, classification_loss_with_accuracy, adam(model), max_grad_norm=1.0)
    metrics = step(one_batch())
    assert list(metrics) == ["loss", "accuracy", "grad_norm"]
    assert all(type(value) is float for value in metrics.values())


def test_numbers_among_the_metrics_need_not_be_tensors():
    model = seeded_net()
    step = training.make_step(
        model, lambda model, batch: {"loss": classification_loss(model, batch), "half": 0.5}, adam(model)
    )
    assert step(one_batch())["half"] == 0.5


def test_clipping_scales_the_gradient_down_to_the_length_given():
    model = seeded_net()
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    step = training.make_step(
        model,
        lambda model, batch: 100 * classification_loss(model, batch),
        torch.optim.SGD(model.parameters(), lr=1.0),  # moves by the gradient itself
        max_grad_norm=0.25,
    )
    length = step(one_batch())["grad_norm"]
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert length > 25
    torch.testing.assert_close(moved.norm(), torch.tensor(0.25), rtol=1e-3, atol=0)


def test_clipping_leaves_a_short_gradient_alone_and_reports_its_length():
    model, plain = seeded_net(), seeded_net()
    torch.manual_seed(1)
    classification_loss(plain.train(), one_batch()).backward()
    length = torch.stack([p.grad.norm() for p in plain.parameters()]).norm()
    torch.manual_seed(1)
    step = training.make_step(model, classification_loss, adam(model), max_grad_norm=1e6)
    torch.testing.assert_close(torch.tensor(step(one_batch())["grad_norm"]), length, rtol=1e-5, atol=0)
    for parameter, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, **EXACT)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan])
def test_max_grad_norm_must_be_positive(bad):
    model = seeded_net()
    with pytest.raises(ValueError, match=f"max_grad_norm is {bad}"):
        training.make_step(model, classification_loss, adam(model), max_grad_norm=bad)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(value):
    model = seeded_net()
    optimizer, ema = adam(model), training.EMA(model)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    step = training.make_step(
        model,
        lambda model, factor: classification_loss(model, one_batch()) * factor,
        optimizer,
        scheduler=scheduler,
        ema=ema,
    )
    step(torch.tensor(1.0))
    before = [copy.deepcopy(list(model.parameters())), *map(state_copy, (optimizer, scheduler, ema))]
    with pytest.raises(FloatingPointError, match=f"the loss is {value}"):
        step(torch.tensor(value))
    for parameter, old in zip(model.parameters(), before[0], strict=True):
        torch.testing.assert_close(parameter, old, **EXACT)
    for stateful, old in zip((optimizer, scheduler, ema), before[1:], strict=True):
        assert_same_state(stateful.state_dict(), old)
    assert math.isfinite(step(torch.tensor(1.0))["loss"])  # the bad gradient is not carried into the next update


def test_a_gradient_that_is_not_finite_stops_too_when_it_is_measured():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    step = training.make_step(
        model,
        lambda model, x: model(x).sqrt().mean(),  # 0 at x = 0, but its slope is infinite
        torch.optim.SGD(model.parameters(), 0.1),
        max_grad_norm=1.0,
    )
    with pytest.raises(FloatingPointError, match="the grad_norm is inf"):
        step(torch.ones(1, 1))
    torch.testing.assert_close(model.weight.detach(), torch.zeros(1, 1), **EXACT)


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda loss: (loss, loss), TypeError, "returned a tuple"),
        (lambda loss: loss.item(), TypeError, "returned a float"),
        (lambda loss: {"recon": loss}, TypeError, r"a dict with \['recon'\]"),
        (lambda loss: loss * torch.ones(3), ValueError, r"'loss' of shape \[3\]"),
        (lambda loss: {"loss": loss, "each": torch.ones(2, 2)}, ValueError, r"'each' of shape \[2, 2\]"),
    ],
)
def test_a_loss_function_that_returns_something_else_is_told_so(result, error, message):
    model = seeded_net()
    before = state_copy(model)["head.weight"]
    step = training.make_step(model, lambda model, batch: result(classification_loss(model, batch)), adam(model))
    with pytest.raises(error, match=message):
        step(one_batch())
    torch.testing.assert_close(model.head.weight.detach(), before, **EXACT)


def test_step_trains_in_train_mode_even_after_an_evaluation():
    model = seeded_net().eval()
    modes = []

    def loss_fn(model, batch):
        modes.append((model.training, model.drop.training))
        return classification_loss(model, batch)

    step = training.make_step(model, loss_fn, adam(model))
    step(one_batch())
    model.eval()
    step(one_batch())
    assert modes == [(True, True), (True, True)]


def test_the_gradient_does_not_add_up_over_steps():
    model = seeded_net()
    step = training.make_step(
        model, lambda model, x: (model.head.weight * x).sum(), torch.optim.SGD(model.parameters(), 0.0)
    )
    step(torch.tensor(1.0))
    step(torch.tensor(2.0))
    torch.testing.assert_close(model.head.weight.grad, torch.full_like(model.head.weight, 2.0), **EXACT)


def test_scheduler_moves_on_once_after_every_update():
    model = seeded_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    rates = []
    step = training.make_step(model, classification_loss, optimizer, scheduler=scheduler)
    for _ in training.train(step, worker.batches(), num_steps=3):
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.5, 0.25, 0.125]


def test_step_leaves_batch_and_configuration_as_they_were():
    model = seeded_net()
    images, labels = one_batch()
    step = training.make_step(model, classification_loss, adam(model), max_grad_norm=1.0)
    step((images, labels))
    torch.testing.assert_close(images, one_batch()[0], **EXACT)
    torch.testing.assert_close(labels, one_batch()[1], **EXACT)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_model_that_was_trained_is_still_an_ordinary_model(monkeypatch, precision):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
    model = seeded_net()
    names = list(model.state_dict())
    step = training.make_step(model, classification_loss, adam(model))
    step(one_batch())
    assert list(model.state_dict()) == names
    assert "forward" not in vars(model)
    model.eval()
    twin = copy.deepcopy(model)
    before = twin(one_batch()[0])
    step(one_batch())
    torch.testing.assert_close(twin(one_batch()[0]), before, **EXACT)


def test_two_steps_in_one_process_train_their_own_models():
    models = [seeded_net(0), nn.Sequential(nn.Flatten(), nn.Linear(192, 4))]
    steps = [training.make_step(model, classification_loss, adam(model)) for model in models]
    for trained, other, step in [(*models, steps[0]), (*models[::-1], steps[1])]:
        before, other_before = state_copy(trained), state_copy(other)
        step(one_batch())
        assert_same_state(other.state_dict(), other_before)
        last = list(before)[-1]
        assert not torch.equal(trained.state_dict()[last], before[last])


def test_a_second_step_for_the_same_model_goes_on_where_the_first_stopped():
    model, twin = seeded_net(), seeded_net()
    optimizer, twin_optimizer = adam(model), adam(twin)
    twin_step = training.make_step(twin, classification_loss, twin_optimizer)
    for batch in itertools.islice(worker.batches(), 4):
        step = training.make_step(model, classification_loss, optimizer)  # a cell that is run again
        torch.manual_seed(1)
        step(batch)
        torch.manual_seed(1)
        twin_step(batch)
    assert_same_state(model.state_dict(), twin.state_dict())


def test_bfloat16_is_used_where_the_runtime_says_that_it_is_fast(monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    for fast, precision, dtype in [(True, "bf16", torch.bfloat16), (False, "no", torch.float32)]:
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setattr(runtime, "supports_bf16", lambda device, fast=fast: fast)
        model, met = seeded_net(), []

        def loss_fn(model, batch, met=met):
            met.append(model.head(torch.ones(1, 288)).dtype)
            return classification_loss(model, batch)

        step = training.make_step(model, loss_fn, adam(model))
        step(one_batch())
        assert training.make_accelerator().mixed_precision == precision
        assert met == [dtype]
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("asked", ["no", "bf16"])
def test_the_precision_given_to_accelerate_launch_goes_first(monkeypatch, asked):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: asked == "no")
    assert training.make_accelerator().mixed_precision == asked


def test_float16_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    model = seeded_net()
    with pytest.raises(ValueError, match="the precision is 'fp16'"):
        training.make_step(model, classification_loss, adam(model))


@pytest.mark.gpu
def test_step_trains_in_bfloat16_on_cuda(on_cuda):
    model = seeded_net()
    optimizer, ema, met = adam(model), training.EMA(model), []

    def loss_fn(model, batch):
        images, labels = batch
        logits = model(images)
        met.append((images.device.type, logits.dtype))
        return F.cross_entropy(logits, labels)

    step = training.make_step(model, loss_fn, optimizer, ema=ema, max_grad_norm=1.0)
    history = training.fit(step, itertools.repeat(one_batch()), num_steps=30)
    fast = runtime.supports_bf16("cuda")
    assert set(met) == {("cuda", torch.bfloat16 if fast else torch.float32)}
    assert {p.device.type for p in [*model.parameters(), *ema.model.parameters()]} == {"cuda"}
    assert history[-1].metrics["loss"] < 0.3 * history[0].metrics["loss"]


# The loop ----------------------------------------------------------------------------------------------------------


def test_train_yields_after_the_update():
    calls = []
    loop = training.train(lambda batch: calls.append(batch) or {"loss": batch}, iter([5.0, 6.0]), num_steps=2)
    first = next(loop)
    assert calls == [5.0]
    assert (first.step, first.metrics) == (1, {"loss": 5.0})


def test_train_counts_from_start_to_num_steps_and_takes_no_batch_too_many():
    numbers = itertools.count(3)  # batches that begin with number `start`
    states = list(training.train(lambda batch: {"loss": float(batch)}, numbers, num_steps=7, start=3))
    assert [state.step for state in states] == [4, 5, 6, 7]
    assert [state.metrics["loss"] for state in states] == [3, 4, 5, 6]
    assert next(numbers) == 7


def test_a_run_that_is_done_already_does_nothing():
    assert list(training.train(lambda batch: {}, [1, 2], num_steps=5, start=5)) == []
    assert training.fit(lambda batch: {}, [1, 2], num_steps=5, start=5) == []


def test_batches_that_run_out_are_told_in_one_sentence():
    loop = training.train(lambda batch: {"loss": 0.0}, [1, 2], num_steps=4, start=1)
    assert [next(loop).step, next(loop).step] == [2, 3]
    with pytest.raises(ValueError, match="ran out after step 3 of 4"):
        next(loop)


def test_seconds_count_batches_and_updates_but_not_what_the_caller_does():
    def slow_batches() -> Iterator[int]:
        while True:
            time.sleep(0.02)
            yield 0

    def slow_step(batch: int) -> dict[str, float]:
        time.sleep(0.02)
        return {}

    seconds = []
    for state in training.train(slow_step, slow_batches(), num_steps=3):
        seconds.append(state.seconds)
        time.sleep(0.5)
    assert seconds[0] >= 0.04 and seconds[1] >= seconds[0] + 0.04 and seconds[2] >= seconds[1] + 0.04
    assert seconds[2] < 0.5


def test_fit_returns_every_state_and_shows_one_line_with_the_loss(capsys):
    history = training.fit(lambda batch: {"loss": batch / 8}, itertools.count(), num_steps=300)
    assert [state.step for state in history] == list(range(1, 301))
    written = capsys.readouterr().err
    assert "300/300" in written.split("\r")[-1] and "loss=37.4" in written.split("\r")[-1]
    assert written.count("\n") == 1
    assert len(written.split("\r")) < 6  # the start, the end, and one each half second


def test_fit_leaves_one_line_in_a_saved_notebook(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(
            "import itertools, time\n"
            "from minigen import training\n"
            "history = training.fit(lambda n: time.sleep(0.02) or {'loss': n / 8}, itertools.count(), num_steps=70)"
        )
    ]
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data"]
    assert list(outputs[0].data) == ["text/plain"]
    line = outputs[0].data["text/plain"]
    assert "70/70" in line and "loss=8.62" in line and "█" in line
    assert "\n" not in line and "\r" not in line
    assert "widgets" not in notebook.metadata


# The moving average ------------------------------------------------------------------------------------------------


def walk(model: nn.Module) -> None:
    """A stand-in for training: every parameter moves."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_ema_follows_its_formula():
    model = nn.Linear(2, 1)
    ema = training.EMA(model, decay=0.5)
    expected = model.weight.detach().clone()
    for n in range(1, 20):
        walk(model)
        ema.update(model)
        decay = min(0.5, n / (n + 9))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(ema.model.weight, expected, rtol=1e-5, atol=1e-6)


def test_ema_is_closer_to_the_model_than_to_the_start_after_100_steps():
    start, end = nn.Linear(8, 8), nn.Linear(8, 8)
    ema = training.EMA(start)
    for _ in range(100):
        ema.update(end)
    to_end = (ema.model.weight - end.weight).norm()
    to_start = (ema.model.weight - start.weight).norm()
    assert to_end < 0.1 * to_start


def test_ema_is_smoother_than_the_model():
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    ema = training.EMA(model)
    jumps, ema_jumps = 0.0, 0.0
    for _ in range(200):
        before, ema_before = model.weight.detach().clone(), ema.model.weight.clone()
        walk(model)
        ema.update(model)
        jumps += (model.weight - before).norm().item()
        ema_jumps += (ema.model.weight - ema_before).norm().item()
    assert ema_jumps < 0.3 * jumps


def test_ema_takes_over_the_buffers_integers_too():
    model = seeded_net()
    ema = training.EMA(model)
    step = training.make_step(model, classification_loss, adam(model), ema=ema)
    for state in training.train(step, worker.batches(), num_steps=5):
        assert ema.model.norm.num_batches_tracked == state.step
        torch.testing.assert_close(ema.model.norm.running_mean, model.norm.running_mean, **EXACT)
        torch.testing.assert_close(ema.model.norm.running_var, model.norm.running_var, **EXACT)


def test_ema_model_is_in_eval_mode_and_without_gradients():
    model = seeded_net().train()
    ema = training.EMA(model)
    ema.update(model)
    assert not any(module.training for module in ema.model.modules())
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_ema_copy_does_not_move_with_the_original():
    model, (images, _) = seeded_net(), one_batch()
    ema = training.EMA(model)
    before = ema.model(images)
    step = training.make_step(model, classification_loss, adam(model))
    training.fit(step, worker.batches(), num_steps=3)
    torch.testing.assert_close(ema.model(images), before, **EXACT)


def test_ema_update_leaves_the_model_as_it_was():
    model = seeded_net()
    ema = training.EMA(seeded_net(1))
    before = state_copy(model)
    ema.update(model)
    ema.update(model)
    assert_same_state(model.state_dict(), before)


def test_ema_refuses_a_model_that_a_copy_would_share():
    class WithClosure(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.twice = lambda x: self.conv(self.conv(x))

    with pytest.raises(TypeError, match=r"1\.twice is a function that holds on to a WithClosure"):
        training.EMA(nn.Sequential(nn.ReLU(), WithClosure()))
    factor = 2.0
    harmless = nn.Linear(1, 1)
    harmless.scale = lambda x: factor * x
    assert training.EMA(harmless).model.scale(1.0) == 2.0


def test_ema_state_loads_back_equal_and_goes_on_equal():
    model = seeded_net()
    ema = training.EMA(model)
    for _ in range(5):
        walk(model)
        ema.update(model)
    other = training.EMA(seeded_net(1))
    other.load_state_dict(state_copy(ema))
    walk(model)
    ema.update(model)
    other.update(model)
    assert_same_state(other.state_dict(), ema.state_dict())


@pytest.mark.parametrize("bad", [1.0, 1.5, -0.1, math.nan])
def test_ema_decay_must_lie_between_0_and_1(bad):
    with pytest.raises(ValueError, match=f"decay is {bad}"):
        training.EMA(nn.Linear(1, 1), decay=bad)


def test_ema_unwraps_a_model_that_is_shared_among_processes():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = seeded_net()
        shared = nn.parallel.DistributedDataParallel(model)
        ema = training.EMA(shared, decay=0.5)
        assert type(ema.model) is Net
        walk(model)
        ema.update(shared)
        plain = training.EMA(seeded_net(), decay=0.5)
        plain.update(model)
        assert_same_state(ema.model.state_dict(), plain.model.state_dict())
    finally:
        torch.distributed.destroy_process_group()


# Checkpoints -------------------------------------------------------------------------------------------------------


def saved(path: Path, **state) -> training.Checkpoint:
    training.save_checkpoint(path, config={}, **state)
    return training.load_checkpoint(path)


def test_plain_values_come_back_exactly_as_they_were(tmp_path):
    values = {
        "nothing": None,
        "numbers": [True, False, 0, -1, 2**70, 0.1, -0.0, 1.0, 1e-310, math.inf, -math.inf],
        "tuples": ((), (0.9, 0.999), ([1, (2,)],)),
        "texts": ["", "猫", 'quote " and \\', "\x00\n"],
        "keys": {0: "int", 1.5: "float", None: "none", True: "bool", (1, "a"): "tuple", "b": "str"},
        "reserved": {"__tensor__": 1, "__tuple__": [2], "__pairs__": {}},
        "empty": [{}, [], ()],
    }
    assert_same_state(saved(tmp_path / "a.safetensors", value=values)["value"], values)
    training.save_checkpoint(tmp_path / "b.safetensors", config=values)
    assert_same_state(training.load_checkpoint(tmp_path / "b.safetensors").config, values)


def test_tensors_come_back_exactly_with_their_order_in_memory(tmp_path):
    torch.manual_seed(0)
    base = torch.randn(4, 6, 5, 3)
    tensors = {
        "bfloat16": base.bfloat16(),
        "scalar": torch.tensor(3.5),
        "integer": torch.tensor(7),
        "booleans": base > 0,
        "bytes": torch.arange(5, dtype=torch.uint8),
        "doubles": base.double(),
        "empty": torch.zeros(0, 3),
        "nan": torch.tensor([math.nan, math.inf, -0.0]),
        "transposed": base.transpose(1, 3),
        "channels last": base.to(memory_format=torch.channels_last),
        "channels last, 1x1": torch.randn(4, 6, 1, 1).to(memory_format=torch.channels_last),
        "with gradient": nn.Parameter(base),
        "a.b": torch.ones(1),
        "a": {"b": torch.zeros(1), 1: torch.ones(2), "1": torch.zeros(2)},
    }
    loaded = saved(tmp_path / "a.safetensors", tensors=tensors)["tensors"]
    assert_same_state(loaded, tensors)
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            assert loaded[name].stride() == tensor.stride(), name
    assert not loaded["with gradient"].requires_grad


def test_tensors_that_share_or_skip_memory_can_be_saved(tmp_path):
    base = torch.arange(12.0)
    tensors = [base, base, base[2:5], base[::3], base.view(3, 4)[:, 1], torch.tensor(2.0).expand(3, 2)]
    assert_same_state(saved(tmp_path / "a.safetensors", tensors=tensors)["tensors"], tensors)


def test_tied_weights_stay_tied(tmp_path):
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    saved(tmp_path / "a.safetensors", model=model).restore(model=other)
    torch.testing.assert_close(other[1].weight, model[0].weight, **EXACT)
    assert other[0].weight is other[1].weight


SCHEDULERS = {
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=40),
    "milestones": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 6, 6, 9]),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda n: 1 / (1 + n)),
    "warm-up, then cosine": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=7),
            torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
        ],
        [7],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_kind_of_scheduler_goes_on_where_it_stopped(tmp_path, name):
    def build() -> tuple:
        optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        return optimizer, SCHEDULERS[name](optimizer)

    def rates(optimizer, scheduler, n: int) -> list[float]:
        met = []
        for _ in range(n):
            optimizer.step()
            scheduler.step()
            met.append(optimizer.param_groups[0]["lr"])
        return met

    optimizer, scheduler = build()
    rates(optimizer, scheduler, 5)
    checkpoint = saved(tmp_path / "a.safetensors", optimizer=optimizer, scheduler=scheduler)
    expected = rates(optimizer, scheduler, 10)
    optimizer, scheduler = build()
    checkpoint.restore(optimizer=optimizer, scheduler=scheduler)
    assert rates(optimizer, scheduler, 10) == expected


OPTIMIZERS: dict[str, Callable] = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "LBFGS": lambda p: torch.optim.LBFGS(p, max_iter=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_kind_of_optimizer_comes_back_exactly(tmp_path, name):
    model = nn.Linear(3, 3)
    optimizer = OPTIMIZERS[name](model.parameters())

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(2, 3)).square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    other = OPTIMIZERS[name](nn.Linear(3, 3).parameters())
    saved(tmp_path / "a.safetensors", optimizer=optimizer).restore(optimizer=other)
    assert_same_state(other.state_dict(), optimizer.state_dict())


def test_restored_states_are_copies_and_so_is_what_is_read(tmp_path):
    model = seeded_net()
    optimizer = adam(model)
    step = training.make_step(model, classification_loss, optimizer)
    step(one_batch())
    checkpoint = saved(tmp_path / "a.safetensors", model=model, optimizer=optimizer, names=["a"])
    before = checkpoint["optimizer"]
    checkpoint["names"].append("b")
    checkpoint.restore(model=model, optimizer=optimizer)
    step(one_batch())  # changes the optimizer's tensors in place
    assert_same_state(checkpoint["optimizer"], before)
    assert checkpoint["names"] == ["a"]


@pytest.mark.parametrize("before_make_step", [True, False])
def test_restoring_before_or_after_make_step_resumes_the_same_way(tmp_path, before_make_step):
    model = seeded_net().to(memory_format=torch.channels_last)
    optimizer = adam(model)
    step = training.make_step(model, classification_loss, optimizer)
    training.fit(step, worker.batches(), num_steps=3)
    checkpoint = saved(tmp_path / "a.safetensors", model=model, optimizer=optimizer, random=training.RandomState())
    training.fit(step, worker.batches(3), num_steps=6, start=3)

    other = seeded_net(1).to(memory_format=torch.channels_last)
    other_optimizer = adam(other)
    stateful = {"model": other, "optimizer": other_optimizer, "random": training.RandomState()}
    if before_make_step:
        checkpoint.restore(**stateful)
    other_step = training.make_step(other, classification_loss, other_optimizer)
    if not before_make_step:
        checkpoint.restore(**stateful)
    training.fit(other_step, worker.batches(3), num_steps=6, start=3)
    assert_same_state(other.state_dict(), model.state_dict())
    assert_same_state(other_optimizer.state_dict(), optimizer.state_dict())


@pytest.mark.gpu
def test_resuming_on_cuda_comes_close_to_the_uninterrupted_run(tmp_path, on_cuda):
    model = seeded_net()
    optimizer, ema = adam(model), training.EMA(model)
    step = training.make_step(model, classification_loss, optimizer, ema=ema, max_grad_norm=1.0)
    training.fit(step, worker.batches(), num_steps=5)
    checkpoint = saved(
        tmp_path / "a.safetensors", model=model, optimizer=optimizer, ema=ema, random=training.RandomState()
    )
    history = training.fit(step, worker.batches(5), num_steps=10, start=5)

    other = seeded_net(1)
    other_optimizer, other_ema = adam(other), training.EMA(other)
    checkpoint.restore(model=other, optimizer=other_optimizer, ema=other_ema, random=training.RandomState())
    step = training.make_step(other, classification_loss, other_optimizer, ema=other_ema, max_grad_norm=1.0)
    resumed = training.fit(step, worker.batches(5), num_steps=10, start=5)
    for state, expected in zip(resumed, history, strict=True):  # dropout included: CUDA's generator is restored
        assert state.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-2)
    for value, expected in zip(other_ema.model.parameters(), ema.model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-2, atol=5e-3)


def test_random_state_repeats_all_that_the_process_draws(tmp_path):
    def draw() -> list:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]

    runtime.seed_everything(5)
    draw()  # leaves half a pair of normal numbers in Python's and in NumPy's generator
    generator = torch.Generator().manual_seed(3)
    torch.rand(7, generator=generator)
    checkpoint = saved(tmp_path / "a.safetensors", random=training.RandomState(), generator=generator)
    expected = draw(), torch.rand(3, generator=generator)
    runtime.seed_everything(6)
    other = torch.Generator()
    checkpoint.restore(random=training.RandomState(), generator=other)
    assert draw() == expected[0]
    torch.testing.assert_close(torch.rand(3, generator=other), expected[1], **EXACT)


def test_the_file_alone_rebuilds_the_model(tmp_path):
    model = seeded_net(width=5).eval()
    training.save_checkpoint(tmp_path / "a.safetensors", config={"width": 5}, model=model, step=12)
    checkpoint = training.load_checkpoint(str(tmp_path / "a.safetensors"))
    rebuilt = Net(**checkpoint.config).eval()
    checkpoint.restore(model=rebuilt)
    torch.testing.assert_close(rebuilt(one_batch()[0]), model(one_batch()[0]), **EXACT)
    assert checkpoint["step"] == 12 and "step" in checkpoint and "optimizer" not in checkpoint


def test_the_file_is_safetensors_that_any_reader_opens(tmp_path):
    model = seeded_net()
    training.save_checkpoint(tmp_path / "a.safetensors", config={"width": 8}, model=model)
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert sorted(file.keys()) == sorted(f"model.{name}" for name in model.state_dict())
        torch.testing.assert_close(file.get_tensor("model.head.weight"), model.head.weight.detach(), **EXACT)


def test_the_same_state_always_makes_the_same_file(tmp_path):
    for name in ("a", "b"):
        training.save_checkpoint(tmp_path / name, config={"width": 8}, model=seeded_net(), step=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_any_changed_byte_is_refused(tmp_path):
    path = tmp_path / "some checkpoint.safetensors"
    training.save_checkpoint(path, config={"width": 2}, weight=torch.arange(5.0), step=3)
    data = path.read_bytes()
    for at, flip in itertools.product(range(len(data)), (0x01, 0x20, 0xFF)):
        path.write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        with pytest.raises(ValueError, match=r"some checkpoint\.safetensors is") as error:
            training.load_checkpoint(path)
        assert "\n" not in str(error.value)
    path.write_bytes(data)
    assert training.load_checkpoint(path)["step"] == 3


def test_a_file_that_was_cut_or_lengthened_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    training.save_checkpoint(path, config={}, weight=torch.arange(5.0))
    data = path.read_bytes()
    for changed in [data[:length] for length in range(len(data))] + [data + b"\0", b"\0" + data]:
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"cut\.safetensors is"):
            training.load_checkpoint(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_foreign_files_are_refused_and_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign = {
        "pickle": pickle.dumps(Bomb()),
        "old torch file": pickle.dumps({"state_dict": Bomb()}),
        "bare safetensors": safetensors.torch.save({"weight": torch.ones(2)}),
        "other metadata": safetensors.torch.save({"weight": torch.ones(2)}, {"format": "pt"}),
        "text": b"epoch 3, loss 0.1\n",
        "nothing": b"",
    }
    torch.save({"model": Bomb()}, tmp_path / "torch")
    for name, data in foreign.items():
        (tmp_path / name).write_bytes(data)
    for name in [*foreign, "torch"]:
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint of minigen"):
            training.load_checkpoint(tmp_path / name)
    assert not (tmp_path / "unpickled").exists()


def test_nothing_is_pickled_on_the_way_out_or_in(tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("a checkpoint was pickled")

    model = seeded_net()
    optimizer, ema = adam(model), training.EMA(model)
    training.make_step(model, classification_loss, optimizer, ema=ema)(one_batch())
    for module, name in [(pickle, n) for n in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler")] + [
        (torch, "save"),
        (torch, "load"),
    ]:
        monkeypatch.setattr(module, name, forbidden)
    state = {"model": model, "optimizer": optimizer, "ema": ema, "random": training.RandomState()}
    saved(tmp_path / "a.safetensors", **state).restore(**state)


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        '{"config": {}}',
        '{"config": {}, "state": {"model": {"__tensor__": "missing"}}}',
        '{"config": {}, "state": {"model": {"__tensor__": "weight", "strides": [1, 1, 1]}}}',
        '{"config": {}, "state": {"model": {"__pairs__": [[{"__pairs__": []}, 1]]}}}',
        "[" * 100_000,
    ],
)
def test_a_forged_file_with_a_right_checksum_is_refused(tmp_path, content):
    data = safetensors.torch.save({"weight": torch.ones(2)}, {"minigen": "0" * 64 + " " + content})
    digest = hashlib.sha256(data).hexdigest().encode()
    (tmp_path / "forged").write_bytes(data.replace(b"0" * 64, digest, 1))
    with pytest.raises(ValueError, match="forged was not written by save_checkpoint"):
        training.load_checkpoint(tmp_path / "forged")


def test_a_missing_checkpoint_is_named(tmp_path):
    for path in (tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no checkpoint {path}"):
            training.load_checkpoint(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": [1]}, "config is a list; give a dict"),
        ({"config": {"activation": torch.relu}}, r"config\.activation is a builtin_function_or_method"),
        ({"config": {"layers": [{"weight": torch.ones(1)}]}}, r"config\.layers\.0\.weight is a Tensor"),
        ({"config": {}, "data": {"names": {"a", "b"}}}, r"data\.names is a set"),
        ({"config": {}, "array": np.ones(2)}, "array is a ndarray"),
        ({"config": {}, "sparse": torch.eye(2).to_sparse()}, "sparse is a Tensor"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, arguments, message):
    path = tmp_path / "a.safetensors"
    training.save_checkpoint(path, config={}, step=1)
    with pytest.raises(TypeError, match=message):
        training.save_checkpoint(path, **arguments)
    assert training.load_checkpoint(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_saving_makes_the_folder_and_leaves_the_arguments_as_they_were(tmp_path):
    model, config = seeded_net(), {"width": 8, "sizes": (1, 2)}
    before = state_copy(model)
    training.save_checkpoint(tmp_path / "runs" / "1" / "a.safetensors", config=config, model=model)
    assert_same_state(model.state_dict(), before)
    assert config == {"width": 8, "sizes": (1, 2)}
    assert training.load_checkpoint(tmp_path / "runs" / "1" / "a.safetensors").config == config


def test_a_failing_disk_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    training.save_checkpoint(path, config={}, step=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        training.save_checkpoint(path, config={}, step=2)
    assert training.load_checkpoint(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_the_name_points_to_them(tmp_path, monkeypatch):
    path, order = tmp_path / "a.safetensors", []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append(path.exists()) or fsync(descriptor))
    monkeypatch.setattr(Path, "replace", lambda self, to: order.append(self.parent == to.parent) or replace(self, to))
    training.save_checkpoint(path, config={}, step=1)
    assert order == [False, True]


def test_states_that_do_not_fit_are_refused_and_nothing_is_restored(tmp_path):
    model = seeded_net()
    optimizer = adam(model)
    training.make_step(model, classification_loss, optimizer)(one_batch())
    checkpoint = saved(tmp_path / "a.safetensors", model=model, optimizer=optimizer, other=seeded_net(), step=3)

    narrow = seeded_net(1, width=4)
    fitting, fitting_optimizer = seeded_net(1), adam(model)
    before = [state_copy(stateful) for stateful in (narrow, fitting, fitting_optimizer)]
    with pytest.raises(ValueError, match=r"the 'other' saved in .*a\.safetensors does not fit") as error:
        checkpoint.restore(model=fitting, optimizer=fitting_optimizer, other=narrow)
    assert "\n" not in str(error.value)
    for stateful, old in zip((narrow, fitting, fitting_optimizer), before, strict=True):
        assert_same_state(stateful.state_dict(), old)

    with pytest.raises(KeyError, match=r"holds no 'ema'; it holds \['model', 'optimizer', 'other', 'step'\]"):
        checkpoint.restore(model=fitting, ema=fitting)
    with pytest.raises(TypeError, match=r"step is a int, which holds no state: read checkpoint\['step'\]"):
        checkpoint.restore(model=fitting, step=0)
    assert_same_state(fitting.state_dict(), before[1])


# Processes ---------------------------------------------------------------------------------------------------------


def start(*command: str, folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    # One thread each, so that the runs which are compared add up in the same order whatever else the machine does.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder)}
    return subprocess.Popen([sys.executable, *command, str(folder)], stdout=subprocess.PIPE, text=True, env=environment)


def test_a_run_killed_five_times_ends_like_one_that_was_not(tmp_path):
    run = start(worker.__file__, "kill", folder=tmp_path)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0  # the worker looks whether each kill came before the end, and whether the rest went well
    killed_after, last = ([int(update) for update in line.split()] for line in output.splitlines())
    assert len(killed_after) == 5 and killed_after == sorted(set(killed_after))
    assert last[0] > killed_after[-1] and last == list(range(last[0], worker.RESUME_STEPS + 1))
    whole, resumed = (tmp_path / name / "last.safetensors" for name in ("uninterrupted", "killed"))
    expected = training.load_checkpoint(whole)
    for name in ("model", "ema", "optimizer", "scheduler", "generator", "random"):
        assert_same_state(training.load_checkpoint(resumed)[name], expected[name])
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_kill_while_saving_leaves_a_whole_file(tmp_path):
    run = start(worker.__file__, "save", folder=tmp_path)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0  # after each kill the worker loads the file and looks whether its parts belong together
    rounds = [int(line.split()[0]) for line in output.splitlines()]
    assert len(rounds) == 12 and rounds == sorted(rounds) and rounds[-1] > rounds[0]


def test_two_processes_train_the_same_model_as_one_on_half_of_each_batch(tmp_path):
    # `--cpu` would start one process only, whatever the number, for want of MPI; this starts two, and they find
    # no GPU to use: MINIGEN_DEVICE is cpu.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = f"accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port {port}"
    precision = "--mixed_precision no --dynamo_backend no"
    two = start("-m", *launch.split(), *precision.split(), worker.__file__, "share", folder=tmp_path / "two")
    (tmp_path / "one").mkdir()
    worker.train_on_a_share(tmp_path / "one")
    two.communicate(timeout=300)
    assert two.returncode == 0

    one = training.load_checkpoint(tmp_path / "one" / "process0.safetensors")
    both = [training.load_checkpoint(tmp_path / "two" / f"process{rank}.safetensors") for rank in (0, 1)]
    assert one.config == {"num_processes": 1, "device": "cpu"}
    assert one["sizes"] == [worker.SHARE_BATCH] * worker.SHARE_STEPS
    for half in both:
        assert half.config == {"num_processes": 2, "device": "cpu:0"}
        assert half["sizes"] == [worker.SHARE_BATCH // 2] * worker.SHARE_STEPS
        # Halves are added up in another order than wholes; AdamW makes the most of such differences.
        for name, value in one["model"].items():
            torch.testing.assert_close(half["model"][name], value, rtol=1e-4, atol=1e-5)
        for metrics, expected in zip(half["metrics"], one["metrics"], strict=True):
            assert metrics == pytest.approx(expected, rel=1e-4)
        assert_same_state(half["scheduler"], one["scheduler"])
    for name, value in one["ema"]["model"].items():
        torch.testing.assert_close(both[0]["ema"]["model"][name], value, rtol=1e-4, atol=1e-5)
    assert_same_state(both[1]["model"], both[0]["model"])
    start_weight = worker.shared_start()["head.weight"]
    assert (one["model"]["head.weight"] - start_weight).abs().max() > 0.05  # there was something to agree on


# --- Muon -------------------------------------------------------------------------------------------------------


def a_network_for_muon():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 6)), nn.Linear(6, 1))


def muon_for(model):
    matrices = training.matrices_of(model[1])
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return training.MuonAdamW(matrices, others, lr=0.01, lr_matrices=0.02), matrices, others


def one_update(model, optimizer, seed):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    (model(x) - x.sum(dim=1, keepdim=True)).square().mean().backward()
    optimizer.step()


def test_muon_moves_the_matrices_inside_as_torchs_muon_does_and_the_rest_as_adamw_does():
    both, apart = a_network_for_muon(), a_network_for_muon()
    before = copy.deepcopy(both)
    optimizer, matrices, _ = muon_for(both)
    assert [tuple(matrix.shape) for matrix in matrices] == [(8, 8), (6, 8)]
    _, apart_matrices, apart_others = muon_for(apart)
    muon = torch.optim.Muon(apart_matrices, lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(apart_others, lr=0.01, betas=(0.9, 0.99), weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for p, q in zip(both.parameters(), apart.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            if p.ndim == 2:  # torch's own rounds to bfloat16, and a singular value near 0 drowns in that
                u, values, v = torch.linalg.svd(p.grad, full_matrices=False)
                p.grad = u @ values.clamp(min=0.3 * values.max()).diag() @ v
            q.grad = p.grad.clone()
        for part in (optimizer, muon, adamw):
            part.step()
    for found, expected, start in zip(both.parameters(), apart.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
        assert (found - start).abs().max() > 1e-2


@pytest.mark.parametrize("shape", [(16, 16), (24, 8), (8, 24)])
def test_orthogonalize_keeps_the_singular_vectors_and_brings_the_values_near_1(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    known = u @ torch.diag_embed(values.clamp(min=0.2 * values.max())) @ v  # none of them is nearly 0
    turned = u.mT @ orthogonalize(known).float() @ v.mT
    found = turned.diagonal(dim1=1, dim2=2)
    assert found.min() > 0.6
    assert found.max() < 1.3
    torch.testing.assert_close(turned, torch.diag_embed(found), rtol=0, atol=0.05)


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_orthogonalize_computes_in_16_bits_only_where_they_are_fast(monkeypatch, fast, dtype):
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: fast)
    assert orthogonalize(torch.randn(1, 4, 4)).dtype == dtype


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ValueError, match=r"Muon is for matrices, got a parameter of shape \(3,\)"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.01)


def test_a_scheduler_moves_both_rates_of_muon_with_adamw_also_after_it_was_restored():
    model = a_network_for_muon()
    optimizer, _, _ = muon_for(model)
    optimizer.load_state_dict(optimizer.state_dict())  # as make_step does
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 0.0)
    before = [p.clone() for p in model.parameters()]
    one_update(model, optimizer, 0)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == [0.0, 0.0]
    scheduler.step()


def test_muon_with_adamw_goes_on_from_a_checkpoint_bit_for_bit(tmp_path):
    whole = a_network_for_muon()
    optimizer, _, _ = muon_for(whole)
    for k in range(2):
        one_update(whole, optimizer, k)
    training.save_checkpoint(tmp_path / "a.safetensors", config={}, model=whole, optimizer=optimizer)
    again = a_network_for_muon()
    restored, _, _ = muon_for(again)
    training.load_checkpoint(tmp_path / "a.safetensors").restore(model=again, optimizer=restored)
    for k in (2, 3):
        one_update(whole, optimizer, k)
        one_update(again, restored, k)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_muon_takes_no_closure():
    optimizer, _, _ = muon_for(a_network_for_muon())
    with pytest.raises(ValueError, match="takes no closure"):
        optimizer.step(lambda: None)
