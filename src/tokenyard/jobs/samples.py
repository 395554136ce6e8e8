"""Job files to begin with, cut to the cluster: each ends within a minute where there is room.

Decides sizes only. Every sample is Python, which runs wherever this server does.
"""

from tokenyard.protocol.jobs import JobSample
from tokenyard.vocabulary.ids import QueueName

_HELLO = """\
# One member, a few seconds.
name: hello
python: main
files:
  main.py: |
    import time
    for step in range(1, 11):
        print("step", step, "of 10")
        time.sleep(1)
roles:
  - gpus: {gpus}
queue: {queue}
"""
_GANG = """\
# Two members that start together or not at all.
name: gang
type: training
python: main
files:
  main.py: |
    import os, time
    rank, world = os.environ["RANK"], os.environ["WORLD_SIZE"]
    print("rank", rank, "of", world, "on GPUs", os.environ["CUDA_VISIBLE_DEVICES"] or "none")
    time.sleep(15)
    print("done")
roles:
  - name: worker
    replicas: 2
    gpus: {gpus}
queue: {queue}
time_limit_seconds: 120
"""
_CHECKPOINT = """\
# It saves its work when it is told to go, and goes on from there.
name: checkpointed
type: training
python: main
files:
  main.py: |
    import pathlib, signal, sys, time
    saved = pathlib.Path("step")
    step = int(saved.read_text()) if saved.exists() else 0
    def save(*_):
        saved.write_text(str(step))
        sys.exit(1)
    signal.signal(signal.SIGUSR1, save)
    while step < 30:
        step += 1
        print("step", step, "of 30", flush=True)
        time.sleep(1)
roles:
  - gpus: {gpus}
queue: {queue}
priority: low
time_limit_seconds: 120
checkpoint:
  signal: USR1
  grace_seconds: 5
  on_signal: true
"""
_SWEEP = """\
# Four jobs from one file, told apart by their index.
name: sweep
type: evaluation
python: main
files:
  main.py: |
    import os, time
    print("element", os.environ["TOKENYARD_ARRAY_INDEX"])
    time.sleep(5)
array: 4
queue: {queue}
"""


def sample_jobs(queue: QueueName, gpus_of_largest_node: int) -> list[JobSample]:
    """Samples for a queue; without GPUs where the cluster has none."""
    one = min(gpus_of_largest_node, 1)
    samples = (
        ("hello", "A first job", _HELLO, one),
        ("gang", "Two members that start together", _GANG, one if gpus_of_largest_node > 1 else 0),
        ("checkpointed", "A job that survives being preempted", _CHECKPOINT, one),
        ("sweep", "An array of jobs", _SWEEP, 0),
    )
    return [
        JobSample(name=name, title=title, text=text.format(queue=queue, gpus=gpus))
        for name, title, text, gpus in samples
    ]
