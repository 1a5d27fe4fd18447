"""Splits: a probe that is held out for good, and a training order that keeps away from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from ladder.errors import BadInput
from ladder.images import hamming
from ladder.order import NeuraLadder, Shuffled
from ladder.splits import ProbeSettings, SampleSettings, Split, open_split, sample
from ladder.store import Store
from ladder.store.catalogue import catalogue


def settings(per_tier: int = 2, near_bits: int = 0, **more: Any) -> SampleSettings:
    return SampleSettings(probe=ProbeSettings(per_tier=per_tier, near_bits=near_bits), **more)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def table(ladder: Path) -> dict[str, dict[str, Any]]:
    with catalogue(Store.open(ladder)) as connection:
        rows = (
            connection.sql("SELECT id, tier, split, level, images FROM ladder").to_arrow_table().to_pylist()
        )
    return {row["id"]: row for row in rows}


def no_upstream_probe() -> ProbeSettings:
    return ProbeSettings(per_tier=3, split="none of the upstream names", near_bits=0)


def test_no_item_of_the_upstream_probe_trains_and_the_probe_is_drawn_from_it(ladder: Path) -> None:
    split, rows = sample(Store.open(ladder), settings(), "s"), table(ladder)
    assert {rows[i]["split"] for i in ids(split.probe)} == {"probe"}
    assert {rows[i]["split"] for i in ids(split.train)} == {"train"}


def test_without_an_upstream_probe_one_is_drawn_and_held_out(ladder: Path) -> None:
    split = sample(Store.open(ladder), SampleSettings(probe=no_upstream_probe()), "s")
    assert split.probe
    assert not set(ids(split.probe)) & set(ids(split.train))


def test_the_probe_holds_the_same_number_of_each_tier(ladder: Path) -> None:
    rows = table(ladder)
    split = sample(Store.open(ladder), settings(per_tier=1), "s")
    held = [row["tier"] for row in rows.values() if row["split"] == "probe"]
    assert sorted(row["tier"] for row in split.probe) == sorted(set(held))


def test_no_training_image_is_near_one_of_a_held_out_item(ladder: Path) -> None:
    store, rows, bits = Store.open(ladder), table(ladder), 8
    far, all_ = (sample(store, settings(near_bits=b), name) for b, name in ((bits, "far"), (0, "all")))
    images = store.images.table(["hash", "phash"]).to_pydict()
    phash = dict(zip(images["hash"], images["phash"], strict=True))

    def hashes(found: list[str]) -> np.ndarray:
        return np.array([phash[h] for i in found for h in rows[i]["images"]], np.int64)

    held = hashes([i for i, row in rows.items() if row["split"] == "probe"])
    assert hamming(hashes(ids(far.train)), held).min() > bits
    assert len(far.train) < len(all_.train), "some were near"
    assert far.facts["near_probe_dropped"] > 0


def test_an_encoded_again_copy_of_a_probe_image_does_not_train(tmp_path: Path, ladder: Path) -> None:
    """The image of a held-out item, as a JPEG of another size, in a training item."""
    store, rows = Store.open(ladder), table(ladder)
    held = next(row for row in rows.values() if row["split"] == "probe")
    trains = next(row for row in rows.values() if row["split"] == "train")
    picture = PILImage.open(pa.BufferReader(store.image_reader.read(held["images"][0])))
    picture.resize((112, 112), PILImage.Resampling.BICUBIC).save(tmp_path / "copy.jpg", quality=80)
    from ladder.images import read_image

    copy = read_image(tmp_path / "copy.jpg", tmp_path, max_pixels=10**6, min_side=8)
    row = {name: getattr(copy, name) for name in copy.__slots__} | {"hash": trains["images"][0]}
    for part in store.images.paths():  # the training item's picture is now that copy
        kept = [r for r in pq.read_table(part).to_pylist() if r["hash"] != row["hash"]]
        pq.write_table(pa.Table.from_pylist([*kept, row], schema=store.images.schema), part)
    assert trains["id"] not in ids(sample(Store.open(ladder), settings(near_bits=6), "s").train)


def test_the_probe_stays_whatever_trains(ladder: Path) -> None:
    store = Store.open(ladder)
    for probe in (ProbeSettings(per_tier=2), no_upstream_probe()):
        first = sample(store, SampleSettings(probe=probe), "a")
        for number, other in enumerate(
            [
                {"seed": 7},
                {"strategy": Shuffled()},
                {"strategy": NeuraLadder(drop_unsolved=False)},
                {"max_items": 3},
            ]
        ):
            assert sample(store, SampleSettings(probe=probe, **other), f"b{number}").probe == first.probe  # type: ignore[arg-type]


def test_the_same_settings_give_the_same_split_and_another_seed_another_order(ladder: Path) -> None:
    store = Store.open(ladder)
    first, again, other = (sample(store, settings(seed=s), n) for s, n in ((0, "a"), (0, "b"), (1, "c")))
    assert (first.train, first.facts) == (again.train, again.facts)
    assert ids(other.train) != ids(first.train)
    assert sorted(ids(other.train)) == sorted(ids(first.train))
    assert other.facts["fingerprint"] != first.facts["fingerprint"]


def test_max_items_takes_the_first_of_the_order(ladder: Path) -> None:
    store = Store.open(ladder)
    assert (
        ids(sample(store, settings(max_items=5), "few").train)
        == ids(sample(store, settings(), "all").train)[:5]
    )


def same(a: Split, b: Split) -> bool:
    return (a.train, a.probe, json.dumps(a.facts, sort_keys=True)) == (
        b.train,
        b.probe,
        json.dumps(b.facts, sort_keys=True),
    )


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


def test_nothing_left_to_train_on_is_told_and_nothing_is_written(ladder: Path) -> None:
    everything = SampleSettings(probe=ProbeSettings(per_tier=1000, split="none"))
    with pytest.raises(BadInput, match="nothing is left to train on"):
        sample(Store.open(ladder), everything, "s")
    assert not (ladder / "splits" / "s").exists()


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
