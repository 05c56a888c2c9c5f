"""The house stands: imports go down only, nothing is unpickled, importing is quick and quiet."""

import functools
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import house
import pytest

TEMPLATES = house.PACKAGE / "cli" / "project"  # of `minigen new`: no modules of the package, see test_new
SOURCES = sorted(path for path in house.PACKAGE.rglob("*.py") if not path.is_relative_to(TEMPLATES))
PROJECT = tomllib.loads((house.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(path):
    return path.relative_to(house.ROOT).as_posix()


def _packages_of(lines):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in lines}


NEED_JUPYTER = {"minigen/recipes/lessons.py", "minigen/cli/handout.py"}  # they run and export the notebooks
CORE = _packages_of(PROJECT["dependencies"])
EXTRAS = {name: _packages_of(lines) for name, lines in PROJECT["optional-dependencies"].items()}


distributions = functools.cache(metadata.packages_distributions)  # it reads about all that is installed: once will do


def _undeclared(modules, packages):
    """Modules, not of the standard library, that none of `packages` brings."""
    brings = distributions()
    return {
        module
        for module in modules - set(sys.stdlib_module_names) - {"minigen"}
        if not packages & {name.lower().replace("_", "-") for name in brings.get(module, [])}
    }


# --- imports go down only -----------------------------------------------------------------------------------


def test_imports_go_down_only():
    problems = [
        problem
        for path in SOURCES
        for problem in house.floor_problems(
            path.read_text(encoding="utf-8"),
            house.module_name(path),
            is_package=path.name == "__init__.py",
        )
    ]
    assert not problems, "\n".join(problems)


def test_every_room_of_the_package_has_a_floor():
    rooms = {_name(path).split("/")[1].removesuffix(".py") for path in SOURCES} - {"__init__"}
    assert rooms <= set(house.FLOORS), "give each room a floor in FLOORS of tests/house.py"


@pytest.mark.parametrize(
    ("source", "module", "words"),
    [
        ("from minigen import gan", "minigen.images", "up"),
        ("import minigen.training", "minigen.layers", "up"),
        ("from minigen.metrics import frechet_distance", "minigen.training.loop", "sideways"),
        ("def f():\n    from minigen.vae import VAE", "minigen.diffusion", "sideways"),
        ("from .. import cli", "minigen.data.base", "up"),
        ("from ..widgets.live import run", "minigen.data.base", "up"),
        ("import importlib\nimportlib.import_module('minigen.cli')", "minigen.images", "up"),
        ("from minigen import images", "minigen", "up"),
        ("import torch", "minigen.attic", "no floor is known"),
    ],
)
def test_an_import_up_or_sideways_is_found(source, module, words):
    (problem,) = house.floor_problems(source, module)
    assert words in problem


@pytest.mark.parametrize(
    ("source", "module", "is_package"),
    [
        ("from minigen.images import load_image", "minigen.data.base", False),
        ("from minigen import __version__", "minigen.images", False),
        ("from .base import Batch", "minigen.data.scenes", False),
        ("from .base import Batch", "minigen.data", True),
        ("from minigen.cli.lab import open_lab", "minigen.cli.doctor", False),
        ("from ..images import show", "minigen.recipes", True),
        ("import torch, minigen", "minigen.runtime", False),
    ],
)
def test_an_import_down_or_within_a_room_is_fine(source, module, is_package):
    assert house.floor_problems(source, module, is_package=is_package) == []


# --- what is imported is declared ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_what_the_package_imports_is_among_its_dependencies(path):
    source = path.read_text(encoding="utf-8")
    undeclared = _undeclared(house.foreign_modules(source), CORE | EXTRAS["lab"])
    assert not undeclared, f"declare what brings {undeclared} in pyproject.toml"
    if _name(path) not in NEED_JUPYTER:  # the rest must import without it, as on a training server
        needed = _undeclared(house.foreign_modules(source, top_level_only=True), CORE)
        assert not needed, f"import {needed} inside the function that needs it: it only comes with an extra"


def test_what_the_tests_import_is_among_their_dependencies():
    tests = [path for path in house.repository_files() if path.parent == house.ROOT / "tests"]
    own = {path.stem for path in tests} | {"offline"}  # a folder
    modules = set().union(
        *(house.foreign_modules(path.read_text(encoding="utf-8")) for path in tests if path.suffix == ".py")
    )
    undeclared = _undeclared(modules - own, CORE | EXTRAS["lab"] | EXTRAS["dev"])
    assert not undeclared, f"declare what brings {undeclared} in the extra dev of pyproject.toml"


# --- what must not be in the code ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nothing_is_unpickled_and_no_lambda_is_kept(path):
    source = path.read_text(encoding="utf-8")
    assert house.loading_problems(source) + house.submodule_problems(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_loading_that_unpickles_is_found(source):
    assert len(house.loading_problems(source)) == 1


def test_loading_weights_only_is_fine():
    assert house.loading_problems("torch.load(path, weights_only=True)\nnp.load(path)") == []


@pytest.mark.parametrize(
    "line",
    [
        "self.act = lambda x: x * 2",
        "self.act: object = lambda x: x * 2",
        "self.body = nn.Sequential(nn.ReLU(), Lambda(lambda x: x + 1))",
        "def double(x):\n            return 2 * x\n        self.act = double",
    ],
)
def test_a_kept_lambda_or_closure_is_found(line):
    assert house.submodule_problems(f"class Net(nn.Module):\n    def __init__(self):\n        {line}\n")


def test_a_lambda_that_is_merely_used_is_fine():
    source = "class Net:\n    def f(self, xs):\n        self.xs = sorted(xs, key=lambda x: -x)\n"
    assert house.submodule_problems(source) == []


def test_no_committed_text_holds_a_path_of_one_machine():
    problems = []
    for path in house.repository_files():
        if path.suffix in {".png", ".jpg", ".safetensors", ".ipynb"}:  # test_notebooks reads the notebooks
            continue
        found = house.machine_paths(path.read_text(encoding="utf-8"))
        problems += [f"{_name(path)}: {words}" for words in found]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("folder", ["home", "root", "tmp", "Users"])
def test_a_path_of_one_machine_is_found(folder):
    assert house.machine_paths(f'open("/{folder}/x.png")')
    assert not house.machine_paths(f"https://example.org/{folder}/x.png and {folder}/x.png")


def test_a_windows_path_is_found():
    assert house.machine_paths(r"open('C" + r":\Users\x.png')")
    assert not house.machine_paths(r"Q:\nA:\n N:\d")


# --- importing is quick and quiet ---------------------------------------------------------------------------


def _python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=house.ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_minigen_costs_less_than_300_ms_beyond_torch():
    code = """
import sys, time, torch
for _ in range(5):  # the least of several: the machine may be busy with something else
    for name in [name for name in sys.modules if name.split(".")[0] == "minigen"]:
        del sys.modules[name]
    start = time.perf_counter()
    import minigen
    print(time.perf_counter() - start)
"""
    assert min(float(seconds) for seconds in _python(code).split()) < 0.3


def test_the_command_answers_without_loading_torch():
    code = (
        "import sys, minigen.cli\n"
        "minigen.cli.main([])\n"
        "import minigen.cli.doctor, minigen.cli.lab\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'matplotlib') if m in sys.modules])"
    )
    assert _python(code).splitlines()[-1] == "[]"


def test_importing_any_module_opens_no_socket_and_prints_nothing():
    modules = [house.module_name(path) for path in SOURCES if path.name != "__main__.py"]
    code = f"""
import importlib, sys
def listen(event, arguments):
    if event.split(".")[0] in ("socket", "urllib", "http", "ftplib"):
        raise SystemExit(f"{{event}} {{arguments}}")
sys.addaudithook(listen)
for name in {modules}:
    importlib.import_module(name)
"""
    assert _python(code) == ""


# --- tidiness -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["check", "--output-format=concise"], ["format", "--check"]], ids=" ".join)
def test_ruff_finds_nothing(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."],
        capture_output=True,
        text=True,
        cwd=house.ROOT,
    )
    assert done.returncode == 0, done.stdout[:5000] + done.stderr[:5000]
