"""Ladder turns raw multimodal question pools into a curriculum for your own vision-language model.

The package imports nothing heavy: `ladder --help` must start in under 0.3 s.
"""

from ladder.engines.cpu_vllm import register_on_import

__version__ = "0.1.0"

register_on_import()
