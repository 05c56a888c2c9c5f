"""Work in forks of a process that has imported everything, to be killed or waited for."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

import torch


def start(work: Callable[[], object]) -> tuple[int, TextIO]:
    """Do `work` in a child; returns its number and what it prints."""
    ours, its = os.pipe()
    child = os.fork()  # no torch operation has run yet, so there are no threads to lose
    if child:
        os.close(its)
        return child, os.fdopen(ours)
    status = 1
    try:
        os.dup2(its, sys.stdout.fileno())
        torch.set_num_threads(1)  # so that runs which are compared add up in the same order
        work()
        sys.stdout.flush()
        status = 0
    except BaseException:  # what it was, SystemExit included, and never back into the parent's code
        traceback.print_exc()
    finally:
        os._exit(status)


def finish(child: int, printed: TextIO) -> str:
    """Wait for the end of the work; returns what it printed."""
    with printed:
        text = printed.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a run ended with status {status}"
    return text


def kill(child: int, printed: TextIO) -> None:
    """Kill the work, which must not have ended by itself."""
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status == signal.SIGKILL, "the run ended before it was killed"
    printed.close()
