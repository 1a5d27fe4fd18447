"""A probe that is held out for good, and training items that keep away from it."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import rows_of
from PIL import Image as PILImage

from ladder.errors import BadInput
from ladder.images import hamming, read_image
from ladder.splits import ProbeSettings, SampleSettings, Split, ValidationSettings, sample
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.strategies import NeuraLadder, Shuffled

DRAWN = ProbeSettings(per_tier=3, split="none of the upstream names", near_bits=0)


def settings(per_tier: int = 2, near_bits: int = 0, **more: Any) -> SampleSettings:
    return SampleSettings(probe=ProbeSettings(per_tier=per_tier, near_bits=near_bits), **more)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def table(ladder: Path) -> dict[str, dict[str, Any]]:
    with catalogue(Store.open(ladder)) as connection:
        found = connection.sql("SELECT id, tier, split, level, images FROM ladder").to_arrow_table()
    assert found is not None
    return {row["id"]: row for row in found.to_pylist()}


def flag(ladder: Path, where: str, name: str) -> None:
    """As if the audit had flagged some items."""
    with duckdb.connect(str(ladder / "ladder.duckdb")) as connection:
        connection.execute(f"UPDATE ladder SET flags = ['{name}'] WHERE {where}")


def test_no_item_of_the_upstream_probe_trains_and_the_probe_is_drawn_from_it(ladder: Path) -> None:
    split, rows = sample(Store.open(ladder), settings(), "s"), table(ladder)
    assert {rows[i]["split"] for i in ids(split.probe)} == {"probe"}
    assert {rows[i]["split"] for i in ids(split.train)} == {"train"}


def test_without_an_upstream_probe_one_is_drawn_and_held_out(ladder: Path) -> None:
    split = sample(Store.open(ladder), SampleSettings(probe=DRAWN), "s")
    assert split.probe
    assert not set(ids(split.probe)) & set(ids(split.train))
    assert "held_out" not in split.facts["left_out"], "what was not drawn may train"


def test_the_probe_holds_the_same_number_of_each_tier(ladder: Path) -> None:
    rows = table(ladder)
    split = sample(Store.open(ladder), settings(per_tier=1), "s")
    held = [row["tier"] for row in rows.values() if row["split"] == "probe"]
    assert sorted(row["tier"] for row in split.probe) == sorted(set(held))


def phashes(ladder: Path, rows: dict[str, dict[str, Any]], of: list[str]) -> np.ndarray:
    images = Store.open(ladder).images.table(["hash", "phash"]).to_pydict()
    phash = dict(zip(images["hash"], images["phash"], strict=True))
    return np.array([phash[h] for i in of for h in rows[i]["images"]], np.int64)


def test_no_training_image_is_in_a_cluster_with_one_of_a_held_out_item(ladder: Path) -> None:
    store, rows, bits = Store.open(ladder), table(ladder), 8
    far, all_ = (sample(store, settings(near_bits=b), name) for b, name in ((bits, "far"), (0, "all")))
    held = phashes(ladder, rows, [i for i, row in rows.items() if row["split"] == "probe"])
    trained = phashes(ladder, rows, ids(far.train))
    assert hamming(trained, held).min() > bits
    others = sorted(set(rows) - set(ids(far.train)))
    near = [i for i in others if hamming(phashes(ladder, rows, [i]), held).min() <= bits]
    assert hamming(trained, phashes(ladder, rows, near)).min() > bits, "nor near to what is near"
    assert len(far.train) < len(all_.train), "some were near"
    assert far.facts["left_out"]["near_held_out"] > 0


def test_an_encoded_again_copy_of_a_probe_image_does_not_train(tmp_path: Path, ladder: Path) -> None:
    """The image of a held-out item, as a JPEG of another size, in a training item."""
    store, rows = Store.open(ladder), table(ladder)
    held = next(row for row in rows.values() if row["split"] == "probe")
    trains = next(row for row in rows.values() if row["split"] == "train")
    picture = PILImage.open(pa.BufferReader(store.image_reader.read(held["images"][0])))
    picture.resize((112, 112), PILImage.Resampling.BICUBIC).save(tmp_path / "copy.jpg", quality=80)
    copy = read_image(tmp_path / "copy.jpg", tmp_path, max_pixels=10**6, min_side=8)
    row = {name: getattr(copy, name) for name in copy.__slots__} | {"hash": trains["images"][0]}
    for part in store.images.paths():  # the training item's picture is now that copy
        kept = [r for r in pq.read_table(part).to_pylist() if r["hash"] != row["hash"]]
        pq.write_table(pa.Table.from_pylist([*kept, row], schema=store.images.schema), part)
    assert trains["id"] not in ids(sample(Store.open(ladder), settings(near_bits=6), "s").train)


@pytest.mark.parametrize("probe", [ProbeSettings(per_tier=2), DRAWN])
def test_held_out_parts_stay_whatever_trains(ladder: Path, probe: ProbeSettings) -> None:
    store = Store.open(ladder)
    fixed: dict[str, Any] = {"probe": probe, "validation": ValidationSettings(per_tier=1)}
    first = sample(store, SampleSettings(**fixed), "a")
    assert first.probe
    assert first.validation
    others: list[dict[str, Any]] = [
        {"seed": 7},
        {"strategy": Shuffled()},
        {"strategy": NeuraLadder(drop_unsolved=False)},
        {"max_items": 3},
    ]
    for number, other in enumerate(others):
        again = sample(store, SampleSettings(**fixed, **other), f"b{number}")
        assert (again.probe, again.validation) == (first.probe, first.validation)


def test_a_validation_split_is_held_out_too(ladder: Path) -> None:
    settings = SampleSettings(probe=DRAWN, validation=ValidationSettings(per_tier=2))
    split = sample(Store.open(ladder), settings, "s")
    train, probe, validation = (set(ids(part)) for part in (split.train, split.probe, split.validation))
    assert validation
    assert not train & probe
    assert not train & validation
    assert not probe & validation
    tiers = [row["tier"] for row in split.validation]
    assert max(map(tiers.count, tiers)) == 2
    assert sample(Store.open(ladder), SampleSettings(probe=DRAWN), "t").validation == []


def test_an_upstream_validation_split_is_held_out_where_one_is_wanted(ladder: Path) -> None:
    with duckdb.connect(str(ladder / "ladder.duckdb")) as connection:
        connection.execute("UPDATE ladder SET split = 'dev' WHERE split = 'train' AND position % 3 = 0")
    wanted = ValidationSettings(per_tier=1, split="dev")
    split, rows = sample(Store.open(ladder), settings(validation=wanted), "s"), table(ladder)
    assert {rows[i]["split"] for i in ids(split.validation)} == {"dev"}
    assert {rows[i]["split"] for i in ids(split.train)} == {"train"}
    unwanted = sample(Store.open(ladder), settings(), "t")
    assert {rows[i]["split"] for i in ids(unwanted.train)} == {"train", "dev"}


def test_items_of_an_evaluation_set_take_no_part_unless_wanted(ladder: Path) -> None:
    flag(ladder, "position % 2 = 0", "evaluation_set")
    flagged = {i for (i,) in rows_of(ladder, "SELECT id FROM ladder WHERE position % 2 = 0")}
    split = sample(Store.open(ladder), settings(), "s")
    assert not flagged & {*ids(split.train), *ids(split.probe)}
    assert split.facts["left_out"]["evaluation_set"] == len(flagged)
    wanted = sample(Store.open(ladder), settings(evaluation_set=True), "t")
    assert flagged & set(ids(wanted.train))
    assert "evaluation_set" not in wanted.facts["left_out"]
    flag(ladder, "true", "evaluation_set")
    with pytest.raises(BadInput, match=r"nothing is left to train on .*--set evaluation_set=true"):
        sample(Store.open(ladder), SampleSettings(probe=DRAWN), "u")


def test_an_upstream_split_of_which_nothing_can_be_drawn_is_told(ladder: Path) -> None:
    flag(ladder, "split = 'probe'", "evaluation_set")
    with pytest.raises(BadInput, match=r"split 'probe' can be in the probe .*--set evaluation_set=true"):
        sample(Store.open(ladder), settings(), "s")
    assert sample(Store.open(ladder), settings(evaluation_set=True), "t").probe
    assert sample(Store.open(ladder), SampleSettings(probe=DRAWN), "u").probe
    assert sample(Store.open(ladder), settings(per_tier=0), "v").probe == [], "none is wanted"
    flag(ladder, "split = 'probe'", "near_duplicate")
    with pytest.raises(BadInput, match=r"\(near_duplicate \d+\); --set probe.split=NAME"):
        sample(Store.open(ladder), settings(), "w")
    flag(ladder, "true", "none")
    wanted = ValidationSettings(per_tier=1, split="probe")
    with pytest.raises(BadInput, match=r"in the validation \(held_out \d+, probe \d+\)"):
        sample(Store.open(ladder), settings(validation=wanted), "x")


def test_a_copy_that_the_audit_flagged_is_not_in_the_probe(ladder: Path) -> None:
    whole = sample(Store.open(ladder), settings(per_tier=1000), "s")
    copy = ids(whole.probe)[0]
    flag(ladder, f"id = '{copy}'", "near_duplicate")
    without = sample(Store.open(ladder), settings(per_tier=1000), "t")
    assert ids(without.probe) == ids(whole.probe)[1:]
    assert copy not in ids(without.train)


def test_a_flagged_copy_of_a_held_out_item_does_not_train(ladder: Path) -> None:
    """The same question and picture under another id, as the audit leaves it where near duplicates are flagged."""
    store, rows = Store.open(ladder), table(ladder)
    probe = next(i for i, row in rows.items() if row["split"] == "probe")
    trains = next(i for i, row in rows.items() if row["split"] == "train")
    (held,), (other,) = store.load_items([probe]), store.load_items([trains])
    for part in store.item_parts():
        found = [
            r | {"question": held.question} if r["id"] == other.id else r
            for r in pq.read_table(part).to_pylist()
        ]
        found = [r | {"images": []} if r["id"] in (held.id, other.id) else r for r in found]
        pq.write_table(pa.Table.from_pylist(found, schema=store.items.schema), part)
    with duckdb.connect(str(ladder / "ladder.duckdb")) as connection:
        connection.execute("UPDATE ladder SET images = [] WHERE id IN (?, ?)", [held.id, other.id])
    everything = SampleSettings(
        probe=ProbeSettings(near_bits=0), strategy=Shuffled(drop_unsolved=False, drop_solved_share=0)
    )
    assert trains in ids(sample(Store.open(ladder), everything, "s").train)
    flag(ladder, f"id = '{trains}'", "near_conflict")
    assert trains not in ids(sample(Store.open(ladder), everything, "t").train)


def test_every_item_is_somewhere_or_counted(ladder: Path) -> None:
    flag(ladder, "position % 9 = 0", "evaluation_set")
    split: Split = sample(
        Store.open(ladder),
        settings(per_tier=1, near_bits=6, max_items=7, validation=ValidationSettings(per_tier=1)),
        "s",
    )
    counts = split.facts["counts"]
    whole = (
        counts["train_items"] + counts["probe"] + counts["validation"] + sum(split.facts["left_out"].values())
    )
    assert whole == len(table(ladder))


def test_nothing_left_to_train_on_is_told_and_nothing_is_written(ladder: Path) -> None:
    everything = SampleSettings(probe=ProbeSettings(per_tier=1000, split="none"))
    with pytest.raises(BadInput, match="nothing is left to train on"):
        sample(Store.open(ladder), everything, "s")
    assert not (ladder / "splits" / "s").exists()
