"""The project works, tried in a minute on shapes that it draws itself. `pip install pytest`, then `pytest`"""

import pytest
import torch
import train
from shapes import draw_shapes

from minigen import pretrained
from minigen.painter import Painter

FEW = {"codec": "codec", "steps": 2, "every": 1, "batch_size": 4, "seed": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of twenty pictures with captions."""
    folder = tmp_path_factory.mktemp("data")
    draw_shapes(folder, count=20)
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("finished")
    train.run(data=str(data), out=str(folder), **FEW)
    return folder


def test_no_picture_is_both_trained_on_and_measured_with(data):
    pictures = train.read(data)
    names = [{pictures.names[row] for row in part.indices} for part in train.split(pictures)]
    assert [len(part) for part in names] == [16, 4] and names[0] | names[1] == set(pictures.names)


def test_the_network_draws_from_its_file_alone(finished):
    painter = Painter(**pretrained.load(finished / "network.safetensors"))
    pictures = painter.paint(["a small red circle", "a large blue square"], num_inference_steps=2)
    assert pictures.shape == (2, 3, train.SIZE, train.SIZE) and pictures.std() > 0.01
    assert [path.name for path in sorted(finished.glob("*.png"))] == ["step_000001.png", "step_000002.png"]


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(data, finished, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(train, "draw", stop)
        with pytest.raises(KeyboardInterrupt):
            train.run(data=str(data), out=str(tmp_path), **FEW)
    train.run(data=str(data), out=str(tmp_path), **FEW)
    whole, stopped = (pretrained.load(run / "network.safetensors").state_dict() for run in (finished, tmp_path))
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


def test_a_picture_without_a_caption_is_named(tmp_path):
    draw_shapes(tmp_path, count=12)
    (tmp_path / "lonely.png").write_bytes((tmp_path / "000.png").read_bytes())
    with pytest.raises(ValueError, match=r"pictures without a caption \(lonely\.png\)"):
        train.read(tmp_path)
