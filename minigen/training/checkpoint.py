"""Checkpoints from which training resumes bit for bit: one safetensors file, written whole or not at all.

The states of model, optimizer, random generators become named tensors; what is not a tensor goes as JSON into
the file's metadata, behind a SHA-256 of the whole file. Nothing is ever pickled or unpickled."""

import copy
import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

# A file begins with 8 bytes for the header's length, then these, then the checksum, a space, and the JSON.
_START = b'{"__metadata__":{"minigen":"'
_SUM_FROM = 8 + len(_START)
_SUM_TO = _SUM_FROM + 64
_NO_SUM = b"0" * 64  # stands in the checksum's place while the sum is taken

# JSON knows no tensors, tuples or keys other than strings; a dict with one of these keys stands for them.
_TENSOR, _TUPLE, _PAIRS = "__tensor__", "__tuple__", "__pairs__"


def save_checkpoint(path: str | os.PathLike, /, *, config: dict, **stateful: Any) -> None:
    """Write `config` and the state of everything in `stateful` to the safetensors file `path`.

    `config` holds numbers, strings, None, lists, tuples and dicts. `stateful` takes what has a `state_dict`
    (modules, optimizers, schedulers, EMA, RandomState), torch.Generator, and plain values and tensors, which
    `checkpoint[name]` gives back. Of several processes only one should call this.
    Raises TypeError for values that such a file cannot hold; then nothing is written.
    """
    if not isinstance(config, dict):
        raise TypeError(f"config is a {type(config).__name__}; give a dict of constructor arguments")
    tensors: dict[str, Tensor] = {}
    content = {
        "config": _encode(config, "config", None),
        "state": {name: _encode(_state_of(value), name, tensors) for name, value in stateful.items()},
    }
    data = safetensors.torch.save(tensors, {"minigen": f"{_NO_SUM.decode()} {json.dumps(content)}"})
    _write_whole(Path(path), [data[:_SUM_FROM], _checksum(data), memoryview(data)[_SUM_TO:]])


def load_checkpoint(path: str | os.PathLike) -> "Checkpoint":
    """Read a file that `save_checkpoint` wrote; its tensors come on the CPU.

    Raises FileNotFoundError if there is none, ValueError if it is damaged, cut short, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; give a file that save_checkpoint wrote")
    data = path.read_bytes()
    if data[8:_SUM_FROM] != _START:
        raise ValueError(f"{path} is not a checkpoint of minigen, or it is damaged: give one that is")
    if data[_SUM_FROM:_SUM_TO] != _checksum(data):
        raise ValueError(f"{path} is damaged, as its checksum shows: take another copy of it, or train again")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        content = json.loads(header["__metadata__"]["minigen"][65:])  # behind the checksum and the space
        tensors = safetensors.torch.load(data)
        return Checkpoint(path, _decode(content["config"], {}), _decode(content["state"], tensors))
    except Exception as error:  # the checksum is right, so somebody made this file by hand
        raise ValueError(f"{path} was not written by save_checkpoint: {error!r}") from error


class Checkpoint:
    """What a file holds: `.config`, and by name the saved states (`checkpoint["step"]`)."""

    def __init__(self, path: Path, config: dict, state: dict[str, Any]):
        self.path, self.config, self._state = path, config, state

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def __getitem__(self, name: str) -> Any:
        """A copy of what was saved as `name`: a value as it was given, an object's state. Raises KeyError."""
        if name not in self._state:
            raise KeyError(f"{self.path} holds no {name!r}; it holds {sorted(self._state)}")
        # A copy, because an optimizer goes on to change the very tensors that it is given.
        return copy.deepcopy(self._state[name])

    def restore(self, **stateful: Any) -> None:
        """Put the saved states back into these objects, all of them or, if one does not fit, none.

        Raises KeyError for a name that was not saved, TypeError for an object without state, and ValueError
        for one that the saved state does not fit.
        """
        for name, target in stateful.items():
            if not isinstance(target, torch.Generator) and not hasattr(target, "load_state_dict"):
                kind = type(target).__name__
                raise TypeError(f"{name} is a {kind}, which holds no state: read checkpoint[{name!r}]")
        saved = {name: self[name] for name in stateful}
        before = {name: copy.deepcopy(_state_of(target)) for name, target in stateful.items()}
        try:
            for name, target in stateful.items():
                _put_state(target, saved[name])
        except Exception as error:
            reason = " ".join(str(error).split())
            misfit = f"the {name!r} saved in {self.path} does not fit the object given: {reason}"
            for name, target in stateful.items():
                _put_state(target, before[name])
            raise ValueError(misfit) from error


class RandomState:
    """The state of the generators that the whole process shares: Python's, NumPy's, PyTorch's, each GPU's."""

    def state_dict(self) -> dict:
        numpy_state = np.random.get_state(legacy=False)
        numpy_state["state"]["key"] = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
        return {
            "python": random.getstate(),
            "numpy": numpy_state,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict) -> None:
        numpy_state = copy.deepcopy(state["numpy"])
        numpy_state["state"]["key"] = numpy_state["state"]["key"].numpy().astype(np.uint32)
        random.setstate(state["python"])
        np.random.set_state(numpy_state)
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available():
            for device, saved in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
                torch.cuda.set_rng_state(saved, device)


def _state_of(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    return value.state_dict() if hasattr(value, "state_dict") else value


def _put_state(target: Any, state: Any) -> None:
    if isinstance(target, torch.Generator):
        target.set_state(state)
    else:
        target.load_state_dict(state)


def _encode(value: Any, path: str, tensors: dict[str, Tensor] | None) -> Any:
    """`value` as JSON can hold it; its tensors are put into `tensors` under their path."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_encode(item, f"{path}.{index}", tensors) for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TUPLE: [_encode(item, f"{path}.{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, dict):
        items = [(key, _encode(item, f"{path}.{key}", tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and key not in (_TENSOR, _TUPLE, _PAIRS) for key in value):
            return dict(items)
        return {_PAIRS: [[_encode(key, path, None), item] for key, item in items]}
    if isinstance(value, Tensor) and tensors is not None and value.layout == torch.strided:
        return _encode_tensor(value, path, tensors)
    kinds = "numbers, strings, None, lists, tuples, dicts" + ("" if tensors is None else ", dense tensors")
    raise TypeError(f"{path} is a {type(value).__name__}, which cannot be saved there: give {kinds}")


def _encode_tensor(value: Tensor, path: str, tensors: dict[str, Tensor]) -> dict:
    while path in tensors:  # as in {"a.b": ..., "a": {"b": ...}}
        path += "'"
    # A clone, since safetensors refuses memory that tensors share; it is dense, in the same order of memory.
    clone = value.detach().clone()
    tensors[path] = clone.cpu().contiguous()
    if clone.stride() == torch.empty(clone.shape, device="meta").stride():
        return {_TENSOR: path}
    # The order in memory (channels last, say) decides how sums are rounded: resuming exactly needs it back.
    return {_TENSOR: path, "strides": list(clone.stride())}


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_encode`."""
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        tensor = tensors[value[_TENSOR]]
        if "strides" in value:
            return torch.empty_strided(tensor.shape, value["strides"], dtype=tensor.dtype).copy_(tensor)
        return tensor
    if _TUPLE in value:
        return tuple(_decode(item, tensors) for item in value[_TUPLE])
    if _PAIRS in value:
        return {_decode(key, tensors): _decode(item, tensors) for key, item in value[_PAIRS]}
    return {key: _decode(item, tensors) for key, item in value.items()}


def _checksum(data: bytes) -> bytes:
    digest = hashlib.sha256(data[:_SUM_FROM])
    digest.update(_NO_SUM)
    digest.update(memoryview(data)[_SUM_TO:])
    return digest.hexdigest().encode()


def _write_whole(path: Path, parts: list) -> None:
    """Write under another name, then rename: a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the name points to it
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
