"""Settings: what is wrong is told with its place and a way out."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.config import dump, load, shipped, validate
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
    assert "'name' is no table" in complaint("name.first=1")


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


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sampling.k=0", "--set sampling.k: sampling.k: "),
        ("nam=1", "--set nam: unknown key 'nam'"),
        ("tiers.cuts=[0.5]", "--set tiers.cuts: tiers: "),
        ("sampling={k=0}", "--set sampling: sampling.k: "),
        (
            "passes.blind.tiers=['hrad']",
            "--set passes.blind.tiers: passes.blind.tiers: there is no tier 'hrad'",
        ),
    ],
)
def test_a_problem_of_an_override_is_told_as_one(override: str, told: str) -> None:
    with pytest.raises(BadInput) as error:
        validate(BuildSettings, {"name": "x", "pool": {"root": "p"}}, ["sampling.seed=3", override], "p.toml")
    assert str(error.value).startswith(told)


def test_a_problem_of_the_file_is_told_with_the_file_beside_overrides() -> None:
    values = {"name": "x", "pool": {"root": "p"}, "sampling": {"k": 0}}
    with pytest.raises(BadInput, match=r"^p\.toml: sampling\.k: "):
        validate(BuildSettings, values, ["sampling.seed=3", "tiers.prior=pool"], "p.toml")


def test_a_setting_of_another_strategy_is_told_with_its_strategy() -> None:
    text = complaint("strategy.sigma=2", cls=SampleSettings)
    assert "unknown key 'strategy.sigma': it is a setting of strategy = 'gaussian'" in text


def test_a_name_that_no_tier_can_have_is_told() -> None:
    assert "'a/b' is not one" in complaint("tiers.names=['c','a/b','d','e','f']")
    assert "'c' is not one" in complaint("tiers.names=['c','d','c','e','f']")
