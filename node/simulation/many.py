"""Many runs of scenarios, several at a time, each in a process of its own: a run uses one core, and depends on nothing
but its scenario and its seed.

Owns the processes. What a run comes to is node/simulation/figures.py's.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from node.simulation.figures import Result, look
from node.simulation.media import Name as MediumName
from node.simulation.scenario import Scenario
from node.simulation.world import Progress, Run, simulate


@dataclass(frozen=True)
class Task:
    scenario: Scenario
    seed: int
    over: MediumName = "memory"


@dataclass(frozen=True)
class Done:
    result: Result
    cpu_seconds: float


def run_task(task: Task, on_progress: Progress = lambda _: None) -> Done:
    results: list[Result] = []

    def looked(run: Run) -> None:
        results.append(look(run))

    began = time.process_time()
    simulate(task.scenario, task.seed, on_progress, looked, over=task.over)
    return Done(results[0], time.process_time() - began)


def run_tasks(
    tasks: Iterable[Task], jobs: int = 1, on_progress: Callable[[float], None] = lambda _: None
) -> Iterator[Done]:
    """In the order of the tasks. `on_progress` is told how many are done; with one job, with fractions. Whatever ends
    this early, an interruption too, ends the processes."""
    tasks = list(tasks)
    if jobs == 1:
        for number, task in enumerate(tasks):
            yield run_task(task, lambda share, number=number: on_progress(number + share))
        return
    # Spawned: a fork would have the locks of whoever draws a progress bar, without its thread. Never replaced after so
    # many runs: the pool of Python 3.11 waits for ever when all its processes end at once (max_tasks_per_child; seen).
    processes = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, max(1, len(tasks))), processes, _leave_interruptions)
    try:
        for number, done in enumerate(pool.map(run_task, tasks), 1):
            on_progress(float(number))
            yield done
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interruptions() -> None:
    """Ctrl-C is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
