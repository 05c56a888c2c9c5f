"""Exercises that check themselves: `check()`, `hint()` and `solution()`, one module a lesson."""

from minigen.exercises.cards import Card, Result, State
from minigen.exercises.frame import Exercise, Mistake, mistake

__all__ = ["Card", "Exercise", "Mistake", "Result", "State", "mistake"]
