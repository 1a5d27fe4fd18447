"""The policy: encodes images, lays groups out in rows, and returns the responses' log-probs.

`layout` says which responses one forward takes and how they lie in its rows, `plan` cuts a step into such forwards,
`rows` makes their tensors, `images` their features, `scores` the log-probs, and `model` puts them together. Leaves out
how responses are sampled and what the log-probs are for.
"""

from trainer.policy.images import Features
from trainer.policy.layout import Batch, Group, Layout, Piece
from trainer.policy.model import Policy, Scored

__all__ = ["Batch", "Features", "Group", "Layout", "Piece", "Policy", "Scored"]
