"""The same small build with both engines: what vLLM sampled, the transformers model rates alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ladder.build import build
from ladder.config import load, shipped
from ladder.settings import BuildSettings
from ladder.store import Store

pytestmark = pytest.mark.vllm
K = 4


def built(root: Path, engine: str) -> Store:
    overrides = [
        f'pool.root="{root / "pool"}"',
        "pool.make.items=20",
        "pool.make.probe_items=0",
        f"sampling.k={K}",
        f"engine={engine}",
        "vllm.args.max_model_len=256",
    ]
    build(load(BuildSettings, shipped("pipelines", "digits"), overrides), root / engine)
    return Store.open(root / engine)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    root = tmp_path_factory.mktemp("engines")
    return {engine: built(root, engine) for engine in ("vllm", "transformers")}


def test_both_engines_make_the_same_rollout_keys(stores: dict[str, Store]) -> None:
    columns = ["item_id", "prompt", "model", "sampling", "index", "seed"]
    tables = [sorted(s.rollouts.table(columns).to_pylist(), key=str) for s in stores.values()]
    assert len(tables[0]) == 20 * K
    assert tables[0] == tables[1]


def test_every_rollout_has_a_verdict(stores: dict[str, Store]) -> None:
    for store in stores.values():
        assert store.verdicts.table(["item_id"]).num_rows == 20 * K


def test_log_probs_of_the_same_tokens_agree(stores: dict[str, Store]) -> None:
    """vLLM's tokens, rated by the packed forward of the transformers model (float32)."""
    from ladder.encode import Encoder
    from ladder.models import load_model, resolve_model
    from ladder.prompts import render, template
    from trainer.policy import Group, Policy

    source = resolve_model("digits")
    encoder = Encoder(source, min_pixels=196, max_pixels=3136)
    model = load_model(source, dtype="float32", device="cpu")
    policy = Policy(model, encoder, temperature=1.0, autocast=False)
    store = stores["vllm"]
    rows: dict[str, list[dict]] = {}
    for row in store.rollouts.table().to_pylist():
        rows.setdefault(row["item_id"], []).append(row)
    items = store.load_items(list(rows))
    groups = [
        Group(
            encoder.encode(render(item, template("brief")), store.pictures(item)),
            tuple(tuple(r["token_ids"]) for r in rows[item.id]),
        )
        for item in items
    ]
    with torch.inference_mode():
        rated = policy(groups, 48).numpy()
    for g, item in enumerate(items):
        for r, row in enumerate(rows[item.id]):
            sampled = np.array(row["logprobs"])
            assert np.abs(rated[g, r, : len(sampled)] - sampled).max() < 1e-4


def test_pass_rates_agree_within_noise(stores: dict[str, Store]) -> None:
    rates = []
    for store in stores.values():
        outcomes = store.verdicts.table(["outcome"]).column("outcome").to_pylist()
        rates.append(sum(o == "correct" for o in outcomes) / len(outcomes))
    assert abs(rates[0] - rates[1]) < 4 * (2 * 0.25 / (20 * K)) ** 0.5
