"""Judge answers to exercises as a learner's are judged, for the tests of the lessons' exercises."""

import pytest


def cases_of(exercise):
    return pytest.mark.parametrize("case", exercise.cases().values(), ids=exercise.cases())


def first_case(exercise):
    return next(iter(exercise.cases().values()))


def judge(exercise, answer):
    return exercise.check(**{exercise.name: answer})


def assert_right(exercise, answer):
    result = judge(exercise, answer)
    assert result, result.message
