"""The project's files agree with each other, and what is built from them holds what it should."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
import zipfile

import house
import pytest
import yaml

import minigen
from minigen.cli import doctor

PROJECT = tomllib.loads((house.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _names(lines):
    return [re.match(r"[\w.-]+", line)[0] for line in lines]


# --- environment.yml ----------------------------------------------------------------------------------------


def test_conda_installs_python_and_pip_and_pip_the_rest():
    environment = yaml.safe_load((house.ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": ["-e .[lab]"]}
    assert "lab" in PROJECT["optional-dependencies"]


# --- pyproject.toml -----------------------------------------------------------------------------------------


def test_the_doctor_examines_every_dependency_of_a_learner():
    wanted = _names(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["lab"])
    assert sorted(doctor.PACKAGES) == sorted(wanted)


def test_the_doctor_and_the_project_want_the_same_python():
    assert PROJECT["requires-python"] == f">={doctor.PYTHON[0]}.{doctor.PYTHON[1]}"


def test_pip_leaves_a_newer_torch_as_it_is_such_as_that_of_colab():
    lowest = [line for line in PROJECT["dependencies"] if re.fullmatch(r"torch(vision)?>=[\d.]+", line)]
    assert _names(lowest) == ["torch", "torchvision"]


def test_every_dependency_has_a_lowest_version():
    lines = [line for extra in PROJECT["optional-dependencies"].values() for line in extra]
    bare = [line for line in PROJECT["dependencies"] + lines if ">=" not in line and "minigen[" not in line]
    assert bare == []


def test_the_extras_for_teachers_and_developers_hold_that_for_learners():
    for extra in ("teach", "dev"):
        assert "minigen[lab]" in PROJECT["optional-dependencies"][extra]


def test_the_licence_names_all_three_and_holds_the_text_of_the_first():
    text = (house.ROOT / "LICENSE").read_text(encoding="utf-8")
    for words in (
        "Permission is hereby granted, free of charge",
        "https://creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/licenses/by-sa/4.0/",
        "OpenMoji",
    ):
        assert words in text
    assert PROJECT["license"] == "MIT"


# --- what is built ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what is committed, so that the checkout stays clean."""
    copy = tmp_path_factory.mktemp("source")
    for path in house.repository_files():
        if path.is_relative_to(house.PACKAGE) or path.parent == house.ROOT:
            (copy / path.relative_to(house.ROOT)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy / path.relative_to(house.ROOT))
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(copy / "out")], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "out").glob("minigen-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package_and_the_licence(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(house.ROOT).as_posix()
        for path in house.repository_files()
        if path.is_relative_to(house.PACKAGE)
    }
    assert expected <= held, f"not in the wheel: {sorted(expected - held)}"
    strange = {name for name in held - expected if ".dist-info/" not in name}
    assert not strange, f"in the wheel and not in the package: {sorted(strange)}"
    assert any(name.endswith("LICENSE") for name in held)


def test_the_package_works_from_the_wheel_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import minigen, minigen.data\n"
        "from minigen.cli import main\n"
        "print(minigen.__file__)\n"
        "print(minigen.data.EmojiScenes(size=32).batch(2).images.shape)\n"
        "print(main(['lab']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    path, shape, status = done.stdout.splitlines()
    assert path.startswith(str(tmp_path))
    assert shape == "torch.Size([2, 3, 32, 32])"
    assert status == "2"  # there are no lessons beside it, which is said in one sentence
    assert "notebooks/" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_written_once():
    assert "version" in PROJECT["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", minigen.__version__)


# --- .ci/run ------------------------------------------------------------------------------------------------


def test_ci_installs_and_tests_by_the_commands_of_the_readme():
    script = house.ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert 'install -e ".[dev]"' in text
    assert re.search(r"^\s*pytest$", text, re.M)
    assert os.name != "posix" or os.access(script, os.X_OK)


# --- pytest's own settings ----------------------------------------------------------------------------------


def test_pytest_collects_notebooks_but_not_their_checkpoints(tmp_path):
    import nbformat

    shutil.copy(house.ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("def test_one():\n    assert True\n")
    (tmp_path / "notebooks" / ".ipynb_checkpoints").mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(notebook, tmp_path / "notebooks" / "00_start_here.ipynb")
    nbformat.write(notebook, tmp_path / "notebooks" / ".ipynb_checkpoints" / "00-checkpoint.ipynb")

    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    collected = [line.split("::")[0] for line in done.stdout.splitlines() if "::" in line]
    assert collected == ["notebooks/00_start_here.ipynb", "tests/test_one.py"]


def test_a_warning_of_ours_is_an_error_and_one_inside_another_library_is_not():
    def warn(module):
        warnings.warn_explicit("old", DeprecationWarning, filename="x.py", lineno=1, module=module)

    for module in ("minigen", "minigen.data.base", "test_packaging"):
        with pytest.raises(DeprecationWarning):
            warn(module)
    with warnings.catch_warnings(record=True) as caught:
        warn("torchvision.io")
        warn("minigenetics")
    assert len(caught) == 2
