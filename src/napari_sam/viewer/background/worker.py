"""What runs the model for a viewer, and in which order.

The GUI thread never runs the model.  A worker does, one step at a time, and
always takes the most urgent step: a click before the plane on screen, that
before everything mode, that before prefetch.  Long jobs are generators; each
``yield`` is a point where something more urgent may go first.

What the user waits for runs at normal scheduling priority, what nobody waits for
at a lower one, so that the GUI gets a core whenever it wants one.  Linux keeps the
nice value per thread (compute threads inherit it from the thread that torch starts
them from), and a thread may lower its priority but not raise it again.  So there
are two threads, which take turns: only one ever makes a step.
"""

from __future__ import annotations

import atexit
import contextlib
import heapq
import inspect
import itertools
import logging
import os
import sys
import threading
import time
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.005
NICENESS = 10
"""Added to the nice value of background work, where threads have one."""
LOWEST = 15
"""The same for work that takes minutes."""
EXIT_SECONDS = 60.0
"""Longest that the end of the process waits for a running step."""


class Priority(IntEnum):
    """Order of work; lower runs first."""

    PREDICT = 0
    SHOWN = 1
    UNSEEN = 2
    FOLLOW = 3
    HOVER = 4
    AHEAD = 5
    EVERYTHING = 6
    PREFETCH = 7


def is_awaited(priority: Priority) -> bool:
    """Whether the user waits for work of this priority."""
    return priority < Priority.AHEAD


class Job:
    """A unit of background work and what to do with its outcome.

    Parameters
    ----------
    work : callable
        Takes no argument; returns the result, or a generator whose yielded
        values, unless None, go to ``on_yield`` and whose return value is the
        result.  Runs in the worker and must not touch napari.
    on_result, on_yield, on_error, on_end : callable, optional
        Called in the GUI thread.  ``on_end`` is called last, whatever happened,
        unless the job was superseded before it began.
    """

    def __init__(
        self,
        work: Callable[[], Any],
        *,
        priority: Priority,
        slot: str = "",
        delay: float = 0.0,
        on_result: Callable[[Any], None] | None = None,
        on_yield: Callable[[Any], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.work = work
        self.priority = priority
        self.slot = slot
        self.delay = delay
        self.on_result = on_result
        self.on_yield = on_yield
        self.on_error = on_error
        self.on_end = on_end
        self.started = False
        self._cancelled = threading.Event()
        self._generator: Generator[Any, None, Any] | None = None

    def cancel(self) -> None:
        """Ask the job to stop: its generator is closed, its result dropped."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def step(self) -> tuple[bool, Any]:
        """Run until the next yield or the end: ``(finished, value)``."""
        self.started = True
        if self._generator is None:
            outcome = self.work()
            if not inspect.isgenerator(outcome):
                return True, outcome
            self._generator = cast("Generator[Any, None, Any]", outcome)
        try:
            return False, next(self._generator)
        except StopIteration as stop:
            return True, stop.value

    def close(self) -> None:
        """Close an unfinished generator, running its ``finally`` blocks."""
        if self._generator is None:
            return
        try:
            self._generator.close()
        except Exception as error:
            logger.error("a cancelled job could not clean up", exc_info=error)


_Entry = tuple[int, int, float, Job]
"""Priority, order of arrival, due time, job: the most urgent first, then the oldest."""


def _due(entries: Sequence[_Entry], now: float) -> tuple[_Entry | None, float | None]:
    """Return the most urgent job that is due, and in how long it may be another.

    Whoever waits wakes then, also for a job that is not his: a thread that wakes early
    and leaves its turn to one that does not know of it would otherwise wait for ever.
    """
    due = [e for e in entries if e[2] <= now or e[3].cancelled]
    later = [e[2] - now for e in entries if e[2] > now and not e[3].cancelled]
    return min(due, key=lambda e: e[:2], default=None), min(later, default=None)


class Runner(Protocol):
    """Runs jobs; `ThreadRunner` in a window, `SyncRunner` in scripts and tests."""

    def submit(self, job: Job) -> Job:
        """Queue a job; one with the same non-empty slot replaces it."""

    def cancel(self, slot: str) -> None:
        """Cancel the job of a slot, even if its result is on its way."""

    def is_busy(self, slot: str | None = None) -> bool:
        """Whether a job (of that slot) is queued or running."""

    def wait(self, slots: Sequence[str]) -> None:
        """Return when no job of these slots is left and results are delivered."""

    def sibling(self) -> Runner:
        """Return another runner for work that takes minutes; closed by the caller."""

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function once the caller has returned to the event loop."""

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function in the thread that takes results, after a while."""

    def close(self, timeout: float = 0.0) -> None:
        """Cancel everything; the running step ends in the background.

        Waits at most ``timeout`` seconds for it.
        """


class SyncRunner:
    """Runs each job to its end at once, in the calling thread.

    A job submitted by another job's callback runs after that job has ended.
    """

    def __init__(self) -> None:
        self._queue: list[Job] = []
        self._running: Job | None = None
        self._is_looping = False
        self._closed = False

    def submit(self, job: Job) -> Job:
        """Run the job, or queue it behind the one that is running."""
        if self._closed:
            job.cancel()
            return job
        if job.slot:
            self.cancel(job.slot)
        self._queue.append(job)
        if not self._is_looping:
            self._is_looping = True
            try:
                while self._queue:
                    self._queue.sort(key=lambda j: j.priority)
                    self._run(self._queue.pop(0))
            finally:
                self._is_looping = False
        return job

    def _run(self, job: Job) -> None:
        self._running = job
        try:
            while not job.cancelled and not self._step(job):
                continue
        finally:
            self._running = None
            job.close()
            if job.on_end is not None:
                job.on_end()

    def _step(self, job: Job) -> bool:
        """Run one step and its callback; True at the end."""
        try:
            finished, value = job.step()
        except Exception as error:
            if job.on_error is None:
                raise
            self._running = None
            job.on_error(error)
            return True
        if finished:
            self._running = None
        callback = job.on_result if finished else job.on_yield
        if callback is not None and (finished or value is not None):
            callback(value)
        return finished

    def cancel(self, slot: str) -> None:
        """Cancel the queued or running jobs of the slot."""
        for job in self._jobs(slot):
            job.cancel()
        self._queue = [j for j in self._queue if not j.cancelled]

    def is_busy(self, slot: str | None = None) -> bool:
        """Whether such a job is queued or running."""
        return bool(self._jobs(slot))

    def _jobs(self, slot: str | None) -> list[Job]:
        jobs = self._queue if self._running is None else [*self._queue, self._running]
        return [j for j in jobs if slot is None or j.slot == slot]

    def wait(self, slots: Sequence[str]) -> None:
        """Return at once: jobs end before `submit` returns."""

    def sibling(self) -> SyncRunner:
        """Return another runner of the same thread."""
        return SyncRunner()

    def soon(self, function: Callable[[], None]) -> None:
        """Do nothing: there is no event loop, and a script asks for what it needs."""

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call the function at once: nothing happens between two calls."""
        del seconds
        function()

    def close(self, timeout: float = 0.0) -> None:
        """Cancel the running job and drop the queue."""
        del timeout
        self._closed = True
        for job in self._jobs(None):
            job.cancel()
        self._queue.clear()


class ThreadRunner:
    """Two daemon threads that take turns: the most urgent step is always next.

    One runs what the user waits for; the other, which begins with its first job,
    all else.

    Parameters
    ----------
    deliver : callable
        Takes a function without arguments and has it run in the GUI thread,
        in order.
    niceness : int
        Added to the nice value of the thread for background work, where the
        system has one per thread.
    """

    def __init__(
        self,
        deliver: Callable[[Callable[[], None]], None],
        niceness: int = NICENESS,
    ) -> None:
        self._deliver = deliver
        self._niceness = niceness
        self._lock = threading.Condition()
        self._heap: list[_Entry] = []
        # The last job of each slot, until its last callback has run.
        self._slots: dict[str, Job] = {}
        self._running: Job | None = None
        self._order = itertools.count()
        self._closed = False
        # By whether the user waits for what they do.
        self._threads: dict[bool, threading.Thread] = {}
        # A thread that Python's exit stops inside torch aborts the process.
        atexit.register(self.close, EXIT_SECONDS)

    def submit(self, job: Job) -> Job:
        """Queue a job; thread-safe."""
        with self._lock:
            if self._closed:
                job.cancel()
                return job
            if job.slot:
                self._cancel_locked(job.slot)
                self._slots[job.slot] = job
            due = time.monotonic() + job.delay
            heapq.heappush(self._heap, (job.priority, next(self._order), due, job))
            self._start_locked(is_awaited(job.priority))
            self._lock.notify_all()
        return job

    def _start_locked(self, awaited: bool) -> None:
        if awaited not in self._threads:
            kind = "worker" if awaited else "background worker"
            self._threads[awaited] = threading.Thread(
                target=self._loop,
                args=(awaited,),
                name=f"napari-sam {kind}",
                daemon=True,
            )
            self._threads[awaited].start()

    def cancel(self, slot: str) -> None:
        """Cancel the job of a slot, even if its result is on its way."""
        with self._lock:
            self._cancel_locked(slot)
            # Its thread closes it.
            self._lock.notify_all()

    def _cancel_locked(self, slot: str) -> None:
        job = self._slots.pop(slot, None)
        if job is not None:
            job.cancel()

    def is_busy(self, slot: str | None = None) -> bool:
        """Whether a job (of that slot) is queued or running."""
        with self._lock:
            jobs = [j for *_, j in self._heap if not j.cancelled]
            if self._running is not None and not self._running.cancelled:
                jobs.append(self._running)
        return any(slot is None or j.slot == slot for j in jobs)

    def wait(self, slots: Sequence[str]) -> None:
        """Block until the jobs are done; not for the thread that takes results."""
        while any(self.is_busy(slot) for slot in slots):
            time.sleep(_POLL_SECONDS)

    def is_pending(self, slot: str) -> bool:
        """Whether the slot's job is busy or its callbacks have not all run yet."""
        with self._lock:
            return slot in self._slots

    def sibling(self) -> ThreadRunner:
        """Return another runner, for work of the lowest priority."""
        return ThreadRunner(self._deliver, LOWEST)

    def soon(self, function: Callable[[], None]) -> None:
        """Deliver a function, unless closed before; callable from any thread."""
        if not self._closed:
            self._deliver(partial(self._unless_closed, function))

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Deliver a function after a while, unless closed before."""
        timer = threading.Timer(seconds, self.soon, (function,))
        timer.daemon = True
        timer.start()

    def close(self, timeout: float = 0.0) -> None:
        """Cancel all jobs; the running step ends in the background.

        Waits at most ``timeout`` seconds for it.
        """
        with self._lock:
            self._closed = True
            for *_, job in self._heap:
                job.cancel()
            if self._running is not None:
                self._running.cancel()
            self._slots.clear()
            self._lock.notify_all()
            threads = list(self._threads.values())
            if not threads:
                atexit.unregister(self.close)
        end = time.monotonic() + timeout
        for thread in threads:
            if timeout and thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    def _loop(self, awaited: bool) -> None:
        if not awaited:
            _lower_priority(self._niceness)
        while True:
            job = self._take(awaited)
            if job is None:
                break
            goes_on, callbacks = self._step(job)
            with self._lock:
                # Before any callback: they ask what is still running.
                self._running = None
                goes_on = goes_on and not self._closed
                if goes_on:
                    entry = (job.priority, next(self._order), 0.0, job)
                    heapq.heappush(self._heap, entry)
                self._lock.notify_all()
            if not goes_on:
                job.close()
                if job.slot:
                    callbacks.append(partial(self._release, job))
            for callback in callbacks:
                if not self._closed:
                    self._deliver(partial(self._unless_closed, callback))
        with self._lock:
            del self._threads[awaited]
            if not self._threads:
                # Until here the end of the process would have waited.
                atexit.unregister(self.close)

    def _unless_closed(self, callback: Callable[[], None]) -> None:
        # Asked again on arrival: the widgets it would reach for may be gone.
        if not self._closed:
            callback()

    def _take(self, awaited: bool) -> Job | None:
        """Wait until the most urgent job is due and this thread's; None when closed."""
        with self._lock:
            while True:
                if self._closed:
                    self._drop_locked(awaited)
                    return None
                if self._running is not None:
                    self._lock.wait()
                    continue
                entry, changes = _due(self._heap, time.monotonic())
                if entry is None or is_awaited(entry[3].priority) != awaited:
                    # Nobody's turn, or the other thread's.
                    self._lock.wait(changes)
                    continue
                self._heap.remove(entry)
                heapq.heapify(self._heap)
                self._running = entry[3]
                return entry[3]

    def _drop_locked(self, awaited: bool) -> None:
        """Close this thread's jobs: a generator ends where it ran."""
        mine = [e for e in self._heap if is_awaited(e[3].priority) == awaited]
        for entry in mine:
            self._heap.remove(entry)
            entry[3].close()

    @staticmethod
    def _step(job: Job) -> tuple[bool, list[Callable[[], None]]]:
        """Run one step: whether the job goes on, and what to deliver."""
        if job.cancelled:
            return False, [job.on_end] if job.started and job.on_end else []
        finished, callback = True, None
        try:
            finished, value = job.step()
            if finished:
                callback = job.on_result
            elif value is not None:
                # A mere pause is nothing to wake the other thread for.
                callback = job.on_yield
        except Exception as error:
            value, callback = error, job.on_error
            if job.cancelled:
                logger.debug("error in a cancelled job", exc_info=error)
            elif callback is None:
                logger.error("unhandled error in the worker", exc_info=error)
        callbacks = []
        if callback is not None:
            callbacks.append(_unless_cancelled(job, callback, value))
        if finished and job.on_end is not None:
            callbacks.append(job.on_end)
        return not finished, callbacks

    def _release(self, job: Job) -> None:
        with self._lock:
            if self._slots.get(job.slot) is job:
                del self._slots[job.slot]


def _unless_cancelled(
    job: Job, callback: Callable[[Any], None], value: Any
) -> Callable[[], None]:
    # Checked again in the GUI thread: a newer job may have superseded this one
    # while its result was waiting in the event queue.
    def call() -> None:
        if not job.cancelled:
            callback(value)

    return call


def _lower_priority(niceness: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            # On Linux a "process" id may be a thread id; others are unaffected.
            thread = threading.get_native_id()
            current = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(19, current + niceness))
