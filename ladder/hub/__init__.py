"""A ladder on the Hugging Face Hub: `push` hands it on, `pull` takes one from elsewhere.

What is derived and may be wrong or hostile never travels: a catalogue is not pushed, a report is not pulled. Where logs
come along, everything else is derived from them here. The token is `huggingface_hub`'s own (its login, or HF_TOKEN).
"""

from __future__ import annotations

from ladder.hub.pull import Pulled, pull
from ladder.hub.push import Pushed, push

__all__ = ["Pulled", "Pushed", "pull", "push"]
