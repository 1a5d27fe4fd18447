"""The command line: bad input is told in one line with exit code 2, data goes to stdout and nothing else does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from helpers import K, Run, digits_overrides, run_ladder, told, write_rows

from ladder.cli.app import app
from ladder.splits import Split
from ladder.store import Store
from trainer.run import RunReport
from trainer.setup import Chosen


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def pipeline(folder: Path, text: str) -> str:
    (folder / "own.toml").write_text(text)
    return str(folder / "own.toml")


OWN = 'name = "own"\n[pool]\nroot = "pool"\n[model]\nname = "digits"\n'

BAD_BUILDS: dict[str, tuple[list[str], str]] = {
    "missing pipeline file": (["./none.toml"], "no file none.toml"),
    "pipeline of another name": (["digist"], "did you mean 'digits'"),
    "unknown key": (["digits", "--set", "sampling.kk=3"], "did you mean 'sampling.k'"),
    "bad value": (["digits", "--set", "sampling.k=0"], "sampling.k"),
    "override without a value": (["digits", "--set", "sampling.k"], "key=value"),
    "malformed TOML": (["BROKEN"], "not valid TOML"),
    "missing pool": (["OWN"], "the pool pool does not exist"),
    "pool without files": (["OWN", "--set", "pool.root=EMPTY"], "has no file *.jsonl"),
    "model that is none": (["digits", "--set", "model.name=digit"], "no model 'digit'"),
    "model that is no directory of one": (["digits", "--set", "model.name=EMPTY"], "it has no config.json"),
    "model that sees nothing": (["digits", "--set", "model.name=TEXT_MODEL"], "no vision-language model"),
    "template that is none": (["digits", "--set", "prompt.template=brie"], "no prompt template 'brie'"),
    "unknown option": (["digits", "--seeed", "1"], "No such option"),
    "no pipeline": ([], "Missing argument"),
}


@pytest.mark.parametrize("case", BAD_BUILDS)
def test_a_build_from_bad_input_says_so_in_one_line_and_writes_nothing(
    run: Run, tmp_path: Path, case: str
) -> None:
    arguments, expected = BAD_BUILDS[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "broken.toml").write_text("name = ")
    places = {
        "OWN": pipeline(tmp_path, OWN), "EMPTY": str(tmp_path / "empty"), "TEXT_MODEL": str(tmp_path / "text"),
        "BROKEN": str(tmp_path / "broken.toml"),
    }  # fmt: skip
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    before = written(tmp_path)
    assert expected in told(run("build", *arguments, "--out", str(tmp_path / "out")))
    assert written(tmp_path) == before


@pytest.mark.parametrize(
    "key",
    [
        "vllm.args.hf_token",
        "vllm.args.hf_overrides.API_KEY",
        "server.extra.api-key",
        "server.extra.headers.Authorization",
        "server.extra.client_secret",
        "passes.blind.vllm.args.hf_token",
        "passes.blind.server.extra.password",
    ],
)
def test_what_looks_like_a_credential_is_refused_and_never_shown(run: Run, tmp_path: Path, key: str) -> None:
    line = told(run("build", "digits", "--dry-run", "--out", tmp_path / "out", "--set", f"{key}=s3cr3t-0123"))
    assert f"{key.rpartition('.')[2]!r} looks like a credential" in line
    assert "s3cr3t" not in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rate", "100"], "--rate is for the forecast"),
        (["--rate", "0"], "--rate is for the forecast"),
        (["--rate", "100", "--until", "audit"], "--rate is for the forecast"),
        (["--dry-run", "--rate", "0"], "--rate 0"),
        (["--dry-run", "--rate", "-1"], "--rate -1"),
        (["--dry-run", "--until", "audit"], "--dry-run and --until"),
        (["--dry-run", "--workers", "2"], "--workers"),
        (["--dry-run", "--shard", "0/2"], "--shard"),
        (["--dry-run", "--ray", "local"], "--ray"),
        (["--until", "audit", "--workers", "2"], "--workers"),
    ],
)
def test_options_that_do_nothing_together_are_refused(
    run: Run, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    before = written(tmp_path)
    assert expected in told(run("build", "digits", "--out", tmp_path / "out", *arguments))
    assert written(tmp_path) == before


def test_a_ladder_is_not_built_over_something_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    before = written(tmp_path)
    assert "holds something that is no ladder" in told(run("build", "digits", "--out", tmp_path / "full"))
    assert "is a file" in told(run("build", "digits", "--out", tmp_path / "full" / "thesis.tex"))
    told(run("build", "digits", "--out", tmp_path / "full" / "thesis.tex" / "x"), code=1)
    assert written(tmp_path) == before


def test_a_second_builder_is_told_who_the_first_one_is(run: Run, ladder: Path, digits_pool: Path) -> None:
    overrides = [f"--set={o}" for o in digits_overrides(digits_pool, sampling__k=K + 1)]
    with Store.open(ladder).building("build"):
        line = told(run("build", "digits", "--out", ladder, *overrides))
    assert f"is in use by `ladder build`, process {os.getpid()} on " in line


@pytest.mark.parametrize(
    ("verb", "option", "override"),
    [
        ("build digits --dry-run", "--seed 3", "sampling.seed=4"),
        ("build digits --dry-run", "--model a", "model.name=b"),
        ("sample LADDER", "--seed 3", "seed=4"),
        ("sample LADDER", "--strategy sorted", "strategy.strategy=shuffled"),
        ("sample LADDER", "--difficulty offline", "difficulty=online"),
        ("train SPLIT", "--seed 3", "seed=4"),
        ("train SPLIT", "--seed 0", "seed=4"),
        ("warmup NEW", "--seed 3", "seed=4"),
    ],
)
def test_an_option_and_a_setting_that_differ_are_told(
    run: Run, ladder: Path, tmp_path: Path, verb: str, option: str, override: str
) -> None:
    run("sample", ladder, "--set", "probe.per_tier=1", "--name", "drawn")
    places = {"LADDER": str(ladder), "SPLIT": str(ladder / "splits" / "drawn"), "NEW": str(tmp_path / "new")}
    arguments = [places.get(part, part) for part in verb.split()]
    before = written(tmp_path)
    line = told(run(*arguments, *option.split(), "--set", override))
    assert f"{option.split()[0]} says " in line
    assert f"of the same, {override.split('=')[0]}" in line
    assert written(tmp_path) == before


def test_the_seed_of_a_run_is_that_of_set_or_of_the_option(
    run: Run, ladder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("sample", ladder, "--set", "probe.per_tier=1")
    mine = tmp_path / "mine.toml"
    mine.write_text("seed = 7\n")
    seeds: list[int] = []

    def train(_: Split, chosen: Chosen, __: Path) -> RunReport:
        seeds.append(chosen.settings.seed)
        return RunReport("model", 1, 0, {})

    monkeypatch.setattr("trainer.setup.train", train)
    split = ladder / "splits" / "neuraladder"
    for more in ([], ["--set", "seed=5"], ["--seed", "6"], ["--seed", "6", "--set", "seed=6"]):
        assert run("train", split, *more)[0] == 0
        assert run("train", split, "--recipe", mine, *more)[0] == 0
    assert seeds == [0, 7, 5, 5, 6, 6, 6, 6]


@pytest.mark.parametrize(
    ("key", "option"), [("sampling.seed", "--seed"), ("sampling.k", "--n"), ("model.name", "--model")]
)
def test_what_an_evaluation_has_of_its_own_is_no_setting_of_it(
    run: Run, built: Path, key: str, option: str
) -> None:
    assert f"give {option}" in told(run("eval", built / "splits" / "none", "--set", f"{key}=3"))


def test_a_split_is_called_as_the_strategy_that_a_setting_chose(run: Run, ladder: Path) -> None:
    code, out, _ = run(
        "sample", ladder, "--json", "--set", "strategy.strategy=sorted", "--set", "probe.per_tier=1"
    )
    assert (code, Path(json.loads(out)["path"]).name) == (0, "sorted")


@pytest.mark.parametrize("verb", ["sample", "sql"])
def test_what_is_no_ladder_is_told(run: Run, tmp_path: Path, verb: str) -> None:
    more = ["SELECT 1"] if verb == "sql" else []
    assert "is not a ladder" in told(run(verb, tmp_path, *more))
    assert "is not a ladder" in told(run(verb, tmp_path / "none", *more))


@pytest.mark.parametrize("verb", ["train", "eval"])
def test_what_is_no_split_is_told(run: Run, built: Path, verb: str) -> None:
    assert "is not a split" in told(run(verb, built))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--strategy", "best"], "strategy: 'best' is none of 'neuraladder', 'sorted', 'shuffled'"),
        (["--set", "probe.per_teir=3"], "did you mean 'probe.per_tier'"),
        (["--set", "strategy.weigths=[1]"], "did you mean 'strategy.weights'"),
        (["--set", "strategy.weights=[1,1]"], "strategy: weights"),
        (["--set", "probe"], "key=value"),
        (["--seed", "many"], "valid integer"),
        (["--name", "../up"], "plain directory name"),
        (["--name", ""], "plain directory name"),
        (["--name", "-x"], "plain directory name"),
        (["--name", "a`$(id)`"], "plain directory name"),
        (["--name", "a" * 300], "plain directory name"),
        (["--set", "max_tokens=1"], "the budget is less than one item takes"),
        (["--difficulty", "online"], "no outcomes of training yet"),
        (["--difficulty", "now"], "'offline' or 'online'"),
        (["--set", "quota.source.a=1.5"], "quota.source.a"),
        (["--set", "quota.sauce.a=1"], "did you mean 'quota.source'"),
        (["--set", 'quota.source."*"=0.2'], "shares"),
    ],
)
def test_a_sample_of_bad_input_is_told_and_writes_nothing(
    run: Run, built: Path, arguments: list[str], expected: str
) -> None:
    before = written(built)
    assert expected in told(run("sample", built, *arguments))
    assert written(built) == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT x FROM ladder",
        "SELEC",
        "",
        "DROP TABLE ladder",
        "SELECT 1/'a'",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO 'tiers/written.csv'",
        "EXPORT DATABASE 'written'",
    ],
)
def test_bad_sql_is_told_in_one_line(run: Run, built: Path, query: str) -> None:
    told(run("sql", built, query))


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"items": 3}', '{"items": [{"id": 1}]}', "\xff"])
def test_what_is_no_evaluation_is_told(run: Run, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    assert "is no evaluation" in told(run("compare", path, path))


def test_wrong_parts_recipes_and_verbs_are_told(run: Run, ladder: Path) -> None:
    run("sample", ladder, "--set", "probe.per_tier=1")
    split = ladder / "splits" / "neuraladder"
    assert "train, probe or validation" in told(run("eval", split, "--part", "test"))
    assert "did you mean 'observe-r1'" in told(
        run("train", split, "--recipe", "observe-r2", "--out", ladder.parent / "run")
    )
    assert "No such command" in told(run("biuld"))
    assert not (ladder.parent / "run").exists()


def test_a_complete_ladder_is_told_as_such_and_its_json_is_one_object(
    run: Run, ladder: Path, digits_pool: Path
) -> None:
    arguments = ["build", "digits", "--out", ladder, *(f"--set={o}" for o in digits_overrides(digits_pool))]
    code, out, _ = run(*arguments)
    assert code == 0
    assert f"{ladder}: nothing to do, the ladder is complete" in out
    code, out, _ = run(*arguments, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["path"], report["sampled"], report["new"]) == (str(ladder), 0, False)
    assert sum(report["tiers"].values()) == report["items"]


def test_a_sample_and_a_query_as_json_are_one_value_on_stdout(run: Run, ladder: Path) -> None:
    code, out, err = run("sample", ladder, "--json", "--set", "probe.per_tier=1")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert Path(facts["path"]).is_dir()
    assert facts["counts"]["train"] > 0
    code, out, err = run(
        "sql", ladder, "SELECT 1 AS one, DATE '2020-01-01' AS day, NULL AS nothing", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out) == [{"one": 1, "day": "2020-01-01", "nothing": None}]


def test_a_dry_sample_shows_what_it_would_hold_and_writes_nothing(run: Run, built: Path) -> None:
    before = written(built)
    wanted = ("sample", built, "--dry-run", "--set", "probe.per_tier=1")
    code, out, err = run(*wanted)
    assert (code, err) == (0, "")
    for part in (
        "items to train on",
        "left out: ",
        "held_out",
        "tokens to generate",
        "tier:",
        "first:",
        "last:",
    ):
        assert part in out
    code, out, err = run(*wanted, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["counts"]["train"] == sum(found["tier"].values())
    assert written(built) == before


def test_a_sample_tells_what_it_left_out(run: Run, ladder: Path) -> None:
    code, out, err = run("sample", ladder, "--set", "probe.per_tier=1")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith(f"{ladder}/splits/neuraladder: ")
    assert "left out: held_out" in second


def test_a_query_prints_a_header_and_tab_separated_rows(run: Run, built: Path) -> None:
    code, out, err = run("sql", built, "SELECT 1 AS one, 'x' AS two UNION ALL SELECT 2, 'y' ORDER BY 1")
    assert (code, out, err) == (0, "one\ttwo\n1\tx\n2\ty\n", "")


def test_the_command_in_a_process_of_its_own_behaves_the_same(tmp_path: Path) -> None:
    """A pool that turns out unreadable only when it is read, and a plain success."""
    write_rows(tmp_path / "pool", [])
    shutil.move(tmp_path / "pool" / "rows.jsonl", tmp_path / "pool" / "rows.xml")
    own = pipeline(tmp_path, OWN.replace('"pool"', '"pool"\nfiles = ["*.xml"]'))
    failed = run_ladder("build", own, "--out", "out", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.splitlines() == [
        "ladder: pool/rows.xml: a pool file is .jsonl, .json, .csv, .tsv, .parquet, .arrow or an image, not .xml; "
        "or say what it is with pool.layout.format"
    ], failed
    assert run_ladder("--help").returncode == 0


def test_an_interrupt_ends_with_code_1_and_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ladder.build.build", interrupt)
    assert "the same command goes on" in told(run("build", "digits", "--out", tmp_path / "x"), code=1)


def test_help_imports_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "duckdb", "pyarrow", "numpy", "pandas", "pydantic", "datasets", "scipy"]
    code = (
        "import sys\nfrom ladder.cli import main\nsys.argv = ['ladder', '--help']\n"
        f"try: main()\nfinally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


VERBS = {
    "build": [
        "--dry-run",
        "--json",
        "--model",
        "--out",
        "--rate",
        "--ray",
        "--seed",
        "--set",
        "--shard",
        "--until",
        "--workers",
    ],
    "sample": [
        "--difficulty",
        "--dry-run",
        "--force",
        "--json",
        "--name",
        "--seed",
        "--self-contained",
        "--set",
        "--strategy",
    ],
    "train": [
        "--dry-run",
        "--gpu-memory",
        "--gpus",
        "--json",
        "--model",
        "--out",
        "--rate",
        "--recipe",
        "--seed",
        "--set",
    ],
    "eval": ["--json", "--model", "--n", "--out", "--part", "--seed", "--set"],
    "compare": ["--json"],
    "diff": ["--json"],
    "export": ["--json", "--out", "--part", "--prompt", "--set", "--to"],
    "migrate": ["--json"],
    "pull": ["--json", "--revision"],
    "push": ["--json", "--private", "--what", "--yes"],
    "verify": [
        "--answer",
        "--deadline",
        "--gold",
        "--json",
        "--option",
        "--options",
        "--set",
        "--tolerance",
        "--type",
        "--unit",
        "--workers",
    ],
    "sql": ["--json"],
    "show": [
        "--flag",
        "--id",
        "--images",
        "--json",
        "--limit",
        "--offset",
        "--reason",
        "--run",
        "--save",
        "--search",
        "--source",
        "--split",
        "--subject",
        "--tier",
        "--type",
        "--width",
    ],
    "report": ["--json"],
    "warmup": ["--seed", "--set"],
    "demo": ["--json", "--out", "--seed"],
}


def test_verbs_and_options_are_frozen() -> None:
    """Scripts depend on them: a change must be meant."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert {
        name: sorted(o for p in command.params for o in p.opts if o.startswith("--") and o != "--help")
        for name, command in commands.items()
    } == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verbs_help_begins_with_an_example(run: Run, verb: str) -> None:
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    first = out.split("\n\n")[1].strip()
    assert first.startswith(f"Example:  ladder {verb} ")
    assert run(verb, "-h")[1] == out
