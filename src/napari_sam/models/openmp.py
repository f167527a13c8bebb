"""Keep torch's threads from spinning while they wait.

By default OpenMP's threads burn a core while they wait for each other.  As soon
as anything else wants that core, a window that repaints for instance, the
thread that is being waited for does not run, and one decoded prompt, a few
hundred short parallel sections, takes twenty times as long: measured with two
threads on two busy cores, 630 ms instead of 31, and 4 s instead of 0.7 to
encode.  Sleeping threads do not have this problem.
"""

from __future__ import annotations

import os
import sys
import threading

VARIABLE = "OMP_WAIT_POLICY"


def prefer_sleeping() -> bool:
    """Have OpenMP's threads sleep while they wait, unless the user chose.

    OpenMP reads its environment once, when torch is first imported, so this
    has to come before.

    Returns
    -------
    bool
        Whether threads sleep: False if torch was imported earlier without, or
        the user wants otherwise.  One thread is the better choice then.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(VARIABLE, "PASSIVE")
    return os.environ.get(VARIABLE, "").upper() == "PASSIVE"


def use_one_thread_if_spinning() -> bool:
    """Compute with one thread where idle threads spin, for programs with a window.

    Imports torch.  Affects the whole process, so it is the caller's to decide;
    call it in the thread that computes.

    Returns
    -------
    bool
        Whether the number of threads was changed.
    """
    if prefer_sleeping():
        return False
    import torch

    torch.set_num_threads(1)
    return True


def use_part_of_the_cores() -> int:
    """Compute with half of the cores in this thread from now on.

    For work in the background, which must leave room for the thread that
    answers clicks.  Other threads, also those that begin later, keep what they
    have.  Imports torch.

    Returns
    -------
    int
        Number of threads that this one computes with.
    """
    import torch

    usual = torch.get_num_threads()
    count = max(1, usual // 2)
    torch.set_num_threads(count)
    # The number is kept per thread, but new threads begin with the one set last.
    setter = threading.Thread(target=torch.set_num_threads, args=(usual,))
    setter.start()
    setter.join()
    return count
