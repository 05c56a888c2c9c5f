"""minigen: build image generators, one idea a lesson, on two cores or a GPU."""

__version__ = "0.1.0"
