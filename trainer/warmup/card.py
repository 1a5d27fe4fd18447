"""The model card of the embedded policy: what it is, and what its weakness comes from."""

from __future__ import annotations

from trainer.warmup.settings import WarmupSettings

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
tags: [ladder, qwen2_5_vl, tiny]
---

# The embedded policy of Ladder

A vision-language model of the Qwen2.5-VL architecture with {parameters:,} parameters, made from nothing by
`ladder warmup --seed {seed}`. It answers questions about 56 x 56 canvases of handwritten digits (`ladder build digits`) in
the form `<observe>5 8</observe><think>5 + 8 = 13</think><answer>13</answer>`. It exists so that everything in Ladder can be
run, tested and measured on a laptop with a real model; it is good for nothing else.

It is a *starting point* for reinforcement learning. Its weakness comes from little training and from imperfect
demonstrations, never from noise on the weights:

| stage | optimiser steps | what is shown |
| --- | ---: | --- |
| vision | {vision_steps} | which digit's centre lies under each image feature, with a head that is thrown away |
| imitation | {imitation_steps} | right demonstrations |
| imperfect | {imperfect_steps} | demonstrations of which {flawed:.0%} (of {flawless}: none) misread a digit, confuse the operation or slip at the end |

| kinds of question | weight |
| --- | ---: |
| {taught} | 1 |
| {half_taught} | {half} |
| {barely_taught} (few possible answers: left for exploration to find) | {barely} |

{direct:.0%} of the demonstrations answer directly, {blind:.0%} are asked without the image and answered with a guess. Batches of
{batch}, AdamW at {learning_rate} (imperfect stage: {imperfect_learning_rate}), bf16 autocast. Digit images: the 1,400 of
scikit-learn's `load_digits` that the pool does not keep for its probe.
"""


def model_card(settings: WarmupSettings, parameters: int, kinds: dict[str, tuple[str, ...]]) -> str:
    """The card's text; `kinds` lists the question kinds that are taught, half_taught and barely_taught, and those never shown flawed."""
    names = {key: ", ".join(values) for key, values in kinds.items()}
    return _CARD.format(parameters=parameters, **settings.model_dump(), **names)
