"""Snakemake with the SLURM plugin's pauses between status queries cut to a second; everything else is the real plugin.

The plugin waits 10 s longer after each round in which no job succeeded, up to 180 s, and has no option for it.
"""

import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

_pause = Executor.next_seconds_between_status_checks
Executor.next_seconds_between_status_checks = property(lambda self: min(_pause.fget(self), 1), _pause.fset)

if "--profile" in sys.argv:
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--max-status-checks-per-second", "10"]
    sys.argv[1:1] = [*quick, "--latency-wait", "10"]
sys.exit(main())
