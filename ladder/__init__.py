"""Ladder turns raw multimodal question pools into a curriculum for your own vision-language model.

The package imports nothing heavy: `ladder --help` must start in under 0.3 s.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ladder.engines.cpu_vllm import register_on_import
from ladder.errors import BadInput, LadderError

if TYPE_CHECKING:
    from ladder.api import Ladder

__all__ = ["BadInput", "LadderError", "__version__", "open"]
__version__ = "0.1.0"

register_on_import()


def open(path: str | os.PathLike[str]) -> Ladder:
    """A ladder's directory, for reading: items, rollouts, verdicts, scores, tiers, rejects, outcomes and splits as
    `datasets.Dataset`, pandas and Arrow, and SQL over all of them; see `ladder.api.Ladder`.

    Raises BadInput where there is no ladder, or one of a format version that this Ladder does not read.
    """
    from ladder.api import Ladder

    return Ladder(path)
