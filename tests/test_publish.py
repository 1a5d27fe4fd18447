"""What a ladder shows the world: a card that the Hub can read, tier files that it names, a report without scripts."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import digits_settings, rows_of, write_rows
from huggingface_hub import DatasetCard

from ladder.build import build
from ladder.config import validate
from ladder.records import tier_features
from ladder.settings import BuildSettings

EVIL = "<script>alert('x')</script>"


def tier_files(ladder: Path) -> dict[str, list[str]]:
    """Files by tier, as the card names them."""
    configs = DatasetCard.load(ladder / "README.md").data.to_dict()["configs"]
    patterns = {config["config_name"]: config["data_files"][0]["path"] for config in configs}
    return {tier: sorted(str(p.relative_to(ladder)) for p in ladder.glob(p)) for tier, p in patterns.items()}


def on_disk(ladder: Path) -> list[str]:
    return sorted(str(p.relative_to(ladder)) for p in (ladder / "tiers").rglob("*") if p.is_file())


def test_the_card_parses_and_names_exactly_the_files_there_are(built: Path) -> None:
    named = tier_files(built)
    assert sorted(file for files in named.values() for file in files) == on_disk(built)
    assert all(file.startswith(f"tiers/{tier}/") for tier, files in named.items() for file in files)
    assert set(named) == {row[0] for row in rows_of(built, "SELECT DISTINCT tier FROM ladder")}


def test_the_cards_front_matter_says_what_the_pipeline_says(built: Path) -> None:
    data = DatasetCard.load(built / "README.md").data.to_dict()
    assert (data["license"], data["language"], data["pretty_name"]) == ("cc-by-4.0", ["en"], "Digits")
    assert data["size_categories"] == ["n<1K"]


def test_the_cards_figures_are_those_of_the_catalogue(built: Path) -> None:
    text = (built / "README.md").read_text(encoding="utf-8")
    for tier, count, rate in rows_of(built, "SELECT tier, count(*), avg(pass_rate) FROM ladder GROUP BY 1"):
        assert f"| {tier} | {count} | {rate:.3f} |" in text
    assert "{{" not in text
    assert "{%" not in text


def test_tier_files_hold_their_tier_in_ladder_order_with_the_published_schema(built: Path) -> None:
    seen = 0
    for tier, files in tier_files(built).items():
        for file in files:
            table = pq.read_table(built / file)
            rows = table.to_pylist()
            assert table.schema.names == tier_features().arrow_schema.names
            assert b"huggingface" in table.schema.metadata
            assert {row["tier"] for row in rows} == {tier}
            positions = [row["position"] for row in rows]
            assert positions == sorted(positions)
            assert all(len(row["images"]) == row["question"].count("<image>") for row in rows)
            seen += len(rows)
    assert rows_of(built, "SELECT count(*) FROM ladder") == [(seen,)]


def test_files_of_a_ladder_that_was_are_removed(ladder: Path, digits_pool: Path) -> None:
    before = on_disk(ladder)
    build(digits_settings(digits_pool, tiers__names=["low", "high"], tiers__cuts=[0.5]), ladder)
    assert set(tier_files(ladder)) == {"low", "high"}
    assert on_disk(ladder) == sorted(file for files in tier_files(ladder).values() for file in files)
    assert not set(on_disk(ladder)) & set(before)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder whose texts are all hostile."""
    root = tmp_path_factory.mktemp("evil")
    rows = [
        {"question": f"{EVIL} {{{{ 1 + 1 }}}} What is {i}?", "answer": str(i), "kind": f"{EVIL}{i} & co"}
        for i in range(3)
    ]
    write_rows(root / "pool", [*rows, {"question": EVIL, "answer": "", "kind": EVIL}])
    values = {
        "name": EVIL,
        "pool": {"root": str(root / "pool"), "columns": {"subject": "kind"}},
        "model": {"name": "digits", "min_pixels": 196, "max_pixels": 3136},
        "sampling": {"k": 1, "max_tokens": 4},
        "card": {"title": "A: 'title' # \"here\"", "summary": "---\nlicense: mit"},
    }
    build(validate(BuildSettings, values), root / "ladder")
    return root / "ladder"


def test_nothing_of_a_pool_is_html_in_the_report(evil: Path) -> None:
    page = (evil / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&amp; co" in page


def test_the_report_loads_nothing_from_elsewhere(built: Path) -> None:
    page = (built / "report.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "src=" not in page


def test_odd_titles_and_summaries_leave_the_card_readable(evil: Path) -> None:
    data = DatasetCard.load(evil / "README.md").data.to_dict()
    assert data["pretty_name"] == "A: 'title' # \"here\""
    assert data["license"] == "unknown"
