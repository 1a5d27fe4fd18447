"""The same small build with both engines: what vLLM sampled, the transformers model rates alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ladder.build import BuildReport, build
from ladder.config import load, shipped
from ladder.importing.stage import build_until_audit
from ladder.sampling.passes import passes_of
from ladder.settings import BuildSettings
from ladder.store import Store
from ladder.store.catalogue import query

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
    members = 0
    for batch in policy.plan(groups, 16_384):
        with torch.inference_mode():
            rated = policy(groups, batch).logprobs_RT.numpy()
        for (g, r), ours in zip(batch.members, rated, strict=True):
            sampled = np.array(rows[items[g].id][r]["logprobs"])
            assert np.abs(ours[: len(sampled)] - sampled).max() < 1e-4
            members += 1
    assert members == 20 * K


def test_pass_rates_agree_within_noise(stores: dict[str, Store]) -> None:
    rates = []
    for store in stores.values():
        outcomes = store.verdicts.table(["outcome"]).column("outcome").to_pylist()
        rates.append(sum(o == "correct" for o in outcomes) / len(outcomes))
    assert abs(rates[0] - rates[1]) < 4 * (2 * 0.25 / (20 * K)) ** 0.5


def test_an_item_that_does_not_fit_is_refused_once_and_asked_again_when_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "ladder"

    def settings(limit: int) -> BuildSettings:
        made = [f'pool.root="{tmp_path / "pool"}"', "pool.make.items=8", "pool.make.probe_items=0"]
        how = ["sampling.k=2", "sampling.max_tokens=8", "engine=vllm", f"vllm.args.max_model_len={limit}"]
        return load(BuildSettings, shipped("pipelines", "digits"), made + how)

    def built(limit: int) -> BuildReport:
        return build(settings(limit), out)

    build_until_audit(settings(256), out)
    (asked,) = (each.asked for each in passes_of(settings(256)))
    assert asked.encoder is not None
    store = Store.open(out)
    requests = [asked.request(store, item, range(2)) for item in store.load_items()]
    needs = sorted(len(r.prompt.encoded(asked.encoder).prompt_ids) + 8 for r in requests)
    limit = needs[len(needs) // 2]
    long = sum(need > limit for need in needs)
    assert long > 0
    first = built(limit)
    assert (first.sampled, len(first.refused)) == (2 * (len(needs) - long), long)
    rows = query(store, "SELECT stage, reason, count(*) FROM rejects GROUP BY ALL")[1]
    assert rows == [("sampling", "too_long", long)]
    with monkeypatch.context() as patched:
        patched.delattr("ladder.build.create_engine")  # a model that is not loaded needs none
        assert (built(limit).sampled, len(built(limit).refused)) == (0, long)
    last = built(needs[-1])
    assert (last.sampled, last.refused) == (2 * long, {})
    assert query(store, "SELECT count(*) FROM rejects")[1] == [(0,)]
