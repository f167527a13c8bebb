"""The background thread: what runs first, what is dropped, what is delivered."""

from __future__ import annotations

import gc
import logging
import os
import queue
import sys
import threading
import time
import weakref
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam.viewer.background.worker import (
    NICENESS,
    Job,
    Priority,
    SyncRunner,
    ThreadRunner,
    _due,
    is_awaited,
)

WAIT = 20.0
"""Longest a test waits for something that has to happen, in seconds."""


class Gate(Job):
    """A job that keeps the worker busy until it is opened."""

    def __init__(self, **options) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        super().__init__(self._wait, priority=Priority.PREDICT, **options)

    def _wait(self) -> str:
        self.entered.set()
        assert self.opened.wait(WAIT)
        return "opened"


class Bench:
    """A thread runner and the event loop that gets its callbacks."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.runner = ThreadRunner(self.inbox.put)

    def submit(self, work, *, priority=Priority.PREDICT, **options) -> Job:
        return self.runner.submit(Job(work, priority=priority, **options))

    def gate(self, **options) -> Gate:
        gate = Gate(**options)
        self.runner.submit(gate)
        assert gate.entered.wait(WAIT)
        return gate

    def deliver(self, n: int = 1) -> None:
        for _ in range(n):
            self.inbox.get(timeout=WAIT)()

    def settle(self) -> None:
        """Wait until the worker has nothing to do, then run all callbacks."""
        done = threading.Event()
        self.submit(done.set, priority=Priority.PREFETCH)
        assert done.wait(WAIT)
        deadline = time.monotonic() + WAIT
        while self.runner.is_busy():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        # A thread is idle a moment before it has delivered; what each delivers now
        # comes after that.
        for priority in (Priority.HOVER, Priority.PREFETCH):
            told: list[bool] = []
            self.submit(
                lambda: None, priority=priority, on_end=partial(told.append, True)
            )
            while not told:
                self.inbox.get(timeout=WAIT)()
        while not self.inbox.empty():
            self.inbox.get()()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.runner.close()


def test_urgent_work_goes_first_and_equals_in_order(bench):
    order = []
    gate = bench.gate()
    for name, priority in [
        ("far", Priority.PREFETCH),
        ("all", Priority.EVERYTHING),
        ("shown", Priority.SHOWN),
        ("click 1", Priority.PREDICT),
        ("hover", Priority.HOVER),
        ("click 2", Priority.PREDICT),
    ]:
        bench.submit(lambda name=name: order.append(name), priority=priority)
    gate.opened.set()
    bench.settle()
    assert order == ["click 1", "click 2", "shown", "hover", "all", "far"]


def test_work_runs_in_one_other_thread_and_results_arrive_through_deliver(bench):
    threads, results = [], []
    for n in range(5):
        bench.submit(
            lambda n=n: threads.append(threading.get_ident()) or n,
            on_result=lambda n: results.append((n, threading.get_ident())),
        )
    bench.settle()
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert results == [(n, threading.get_ident()) for n in range(5)]


def test_in_one_slot_the_latest_wins(bench):
    ran, results = [], []
    gate = bench.gate()
    jobs = [
        bench.submit(
            lambda n=n: ran.append(n) or n, slot="predict", on_result=results.append
        )
        for n in range(4)
    ]
    other = bench.submit(lambda: "other", slot="shown", on_result=results.append)
    gate.opened.set()
    bench.settle()
    assert ran == [3]
    assert sorted(map(str, results)) == ["3", "other"]
    assert [j.cancelled for j in jobs] == [True, True, True, False]
    assert not other.cancelled


def test_result_of_superseded_running_job_is_dropped(bench):
    results = []
    gate = bench.gate(slot="predict", on_result=results.append)
    bench.submit(lambda: "new", slot="predict", on_result=results.append)
    gate.opened.set()
    bench.settle()
    assert results == ["new"]


def test_result_on_its_way_is_dropped_after_cancel(bench):
    results = []
    bench.submit(lambda: "late", slot="predict", on_result=results.append)
    callback = bench.inbox.get(timeout=WAIT)
    bench.runner.cancel("predict")
    callback()
    # The job had finished: only its Job can still be cancelled.
    job = bench.submit(lambda: "later", on_result=results.append)
    callback = bench.inbox.get(timeout=WAIT)
    job.cancel()
    callback()
    assert "later" not in results


def test_result_on_its_way_is_dropped_when_the_slot_is_taken_anew(bench):
    results = []
    bench.submit(lambda: "old", slot="predict", on_result=results.append)
    old = bench.inbox.get(timeout=WAIT)
    bench.submit(lambda: "new", slot="predict", on_result=results.append)
    old()
    bench.settle()
    assert results == ["new"]


def test_delayed_job_waits_and_lets_less_urgent_ones_pass(bench):
    order = []
    start = time.monotonic()
    bench.submit(
        lambda: order.append(("delayed", time.monotonic() - start)),
        priority=Priority.SHOWN,
        delay=0.15,
    )
    bench.submit(lambda: order.append(("far", 0)), priority=Priority.PREFETCH)
    deadline = time.monotonic() + WAIT
    while len(order) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert [name for name, _ in order] == ["far", "delayed"]
    assert order[1][1] >= 0.15


def test_superseding_a_delayed_job_runs_only_the_last(bench):
    ran = []
    for n in range(5):
        bench.submit(lambda n=n: ran.append(n), slot="shown", delay=0.02)
    deadline = time.monotonic() + WAIT
    while not ran:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    bench.settle()
    assert ran == [4]


def test_click_goes_between_two_steps_of_a_long_job(bench):
    order = []
    stepped, may_go_on = threading.Event(), threading.Event()

    def long():
        order.append("step 1")
        stepped.set()
        assert may_go_on.wait(WAIT)
        yield 1
        order.append("step 2")
        yield 2
        return "end"

    yielded, results = [], []
    bench.submit(
        long,
        priority=Priority.EVERYTHING,
        on_yield=yielded.append,
        on_result=results.append,
    )
    assert stepped.wait(WAIT)
    bench.submit(lambda: order.append("click"))
    may_go_on.set()
    bench.settle()
    assert order == ["step 1", "click", "step 2"]
    assert yielded == [1, 2]
    assert results == ["end"]


def test_cancel_closes_the_generator_in_the_worker(bench):
    closed_in, ended, results = [], [], []
    stepped = threading.Event()

    def long():
        try:
            while True:
                stepped.set()
                yield
        finally:
            closed_in.append(threading.current_thread().name)

    job = bench.submit(
        long,
        slot="everything",
        priority=Priority.EVERYTHING,
        on_result=results.append,
        on_end=lambda: ended.append(1),
    )
    assert stepped.wait(WAIT)
    bench.runner.cancel("everything")
    bench.settle()
    assert job.cancelled
    assert closed_in == ["napari-sam background worker"]
    assert ended == [1]
    assert results == []


def test_cancel_during_the_last_step_drops_the_result_but_ends(bench):
    results, ended = [], []
    gate = bench.gate(
        slot="x", on_result=results.append, on_end=lambda: ended.append(1)
    )
    bench.runner.cancel("x")
    gate.opened.set()
    bench.settle()
    assert results == []
    assert ended == [1]


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, MemoryError])
def test_errors_are_delivered_whatever_their_type(bench, kind):
    errors, ended = [], []

    def fail():
        raise kind("no")

    def fail_later():
        yield 1
        raise kind("later")

    for work in (fail, fail_later):
        bench.submit(work, on_error=errors.append, on_end=lambda: ended.append(1))
    bench.settle()
    assert [(type(e), str(e)) for e in errors] == [(kind, "no"), (kind, "later")]
    assert ended == [1, 1]


def test_worker_goes_on_after_an_error_nobody_wanted(bench, caplog):
    def fail():
        raise RuntimeError("unwanted")

    with caplog.at_level(logging.ERROR):
        bench.submit(fail)
        bench.settle()
    assert "unwanted" in caplog.text
    results = []
    bench.submit(lambda: 1, on_result=results.append)
    bench.settle()
    assert results == [1]


def test_worker_survives_a_generator_that_fails_while_it_is_closed(bench, caplog):
    stepped = threading.Event()

    def stubborn():
        try:
            while True:
                stepped.set()
                yield
        finally:
            raise OSError("cannot clean up")

    bench.submit(stubborn, slot="x", priority=Priority.EVERYTHING)
    assert stepped.wait(WAIT)
    with caplog.at_level(logging.ERROR):
        bench.runner.cancel("x")
        bench.settle()
    assert "cannot clean up" in caplog.text
    results = []
    bench.submit(lambda: 1, on_result=results.append)
    bench.settle()
    assert results == [1]


def test_superseded_before_it_began_neither_runs_nor_ends(bench):
    seen = []
    gate = bench.gate()
    bench.submit(
        lambda: seen.append("ran"), slot="x", on_end=lambda: seen.append("end")
    )
    bench.submit(lambda: None, slot="x")
    gate.opened.set()
    bench.settle()
    assert seen == []


def test_busy_says_what_is_queued_or_running(bench):
    assert not bench.runner.is_busy()
    gate = bench.gate(slot="a")
    bench.submit(lambda: None, slot="b")
    assert bench.runner.is_busy()
    assert bench.runner.is_busy("a")
    assert bench.runner.is_busy("b")
    assert not bench.runner.is_busy("c")
    bench.runner.cancel("b")
    assert not bench.runner.is_busy("b")
    gate.opened.set()
    bench.settle()
    assert not bench.runner.is_busy()


def test_job_is_pending_until_its_last_callback_has_run(bench):
    ended = []
    bench.submit(lambda: 1, slot="x", on_result=ended.append)
    callbacks = [bench.inbox.get(timeout=WAIT)]
    assert bench.runner.is_pending("x")
    callbacks[0]()
    bench.settle()
    assert ended == [1]
    assert not bench.runner.is_pending("x")
    assert not bench.runner.is_pending("y")


def test_finished_job_is_no_longer_busy_when_its_result_is_delivered():
    seen = []
    ready = threading.Event()

    def deliver(callback):
        # At the earliest moment an event loop could run it.
        callback()

    runner = ThreadRunner(deliver)

    def note(_):
        seen.append(runner.is_busy("shown"))
        ready.set()

    runner.submit(Job(lambda: 1, priority=Priority.SHOWN, slot="shown", on_result=note))
    assert ready.wait(WAIT)
    runner.close()
    assert seen == [False]


def test_close_while_running_delivers_nothing_and_stops_the_thread(bench):
    results, closed = [], []
    entered, go_on = threading.Event(), threading.Event()

    def long():
        try:
            entered.set()
            assert go_on.wait(WAIT)
            yield 1
            yield 2
        finally:
            closed.append(threading.current_thread().name)

    # Kept by the test, so that nothing but the runner can close it.
    job = bench.submit(
        long, on_yield=results.append, on_result=results.append, on_end=results.clear
    )
    queued = bench.submit(lambda: results.append("queued"))
    assert entered.wait(WAIT)
    bench.runner.close(timeout=0.01)
    go_on.set()
    bench.runner.close(timeout=WAIT)
    assert job.cancelled
    assert queued.cancelled
    assert closed == ["napari-sam worker"]
    assert bench.inbox.empty()
    assert not bench.runner._threads


def test_close_does_not_wait_for_the_running_step(bench):
    gate = bench.gate()
    bench.runner.close()
    assert bench.runner._threads
    gate.opened.set()
    bench.runner.close(timeout=WAIT)
    assert not bench.runner._threads


def test_a_closed_runner_is_forgotten_once_its_step_has_ended():
    runner = ThreadRunner(lambda callback: callback())
    gate = Gate()
    runner.submit(gate)
    assert gate.entered.wait(WAIT)
    threads = list(runner._threads.values())
    runner.close()
    gate.opened.set()
    for thread in threads:
        thread.join(WAIT)
    known = weakref.ref(runner)
    del runner, thread, threads, gate
    gc.collect()
    assert known() is None


def test_awaited_work_and_background_work_take_turns(bench):
    """Two threads, and one step at a time."""
    at_once, most, names = [], [], {}
    lock = threading.Lock()

    def step(kind):
        with lock:
            at_once.append(kind)
            most.append(len(at_once))
        names.setdefault(kind, set()).add(threading.current_thread().name)
        time.sleep(0.001)
        with lock:
            at_once.remove(kind)

    def long(kind):
        for _ in range(20):
            step(kind)
            yield

    for priority in Priority:
        bench.submit(partial(long, priority), priority=priority)
    bench.settle()
    assert max(most) == 1
    awaited = {p for p in Priority if p < Priority.AHEAD}
    background = set(Priority) - awaited
    assert {*names} == {*awaited, *background}
    assert set().union(*(names[k] for k in awaited)) == {"napari-sam worker"}
    assert set().union(*(names[k] for k in background)) == {
        "napari-sam background worker"
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(Priority), st.integers(0, 2), st.booleans()),
        max_size=3,
    ),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_two_threads_never_wait_for_each_other(jobs, now, meanwhile):
    """Each looks at its own time: it may wake a little before something is due."""
    entries = []
    for order, (priority, due, is_cancelled) in enumerate(jobs):
        job = Job(int, priority=priority)
        if is_cancelled:
            job.cancel()
        entries.append((int(priority), order, due, job))
    waits = []
    for awaited, at in ((True, now), (False, max(now, meanwhile))):
        entry, changes = _due(entries, at)
        works = entry is not None and is_awaited(entry[3].priority) == awaited
        waits.append(0 if works else changes)
        assert changes is None or changes > 0
    assert not entries or any(wait is not None for wait in waits)
    if not any(job[2] for job in jobs):
        # The most urgent of what is due now is never held up by what is due later.
        urgent = [e for e in entries if e[2] <= now]
        assert _due(entries, now)[0] == min(urgent, default=None, key=lambda e: e[:2])


@pytest.mark.skipif(sys.platform != "linux", reason="nice values of threads")
@pytest.mark.parametrize("start", [Priority.PREFETCH, Priority.PREDICT])
def test_only_background_work_has_a_lower_scheduling_priority(bench, start):
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen = {}

    def look(kind):
        # Of a thread that this one starts, as torch does, as well.
        own = threading.Thread(target=lambda: seen.update({kind: nice()}))
        own.start()
        own.join()
        assert seen[kind] == nice()

    def nice():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    bench.submit(partial(look, start), priority=start)
    bench.settle()
    for kind in Priority:
        bench.submit(partial(look, kind), priority=kind)
    bench.settle()
    lower = min(19, usual + NICENESS)
    assert seen == {
        kind: usual if kind <= Priority.HOVER else lower for kind in Priority
    }


def test_later_is_delivered_to_the_thread_that_takes_results(bench):
    called = []
    bench.runner.later(0.001, partial(called.append, 1))
    bench.deliver()
    assert called == [1]
    bench.runner.close()
    bench.runner.later(0.0, partial(called.append, 2))
    time.sleep(0.02)
    assert bench.inbox.empty()


def test_submit_after_close_is_cancelled_at_once(bench):
    bench.runner.close()
    job = bench.submit(lambda: 1)
    assert job.cancelled
    bench.runner.close()


def test_closing_from_a_callback_of_the_worker_itself_does_not_hang():
    runner = ThreadRunner(lambda callback: callback())
    done = threading.Event()

    def close(_):
        runner.close()
        done.set()

    runner.submit(Job(lambda: 1, priority=Priority.PREDICT, on_result=close))
    assert done.wait(WAIT)


# -- the same contract without a thread -------------------------------------------


def submit(runner, work, *, priority=Priority.PREDICT, **options):
    return runner.submit(Job(work, priority=priority, **options))


def test_sync_runs_to_the_end_at_once():
    runner, seen = SyncRunner(), []

    def long():
        yield 1
        yield 2
        return 3

    submit(runner, long, on_yield=seen.append, on_result=seen.append, delay=5.0)
    assert seen == [1, 2, 3]
    assert not runner.is_busy()


def test_sync_takes_the_most_urgent_of_what_callbacks_submit():
    runner, order = SyncRunner(), []

    def more(_):
        for name, priority in (
            ("far", Priority.PREFETCH),
            ("click", Priority.PREDICT),
            ("shown", Priority.SHOWN),
        ):
            submit(runner, lambda name=name: order.append(name), priority=priority)
        order.append("callback done")

    submit(runner, lambda: None, on_result=more)
    assert order == ["callback done", "click", "shown", "far"]


def test_sync_latest_in_a_slot_wins():
    runner, order = SyncRunner(), []

    def more(_):
        for n in range(3):
            submit(runner, lambda n=n: order.append(n), slot="predict")
        assert runner.is_busy("predict")
        runner.cancel("nothing")

    submit(runner, lambda: None, on_result=more)
    assert order == [2]


def test_sync_cancel_of_the_running_job_closes_its_generator():
    runner, seen = SyncRunner(), []

    def long():
        try:
            yield from range(10)
        finally:
            seen.append("closed")

    def stop(n):
        seen.append(n)
        assert runner.is_busy("x")
        runner.cancel("x")

    job = submit(
        runner,
        long,
        slot="x",
        on_yield=stop,
        on_result=seen.append,
        on_end=lambda: seen.append("end"),
    )
    assert job.cancelled
    assert seen == [0, "closed", "end"]


def test_sync_errors_are_delivered():
    runner, errors, ended = SyncRunner(), [], []

    def fail():
        raise RuntimeError("no")

    submit(runner, fail, on_error=errors.append, on_end=lambda: ended.append(1))
    assert [str(e) for e in errors] == ["no"]
    assert ended == [1]


def test_sync_bug_in_a_callback_is_not_mistaken_for_an_error_of_the_work():
    runner, errors = SyncRunner(), []

    def bug(_):
        raise ZeroDivisionError("bug")

    with pytest.raises(ZeroDivisionError):
        submit(runner, lambda: 1, on_result=bug, on_error=errors.append)
    assert errors == []
    seen = []
    submit(runner, lambda: 1, on_result=seen.append)
    assert seen == [1]


def test_sync_after_close_runs_nothing():
    runner, seen = SyncRunner(), []
    runner.close()
    assert submit(runner, lambda: seen.append(1)).cancelled
    assert seen == []
