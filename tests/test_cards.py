"""The data card: front matter that the Hub takes and `datasets` loads by, and a text that no pool can break."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pytest
from helpers import catalogue_on, digits_settings, rows_of, write_picture, write_rows
from hub_stand_in import HubStandIn
from huggingface_hub import DatasetCard, constants
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ladder.build import build
from ladder.cards import ladder_fingerprint, refresh_card
from ladder.cards.front import languages
from ladder.cards.licences import LICENCE_FILE, Licence, front_licences, hub_licence, licences
from ladder.cards.words import block, code, line, plain
from ladder.config import validate
from ladder.errors import BadInput
from ladder.records import tier_features
from ladder.settings import BuildSettings
from ladder.splits import SampleSettings, sample
from ladder.store import Store

EVIL = "`a` | <b>\n---\nlicense: mit\n--- {{ 1 }} [x](http://e.vil) *s* $m$ \u2028 \x00 &amp; # t"
MARKDOWN = MarkdownIt("commonmark").enable("table")


def front(ladder: Path) -> dict[str, Any]:
    return DatasetCard.load(ladder / "README.md").data.to_dict()


def drawn(ladder: Path, name: str, **values: Any) -> Any:
    settings = validate(SampleSettings, {"probe": {"per_tier": 2}} | values)
    return sample(Store.open(ladder), settings, name)


def loaded(ladder: Path, cache: Path) -> dict[str, dict[str, list[str]]]:
    """The ids of each part of each config, by `datasets`."""
    names = datasets.get_dataset_config_names(str(ladder))
    found = {name: datasets.load_dataset(str(ladder), name, cache_dir=str(cache)) for name in names}
    return {name: {part: list(rows["id"]) for part, rows in parts.items()} for name, parts in found.items()}


def ids_by_tier(ladder: Path) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for tier, item in rows_of(ladder, "SELECT tier, id FROM ladder ORDER BY position"):
        found.setdefault(tier, {"train": []})["train"].append(item)
    return found


# --- what `datasets` loads -----------------------------------------------------------------------------------


def test_every_config_loads_in_ladder_order_with_images_and_again_after_a_rebuild(
    ladder: Path, digits_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    cache = tmp_path / "cache"
    refresh_card(Store.open(ladder))
    assert loaded(ladder, cache) == ids_by_tier(ladder)
    tier = next(iter(ids_by_tier(ladder)))
    first = datasets.load_dataset(str(ladder), tier, cache_dir=str(cache))["train"][0]
    assert first["images"][0].size == (56, 56)
    build(digits_settings(digits_pool, tiers__cuts=[0.2, 0.4, 0.6, 0.8]), ladder)
    assert loaded(ladder, cache) == ids_by_tier(ladder)


def test_a_split_is_a_config_as_soon_as_it_is_drawn_and_its_rows_are_the_present_ones(
    ladder: Path, tmp_path: Path
) -> None:
    for seed in (0, 1):
        split = sample(
            Store.open(ladder),
            validate(SampleSettings, {"probe": {"per_tier": 2}, "seed": seed}),
            "mine",
            force=True,
        )
        rows = {part: [row["id"] for row in getattr(split, part)] for part in ("train", "probe")}
        assert loaded(ladder, tmp_path / "cache")["split-mine"] == rows
    text = (ladder / "README.md").read_text(encoding="utf-8")
    assert f"train {len(split.train)}, probe {len(split.probe)}" in text
    assert "earlier state" not in text


def test_a_part_without_rows_is_left_out_of_a_splits_config(ladder: Path, tmp_path: Path) -> None:
    split = drawn(ladder, "mine", probe={"per_tier": 0})
    assert split.table("probe").num_rows == 0
    rows = {"train": [row["id"] for row in split.train]}
    assert loaded(ladder, tmp_path / "cache")["split-mine"] == rows


def changed(ladder: Path, *statements: str) -> str:
    """The fingerprint after the catalogue was changed."""
    with duckdb.connect(str(ladder / "ladder.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)
    return ladder_fingerprint(Store.open(ladder))


OTHERS = {
    "VARCHAR": "coalesce({}, '') || '|'",
    "DOUBLE": "nextafter(coalesce({}, 0.1), 2::DOUBLE)",
    "VARCHAR[]": "list_append({}, 'x')",
}


def test_another_value_in_any_column_of_the_tier_files_is_another_fingerprint(ladder: Path) -> None:
    seen = {ladder_fingerprint(Store.open(ladder))}
    kinds = dict(row[:2] for row in rows_of(ladder, "DESCRIBE ladder"))
    columns = [*tier_features(), "pixels"]
    for name in columns:
        other = OTHERS.get(kinds[name], "{} + 1").format(name)
        seen.add(changed(ladder, f"UPDATE ladder SET {name} = {other} WHERE position IN (0, 1)"))
    assert len(seen) == len(columns) + 1


def test_no_two_texts_or_nulls_are_one_fingerprint(ladder: Path) -> None:
    texts = [
        "'a|b', 'c'",
        "'a', 'b|c'",
        "'a', NULL",
        "NULL, 'a'",
        "'a', ''",
        "'a\",\"b', 'c'",
        "'a', 'b\",\"c'",
    ]
    update = "UPDATE ladder SET (subject, split) = ({}) WHERE position = 0"
    assert len({changed(ladder, update.format(text)) for text in texts}) == len(texts)


def test_the_fingerprint_depends_neither_on_threads_nor_on_the_rows_places(
    ladder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {ladder_fingerprint(Store.open(ladder))}
    found.add(changed(ladder, "CREATE OR REPLACE TABLE ladder AS SELECT * FROM ladder ORDER BY md5(id)"))
    for threads in (1, 2, 8):
        monkeypatch.setattr("ladder.cards.catalogue", catalogue_on(threads))
        found.add(ladder_fingerprint(Store.open(ladder)))
    assert len(found) == 1


def test_after_a_build_of_other_contents_no_cache_serves_the_old_ones(
    ladder: Path, digits_pool: Path, tmp_path: Path
) -> None:
    tier, cache = next(iter(ids_by_tier(ladder))), str(tmp_path / "cache")

    def first() -> tuple[str, tuple[int, int]]:
        row = datasets.load_dataset(str(ladder), tier, cache_dir=cache)["train"][0]
        return row["source"], row["images"][0].size

    assert first() == ("digits", (56, 56))
    build(digits_settings(digits_pool, pool__source="renamed"), ladder)
    assert first() == ("renamed", (56, 56))
    shutil.rmtree(ladder)
    build(digits_settings(digits_pool, pool__source="renamed", images__max_pixels=784), ladder)
    tier = next(iter(ids_by_tier(ladder)))
    assert first() == ("renamed", (28, 28))


def test_parts_of_other_columns_are_one_config(ladder: Path) -> None:
    drawn(ladder, "mine")
    (info,) = [one for one in front(ladder)["dataset_info"] if one["config_name"] == "split-mine"]
    columns = [feature["name"] for feature in info["features"]]
    assert {"id", "slot", "position", "tier"} <= set(columns)
    assert len(columns) == len(set(columns))


def test_a_split_whose_name_cannot_be_a_config_is_told_and_breaks_nothing(
    ladder: Path, tmp_path: Path
) -> None:
    drawn(ladder, "mine").path.rename(ladder / "splits" / "a[1] | b")
    refresh_card(Store.open(ladder))
    assert not any("a[1]" in config["config_name"] for config in front(ladder)["configs"])
    assert "its name cannot be one" in (ladder / "README.md").read_text(encoding="utf-8")
    assert loaded(ladder, tmp_path / "cache") == ids_by_tier(ladder)


def test_a_split_of_an_earlier_state_says_so(ladder: Path, digits_pool: Path) -> None:
    drawn(ladder, "mine")
    build(digits_settings(digits_pool, tiers__cuts=[0.2, 0.4, 0.6, 0.8]), ladder)
    assert "drawn from an earlier state" in (ladder / "README.md").read_text(encoding="utf-8")


def test_a_card_written_again_is_the_same(ladder: Path) -> None:
    refresh_card(Store.open(ladder))
    before = (ladder / "README.md").read_bytes()
    refresh_card(Store.open(ladder))
    assert (ladder / "README.md").read_bytes() == before


def test_a_ladder_that_was_not_built_to_its_end_has_no_card(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ladder build"):
        refresh_card(Store.create(tmp_path / "new"))


# --- what the Hub takes --------------------------------------------------------------------------------------


@pytest.fixture
def validating(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`DatasetCard.validate` asks a stand-in that knows the Hub's published rules."""
    hub = HubStandIn()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    yield hub
    hub.close()


def test_the_card_passes_validation(ladder: Path, validating: HubStandIn) -> None:
    drawn(ladder, "mine")
    DatasetCard.load(ladder / "README.md").validate()
    assert "POST /api/validate-yaml" in validating.log


@pytest.mark.parametrize(
    "wrong",
    [
        "license: CC BY",
        "license: other",
        "language:\n- zh-CN",
        "size_categories:\n- many",
        "configs:\n- data_files: x",
    ],
)
@pytest.mark.usefixtures("validating")
def test_validation_can_fail(wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong.split(":")[0]):
        DatasetCard(f"---\n{wrong}\n---\ntext").validate()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("cc-by-4.0", "cc-by-4.0"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("MIT", "mit"),
        ("Apache 2.0", "apache-2.0"),
        ("GPL-3.0", "gpl-3.0"),
        ("openrail++", "openrail++"),
        ("gpl-3.0-or-later", "other"),
        ("research only, ask us", "other"),
        ("", "other"),
        ("unknown", "unknown"),
    ],
)
def test_a_licence_is_spelt_as_the_hub_spells_it(said: str, expected: str) -> None:
    assert hub_licence(said) == expected


def named(*said: str) -> list[Licence]:
    return [Licence(f"s{i}", one, hub_licence(one)) for i, one in enumerate(said)]


def test_several_licences_are_several_and_an_unlisted_one_gets_a_name() -> None:
    assert front_licences(named("mit", "MIT")) == {"license": "mit"}
    assert front_licences(named("mit", "cc-by-4.0")) == {"license": ["cc-by-4.0", "mit"]}
    assert front_licences(named("mit", "Our Own 2.0!")) == {
        "license": ["mit", "other"],
        "license_name": "our-own-2.0",
        "license_link": LICENCE_FILE,
    }


def test_what_is_unknown_or_allows_no_changes_is_closed() -> None:
    closed = [
        one.closed for one in named("unknown", "x", "cc-by-nd-4.0", "cc-by-nc-4.0", "mit", "cc-by-sa-4.0")
    ]
    assert closed == [True, True, True, False, False, False]
    assert [one.non_commercial for one in named("cc-by-nc-4.0", "mit")] == [True, False]


def test_languages_are_codes_without_a_region() -> None:
    values = {
        "name": "x",
        "pool": {"root": "."},
        "card": {"languages": ["zh-CN", "EN", "en_US", "klingon", ""]},
    }
    assert languages(validate(BuildSettings, values)) == ["zh", "en"]


# --- hostile texts -------------------------------------------------------------------------------------------


def cells(tokens: list[Token]) -> list[list[str]]:
    """The text of each cell of each row of the tables."""
    rows: list[list[str]] = []
    for token, after in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("td_open", "th_open"):
            rows[-1].append("".join(child.content for child in after.children or ()))
    return rows


@given(st.text(max_size=60))
def test_any_text_is_one_cell_that_shows_it_as_it_is(text: str) -> None:
    tokens = MARKDOWN.parse(f"| a | b |\n| --- | --- |\n| {plain(text)} | {code(text)} |\n\nafter")
    _, (shown, inline) = cells(tokens)
    assert shown == line(text).replace("|", "|")
    assert inline.strip() == line(text)
    children = [child for token in tokens for child in token.children or ()]
    assert not {child.type for child in children} - {"text", "text_special", "code_inline"}


@given(
    st.sampled_from(["", "- ", "1. ", "2)", "===", "---", "+ ", "* ", "> ", "# ", "<!--", "    "]),
    st.text(max_size=40),
)
def test_any_text_is_one_paragraph_that_shows_it_as_it_is(start: str, text: str) -> None:
    whole = line(start + text)
    tokens = MARKDOWN.parse(f"{plain(start + text)}\n\nafter")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"] * (
        1 + bool(whole)
    )
    assert "".join(child.content for child in tokens[1].children or ()) == (whole or "after")


@given(st.text(max_size=60), st.sampled_from(["", "```", "````\n", "~~~"]))
def test_any_text_is_one_fenced_block(text: str, more: str) -> None:
    tokens = MARKDOWN.parse(f"{block(more + text)}\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder of two pools whose names, licences and texts are hostile."""
    root = tmp_path_factory.mktemp("evil")
    for name in ("one", "two"):
        write_picture(root / name / "p.png", 3)
        row = {"question": f"{EVIL} {name}?", "answer": "7", "kind": EVIL, "image": "p.png"}
        write_rows(root / name, [row, row | {"question": EVIL, "answer": ""}])
    columns = {"subject": "kind", "image": "image"}
    one = {"root": str(root / "one"), "columns": columns, "licence": EVIL, "source": EVIL}
    two = {"root": str(root / "two"), "columns": columns, "licence": "CC BY 4.0", "source": "{% raw %}|"}
    values = {
        "name": EVIL,
        "pools": {EVIL: one, "b": two},
        "model": {"name": "digits", "min_pixels": 196, "max_pixels": 3136},
        "sampling": {"k": 1, "max_tokens": 4},
        "card": {"title": EVIL, "summary": EVIL, "languages": [EVIL, "en"]},
    }
    build(validate(BuildSettings, values), root / "ladder")
    return root / "ladder"


@pytest.mark.usefixtures("validating")
def test_hostile_texts_break_neither_front_matter_nor_tables(evil: Path) -> None:
    card = DatasetCard.load(evil / "README.md")
    card.validate()
    data = card.data.to_dict()
    assert data["license"] == ["cc-by-4.0", "other"]
    assert data["pretty_name"] == line(EVIL)
    assert data["language"] == ["en"]
    tokens = MARKDOWN.parse(card.text)
    children = [child for token in tokens for child in token.children or ()]
    assert not [token for token in [*tokens, *children] if token.type.startswith(("html", "link", "em"))]
    sources = [row for row in cells(tokens) if row[-1:] == ["1"] and len(row) == 4]
    assert sorted(row[0] for row in sources) == sorted([line(EVIL), "{% raw %}|"])
    assert sorted(row[1] for row in sources) == sorted([line(EVIL), "CC BY 4.0"])


def test_hostile_counts_of_sources_are_shown_as_text_and_change_nothing_else(ladder: Path) -> None:
    (path,) = (ladder / "items").glob("import-*.json")
    said = json.loads(path.read_text())
    said["counts"]["sources"]["digits"] = {"rows": "<b>1</b> | 2", "licence": "mine", "source": "x"}
    path.write_text(json.dumps(said))
    refresh_card(Store.open(ladder))
    tokens = MARKDOWN.parse(DatasetCard.load(ladder / "README.md").text)
    assert not [t for t in tokens for child in t.children or () if child.type.startswith("html")]
    (row,) = [row for row in cells(tokens) if row[0] == "digits" and len(row) == 4]
    assert (row[1], row[2]) == ("cc-by-4.0", "<b>1</b> | 2")


def test_an_unlisted_licence_is_written_beside_the_card(evil: Path, built: Path) -> None:
    text = (evil / LICENCE_FILE).read_text(encoding="utf-8")
    assert len([one for one in MARKDOWN.parse(text) if one.type == "list_item_open"]) == 2
    assert not (built / LICENCE_FILE).exists()


# --- what it says --------------------------------------------------------------------------------------------


def test_the_card_says_how_the_ladder_was_made(ladder: Path) -> None:
    refresh_card(Store.open(ladder))
    rows = dict(
        row for row in cells(MARKDOWN.parse(DatasetCard.load(ladder / "README.md").text)) if len(row) == 2
    )
    facts = dict(rows_of(ladder, "SELECT key, value FROM build"))
    assert facts["model_fingerprint"] in rows["model"]
    assert facts["prompt_fingerprint"] in rows["prompt"]
    assert facts["verifier"] in rows["verifier"]
    assert "digits on transformers, template brief, 4 samples at temperature 1.0" in rows["pass main"]
    assert "0.0625, 0.3125, 0.6875, 0.9375" in rows["tiers"]
    text = (ladder / "README.md").read_text(encoding="utf-8")
    assert "Observe, think, answer." in text
    assert "ladder build build.toml" in text


def test_the_truncated_share_is_of_what_was_judged_also_too_late(ladder: Path) -> None:
    changed(
        ladder,
        "UPDATE ladder SET n = 1, truncated = 3, timeouts = 3",
        "UPDATE scores SET samples = 4, n = 1, truncated = 3, timeouts = 3",
    )
    refresh_card(Store.open(ladder))
    text = (ladder / "README.md").read_text(encoding="utf-8")
    assert "55 samples count, 75.0% of the judged ones are truncated" in text


def test_overlap_with_benchmarks_is_told_by_benchmark(tmp_path: Path) -> None:
    question = "How many of the seventeen small wooden boxes on the table of the hall are red?"
    write_rows(
        tmp_path / "pool", [{"question": question, "answer": "7"}, {"question": "What is 2?", "answer": "2"}]
    )
    write_rows(tmp_path / "test", [{"question": question, "answer": "7"}])
    values = {
        "name": "x",
        "pool": {"root": str(tmp_path / "pool")},
        "benchmarks": {"hard|set": {"root": str(tmp_path / "test")}},
        "audit": {"overlap": {"reject": "either"}},
        "model": {"name": "digits", "min_pixels": 196, "max_pixels": 3136},
        "sampling": {"k": 1, "max_tokens": 4},
    }
    build(validate(BuildSettings, values), tmp_path / "ladder")
    text = DatasetCard.load(tmp_path / "ladder" / "README.md").text
    rows = dict(row for row in cells(MARKDOWN.parse(text)) if len(row) == 2)
    assert rows["benchmarks"] == "hard|set: 1 items of ours left out"
    assert re.search(r"benchmark_overlap: 1", rows["rejects"])


def test_the_sources_of_a_build_keep_their_order_and_licences(evil: Path) -> None:
    from ladder.settings import settings_of

    assert [one.said for one in licences(settings_of(evil))] == [EVIL, "CC BY 4.0"]
