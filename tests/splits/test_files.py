"""A split on disk: the same bytes for the same settings, read by `datasets`, never torn and never another one unasked."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pytest
from helpers import catalogue_on, rows_of
from PIL import Image as PILImage

from ladder.config import read_toml
from ladder.errors import BadInput
from ladder.images import open_canonical
from ladder.records import tier_features
from ladder.splits import ProbeSettings, SampleSettings, Split, ValidationSettings, look, open_split, sample
from ladder.store import Store
from ladder.strategies import Shuffled, Stages


def settings(**more: Any) -> SampleSettings:
    return SampleSettings(**{"probe": ProbeSettings(per_tier=2, near_bits=0)} | more)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def files(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


@pytest.mark.parametrize("self_contained", [False, True])
def test_the_same_settings_give_the_same_files_on_every_number_of_threads(
    ladder: Path, monkeypatch: pytest.MonkeyPatch, self_contained: bool
) -> None:
    store, written = Store.open(ladder), []
    for threads in (1, 2, 8):
        monkeypatch.setattr("ladder.splits.drawn.catalogue", catalogue_on(threads))
        path = sample(store, settings(), "s", self_contained=self_contained).path
        written.append(files(path))
        shutil.rmtree(path)
    assert written[0] == written[1] == written[2]


def test_another_seed_is_another_order_of_the_same_items(ladder: Path) -> None:
    first, other = (sample(Store.open(ladder), settings(seed=s), f"s{s}") for s in (0, 1))
    assert ids(other.train) != ids(first.train)
    assert sorted(ids(other.train)) == sorted(ids(first.train))
    assert other.facts["fingerprint"] != first.facts["fingerprint"]


def test_a_budget_may_take_the_first_of_the_order(ladder: Path) -> None:
    store = Store.open(ladder)
    whole = sample(store, settings(), "all")
    few = sample(store, settings(max_items=5, take="first"), "few")
    assert ids(few.train) == ids(whole.train)[:5]
    assert few.facts["left_out"]["budget"] == len(whole.train) - 5
    tokens = int(np.ceil(np.array([r["complexity"] for r in whole.train[:4]]) * 8).sum())
    short = sample(store, settings(max_tokens=tokens, take="first"), "short")
    assert ids(short.train) == ids(whole.train)[:4]
    assert short.facts["counts"]["tokens"] == tokens


def test_parentage_says_how_to_draw_it_again(ladder: Path) -> None:
    store = Store.open(ladder)
    split = sample(store, settings(seed=3, strategy=Stages()), "s")
    facts = read_toml(split.path / "split.toml")
    build = dict(rows_of(ladder, "SELECT key, value FROM build"))
    assert (facts["strategy"], facts["seed"]) == ("stages", 3)
    assert facts["ladder"]["name"] == build["name"]
    assert facts["ladder"]["state"] == build["state"]
    again = sample(store, SampleSettings.model_validate(facts["settings"]), "t")
    assert again.facts == split.facts
    assert str(ladder.parent) not in (split.path / "split.toml").read_text()


def same(a: Split, b: Split) -> bool:
    told = [json.dumps(s.facts, sort_keys=True) for s in (a, b)]
    return (a.train, a.probe) == (b.train, b.probe) and told[0] == told[1]


def test_a_split_read_again_is_equal_and_knows_its_ladder_from_any_directory(
    ladder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = sample(Store.open(ladder), settings(), "s")
    assert same(open_split(written.path), written)
    monkeypatch.chdir(ladder / "splits")
    inside = open_split(Path("s"))
    assert same(inside, written)
    assert inside.ladder.resolve() == ladder.resolve()


def test_positions_count_up_and_slots_go_with_them(ladder: Path) -> None:
    train = sample(Store.open(ladder), settings(), "s").train
    assert [row["position"] for row in train] == list(range(len(train)))
    assert [row["slot"] for row in train] == sorted(row["slot"] for row in train)


def test_another_split_is_replaced_only_when_asked(ladder: Path) -> None:
    store = Store.open(ladder)
    first = sample(store, settings(), "s")
    sample(store, settings(), "s")  # the same again
    before = files(first.path)
    with pytest.raises(
        BadInput, match="could not be resumed: choose another --name, or replace it with --force"
    ):
        sample(store, settings(seed=1), "s")
    assert files(first.path) == before
    other = sample(store, settings(seed=1), "s", force=True)
    assert same(open_split(first.path), other)
    assert not same(other, first)
    assert [p.name for p in (ladder / "splits").iterdir()] == ["s"], "nothing is left beside it"


def test_a_torn_split_is_replaced_only_when_asked(ladder: Path) -> None:
    store = Store.open(ladder)
    path = sample(store, settings(), "s").path
    (path / "split.toml").write_text("fingerprint =")
    with pytest.raises(BadInput, match="--force"):
        sample(store, settings(), "s")
    sample(store, settings(), "s", force=True)
    open_split(path)


def test_a_split_of_a_copied_ladder_is_the_same_one(ladder: Path, tmp_path: Path) -> None:
    written = sample(Store.open(ladder), settings(), "s", self_contained=True)
    copy = Path(shutil.copytree(ladder, tmp_path / "elsewhere"))
    again = sample(Store.open(copy), settings(), "s", self_contained=True)
    assert again.facts == written.facts


def test_datasets_reads_every_part_in_order_and_never_another_split_from_its_cache(
    ladder: Path, tmp_path: Path
) -> None:
    store, cache = Store.open(ladder), str(tmp_path / "cache")
    for seed in (0, 1):
        wanted = settings(seed=seed, validation=ValidationSettings(per_tier=1))
        split = sample(store, wanted, "s", force=True)
        read = datasets.load_dataset(str(split.path), cache_dir=cache)
        assert {name: part["id"] for name, part in read.items()} == {
            part: ids(getattr(split, part)) for part in ("train", "probe", "validation")
        }
        assert read["train"]["slot"] == [row["slot"] for row in split.train]


def test_datasets_never_reads_the_old_contents_of_a_self_contained_split(
    ladder: Path, tmp_path: Path
) -> None:
    store, cache = Store.open(ladder), str(tmp_path / "cache")

    def read(self_contained: bool = True) -> datasets.Dataset:
        split = sample(store, settings(), "s", self_contained=self_contained, force=True)
        return datasets.load_dataset(str(split.path), cache_dir=cache)["train"]

    assert "answer" not in read(self_contained=False).column_names
    before = read()
    with duckdb.connect(str(store.catalogue)) as connection:
        connection.execute("UPDATE ladder SET answer = 'corrected ' || answer")
    after = read()
    assert after["id"] == before["id"]
    assert list(after["answer"]) == [f"corrected {answer}" for answer in before["answer"]]


def test_datasets_reads_a_split_without_a_probe(ladder: Path, tmp_path: Path) -> None:
    split = sample(Store.open(ladder), settings(probe=ProbeSettings(per_tier=0)), "s")
    read = datasets.load_dataset(str(split.path), cache_dir=str(tmp_path / "cache"))
    assert {name: list(part["id"]) for name, part in read.items()} == {"train": ids(split.train)}
    assert open_split(split.path).probe == []


def test_a_self_contained_split_is_the_items_in_the_columns_of_tiers(ladder: Path, tmp_path: Path) -> None:
    store = Store.open(ladder)
    slim = sample(store, settings(strategy=Stages()), "slim")
    whole = sample(store, settings(strategy=Stages()), "whole", self_contained=True)
    assert (whole.train, whole.probe) == (slim.train, slim.probe)
    assert whole.facts["fingerprint"] == slim.facts["fingerprint"]
    read = datasets.load_dataset(str(whole.path), cache_dir=str(tmp_path / "cache"))
    assert read["train"].features == {"slot": datasets.Value("int64")} | tier_features()
    rows = {i: (q, images) for i, q, images in rows_of(ladder, "SELECT id, question, images FROM ladder")}
    for part in ("train", "probe"):
        for row in read[part]:
            question, hashes = rows[row["id"]]
            assert row["question"] == question
            expected = [open_canonical(store.image_reader.read(h)) for h in hashes]
            assert [np.asarray(p.convert("RGB")).tolist() for p in row["images"]] == [
                np.asarray(p).tolist() for p in expected
            ]
    assert all(isinstance(p, PILImage.Image) for p in read["train"][0]["images"])
    raw = read["train"].cast_column("images", datasets.List(datasets.Image(decode=False)))[0]
    assert raw["images"][0]["bytes"] == store.image_reader.read(rows[raw["id"]][1][0])


@pytest.mark.parametrize("name", ["../../out", "a/b", "..", "", ".hidden", "/tmp/x"])
def test_a_split_stays_below_its_ladder(built: Path, name: str) -> None:
    with pytest.raises(BadInput, match="plain directory name"):
        sample(Store.open(built), settings(), name)


def test_what_is_no_whole_split_is_told(ladder: Path) -> None:
    written = sample(Store.open(ladder), settings(), "s").path
    with pytest.raises(BadInput, match=r"is not a split: it has no split\.toml"):
        open_split(ladder)
    shutil.copytree(written, ladder / "splits" / "torn")
    (ladder / "splits" / "torn" / "train.parquet").write_bytes(b"PAR1")
    (written / "probe.parquet").unlink()
    for name in ("torn", "s"):
        with pytest.raises(BadInput, match="not a whole split"):
            open_split(ladder / "splits" / name)


def test_a_look_is_what_a_split_holds_and_writes_nothing(ladder: Path) -> None:
    store, wanted = Store.open(ladder), settings(strategy=Shuffled(), seed=4)
    found = look(store, wanted)
    assert not (ladder / "splits").exists()
    split = sample(store, wanted, "s")
    assert found["counts"] == split.facts["counts"]
    assert found["left_out"] == split.facts["left_out"]
    assert ids(found["first"]) == ids(split.train[:5])
    assert ids(found["last"]) == ids(split.train[-5:])
    for axis in ("tier", "source", "subject", "answer_type"):
        assert sum(found[axis].values()) == len(split.train)
    assert sum(found["probe"].values()) == len(split.probe)
