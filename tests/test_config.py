"""Settings: what is wrong is told with its place and a way out."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from ladder.config import Settings, dump, load, put, said, shipped, validate, with_options
from ladder.errors import BadInput
from ladder.settings import BuildSettings
from ladder.splits import SampleSettings

MINIMAL: dict[str, Any] = {"name": "x", "pool": {"root": "p"}}


def settings(*overrides: str) -> BuildSettings:
    return validate(BuildSettings, {"name": "x", "pool": {"root": "p"}}, overrides)


def complaint(*overrides: str, cls: type = BuildSettings) -> str:
    values = (
        {"name": "x", "pool": {"root": "p"}}
        if cls is BuildSettings
        else {"strategy": {"strategy": "shuffled"}}
    )
    with pytest.raises(BadInput) as told:
        validate(cls, values, overrides)
    return str(told.value)


@pytest.mark.parametrize(
    ("override", "path", "meant"),
    [
        ("nam=1", "nam", "name"),
        ("sampling.temprature=1", "sampling.temprature", "sampling.temperature"),
        ("pool.columns.qestion='q'", "pool.columns.qestion", "pool.columns.question"),
        ("pool.make.itms=3", "pool.make.itms", "pool.make.items"),
        ("tiers.cut=[0.5]", "tiers.cut", "tiers.cuts"),
    ],
)
def test_an_unknown_key_is_told_with_its_path_and_the_nearest_name(
    override: str, path: str, meant: str
) -> None:
    text = complaint(override)
    assert f"unknown key '{path}'" in text
    assert f"did you mean '{meant}'?" in text


def test_an_unknown_key_of_a_union_is_told_as_it_is_written_and_with_names_of_the_chosen_member() -> None:
    text = complaint("strategy.drop_unsolvd=true", cls=SampleSettings)
    assert "unknown key 'strategy.drop_unsolvd', did you mean 'strategy.drop_unsolved'?" in text
    text = complaint("strategy.within_slott='sorted'", cls=SampleSettings)
    assert "within_slot'" not in text, "a setting of the other strategy"


def test_an_unknown_key_is_told_before_the_missing_one_it_explains() -> None:
    with pytest.raises(BadInput, match="unknown key 'nme', did you mean 'name'"):
        validate(BuildSettings, {"nme": "x", "pool": {"root": "p"}})


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert "did you mean" not in complaint("zzzzqqq=1")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sampling.k=0", "sampling.k"),
        ("sampling.k=many", "sampling.k"),
        ("sampling.temperature=-1", "sampling.temperature"),
        ("sampling.temperature=nan", "sampling.temperature"),
        ("sampling.temperature=inf", "sampling.temperature"),
        ("sampling.temperature=1e-42", "sampling.temperature"),
        ("server.timeout=inf", "server.timeout"),
        ("engine=vlm", "engine"),
        ("tiers.cuts=[0.5]", "5 names need 4 cuts"),
        ("tiers.cuts=[0.9,0.5,0.2,0.1]", "rise strictly"),
        ("tiers.names=['a/b','c','d','e','f']", "identifiers"),
        ("pool.files=['/etc/*']", "pool.files"),
    ],
)
def test_a_bad_value_is_told_in_one_line_with_its_key(override: str, told: str) -> None:
    text = complaint(override)
    assert told in text
    assert "\n" not in text


def test_an_unknown_strategy_names_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"(?s)'best'.*neuraladder.*shuffled"):
        validate(SampleSettings, {"strategy": {"strategy": "best"}})


def test_overrides_are_dotted_typed_and_the_last_one_counts() -> None:
    got = settings(
        "sampling.k=3", "sampling.k=16", "sampling.temperature=0.5", "engine=transformers", "pool.columns.image=''",
        "pool.files=['a.jsonl', 'b.jsonl']", "model.name=some/model", "vllm.args.enforce_eager=true",
    )  # fmt: skip
    assert got.sampling.k == 16
    assert got.sampling.temperature == 0.5
    assert got.engine == "transformers"
    assert got.pool.columns.image == ""
    assert got.pool.files == ("a.jsonl", "b.jsonl")
    assert got.model.name == "some/model"
    assert got.vllm.args == {"enforce_eager": True}


def test_a_key_that_is_a_comment_is_told() -> None:
    assert "unknown key '# x'" in complaint("# x=1")


def test_a_key_with_dots_or_signs_is_quoted_as_in_a_file() -> None:
    values = {"strategy": {"strategy": "shuffled"}}
    overrides = ['quota.source."*"=0.2', 'quota.source."a.b" = 3', "quota.subject.x=1"]
    quota = validate(SampleSettings, values, overrides).quota
    assert quota.source == {"*": 0.2, "a.b": 3}
    assert quota.subject == {"x": 1}


@pytest.mark.parametrize("override", ["sampling.k", "=3", " =3"])
def test_an_override_without_key_and_value_is_told_how_to_write_one(override: str) -> None:
    assert "--set sampling.k=16" in complaint(override)


def test_an_override_below_a_value_is_told() -> None:
    assert "name: input should be a valid string" in complaint("name.first=1")


def test_a_number_that_may_be_a_table_becomes_one_by_overrides_of_its_keys() -> None:
    values: dict[str, Any] = {"weight": 0.01, "other": {"a": 1}}
    for key, value in {"weight.kind": "line", "weight.low": 0.1, "other.b": 2}.items():
        put(values, key, value)
    assert values == {"weight": {"kind": "line", "low": 0.1}, "other": {"a": 1, "b": 2}}


def test_no_setting_is_infinite_or_no_number() -> None:
    class One(Settings):
        x: float = 1.0
        more: dict[str, float] = Field(default_factory=dict)

    for override in ("x=inf", "x=-inf", "x=nan", "more.y=inf"):
        with pytest.raises(BadInput, match="finite number"):
            validate(One, {}, [override])


def test_what_overrides_say_of_a_key_is_the_last_of_it_however_it_is_spelt() -> None:
    assert said(["a.b=1", "a.b=2"], "a.b") == 2
    assert said(["a={b=3}"], "a.b") == 3
    assert said(["a=4"], "a.b") == 4
    assert said(["a.c=1"], "a.b") is None


def test_an_option_and_an_override_of_the_same_setting_agree_or_are_told() -> None:
    options = {"--seed": ("sampling.seed", 5), "--model": ("model.name", None)}
    for overrides in ([], ["sampling.seed=5"], ["sampling={k=3}"], ["model.name=x"]):
        assert said(with_options(overrides, options), "sampling.seed") == 5
    for overrides in (["sampling.seed=6"], ["sampling.seed=5", "sampling.seed=0"], ["sampling=3"]):
        with pytest.raises(BadInput, match=r"--seed says 5 and --set says . of the same, sampling\.seed"):
            with_options(overrides, options)


def test_a_key_that_another_variant_left_is_told_with_the_way_out() -> None:
    values = {"strategy": {"strategy": "neuraladder", "weights": [1, 2, 1]}}
    with pytest.raises(BadInput, match=r"'shuffled' does not have; .*strategy=\{strategy=\"shuffled\"\}"):
        validate(SampleSettings, values, ["strategy.strategy=shuffled"])


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_override_is_taken_or_told(key: str, value: str) -> None:
    try:
        settings(f"{key}={value}")
    except BadInput as error:
        assert str(error)


@pytest.mark.parametrize("content", [b"name = ", b"a = 1\na = 2", b"\xff\xfe", b"[pool\n"])
def test_malformed_toml_is_told_with_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"p\.toml is not valid TOML"):
        load(BuildSettings, path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no file .*nothing\.toml"):
        load(BuildSettings, tmp_path / "nothing.toml")


def test_what_ships_is_named_without_a_path_and_ones_own_with_one() -> None:
    assert shipped("pipelines", "digits").is_file()
    assert shipped("recipes", "observe-r1").is_file()
    assert shipped("data_cards", "card", ".md.j2").is_file()
    assert shipped("pipelines", "./mine.toml") == Path("mine.toml")
    assert shipped("pipelines", "some/dir") == Path("some/dir")


def test_a_wrong_shipped_name_is_told_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"no pipeline 'digit', did you mean 'digits'\?; there are: .*digits"):
        shipped("pipelines", "digit")


def test_every_shipped_pipeline_is_valid_and_survives_being_dumped_and_read() -> None:
    for path in (Path(__file__).parents[1] / "pipelines").glob("*.toml"):
        first = load(BuildSettings, path)
        assert validate(BuildSettings, tomllib.loads(dump(first))) == first


def test_settings_do_not_change_under_ones_feet() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().sampling.k = 3
