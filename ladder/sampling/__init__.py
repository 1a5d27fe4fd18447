"""The sampling stage of a build: what is missing is sampled and judged beside it, and stored as it ends.

`asked` says how items are asked, `passes` which ways and models there are, `plan` what is wanted of each item, `recorder`
stores what comes back, `stage` runs it all. Engines know nothing of this, and it knows nothing of tiers or files.
"""

from ladder.sampling.asked import Asked
from ladder.sampling.recorder import Recorder, SamplingReport
from ladder.sampling.stage import judge_stored, sample_missing

__all__ = ["Asked", "Recorder", "SamplingReport", "judge_stored", "sample_missing"]
