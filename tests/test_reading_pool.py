"""Threads that read leave the cores to the one that computes."""

import subprocess
import sys

PROGRAM = """
import threading, psutil, torch
from polyphony.adapters.model.reading_pool import reading_pool
torch.set_num_threads(2)
numbers = torch.randn(1 << 20)
numbers.clone()
before = psutil.Process().num_threads()
pool = reading_pool(1)
numbers_of = lambda: (numbers.clone(), torch.get_num_threads())[1]
print(pool.submit(numbers_of).result(), psutil.Process().num_threads() - before, torch.get_num_threads())
counts = []
other = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
other.start()
other.join()
print(counts)
"""


def test_a_reading_thread_gets_no_helpers_and_the_others_keep_theirs():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["1 1 2", "[2]"]
