"""The frame of an exercise, in the manner of Kaggle's learntools: `check()`, `hint()`, `solution()`.

An author writes the right answer, the wrong ones that learners commonly give, and what to say to each.
A wrong answer is known by what it returns: the same as one of the author's wrong answers.
"""

import ast
import inspect
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from minigen.exercises.cards import Card, Result, State
from minigen.exercises.compare import describe, difference

# A statement that is nothing but `...` is a stub; the `...` inside `x[..., 0]` is none
STATEMENTS = (ast.Expr, ast.Assign, ast.AnnAssign, ast.Return)


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that learners commonly give, and the sentence that helps whoever gave it."""

    example: Callable
    message: str
    looks_like: Callable[[Any, Any], bool] | None = None  # (given, expected): also recognises its relatives


def mistake(message: str, looks_like: Callable | None = None) -> Callable[[Callable], Mistake]:
    """Declare the function below it a common mistake: `@mistake("White is 255, not 256.")`."""
    return lambda example: Mistake(example, message, looks_like)


@dataclass(kw_only=True, repr=False)
class Exercise:
    """One question that checks itself; the learner's answer goes by the name of the `reference` function.

    With `cases` the answer is a function, called with the arguments of each case; it must return what the
    reference returns. Without, the answer is a value that must equal what the reference returns. Floats are
    right within tolerance * (1 + |expected|), whole numbers exactly.
    """

    question: str
    reference: Callable
    mistakes: Sequence[Mistake]
    hints: Sequence[str]
    praise: str  # one sentence: what the right answer buys
    explanation: str  # goes with the solution
    cases: Callable[[], dict[str, tuple]] | None = None  # makes {"a white picture": (arguments, ...)} anew
    tolerance: float = 1e-4
    _hints_given: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """The name that the learner defines."""
        return self.reference.__name__

    def __repr__(self) -> str:
        return repr(self._card())

    def _repr_html_(self) -> str:
        return self._card()._repr_html_()

    def _card(self) -> Card:
        return Card(f"Exercise {self.name}", self.question, symbol="?")

    def check(self, **answer: Any) -> Result:
        """Judge what the notebook holds under the exercise's name, or an answer given as check(name=answer).

        Changes neither the answer nor the state of torch's random numbers. Raises TypeError where the answer
        is given under another name.
        """
        if answer and set(answer) != {self.name}:
            raise TypeError(f"check() was given {', '.join(answer)}, but this exercise asks for {self.name}")
        names = answer or _names_of_learner(caller=sys._getframe(1).f_globals)
        if self.name not in names:
            return _not_attempted(f"There is no `{self.name}` yet: run the cell that defines it.")
        answer = names[self.name]
        if stub := _find_stub(answer):
            return _not_attempted(f"`{stub}` is still to be filled in, in `{self.name}`.")
        if self.cases and not callable(answer):
            return _wrong(f"`{self.name}` is {describe(answer)}, expected a function.")
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self._judge_function(answer) if self.cases else self._judge_value(answer)

    def _judge_value(self, given: Any) -> Result:
        expected = self.reference()
        if difference(given, expected, self.tolerance) is None:
            return Result(State.RIGHT, self.praise)
        told = f"`{self.name}` is {describe(given)}, which is not the answer (tolerance {self.tolerance:g})."
        return _wrong(self._say_mistake([given], expected, [()]) or told)

    def _judge_function(self, answer: Callable) -> Result:
        outcomes, tried = [], []
        for label in self.cases():
            arguments, untouched = self.cases()[label], self.cases()[label]
            told = f"With {label}, `{self.name}`"
            try:
                given = answer(*arguments)
            except NotImplementedError:
                return _not_attempted(f"`{self.name}` still raises NotImplementedError: fill it in.")
            except Exception as error:  # whatever the learner's code may raise, it is told and not thrown
                return _wrong(f"{told} raised {_one_line(error, answer)}")
            if given is Ellipsis:
                return _not_attempted(f"`{self.name}` still returns `...`: fill it in.")
            if given is None:
                return _wrong(f"{told} returned None: is a `return` missing?")
            if changed := self._find_changed(arguments, untouched):
                return _wrong(f"`{self.name}` changes `{changed}` in place: make a new tensor instead.")
            outcomes.append(given)
            tried.append(untouched)
            expected = self.reference(*self.cases()[label])
            if reason := difference(given, expected, self.tolerance):
                return _wrong(self._say_mistake(outcomes, expected, tried) or f"{told} returned {reason}.")
        return Result(State.RIGHT, self.praise)

    def _find_changed(self, arguments: tuple, untouched: tuple) -> str | None:
        """The name of the first argument that the answer has changed."""
        names = inspect.signature(self.reference).parameters
        for name, now, before in zip(names, arguments, untouched, strict=True):
            if isinstance(now, torch.Tensor | list) and difference(now, before, tolerance=0):
                return name
        return None

    def _say_mistake(self, outcomes: list, expected: Any, tried: list[tuple]) -> str | None:
        """The message of the first mistake that returns what the learner's answer returned, case by case."""
        for known in self.mistakes:
            with suppress(Exception):  # a mistake may itself fail on a case: then it is not the learner's
                wrong = [known.example(*arguments) for arguments in tried]
                if difference(outcomes, wrong, self.tolerance) is None:
                    return known.message
        for known in self.mistakes:
            with suppress(Exception):  # written for what the reference returns; the learner's may be anything
                if known.looks_like and known.looks_like(outcomes[-1], expected):
                    return known.message
        return None

    def hint(self) -> Card:
        """The next hint; after the last one, the last one again."""
        self._hints_given = min(self._hints_given + 1, len(self.hints))
        text = self.hints[self._hints_given - 1]
        if self._hints_given == len(self.hints):
            text += " (The last hint; `solution()` shows an answer.)"
        return Card(f"Hint {self._hints_given} of {len(self.hints)}", text)

    def solution(self) -> Card:
        """A right answer as code, and why it is right."""
        code = textwrap.dedent(inspect.getsource(self.reference)).strip()
        if not self.cases:  # the learner writes `name = value`, the author a function that returns the value
            body = textwrap.dedent(code.split("\n", 1)[1])
            code = re.sub(r"^return ", f"{self.name} = ", body, flags=re.MULTILINE)
        return Card("Solution", self.explanation, code=code)

    def panel(self) -> Any:
        """Three buttons for the three methods; without ipywidgets, a card that explains the methods."""
        from minigen.exercises.panel import make_panel

        return make_panel(self)


def _not_attempted(message: str) -> Result:
    return Result(State.NOT_ATTEMPTED, message)


def _wrong(message: str) -> Result:
    return Result(State.WRONG, message)


def _names_of_learner(caller: dict[str, Any]) -> dict[str, Any]:
    ipython = sys.modules.get("IPython")  # if nobody has imported it, this is no notebook
    shell = ipython.get_ipython() if ipython else None
    return shell.user_ns if shell else caller


def _find_stub(answer: Any) -> str | None:
    """The first line that is still `...`, or a body that is only `pass`; None where there is none."""
    if answer is Ellipsis:
        return "..."
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(answer))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    if not isinstance(function, ast.FunctionDef):
        return None
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if all(isinstance(line, ast.Pass) for line in body):
        return "pass"
    for line in ast.walk(function):
        value = getattr(line, "value", None) if isinstance(line, STATEMENTS) else None
        if isinstance(value, ast.Constant) and value.value is Ellipsis:
            return ast.unparse(line)
    return None


def _one_line(error: Exception, function: Callable) -> str:
    """An exception in one sentence, with the line of the learner's function in which it arose."""
    message = next(iter(str(error).strip().splitlines()), "")[:200].rstrip(".")
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [step for step in traceback.extract_tb(error.__traceback__) if step.filename == file]
    where = f" in line {lines[-1].lineno}, `{lines[-1].line}`" if lines and lines[-1].line else ""
    return f"{type(error).__name__}{where}" + (f": {message}." if message else ".")
