"""The strategies of `ladder sample`: what a split trains on, and in which order. Each is SQL, and a function of scores, ids
and seed; see `base` for what it reads and gives.

| strategy | order | source |
| --- | --- | --- |
| neuraladder | from easy to hard, each level mixed from its neighbours | Observe-R1, arXiv 2505.12432 |
| sorted | from easy to hard | Bengio et al. 2009 |
| shuffled | none: the control | |
| reversed | `neuraladder` backwards: the control of its direction | Hacohen and Weinshall, arXiv 1904.03626 |
| band | only pass rates in a band; presets of DAPO, MM-Eureka, Skywork-OR1, POLARIS | see `band` |
| stages | three passes: easy, medium, hard | VL-Cogito, arXiv 2507.22607 |
| gaussian | difficulty scatters about a rising target | E2H, arXiv 2506.06632 |
| balanced | equal shares of tiers, subjects, ... all along | Kang et al., arXiv 1910.09217 |
"""

from ladder.strategies.balanced import Balanced
from ladder.strategies.band import Band
from ladder.strategies.base import COLUMNS, Curriculum, create_kept, create_placed
from ladder.strategies.gaussian import Gaussian
from ladder.strategies.neuraladder import NeuraLadder, Reversed
from ladder.strategies.plain import Shuffled, Sorted
from ladder.strategies.stages import Stages

Strategy = NeuraLadder | Sorted | Shuffled | Reversed | Band | Stages | Gaussian | Balanced

__all__ = [
    "COLUMNS",
    "Balanced",
    "Band",
    "Curriculum",
    "Gaussian",
    "NeuraLadder",
    "Reversed",
    "Shuffled",
    "Sorted",
    "Stages",
    "Strategy",
    "create_kept",
    "create_placed",
]
