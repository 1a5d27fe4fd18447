"""Named digests: collisions between uses, parts or key orders would merge what is different."""

from pathlib import Path

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from ladder.digest import (
    KEY_BITS,
    SEED_SPAN_BITS,
    base_seed,
    digest,
    files_digest,
    fingerprint,
    shuffle_key,
    shuffle_key_sql,
)

texts = st.lists(st.text(max_size=6), max_size=4)


@given(texts, texts)
def test_equal_digests_mean_equal_parts(a: list[str], b: list[str]) -> None:
    assert (digest("n", *a) == digest("n", *b)) == (a == b)


def test_a_digest_depends_on_its_name_and_on_where_parts_end() -> None:
    assert digest("a", "x") != digest("b", "x")
    assert digest("a", "ab", "c") != digest("a", "a", "bc") != digest("a", "abc")
    assert digest("a", "x") == digest("a", b"x")


def test_digests_are_the_same_on_every_platform_and_version() -> None:
    """Frozen: a change of these would orphan every stored rollout."""
    assert digest("item-1", "q", "0") == "b1198811f617a540950114edbc5e530c"
    assert (shuffle_key(0, "a"), shuffle_key(0, "a", "slot")) == (
        1302267494124048012,
        1411939522688505167,
    )
    assert base_seed("0", "a") == 312927609721716736
    assert fingerprint("sampling-1", {"max_tokens": 1024, "temperature": 1.0}) == "c9c29b0b0801a812"


def test_a_fingerprint_ignores_the_order_of_keys_only() -> None:
    assert fingerprint("n", {"a": 1, "b": 2}) == fingerprint("n", {"b": 2, "a": 1})
    assert fingerprint("n", [1, 2]) != fingerprint("n", [2, 1])


@given(texts)
def test_a_seed_and_its_whole_span_fit_in_a_signed_64_bit_integer(parts: list[str]) -> None:
    base = base_seed(*parts)
    assert base >= 0
    assert base + 2**SEED_SPAN_BITS < 2**63
    assert base % 2**SEED_SPAN_BITS == 0


def test_a_files_digest_sees_names_and_contents_and_not_the_order_or_place(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> str:
        root = tmp_path / name
        root.mkdir()
        for file, text in files.items():
            (root / file).write_text(text)
        return files_digest(sorted(root.iterdir(), reverse=True), root)

    first = folder("a", x="1", y="2")
    assert folder("b", x="1", y="2") == first
    assert folder("c", x="2", y="1") != first
    assert folder("d", x="1", z="2") != first
    assert folder("e", x="12", y="") != first


ids = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30), min_size=1, max_size=20
)


@given(ids, st.integers(-(2**40), 2**40), st.sampled_from(["order", "slot", "stage-1"]))
def test_a_shuffle_key_is_the_same_in_sql(names: list[str], seed: int, use: str) -> None:
    with duckdb.connect() as connection:
        sql = f"SELECT {shuffle_key_sql(seed, 'name', use)} FROM (SELECT unnest($names::VARCHAR[]) AS name)"
        found = [key for (key,) in connection.execute(sql, {"names": names}).fetchall()]
    assert found == [shuffle_key(seed, name, use) for name in names]


def test_shuffle_keys_are_uniform_and_those_of_other_uses_and_seeds_independent() -> None:
    keys = {
        (seed, use): [shuffle_key(seed, f"{i}", use) for i in range(1000)]
        for seed in (0, 1)
        for use in ("order", "slot")
    }
    for some in keys.values():
        below = sum(key < 2 ** (KEY_BITS - 1) for key in some)
        assert 400 < below < 600
        assert max(some) < 2**KEY_BITS
    assert len({key for some in keys.values() for key in some}) == 4000
