"""The audit cannot rot: each of its bugs finds its place, each test it names is there, and it counts only what counts.

That the tests do notice the bugs is another matter: `python tests/audit.py` tries it.
"""

import multiprocessing

import audit
import house
import pytest
from bugs import BUGS, Bug


def test_every_bug_finds_what_it_replaces():
    assert list(audit.place_problems(house.ROOT, BUGS)) == []


def test_every_test_that_a_bug_names_is_there():
    assert list(audit.test_problems(house.ROOT, BUGS)) == []


def test_bugs_have_names_of_their_own_and_are_not_in_the_tests():
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)
    assert not any(bug.old == bug.new or bug.file.startswith("tests/") for bug in BUGS)


# --- the audit itself -------------------------------------------------------------------------------------------

HALF = Bug("half", "minigen/half.py", "x / 2", "x / 3", ("test_half.py::test_half",))


@pytest.fixture
def root(tmp_path):
    """A repository with one function and its test."""
    multiprocessing.set_forkserver_preload(["pytest", "nbformat", "IPython"])  # or each process would load them
    (tmp_path / "minigen").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "minigen" / "__init__.py").touch()
    (tmp_path / "minigen" / "half.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "tests" / "test_half.py").write_text(
        "from minigen.half import half\n\n\ndef test_half():\n    assert half(4) == 2\n"
        "\n\ndef test_zero():\n    assert half(0) == 0\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("bug", "problem"),
    [
        (HALF._replace(old="x / 4"), "half: minigen/half.py holds what it replaces 0 times, expected once"),
        (HALF._replace(old="x"), "half: minigen/half.py holds what it replaces 2 times, expected once"),
        (HALF._replace(file="minigen/gone.py"), "half: minigen/gone.py holds what it replaces 0 times, expected once"),
        (HALF._replace(tests=("test_half.py::test_gone",)), "half: there is no test test_half.py::test_gone"),
        (HALF._replace(tests=("test_gone.py::test_half",)), "half: there is no test test_gone.py::test_half"),
        (HALF._replace(tests=()), "half: it names no test"),
    ],
)
def test_a_bug_that_has_come_loose_is_found(root, bug, problem):
    assert [*audit.place_problems(root, [bug]), *audit.test_problems(root, [bug])] == [problem]


def test_a_bug_is_in_its_file_for_as_long_as_it_is_planted(root):
    healthy = (root / HALF.file).read_bytes()
    with audit.planted(root, HALF):
        assert "x / 3" in (root / HALF.file).read_text()
    assert (root / HALF.file).read_bytes() == healthy
    with pytest.raises(ValueError, match="0 times"), audit.planted(root, HALF._replace(old="x / 4")):
        pass


CASES = [  # what the bug writes, the test that runs, and whether that has caught it
    ("x / 3", "test_half", True),
    ("x / 3", "test_zero", False),  # passes all the same
    ("x /", "test_half", False),  # cannot be collected
    ("y / 2", "test_half", False),  # does not run
]


def test_only_a_test_that_fails_in_what_it_asserts_has_caught_a_bug(root):
    for new, test, caught in CASES:
        with audit.planted(root, HALF._replace(new=new)):
            outcome = audit.run_tests(root, [f"test_half.py::{test}"])
        assert (outcome.failed == [f"tests/test_half.py::{test}"] and not outcome.broken) == caught, outcome


def test_tests_that_fail_or_are_skipped_without_a_bug_are_told(root):
    path = root / "tests" / "test_half.py"
    path.write_text(path.read_text() + "\n\n@__import__('pytest').mark.skip\ndef test_no():\n    pass\n")
    bugs = [HALF, HALF._replace(tests=("test_half.py::test_no",))]
    assert audit.healthy_problems(root, bugs) == ["test_half.py::test_no did not run"]
    with audit.planted(root, HALF):
        assert audit.healthy_problems(root, [HALF])[0] == "tests/test_half.py::test_half"
