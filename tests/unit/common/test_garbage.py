"""The garbage collector in a job."""

import gc
import os
import subprocess
import sys

from neuron_descriptions.common.garbage import seldom_collected
from neuron_descriptions.common.provenance import SCRIPTS

# What only garbage leads to says when it is collected: made before the job, in it, and left when the process ends.
JOB = """
import gc
from neuron_descriptions.common.garbage import seldom_collected

class Ring:
    def __init__(self, name): self.name, self.me = name, self
    def __del__(self): print(self.name)

gc.disable()
Ring("imported")
gc.enable()
with seldom_collected():
    Ring("dropped")
    rings = [[] for _ in range(30_000)]
    print("worked")
gc.disable()
Ring("left")
print("ends")
"""


def test_a_job_collects_its_own_garbage_but_none_when_it_ends():
    here = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", JOB], env=here, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["dropped", "worked", "ends"]


def test_what_comes_after_a_job_is_collected_as_before():
    before = gc.get_threshold()
    with seldom_collected():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before
    gc.unfreeze()
