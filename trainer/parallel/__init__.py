"""Training over several processes, started by torchrun: rollouts, forwards and the probe are dealt over them, tensors are
sharded (FSDP2), and everything else is the same in all. One process is the case of a single rank. Leaves out starting them.
"""

from trainer.parallel.deal import here_P
from trainer.parallel.ranks import ALONE, Ranks, started
from trainer.parallel.whole import is_sharded, load_whole, rows_of, updates_rows, whole, whole_state

__all__ = [
    "ALONE",
    "Ranks",
    "here_P",
    "is_sharded",
    "load_whole",
    "rows_of",
    "started",
    "updates_rows",
    "whole",
    "whole_state",
]
