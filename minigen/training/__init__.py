"""Training on Hugging Face accelerate: a step function, one loop, EMA, checkpoints that resume."""

from minigen.training.checkpoint import Checkpoint, RandomState, load_checkpoint, save_checkpoint
from minigen.training.ema import EMA
from minigen.training.loop import Step, TrainState, fit, make_accelerator, make_step, train
from minigen.training.muon import MuonAdamW, matrices_of

__all__ = [
    "EMA",
    "Checkpoint",
    "MuonAdamW",
    "RandomState",
    "Step",
    "TrainState",
    "fit",
    "load_checkpoint",
    "make_accelerator",
    "make_step",
    "matrices_of",
    "save_checkpoint",
    "train",
]
