"""The frame of the exercises, and every exercise with its stub, its solution and its mistakes."""

import importlib
import inspect
import json
import linecache
import math
import pkgutil
import re
import subprocess
import sys
import textwrap
import warnings

import pytest
import torch

import minigen.exercises
from minigen.exercises import Card, Exercise, Result, State, mistake
from minigen.exercises.compare import difference


def define(source, name):
    """Run source as a notebook cell is run, so that its lines can be read, and return what it defines."""
    file = f"<cell {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names = {"torch": torch, "math": math}
    exec(compile(source, file, "exec"), names)
    return names[name]


# Every exercise of every lesson

LESSONS = sorted(m.name for m in pkgutil.iter_modules(minigen.exercises.__path__) if m.name.startswith("lesson_"))
MODULES = {lesson: importlib.import_module(f"minigen.exercises.{lesson}") for lesson in LESSONS}
EXERCISES = {
    f"{lesson}.{name}": exercise
    for lesson, module in MODULES.items()
    for name, exercise in vars(module).items()
    if isinstance(exercise, Exercise)
}
FUNCTIONS = {name: exercise for name, exercise in EXERCISES.items() if exercise.cases}
MISTAKES = {
    f"{name}.{known.example.__name__}": (exercise, known)
    for name, exercise in EXERCISES.items()
    for known in exercise.mistakes
}

each_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
each_function = pytest.mark.parametrize("exercise", FUNCTIONS.values(), ids=FUNCTIONS)


def judge(exercise, answer):
    return exercise.check(**{exercise.name: answer})


def test_lessons_00_and_01_have_the_exercises_they_promise():
    assert {"lesson_00", "lesson_01"} <= set(LESSONS)
    assert sum(name.startswith("lesson_00") for name in EXERCISES) >= 1
    assert sum(name.startswith("lesson_01") for name in EXERCISES) >= 4


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_a_star_import_brings_the_exercises_and_not_their_answers(module):
    assert set(module.__all__) == {name for name, value in vars(module).items() if isinstance(value, Exercise)}


@each_exercise
def test_an_ellipsis_is_not_attempted(exercise):
    assert judge(exercise, ...).state is State.NOT_ATTEMPTED


@each_function
@pytest.mark.parametrize(
    "body",
    [
        "...",
        "pass",
        '"""Say what it does."""\n    ...',
        "raise NotImplementedError",
        "answer = ...\n    return answer",
    ],
)
def test_a_function_that_is_still_a_stub_is_not_attempted(exercise, body):
    parameters = ", ".join(inspect.signature(exercise.reference).parameters)
    stub = define(f"def {exercise.name}({parameters}):\n    {body}\n", exercise.name)
    result = judge(exercise, stub)
    assert result.state is State.NOT_ATTEMPTED
    assert exercise.name in result.message


@each_exercise
def test_the_solution_as_it_is_shown_is_right(exercise):
    result = judge(exercise, define(exercise.solution().code, exercise.name))
    assert result.state is State.RIGHT, result.message
    assert result.message == exercise.praise


@pytest.mark.parametrize(("exercise", "known"), MISTAKES.values(), ids=MISTAKES)
def test_a_declared_mistake_is_wrong_with_its_own_message(exercise, known):
    result = judge(exercise, known.example if exercise.cases else known.example())
    assert result.state is State.WRONG
    assert result.message == known.message


@each_exercise
def test_none_is_wrong(exercise):
    assert judge(exercise, None).state is State.WRONG


@each_function
def test_a_function_that_returns_none_is_wrong_and_asked_for_its_return(exercise):
    result = judge(exercise, lambda *arguments: None)
    assert result.state is State.WRONG
    assert "return" in result.message


@each_function
def test_an_answer_that_raises_is_wrong(exercise):
    def answer(*arguments):
        raise ValueError("no idea")

    result = judge(exercise, answer)
    assert result.state is State.WRONG
    assert "ValueError" in result.message
    assert "no idea" in result.message


@each_exercise
def test_an_answer_of_another_kind_is_wrong(exercise):
    for answer in ("forty", [1, 2], torch.zeros(7), True, object()):
        assert judge(exercise, answer).state is State.WRONG
        if exercise.cases:
            assert judge(exercise, lambda *arguments, answer=answer: answer).state is State.WRONG


@each_function
def test_a_right_answer_that_spoils_its_first_argument_is_wrong(exercise):
    def answer(*arguments):
        result = exercise.reference(*(a.clone() if isinstance(a, torch.Tensor) else a for a in arguments))
        arguments[0].zero_()
        return result

    first = next(iter(inspect.signature(exercise.reference).parameters))
    result = judge(exercise, answer)
    assert result.state is State.WRONG
    assert f"`{first}` in place" in result.message


@each_function
def test_the_cases_are_the_same_at_every_call(exercise):
    assert len(exercise.cases()) >= 1
    for one, other in zip(exercise.cases().values(), exercise.cases().values(), strict=True):
        assert difference(one, other, tolerance=0) is None


@each_exercise
def test_an_exercise_says_what_a_learner_needs(exercise):
    assert len(exercise.mistakes) >= 2
    assert len(exercise.hints) >= 2
    assert f"`{exercise.name}" in exercise.question
    texts = [exercise.question, exercise.praise, exercise.explanation, *exercise.hints]
    texts += [known.message for known in exercise.mistakes]
    for text in texts:
        assert text == text.strip()
        assert text[-1] in ".?"
        assert text.count("`") % 2 == 0
    assert len({known.message for known in exercise.mistakes}) == len(exercise.mistakes)


def test_naive_and_library_answers_to_cross_entropy_are_told_apart():
    from minigen.exercises.lesson_01 import overflows, q3

    assert q3.check(cross_entropy=torch.nn.functional.cross_entropy)
    log_of_softmax = define(
        "def f(logits, labels):\n    return -logits.softmax(1).log()[torch.arange(len(labels)), labels].mean()",
        "f",
    )
    assert q3.check(cross_entropy=log_of_softmax).message == overflows.message


def test_the_two_usual_standard_deviations_are_both_right():
    from minigen.exercises.lesson_01 import q1

    def standardise(train, held_out):
        mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), keepdim=True, correction=0)
        return (train - mean) / std, (held_out - mean) / std

    assert q1.check(standardise=standardise)


def test_the_reference_of_calibration_error_agrees_with_torchmetrics():
    from torchmetrics.functional.classification import binary_calibration_error

    from minigen.exercises.lesson_01 import calibration_error

    generator = torch.Generator().manual_seed(3)
    confidence = torch.rand(500, generator=generator)
    correct = torch.rand(500, generator=generator) < 0.7
    expected = binary_calibration_error(confidence, correct.long(), n_bins=10, norm="l1").item()
    assert calibration_error(confidence, correct, 10) == pytest.approx(expected, abs=1e-5)


def test_a_mirrored_pair_swaps_its_labels_where_one_is_left_of_the_other_and_not_where_it_is_above():
    from minigen.exercises.lesson_01 import mirror

    images = torch.arange(2 * 3 * 1 * 2.0).reshape(2, 3, 1, 2)
    labels = torch.tensor([5, 6]), torch.tensor([7, 8]), torch.tensor([1, 2])
    mirrored, first, second = mirror(images, *labels, torch.tensor([True, True]))
    torch.testing.assert_close(mirrored, images[..., [1, 0]], rtol=0, atol=0)
    assert first.tolist() == [7, 6]  # left of: they change places; above: they do not
    assert second.tolist() == [5, 8]


# The frame, on an exercise of its own


def double(x):
    return 2 * x


@mistake("That is the square.")
def squared(x):
    return x * x


@mistake("Too large.", looks_like=lambda given, expected: given.min() > expected.max())
def hundredfold(x):
    return 100 * x


@mistake("Never reached.")
def breaks(x):
    raise RuntimeError("an author's slip")


def make_exercise(**changes):
    fields = {
        "question": "Write `double(x)`.",
        "reference": double,
        "cases": lambda: {
            "two": (torch.tensor([2.0]),),
            "three": (torch.tensor([3.0, 4.0]),),
        },
        "mistakes": [breaks, squared, hundredfold],
        "hints": ["Once.", "Twice.", "`2 * x`."],
        "praise": "Now you can double.",
        "explanation": "Twice is two times.",
    }
    return Exercise(**(fields | changes))


def answer_five():
    return 2 + 3


def test_a_result_is_true_only_where_right():
    assert [bool(Result(state, "")) for state in State] == [state is State.RIGHT for state in State]


def test_a_mistake_is_recognised_at_the_case_where_it_shows():
    # At two, the square is the double; the exercise must look at three
    assert make_exercise().check(double=lambda x: x**2).message == "That is the square."


def test_a_mistake_is_not_said_of_an_answer_that_agrees_with_it_on_the_last_case_only():
    result = make_exercise().check(double=lambda x: x * x if len(x) == 2 else x + 1.5)
    assert result.state is State.WRONG
    assert result.message == "With two, `double` returned 3.5 at [0], expected 4 (tolerance 0.0001)."


def test_relatives_of_a_mistake_are_recognised_by_its_predicate():
    assert make_exercise().check(double=lambda x: 77 * x).message == "Too large."


def test_a_predicate_that_breaks_on_an_odd_answer_is_passed_over():
    result = make_exercise().check(double=lambda x: "much")
    assert result.message == "With two, `double` returned 'much', expected a tensor of shape (1,)."


def test_a_mistake_that_gives_nan_is_recognised():
    @mistake("Minus one has no root.")
    def rooted(x):
        return (-x).sqrt()

    assert make_exercise(mistakes=[rooted]).check(double=lambda x: (0 - x).sqrt()).message == rooted.message


def test_the_place_that_is_named_is_the_worst_and_nan_is_worse_than_any_number():
    expected = torch.zeros(2, 3)
    given = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, -7.0]])
    assert difference(given, expected) == "-7 at [1, 2], expected 0 (tolerance 0.0001)"
    given[1, 0] = math.nan
    assert difference(given, expected) == "nan at [1, 0], expected 0 (tolerance 0.0001)"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: (2 * x).reshape(-1, 1), "a tensor of shape (1, 1), expected (1,)"),
        (lambda x: (2 * x).double(), "a tensor of torch.float64, expected torch.float32"),
        (lambda x: (2 * x).long(), "a tensor of torch.int64, expected torch.float32"),
        (lambda x: x * math.nan, "nan at [0], expected 4"),
        (lambda x: x / 0, "inf at [0], expected 4"),
        (lambda x: (2 * x).numpy(), "something of type ndarray, expected a tensor of shape (1,)"),
        (lambda x: (2 * x).item(), "4, expected a tensor of shape (1,)"),
        (lambda x: 2 * x + 0.01, "4.01 at [0], expected 4 (tolerance 0.0001)"),
    ],
)
def test_a_wrong_answer_names_what_was_met_and_what_was_expected(answer, said):
    result = make_exercise(mistakes=[]).check(double=answer)
    assert result.state is State.WRONG
    assert said in result.message


def test_an_answer_within_the_tolerance_is_right_and_one_outside_is_not():
    assert make_exercise(tolerance=0.01).check(double=lambda x: 2 * x + 0.01)
    assert not make_exercise(tolerance=0.01).check(double=lambda x: 2 * x + 0.1)


def test_an_answer_that_needs_a_gradient_is_judged_without_a_warning():
    weight = torch.tensor(2.0, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch would warn in its own name, which the settings let pass
        assert make_exercise().check(double=lambda x: weight * x)
        assert make_exercise(reference=answer_five, cases=None).check(answer_five=weight + 3)


def test_an_exception_is_told_in_one_line_with_the_learners_line():
    source = "def double(x):\n    y = x.reshape(7, 7)\n    return y\n"
    result = make_exercise().check(double=define(source, "double"))
    assert result.state is State.WRONG
    assert "With two, `double` raised RuntimeError in line 2, `y = x.reshape(7, 7)`: shape" in result.message
    assert "\n" not in result.message
    assert "frame.py" not in result.message


def test_a_wrong_number_of_parameters_is_told():
    result = make_exercise().check(double=lambda: 1)
    assert result.state is State.WRONG
    assert "TypeError" in result.message


def test_changing_an_argument_in_place_is_said_by_its_name():
    result = make_exercise().check(double=lambda x: x.mul_(2))
    assert result.message == "`double` changes `x` in place: make a new tensor instead."


def test_a_line_that_is_still_to_be_filled_in_is_quoted():
    source = "def double(x):\n    factor = ...\n    return factor * x\n"
    result = make_exercise().check(double=define(source, "double"))
    assert result.state is State.NOT_ATTEMPTED
    assert "`factor = ...`" in result.message


def test_an_ellipsis_in_an_index_is_no_stub():
    assert make_exercise().check(double=define("def double(x):\n    return 2 * x[..., :]\n", "double"))


def test_a_stub_whose_source_is_lost_is_known_by_what_it_returns():
    names = {}
    exec("def double(x):\n    return ...", names)
    assert make_exercise().check(double=names["double"]).state is State.NOT_ATTEMPTED


def test_check_reads_the_callers_globals_outside_a_notebook():
    names = {"exercise": make_exercise(), "double": lambda x: 2 * x}
    assert eval("exercise.check()", names)
    del names["double"]
    result = eval("exercise.check()", names)
    assert result.state is State.NOT_ATTEMPTED
    assert "`double`" in result.message


def test_an_answer_under_another_name_is_refused():
    with pytest.raises(TypeError, match="given triple, but this exercise asks for double"):
        make_exercise().check(triple=double)


def test_check_leaves_the_answer_and_the_random_numbers_alone():
    def noisy(x):
        return 2 * x + 0 * torch.rand(1)

    five = torch.tensor(5.0)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert make_exercise().check(double=noisy)
    assert make_exercise(reference=answer_five, cases=None).check(answer_five=five)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert five == 5


def test_check_does_not_depend_on_the_default_device():
    torch.set_default_device("meta")  # where nothing can be computed; stands for a GPU
    try:
        assert make_exercise().check(double=lambda x: x * torch.full((1,), 2.0))
    finally:
        torch.set_default_device(None)


@pytest.mark.gpu
def test_an_answer_on_the_gpu_is_judged_like_any_other():
    exercise = make_exercise(mistakes=[squared])
    assert exercise.check(double=lambda x: 2 * x.cuda())
    assert exercise.check(double=lambda x: x.cuda() ** 2).message == "That is the square."
    torch.set_default_device("cuda")
    try:
        assert exercise.check(double=lambda x: x * torch.full((1,), 2.0))
        for module in MODULES.values():
            for each in (getattr(module, name) for name in module.__all__):
                assert judge(each, each.reference if each.cases else each.reference())
    finally:
        torch.set_default_device(None)


def test_an_answer_that_is_a_value_is_compared_and_not_given_away():
    exercise = make_exercise(reference=answer_five, cases=None, mistakes=[])
    assert exercise.check(answer_five=5)
    assert exercise.check(answer_five=torch.tensor(5.0))
    assert exercise.check(answer_five=6).message == "`answer_five` is 6, which is not the answer (tolerance 0.0001)."
    assert exercise.check(answer_five=answer_five).state is State.WRONG  # the function in place of the number
    assert exercise.solution().code == "answer_five = 2 + 3"


def test_hints_come_one_after_the_other_and_the_last_one_stays():
    exercise = make_exercise()
    headings = [exercise.hint().heading for _ in range(4)]
    assert headings == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3"]
    assert "Once." in make_exercise().hint().text


def test_the_solution_shows_the_reference_and_the_explanation():
    card = make_exercise().solution()
    assert card.code == "def double(x):\n    return 2 * x"
    assert card.text == "Twice is two times."
    assert card.code in repr(card)


@pytest.mark.parametrize("state", State)
def test_a_state_is_told_by_symbol_and_word_and_not_by_colour_alone(state):
    result = Result(state, "Use `a < b`.")
    assert state.value in repr(result)
    text = re.sub("<[^>]*>", "", result._repr_html_())
    symbol = repr(result)[0]
    assert not symbol.isalnum()
    assert text == f"{symbol} {state.value}: Use a &lt; b."
    assert "<code>a &lt; b</code>" in result._repr_html_()
    others = {repr(Result(other, ""))[0] for other in State if other is not state}
    assert symbol not in others


def test_a_card_sets_no_text_colour_so_that_every_theme_can_read_it():
    html = Card("Hint", "Look.", code="x < 1")._repr_html_()
    assert not re.search(r"[ ;\"]color:", html)
    assert "x &lt; 1" in html


def test_an_exercise_shows_its_question():
    assert "Write `double(x)`." in repr(make_exercise())
    assert "<code>double(x)</code>" in make_exercise()._repr_html_()


def test_the_buttons_do_what_the_methods_do():
    pytest.importorskip("ipywidgets")
    exercise = make_exercise(reference=answer_five, cases=None)
    panel = exercise.panel()
    row, said = panel.children
    check, hint, solution = row.children
    hint.click()
    assert "Hint 1 of 3" in said.value
    hint.click()
    assert "Hint 2 of 3" in said.value
    solution.click()
    assert "answer_five = 2 + 3" in said.value
    check.click()
    assert "Not attempted" in said.value


@pytest.mark.parametrize("way", ["missing", "forbidden"])
def test_without_widgets_the_panel_explains_the_methods(monkeypatch, way):
    if way == "missing":
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
    else:
        monkeypatch.setenv("MINIGEN_WIDGETS", "0")
    card = make_exercise().panel()
    assert isinstance(card, Card)
    assert all(word in repr(card) for word in ("check()", "hint()", "solution()"))


def test_importing_the_exercises_imports_no_notebook_machinery():
    code = """
        import json, sys, torch
        before = set(sys.modules)
        import minigen.exercises, minigen.exercises.lesson_01
        print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    modules = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert "minigen" in modules
    assert not {"ipywidgets", "IPython", "matplotlib", "torchvision"} & set(modules)


def test_in_a_kernel_a_learner_goes_from_stub_to_right():
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    cells = [
        "from minigen.exercises.lesson_00 import q1",
        "q1.check()",
        "def to_tensor(pixels):\n    ...",
        "q1.check()",
        "def to_tensor(pixels):\n    # too many\n    return pixels.permute(0, 1, 2, 3)",
        "q1.check()",
        "def to_tensor(pixels):\n    return pixels.permute(2, 0, 1).float() / 255",
        "assert q1.check()\nq1.check()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    said = [output["data"] for cell in notebook.cells for output in cell.outputs if "data" in output]
    assert all("text/html" in data for data in said)
    missing, stub, wrong, right = (data["text/plain"] for data in said)
    assert missing == "○ Not attempted: There is no `to_tensor` yet: run the cell that defines it."
    assert stub == "○ Not attempted: `...` is still to be filled in, in `to_tensor`."
    assert "RuntimeError in line 3, `return pixels.permute(0, 1, 2, 3)`" in wrong
    assert right.startswith("✓ Right: ")
