"""The recipes: killed and resumed they end the same, what they write can be loaded, what they cannot do they refuse."""

import functools
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import recipe_worker as worker
import safetensors.torch
import torch
from accelerate.state import AcceleratorState
from torch.testing import assert_close

from minigen import pretrained
from minigen.classifier import Classifier
from minigen.data import Batch, EmojiPortraits, EmojiScenes, PhotoCrops, batches, paintings
from minigen.denoiser import Denoiser
from minigen.gan import Generator
from minigen.images import to_signed
from minigen.metrics import psnr
from minigen.recipes import caption_diffusion, codec, diffusion, examiner, fast_style, frame, gan, judge
from minigen.recipes.caption_diffusion import encode_scenes
from minigen.text import TextEncoder, Tokenizer, split
from minigen.training import load_checkpoint, make_step

EXACT = {"rtol": 0, "atol": 0}
SMALL = frame.Options(num_steps=4, batch_size=16, seed=0)
every_recipe = pytest.mark.parametrize("recipe", worker.RECIPES.values(), ids=worker.RECIPES)


@pytest.fixture(autouse=True)
def fresh_accelerate(monkeypatch):
    """Accelerate keeps its settings for the life of a process; here each test has its own: the CPU in float32."""
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


# --- runs of the real recipes, in processes of their own --------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of what the worker trained, and what it printed: where each recipe was killed."""
    folder = tmp_path_factory.mktemp("runs")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MINIGEN_DEVICE": "cpu"}
    command = [sys.executable, worker.__file__, str(folder)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, timeout=300)
    assert run.returncode == 0
    killed = {line.split()[0]: [int(update) for update in line.split()[1:]] for line in run.stdout.splitlines()}
    return folder, killed


@functools.lru_cache
def encoded_scenes():
    """What the caption-guided model trains on, but for their number."""
    return encode_scenes(pretrained.load("codec"), 40, device="cpu")


def content_of(path):
    """The tensors of a checkpoint, and all else that is in it but the seconds that it took."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    content = json.loads(header["__metadata__"]["minigen"][65:])
    content["state"].pop("seconds", None)
    content["config"].get("card", {}).pop("seconds", None)
    return safetensors.torch.load(data), content


@pytest.mark.parametrize("name", worker.KILLS)
def test_a_recipe_killed_at_random_moments_ends_like_one_that_was_not(runs, name):
    folder, killed = runs
    assert len(killed[name]) == worker.KILLS[name]
    assert killed[name] == sorted(set(killed[name])) and killed[name][-1] < worker.STEPS[name]
    for file in (f"runs/{name}.safetensors", f"out/{name}.safetensors"):
        (tensors, rest), (expected, expected_rest) = (
            content_of(folder / name / which / file) for which in ("killed", "whole")
        )
        assert tensors.keys() == expected.keys()
        changed = [key for key, value in tensors.items() if not torch.equal(value, expected[key])]
        assert changed == [] and rest == expected_rest


@pytest.mark.parametrize("name", worker.KILLS)
def test_what_a_recipe_writes_is_loaded_again(runs, name):
    folder, _ = runs
    path = folder / name / "whole" / "out" / f"{name}.safetensors"
    model = pretrained.load(path)
    assert not model.training
    assert all(value.isfinite().all() for value in model.state_dict().values())
    steps, size, seed = worker.STEPS[name], worker.BATCH_SIZE[name], worker.RECIPES[name].options.seed
    trained = load_checkpoint(folder / name / "whole" / "runs" / f"{name}.safetensors")
    assert trained.config == {"num_steps": steps, "batch_size": size, "seed": seed}
    assert trained["updates"] == steps
    card = pretrained.card(path)
    assert card["command"] == f"python -m minigen.recipes.{name} --steps {steps} --batch-size {size}"


def test_the_latents_of_the_codec_are_measured_when_it_is_trained(runs):
    folder, _ = runs
    model = pretrained.load(folder / "codec" / "whole" / "out" / "codec.safetensors")
    scenes = EmojiScenes("train", size=64).take(range(1000, 1300)).images
    with torch.no_grad():
        latents = model.encode(to_signed(scenes)).mean
    assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(8), rtol=0, atol=0.15)
    assert_close(latents.std(dim=(0, 2, 3)), torch.ones(8), rtol=0.15, atol=0)


def test_two_processes_keep_the_same_weights_and_draw_different_noise(runs):
    folder, _ = runs
    both = [load_checkpoint(folder / "shared" / f"process{rank}.safetensors") for rank in (0, 1)]
    for name in ("generator", "discriminator", "ema"):
        state, expected = both[1][name], both[0][name]
        state, expected = state.get("model", state), expected.get("model", expected)
        assert [key for key in expected if not torch.equal(state[key], expected[key])] == []
    for player in ("generator", "discriminator"):  # there was something to agree on
        moments = both[0][f"{player}_optimizer"]["state"][0]
        assert moments["step"] == worker.SHARED_STEPS and moments["exp_avg_sq"].any()
    assert not torch.equal(both[0]["random"]["torch"], both[1]["random"]["torch"])
    card = pretrained.card(folder / "shared" / "out" / "gan.safetensors")
    assert "2 processes" in card["hardware"]


# --- the frame, around a recipe of a second ---------------------------------------------------------------------


def a_recipe(*, stop_after=None, measure=None, **changes):
    """A classifier that is shown noise; `updates` grows with each update that it is given."""
    updates = []

    def set_up(options):
        model = Classifier(answers={"side": 2}, widths=(4, 4, 4))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

        def loss_fn(model, x):
            if len(updates) == stop_after:
                raise KeyboardInterrupt
            updates.append(x[0, 0, 0, 0].item())
            return model(x + 0.1 * torch.randn(x.shape))["side"].square().mean()

        def numbered(start):
            while True:
                yield torch.full((options.batch_size, 3, 8, 8), start / 100)
                start += 1

        return frame.Training(
            step=make_step(model, loss_fn, optimizer),
            batches=numbered,
            stateful={"model": model, "optimizer": optimizer},
            result=lambda: model,
        )

    recipe = frame.Recipe(
        name="toy",
        about="Finds nothing.",
        data="noise",
        options=frame.Options(num_steps=5, batch_size=2, seed=0),
        set_up=set_up,
        measure=measure or (lambda model: {"accuracy": 0.5, "count": 3}),
    )
    return recipe._replace(**changes), updates


def folders(tmp_path):
    return ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]


def test_a_run_leaves_a_network_and_a_card_and_prints_its_metrics_last(tmp_path, capsys):
    measured = []
    recipe, updates = a_recipe(measure=lambda model: measured.append(model) or {"accuracy": 0.5, "count": 3})
    frame.main(recipe, folders(tmp_path))
    assert len(updates) == 5
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2].startswith("update 5 of 5, ") and "loss " in printed[-2]
    assert json.loads(printed[-1]) == {"accuracy": 0.5, "count": 3}
    path = tmp_path / "out" / "toy.safetensors"
    loaded, card = pretrained.load(path), pretrained.card(path)
    assert isinstance(loaded, Classifier)
    assert not measured[0].training  # and what was measured is what was shipped, rounding included
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in measured[0].state_dict().items())
    assert {key: card[key] for key in ("name", "about", "data", "command", "metrics")} == {
        "name": "toy",
        "about": "Finds nothing.",
        "data": "noise",
        "command": "python -m minigen.recipes.toy",
        "metrics": {"accuracy": 0.5, "count": 3},
    }
    assert type(card["seconds"]) is int and "torch" in card["hardware"]
    assert path.with_suffix(".md").read_text(encoding="utf-8") == pretrained.card_page(card)


def test_the_command_on_the_card_names_what_was_changed(tmp_path):
    recipe, _ = a_recipe()
    frame.main(recipe, [*folders(tmp_path), "--steps", "2", "--seed", "7"])
    command = pretrained.card(tmp_path / "out" / "toy.safetensors")["command"]
    assert command == "python -m minigen.recipes.toy --steps 2 --seed 7"


def weights_in(folder):
    return pretrained.load(folder / "out" / "toy.safetensors").state_dict()


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_run_that_was_stopped_goes_on_by_the_same_command(tmp_path, capsys, stop_after):
    frame.main(a_recipe()[0], folders(tmp_path / "whole"))
    with pytest.raises(SystemExit, match=r"stopped; the same command goes on from .*toy\.safetensors"):
        frame.main(a_recipe(stop_after=stop_after)[0], [*folders(tmp_path / "stopped"), "--save-every", "1"])
    assert not (tmp_path / "stopped" / "out").exists()
    recipe, updates = a_recipe()
    frame.main(recipe, [*folders(tmp_path / "stopped"), "--save-every", "2"])
    assert f"toy.safetensors, update {stop_after}" in capsys.readouterr().out
    assert updates == pytest.approx([k / 100 for k in range(stop_after, 5)])  # batch k is met once
    expected = weights_in(tmp_path / "whole")
    assert all(torch.equal(value, expected[key]) for key, value in weights_in(tmp_path / "stopped").items())


def test_a_run_that_is_finished_is_not_trained_further(tmp_path):
    frame.main(a_recipe()[0], folders(tmp_path))
    before = weights_in(tmp_path)
    recipe, updates = a_recipe()
    frame.main(recipe, folders(tmp_path))
    assert updates == []
    assert all(torch.equal(value, before[key]) for key, value in weights_in(tmp_path).items())


def test_checkpoints_come_as_often_as_asked_for_and_at_the_end(tmp_path, monkeypatch):
    saved, save = [], frame.save_checkpoint
    monkeypatch.setattr(
        frame, "save_checkpoint", lambda path, **what: saved.append(what["updates"]) or save(path, **what)
    )
    frame.main(a_recipe()[0], [*folders(tmp_path), "--save-every", "2"])
    assert saved == [2, 4, 5]


def test_the_seconds_of_an_interrupted_run_add_up(tmp_path):
    frame.main(a_recipe()[0], folders(tmp_path))
    path = tmp_path / "runs" / "toy.safetensors"
    checkpoint = load_checkpoint(path)
    frame.save_checkpoint(
        path,
        config=checkpoint.config,
        **{name: checkpoint[name] for name in ("model", "optimizer", "random")},
        updates=3,
        seconds=1000.0,
    )
    frame.main(a_recipe()[0], folders(tmp_path))
    assert 1000 <= load_checkpoint(path)["seconds"] < 1060
    assert 1000 <= pretrained.card(tmp_path / "out" / "toy.safetensors")["seconds"] < 1060


def test_equal_seeds_give_equal_weights_and_others_others(tmp_path):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        torch.manual_seed(99)
        frame.main(a_recipe()[0], [*folders(tmp_path / name), "--seed", seed])
    a, b, c = (weights_in(tmp_path / name)["look.weight"] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize(
    ("changed", "named"),
    [(["--steps", "6"], "'num_steps': 6"), (["--batch-size", "3"], "'batch_size': 3"), (["--seed", "1"], "'seed': 1")],
)
def test_a_checkpoint_of_other_options_is_refused_by_name_and_left_alone(tmp_path, changed, named):
    frame.main(a_recipe()[0], folders(tmp_path))
    path = tmp_path / "runs" / "toy.safetensors"
    before = path.read_bytes()
    with pytest.raises(
        SystemExit, match=r"toy\.safetensors holds a run with .*'num_steps': 5.* or move it away"
    ) as error:
        frame.main(a_recipe()[0], [*folders(tmp_path), *changed])
    assert named in str(error.value)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path):
    frame.main(a_recipe()[0], folders(tmp_path))
    path = tmp_path / "runs" / "toy.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"toy\.safetensors is damaged"):
        frame.main(a_recipe()[0], folders(tmp_path))


@every_recipe
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--steps 0", "'0' is no whole number above 0"),
        ("--steps -5", "-5"),
        ("--steps 1.5", "'1.5' is no whole number above 0"),
        ("--batch-size none", "'none' is no whole number above 0"),
        ("--save-every 0", "--save-every"),
        ("--seed x", "--seed"),
        ("--colour", "--colour"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_done(recipe, options, named, capsys, tmp_path):
    with pytest.raises(SystemExit) as error:
        frame.main(recipe, [*options.split(), *folders(tmp_path)])
    assert error.value.code == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "size", "parts"), [(judge, 6, 4), (examiner, 8, 16), (examiner, 20, 16), (gan, 6, 4)]
)
def test_a_batch_that_does_not_divide_into_its_parts_is_refused_before_anything_is_done(recipe, size, parts, tmp_path):
    with pytest.raises(SystemExit, match=f"--batch-size must be a multiple of {parts}"):
        frame.main(recipe.RECIPE, ["--batch-size", str(size), *folders(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@every_recipe
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 10])
def test_a_recipe_can_be_tried_out_with_a_few_steps(recipe, num_steps, monkeypatch):
    monkeypatch.setattr(caption_diffusion, "encode_scenes", lambda *args, **options: encoded_scenes())
    set_up = recipe.set_up(frame.Options(num_steps, recipe.parts, seed=0))
    rates = []
    optimizers = [value for value in set_up.stateful.values() if isinstance(value, torch.optim.Optimizer)]
    schedulers = [value for name, value in set_up.stateful.items() if name.endswith("scheduler")]
    for _ in range(num_steps):
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
    assert all(0 < rate < 1 for step in rates for rate in step)


@pytest.mark.parametrize(("num_steps", "warm_up"), [(100, 10), (100, 50), (20, 3)])
def test_one_cycle_rises_to_its_peak_and_falls_to_nearly_nothing(num_steps, warm_up):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = frame.one_cycle(optimizer, 0.3, num_steps, warm_up=warm_up)
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    peak = warm_up - 1
    assert rates[peak] == pytest.approx(0.3) and rates[-1] < 1e-4
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_muon_has_the_matrices_of_both_transformers_and_adamw_all_else():
    """And every parameter is in one of them once. Classes are read without a transformer."""
    encoder, denoiser = TextEncoder(words=["cat"], depth=1), Denoiser(depth=1)
    model = torch.nn.ModuleDict({"encoder": encoder, "denoiser": denoiser})
    muon, adamw = frame.muon_adamw(model, 10)[0].parts
    names = {id(p): name for name, p in model.named_parameters()}
    of_muon, of_adamw = (
        [names[id(p)] for group in part.param_groups for p in group["params"]] for part in (muon, adamw)
    )
    assert sorted(of_muon + of_adamw) == sorted(names.values())
    assert {name.split(".")[0] for name in of_muon} == {"encoder", "denoiser"}
    assert set(of_muon) == {name for name, p in model.named_parameters() if ".blocks." in name and p.ndim == 2} - {
        "denoiser.blocks.0.modulation"  # a table of six vectors
    }
    assert frame.muon_adamw(diffusion.make_model(), 10)[0].parts[0].param_groups[0]["params"]


def test_measuring_loads_what_is_shipped_and_prints_one_object_last(tmp_path, monkeypatch, capsys):
    frame.main(a_recipe()[0], folders(tmp_path))
    capsys.readouterr()
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path / "out")
    recipe, updates = a_recipe(measure=lambda model: {"weights": sum(p.numel() for p in model.parameters())})
    frame.main(recipe, ["--measure"])
    printed = capsys.readouterr().out.splitlines()
    expected = sum(p.numel() for p in pretrained.load("toy").parameters())
    assert json.loads(printed[-1]) == {"weights": expected}
    assert updates == [] and len(printed) == 1


def test_there_is_a_recipe_for_every_network_that_is_shipped_and_it_has_its_files_name():
    modules = {path.stem for path in Path(frame.__file__).parent.glob("*.py")}
    assert set(pretrained.names()) <= set(worker.RECIPES) <= modules
    for name, recipe in worker.RECIPES.items():
        assert sys.modules[f"minigen.recipes.{name}"].RECIPE is recipe
        assert recipe.about.endswith(".") and recipe.data


def test_every_recipe_is_killed_in_these_tests():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in Path(frame.__file__).parent.glob("*.py")}
    recipes = {name for name, text in texts.items() if "\nRECIPE = " in text}
    assert recipes == set(worker.KILLS) == set(worker.RECIPES)


# --- what the recipes train on ----------------------------------------------------------------------------------


STREAMS = {
    "caption_diffusion": lambda *given: caption_diffusion.latents_and_captions(encoded_scenes(), *given),
    "diffusion": diffusion.pictures_and_objects,
    "judge": judge.scenes_and_portraits,
    "examiner": examiner.batches_with_broken_ones,
    "gan": gan.pictures_and_objects,
    "codec": codec.pictures,
    "fast_style": fast_style.tasks,
}


def tensors_of(batch):
    if isinstance(batch, Batch):
        return [batch.images, *batch.labels.values()]
    if isinstance(batch, tuple):
        return [tensor for part in batch for tensor in (part if isinstance(part, tuple) else [part])]
    return [batch]


@pytest.mark.parametrize("name", STREAMS)
def test_the_stream_of_a_recipe_goes_on_at_any_number(name):
    def batch(number, start):
        torch.manual_seed(number)  # as a checkpoint restores it
        return next(STREAMS[name](SMALL, start))

    stream = STREAMS[name](SMALL, 0)
    for number in range(3):
        torch.manual_seed(number)
        for value, expected in zip(tensors_of(next(stream)), tensors_of(batch(number, number)), strict=True):
            assert torch.equal(value, expected)
    other = next(STREAMS[name](SMALL._replace(seed=1), 0))
    assert not torch.equal(tensors_of(other)[0], tensors_of(batch(0, 0))[0])


@every_recipe
def test_a_recipe_trains_on_batches_of_the_size_asked_for_and_in_the_range_of_its_model(recipe):
    images = tensors_of(next(STREAMS[recipe.name](SMALL, 0)))[0]
    assert len(images) == 16
    if recipe.name == "caption_diffusion":  # latents, of deviation 1
        assert images.shape == (16, 8, 8, 8) and 0.8 < images.std() < 1.2
        return
    low = -1 if recipe.name in ("gan", "codec", "diffusion") else 0  # what is still to be made signed begins at 0
    assert images.min() >= low and images.max() <= 1 and images.min() < low + 0.2


def test_latents_go_with_the_captions_of_their_scenes_in_both_languages():
    scenes, found = encoded_scenes(), set()
    datasets = [EmojiScenes("train", language=language) for language in caption_diffusion.LANGUAGES]
    known = {tuple(split(c)): k for d in datasets for k, c in enumerate(d.captions(range(40)))}
    for latents, tokens in itertools.islice(caption_diffusion.latents_and_captions(scenes, SMALL, 0), 8):
        assert torch.equal(tokens.mask, tokens.ids > 0) and tokens.mask[:, -1].any()
        for latent, ids in zip(latents, tokens.ids, strict=True):
            words = tuple(scenes.words[i - 1] for i in ids.tolist() if i)
            assert torch.equal(latent, scenes.latents[known[words]].float())
            found.add(words[0].isascii())
    assert found == {True, False}


def test_any_pictures_with_captions_can_be_encoded_also_in_one_language():
    pictures = EmojiScenes("held_out").subset(range(3, 13))
    captions = pictures.take(range(10)).captions
    tokenizer = Tokenizer.from_captions([*captions, "a zebra"])
    encoded = caption_diffusion.encode(pretrained.load("codec"), pictures, [captions], tokenizer, device="cpu")
    assert encoded.words == tokenizer.words and encoded.latents.shape == (10, 8, 8, 8) and len(encoded.ids) == 1
    for latents, tokens in itertools.islice(caption_diffusion.latents_and_captions(encoded, SMALL, 0), 3):
        for latent, ids in zip(latents, tokens.ids, strict=True):
            (row,) = (encoded.latents.float() == latent).all(dim=(1, 2, 3)).nonzero().flatten().tolist()
            assert [encoded.words[i - 1] for i in ids.tolist() if i] == split(captions[row])


def test_latents_are_what_the_codec_says_of_the_scenes():
    scenes = encoded_scenes()
    with torch.no_grad():
        expected = pretrained.load("codec").encode(to_signed(EmojiScenes("train").take(range(40)).images)).mean
    assert (scenes.latents.float() - expected).abs().mean() < 0.02  # in 16 bits


@pytest.mark.parametrize("module", [diffusion, caption_diffusion])
def test_a_share_of_the_conditions_is_dropped_and_the_empty_one_learns(module, monkeypatch):
    monkeypatch.setattr(module, "DROPPED", 1.0)
    monkeypatch.setattr(caption_diffusion, "encode_scenes", lambda *args, **options: encoded_scenes())
    training = module.RECIPE.set_up(SMALL)
    model = training.stateful["model"]
    torch.nn.init.normal_(model["denoiser"].out_of.weight, std=0.1)  # zero at the start, and nothing goes back
    torch.nn.init.normal_(model["denoiser"].modulation.weight, std=0.1)
    module.loss_fn(model, next(training.batches(0))).backward()
    encoder = model["encoder"]
    assert encoder.empty_token.grad.any() and (encoder.embed.weight.grad is None or not encoder.embed.weight.grad.any())


def test_the_judge_sees_scenes_and_portraits_of_which_half_were_made_at_half_the_size():
    scenes = next(batches(EmojiScenes("train", size=64), 8))
    sharp, soft = (next(batches(EmojiPortraits("train", size=size), 4)) for size in (64, 32))
    batch = next(judge.scenes_and_portraits(SMALL, 0))
    assert batch.images.shape == (16, 3, 64, 64) and len(batch.captions) == 16
    assert torch.equal(batch.images[:8], scenes.images) and torch.equal(batch.images[8:12], sharp.images)
    assert torch.equal(sharp.labels["object"], soft.labels["object"])
    shrunk = torch.nn.functional.avg_pool2d(batch.images[12:], 2)
    assert (shrunk - soft.images).abs().mean() < 0.02


def test_what_is_asked_of_portraits_is_what_scenes_would_say_and_their_size_is_left_out():
    portraits = EmojiPortraits("val", size=64).take(range(20))
    labels = judge.with_all_questions(portraits).labels
    assert labels.keys() == EmojiScenes.questions.keys()
    said = {
        question: {names[a] if a >= 0 else None for a in labels[question].tolist()}
        for question, names in EmojiScenes.questions.items()
    }
    assert said["other"] == said["other_size"] == {"nothing"}
    assert said["relation"] == {"alone"} and said["size"] == {None}
    assert torch.equal(labels["object"], portraits.labels["object"])
    assert torch.equal(labels["background"], portraits.labels["background"])
    scenes = EmojiScenes("val", size=64).take(range(5))
    assert judge.with_all_questions(scenes).labels == scenes.labels


def test_joined_batches_keep_their_order():
    scenes = EmojiScenes("val", size=16)
    joined = judge.join([scenes.take([3, 4]), scenes.take([1])])
    expected = scenes.take([3, 4, 1])
    assert torch.equal(joined.images, expected.images) and joined.captions == expected.captions
    assert all(torch.equal(joined.labels[q], expected.labels[q]) for q in scenes.questions)


@pytest.mark.parametrize("name", examiner.BREAKS)
def test_a_broken_picture_is_another_and_the_whole_one_stays(name):
    images = EmojiScenes("test", size=64).take(range(12)).images
    before = images.clone()
    torch.manual_seed(0)
    broken = examiner.BREAKS[name](images)
    torch.manual_seed(0)
    assert torch.equal(examiner.BREAKS[name](images), broken)
    assert torch.equal(images, before)
    assert broken.shape == images.shape and broken.min() >= -1e-5 and broken.max() <= 1 + 1e-5
    assert ((broken - images).abs().mean(dim=(1, 2, 3)) > 0.01).all()
    if name in ("torn", "shuffled"):  # the same pixels in other places
        assert_close(broken.flatten(2).sort().values, images.flatten(2).sort().values, **EXACT)
    if name == "blurred":
        assert_close(broken.mean(dim=(2, 3)), images.mean(dim=(2, 3)), rtol=0, atol=0.05)
        assert broken.diff(dim=3).abs().mean() < images.diff(dim=3).abs().mean() / 2


def test_a_quarter_of_the_examiners_pictures_is_broken_and_asked_for_the_object_alone():
    torch.manual_seed(0)
    batch = next(examiner.batches_with_broken_ones(SMALL._replace(batch_size=64), 0))
    whole = next(judge.scenes_and_portraits(SMALL._replace(batch_size=64), 0))
    broken = batch.labels["object"] == examiner.NONE_OF_THESE
    assert broken.sum() == 16
    for question, answers in batch.labels.items():
        assert torch.equal(answers[~broken], whole.labels[question][~broken])
        if question != "object":
            assert (answers[broken] == judge.LEFT_OUT).all()
    changed = (batch.images - whole.images).abs().mean(dim=(1, 2, 3))
    assert changed[~broken].max() < 0.06 and changed[broken].median() > changed[~broken].max()


def test_the_gan_is_asked_for_every_object_in_turn_and_draws_the_same_again():
    torch.manual_seed(0)
    model = Generator(num_classes=40, latent_dim=8, widths=(8, 8, 8))
    images, asked = gan.draw(model, 300, seed=3)
    assert images.shape == (300, 3, 32, 32) and images.min() >= 0 and images.max() <= 1
    assert asked.tolist() == [k % 40 for k in range(300)]
    again, _ = gan.draw(model, 300, seed=3)
    assert torch.equal(images, again)
    assert not torch.equal(images, gan.draw(model, 300, seed=4)[0])
    few, _ = gan.draw(model, 30, seed=3)
    assert_close(few, images[:30], rtol=0, atol=1e-5)


def test_the_learning_rates_of_the_gan_stay_and_then_fall_to_zero():
    training = gan.set_up(frame.Options(10, 8, 0))
    rates = []
    for _ in range(10):
        rates.append(
            [training.stateful[f"{p}_optimizer"].param_groups[0]["lr"] for p in ("generator", "discriminator")]
        )
        for player in ("generator", "discriminator"):
            training.stateful[f"{player}_optimizer"].step()
            training.stateful[f"{player}_scheduler"].step()
    assert rates[0] == rates[6] == [1e-3, 1e-3]
    assert rates[7] == pytest.approx([0.75e-3] * 2) and rates[9] == pytest.approx([0.25e-3] * 2)
    assert training.stateful["generator_optimizer"].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_the_tasks_of_fast_style_ask_for_one_painting_each_at_any_strength_and_often_at_full():
    stream = fast_style.tasks(SMALL._replace(batch_size=200), 0)
    torch.manual_seed(0)
    pictures, weights = next(stream)
    assert pictures.shape == (200, 3, fast_style.SIZE, fast_style.SIZE) and weights.shape == (200, 6)
    assert ((weights > 0).sum(dim=1) == 1).all() and weights.min() == 0 and weights.max() == 1
    strengths = weights.sum(dim=1)
    assert 0.65 < (strengths == 1).float().mean() < 0.85 and (strengths < 0.5).any()
    assert ((weights > 0).float().mean(dim=0) > 0.08).all()


def test_the_loss_of_fast_style_asks_nothing_at_strength_0_and_for_the_painting_at_1(monkeypatch):
    """The network is stood in for by what returns the pictures as they are, or the paintings."""
    monkeypatch.setattr(fast_style, "PAINTING_SIZE", 64)
    lesson = fast_style.Lesson(pretrained.feature_extractor("judge"))
    pictures = PhotoCrops("train", 64).take([0, 1]).images
    nothing, mosaic = torch.zeros(2, 6), torch.tensor([[0.0, 0, 0, 0, 0, 1]] * 2)
    painting = to_signed(paintings().load("mosaic", 64))[None].expand(2, -1, -1, -1)
    left = lesson(lambda x, weights: x, fast_style.Task(pictures, nothing))
    reached = lesson(lambda x, weights: painting, fast_style.Task(pictures, mosaic))
    far = lesson(lambda x, weights: x, fast_style.Task(pictures, mosaic))
    assert left["loss"] < 1e-6 and reached["style"] < 1e-6 < 0.1 < far["style"]
    assert far["content"] < 1e-6 and reached["content"] > 0.1
    assert_close(reached["loss"], fast_style.CONTENT_WEIGHT * reached["content"], rtol=1e-4, atol=1e-6)


def test_bicubic_keeps_as_many_numbers_as_the_codec_or_a_few_less():
    images = EmojiScenes("val", size=64).take(range(8)).images
    everything = codec.bicubic(images, 3 * 64 * 64)
    assert_close(everything, images, rtol=0, atol=1e-5)
    worse = [psnr(codec.bicubic(images, numbers), images).mean() for numbers in (3000, 512, 100)]
    assert worse == sorted(worse, reverse=True)
    flat = torch.full((1, 3, 64, 64), 0.3)
    assert_close(codec.bicubic(flat, 512), flat, rtol=0, atol=1e-4)
    assert 3 * round((512 / 3) ** 0.5) ** 2 == 507
