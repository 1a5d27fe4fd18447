"""Responses that are given to both sides of benchmarks/trl_side_by_side.py: sampled once from the embedded model, put after
prompts that are filled up to a length of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ladder.encode import Encoded, Encoder
from ladder.engines.base import Sampling, drive
from ladder.engines.transformers import TransformersEngine
from ladder.models import load_model, resolve_model
from ladder.prompts import render, template
from ladder.records import Item, Outcome
from ladder.sampling import Asked
from ladder.splits import Split
from ladder.store import Store
from ladder.verify import verify
from trainer.advantage import Grpo, advantages_PG

PROMPT_TOKENS = 256
_FILLER = " the"  # one token each


def write_given(split: Split, folder: Path, prompts: int, group: int, max_tokens: int) -> None:
    """Write token ids of prompts and responses, verdicts and advantages (given.json), and the pictures (pictures.npz)."""
    store = Store.open(split.ladder)
    source = resolve_model("digits")
    encoder = Encoder(source, min_pixels=196, max_pixels=3136)
    items = store.load_items([row["id"] for row in split.train[:prompts]])
    asked = Asked(encoder, template("brief"), Sampling(1.0, max_tokens), 0)
    engine = TransformersEngine(load_model(source, dtype="float32", device="cpu"), encoder, "given")
    requests = [asked.request(store, item, range(group)) for item in items]
    found = {(c.request_id, c.index): c for c in drive(engine, requests)}
    sampled = [[found[item.id, g] for g in range(group)] for item in items]
    correct_PG = torch.tensor(
        [
            [verify(asked.text(c), item).outcome == Outcome.CORRECT for c in of]
            for item, of in zip(items, sampled, strict=True)
        ]
    ).float()
    filled = [_filled(store, item, encoder) for item in items]
    told = {
        "prompts": [prompt.prompt_ids for prompt in filled],
        "responses": [[[int(token) for token in c.token_ids] for c in of] for of in sampled],
        "correct": correct_PG.bool().tolist(),
        "advantages": advantages_PG(correct_PG, correct_PG, Grpo(eps=1e-4)).tolist(),
        "image_token": encoder.image_token,
    }
    folder.mkdir()
    (folder / "given.json").write_text(json.dumps(told), encoding="utf-8")
    pixels = np.stack([prompt.pixels for prompt in filled if prompt.pixels is not None])
    grids = np.concatenate([prompt.grids for prompt in filled if prompt.grids is not None])
    np.savez(folder / "pictures.npz", pixels=pixels, grids=grids)  # (P, V, values) and (P, 3)


def _filled(store: Store, item: Item, encoder: Encoder) -> Encoded:
    """An item's prompt, its question filled up to PROMPT_TOKENS tokens."""
    pictures = store.pictures(item)
    short = len(encoder.encode(render(item, template("brief")), pictures).prompt_ids)
    longer = replace(item, question=item.question + _FILLER * (PROMPT_TOKENS - short))
    encoded = encoder.encode(render(longer, template("brief")), pictures)
    assert len(encoded.prompt_ids) == PROMPT_TOKENS
    return encoded
