"""Cells side by side on dask: local processes, or the workers of a scheduler elsewhere."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed, get_worker
from distributed.scheduler import KilledWorker

from hyperpeft.benchmark.cells import Job, Outcome, compute, fail
from hyperpeft.errors import ConfigError

TOPIC = "hyperpeft-bench"
LOST_WORKERS = 3  # a cell whose worker dies more often is to blame itself
SECONDS_TO_CONNECT = 20


def spread(
    jobs: Sequence[Job],
    workers: int,
    scheduler: str | None,
    threads: int,
    started: Callable[[str, str], None],
) -> Iterator[Outcome]:
    """Compute jobs in other processes, and yield each outcome as it comes.

    A cell whose worker is lost is computed by another one, from its last checkpoint.

    Parameters
    ----------
    jobs : sequence of Job
    workers : int
        Local processes, unless there is a scheduler.
    scheduler : str or None
        Its address.
    threads : int
        Of each local process.
    started : callable
        Called with a cell's path and the worker's name.

    Raises
    ------
    ConfigError
        The scheduler cannot be reached.
    """
    # One group of tasks: the scheduler keeps what no worker has time for only of a group that is
    # large, and deals all others out at once.
    group = f"cell-{uuid.uuid4().hex}"
    by_key = {(group, i): job for i, job in enumerate(jobs)}
    settings = {
        "distributed.scheduler.allowed-failures": LOST_WORKERS,
        # One cell at a time, and none reserved by a worker that is busy for an hour.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.nanny.pre-spawn-environ": _environment(threads),
    }
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if scheduler is None:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=min(workers, len(jobs)),
                    threads_per_worker=1,  # one cell each; torch has the threads
                    processes=True,
                    memory_limit=None,
                    dashboard_address=None,
                    silence_logs=50,
                )
            )
            client = stack.enter_context(Client(cluster))
        else:
            try:
                # Not as the default: one that cannot connect would stay it, and locks of xarray
                # would look for it.
                client = Client(scheduler, timeout=SECONDS_TO_CONNECT, set_as_default=False)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"scheduler {scheduler} cannot be reached ({error})",
                    hint="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
                ) from None
            stack.enter_context(client)
            stack.enter_context(client.as_current())

        def heard(event: tuple[Any, Any]) -> None:
            message = event[1]
            if isinstance(message, dict) and "path" in message:
                started(message["path"], message["worker"])

        client.subscribe_topic(TOPIC, heard)
        futures = [
            client.submit(_compute, job, key=key, priority=-i, pure=False)
            for i, (key, job) in enumerate(by_key.items())
        ]
        stack.callback(client.cancel, futures)
        for future in as_completed(futures):
            job = by_key[future.key]
            try:
                yield future.result()
            except KilledWorker:
                why = f"the process that computed it was lost {LOST_WORKERS + 1} times"
                yield fail(job, RuntimeError(why))
            except Exception as error:  # it did not even get as far as recording the reason
                yield fail(job, error)
            future.release()


def _compute(job: Job) -> Outcome:
    """`compute`, on a worker."""
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    worker = get_worker()
    worker.log_event(TOPIC, {"path": job.path, "worker": str(worker.name)})
    return compute(job)


def _environment(threads: int) -> dict[str, str]:
    """Variables that numerical libraries read when they are loaded, as `cli.main` sets them."""
    number = str(threads)
    return {
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "5000"),
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
    }
