"""Push and pull against a stand-in of the Hub: what arrives is what was sent, and nothing of a stranger's is trusted."""

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import Run, digits_settings, ladder_command, rows_of, told
from hub_stand_in import TOKEN, HubStandIn, Repo
from huggingface_hub import constants

from ladder.build import build
from ladder.config import validate
from ladder.errors import BadInput, LadderError
from ladder.hub import pull, push
from ladder.hub.layout import is_log, is_public, log_files
from ladder.splits import SampleSettings, open_split, sample
from ladder.store import MARKER, Store

REPO = "me/tiny-ladder"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    """The stand-in as the Hub of this process, with its token."""
    stand_in = HubStandIn()
    monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
    files = f"{stand_in.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield stand_in
    stand_in.close()


def with_split(ladder: Path) -> Path:
    sample(Store.open(ladder), validate(SampleSettings, {"probe": {"per_tier": 2}}), "mine")
    return ladder


def changed(hub: HubStandIn, **files: bytes | None) -> None:
    """Somebody else's commit: `a__b=...` stands for the file a/b; None deletes it."""
    repo = hub.repos[REPO]
    new = dict(repo.files)
    for key, data in files.items():
        name = key.replace("__", "/")
        if data is None:
            del new[name]
        else:
            new[name] = data
    repo.commit(new)


def tables(ladder: Path) -> dict[str, list[tuple[Any, ...]]]:
    names = [row[0] for row in rows_of(ladder, "SHOW TABLES")]
    return {name: rows_of(ladder, f"SELECT * FROM {name} ORDER BY ALL") for name in names}


# --- there and back ------------------------------------------------------------------------------------------


def test_the_public_part_loads_by_every_config_where_it_arrives(
    ladder: Path, hub: HubStandIn, tmp_path: Path
) -> None:
    pushed = push(with_split(ladder), REPO)
    assert all(is_public(name) or name == "report.html" for name in hub.repos[REPO].files)
    assert pushed.files == len(hub.repos[REPO].files)
    pulled = pull(REPO, tmp_path / "pulled")
    assert (pulled.logs, pulled.same, pulled.left) == (False, None, 1)
    assert not (tmp_path / "pulled" / "report.html").exists()
    for name in datasets.get_dataset_config_names(str(ladder)):
        here, there = (
            datasets.load_dataset(str(path), name, cache_dir=str(tmp_path / f"cache-{i}"))
            for i, path in enumerate((ladder, tmp_path / "pulled"))
        )
        assert {part: rows["id"][:] for part, rows in here.items()} == {
            part: rows["id"][:] for part, rows in there.items()
        }


def test_with_its_logs_a_ladder_is_whole_again(
    ladder: Path, hub: HubStandIn, tmp_path: Path, digits_pool: Path
) -> None:
    push(with_split(ladder), REPO, "all")
    names = set(hub.repos[REPO].files)
    assert not [name for name in names if name.endswith(".duckdb") or "drafts" in name or "lock" in name]
    place = tmp_path / "pulled"
    pulled = pull(REPO, place)
    assert (pulled.logs, pulled.same) == (True, True)
    assert not any(f"GET /datasets/{REPO}/resolve" in line and "/tiers/" in line for line in hub.log)
    ours, theirs = tables(ladder), tables(place)
    assert ours == theirs
    assert open_split(place / "splits" / "mine").train == open_split(ladder / "splits" / "mine").train
    assert {p.name for p in tmp_path.iterdir() if "pulled" in p.name} == {"pulled"}
    report = build(digits_settings(digits_pool, sampling__k=5), place)
    assert report.sampled == 55  # one more of each: those that came along count


def test_pushing_again_replaces_what_is_derived(ladder: Path, hub: HubStandIn, digits_pool: Path) -> None:
    push(ladder, REPO, "all")
    before = set(hub.repos[REPO].files)
    build(digits_settings(digits_pool, tiers__cuts=[0.2, 0.4, 0.6, 0.8]), ladder)
    pushed = push(ladder, REPO, "all")
    after = set(hub.repos[REPO].files)
    tiers = {str(p.relative_to(ladder)) for p in ladder.glob("tiers/*/*.parquet")}
    assert {name for name in after if name.startswith("tiers/")} == tiers
    assert pushed.deleted == len({name for name in before if name.startswith("tiers/")} - tiers)
    assert {name for name in before if is_log(name)} == {name for name in after if is_log(name)}
    assert len(hub.repos[REPO].commits) == 3  # the empty one, and one for each push


def test_two_who_go_on_from_one_ladder_do_not_overwrite_each_other(
    ladder: Path, hub: HubStandIn, digits_pool: Path, tmp_path: Path
) -> None:
    push(ladder, REPO, "all")
    pull(REPO, tmp_path / "theirs")
    build(digits_settings(digits_pool, sampling__k=5), tmp_path / "theirs")
    push(tmp_path / "theirs", REPO, "all")
    commits = len(hub.repos[REPO].commits)
    build(digits_settings(digits_pool, sampling__k=6), ladder)
    with pytest.raises(BadInput, match="logs that are not in"):
        push(ladder, REPO, "all")
    assert len(hub.repos[REPO].commits) == commits
    pull(REPO, tmp_path / "ours")
    assert build(digits_settings(digits_pool, sampling__k=6), tmp_path / "ours").sampled == 55
    push(tmp_path / "ours", REPO, "all")


def test_parts_that_were_merged_here_are_replaced_there(ladder: Path, hub: HubStandIn) -> None:
    store = Store.open(ladder)
    rows = store.outcomes.schema.empty_table().to_pylist()
    for step in range(4):
        row = {"run": "r", "step": step, "item_id": "a" * 24, "model": "m"}
        row |= {"n": 8, "correct": 1, "mean_tokens": 1.0}
        store.outcomes.append([*rows, row])
    push(ladder, REPO, "all")
    assert len([name for name in hub.repos[REPO].files if name.startswith("outcomes/")]) == 4
    assert store.outcomes.compact() == 3
    push(ladder, REPO, "all")
    names = [name for name in hub.repos[REPO].files if name.startswith("outcomes/")]
    assert names == [name for name in log_files(store) if name.startswith("outcomes/")]
    assert len(names) == 1


def test_the_command_works_with_the_environment_alone_and_never_tells_the_token(
    ladder: Path, hub: HubStandIn, tmp_path: Path
) -> None:
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}

    def command(*arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | own | {"HF_TOKEN": token}
        line = ladder_command(*arguments)
        return subprocess.run(
            line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False
        )

    done = command("push", str(ladder), REPO, "--private", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["private"]
    assert hub.repos[REPO].private
    back = command("pull", REPO, "again")
    assert back.returncode == 0, back.stderr
    assert back.stdout.startswith("again: ")
    stranger = command("pull", REPO, "stranger", token="hf_wrong_secret")
    assert stranger.returncode == 2
    assert "hf auth login" in stranger.stderr
    writing = command("push", str(ladder), REPO, token="hf_wrong_secret")
    assert writing.returncode != 0
    files = "".join(p.read_text(errors="replace") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for text in (done.stdout, done.stderr, back.stderr, stranger.stderr, writing.stderr, files):
        assert "hf_stand_in_secret" not in text
        assert "hf_wrong_secret" not in text


# --- what is refused before anything is sent -----------------------------------------------------------------


def test_closed_licences_ask_for_a_yes(ladder: Path, hub: HubStandIn, digits_pool: Path) -> None:
    build(digits_settings(digits_pool, pool__licence="All rights reserved"), ladder)
    with pytest.raises(BadInput, match=r"digits \(All rights reserved\).*--yes"):
        push(ladder, REPO)
    assert not hub.log
    assert push(ladder, REPO, yes=True).licences == [{"source": "digits", "licence": "All rights reserved"}]
    assert "LICENSE.md" in hub.repos[REPO].files


@pytest.mark.usefixtures("hub")
def test_a_public_repository_is_not_taken_for_a_private_one(ladder: Path) -> None:
    push(ladder, REPO)
    with pytest.raises(BadInput, match="public"):
        push(ladder, REPO, private=True)


@pytest.mark.usefixtures("hub")
def test_tiers_are_not_pushed_over_a_ladder_with_its_logs(ladder: Path) -> None:
    push(ladder, REPO, "all")
    with pytest.raises(BadInput, match="--what all"):
        push(ladder, REPO)


def test_while_the_ladder_is_built_it_is_not_pushed(run: Run, ladder: Path, hub: HubStandIn) -> None:
    with Store.open(ladder).building("build"):
        assert "is in use" in told(run("push", ladder, REPO))
    assert not hub.log


# --- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo", ["no/such/name", "a b", "", "..", "x" * 200])
def test_a_name_that_is_none_is_told(run: Run, ladder: Path, hub: HubStandIn, repo: str) -> None:
    assert "no name of a repository" in told(run("push", ladder, repo))
    assert "no name of a repository" in told(run("pull", repo, "place"))
    assert not hub.log


def test_a_repository_or_revision_that_is_not_there_is_told(run: Run, ladder: Path, hub: HubStandIn) -> None:
    assert "no data set me/none" in told(run("pull", "me/none"))
    push(ladder, REPO)
    assert "no such revision" in told(run("pull", REPO, "--revision", "v9"))
    hub.repos["me/plain"] = Repo()
    hub.repos["me/plain"].commit({"README.md": b"hello"})
    assert "is no ladder" in told(run("pull", "me/plain"))
    assert list(Path.cwd().iterdir()) == []


def test_a_hub_that_fails_is_told_and_pulling_goes_on_later(
    ladder: Path, hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(ladder, REPO)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.failing = {"tiers/easy"}
    with pytest.raises(LadderError) as caught:
        pull(REPO, tmp_path / "pulled")
    assert caught.value.exit_code == 1
    assert f"cannot reach {hub.url}" in str(caught.value)
    assert "500" in str(caught.value)
    assert not (tmp_path / "pulled").exists()
    hub.failing, hub.log = set(), []
    pull(REPO, tmp_path / "pulled")
    assert not any("GET" in line and "tiers/hard" in line for line in hub.log)


@pytest.mark.usefixtures("hub")
def test_nothing_is_pulled_over_something(ladder: Path, tmp_path: Path) -> None:
    push(ladder, REPO)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    for place in (tmp_path / "full", tmp_path / "full" / "thesis.tex"):
        with pytest.raises(BadInput, match="holds something"):
            pull(REPO, place)
    (tmp_path / "empty").mkdir()
    assert pull(REPO, tmp_path / "empty").files


@pytest.mark.usefixtures("hub")
def test_the_current_directory_is_not_replaced_and_a_relative_place_is_named_as_given(
    run: Run, ladder: Path
) -> None:
    push(ladder, REPO)
    for place in (".", "", str(Path.cwd())):
        assert "current directory" in told(run("pull", REPO, place))
    assert "holds something" in told(run("pull", REPO, ".."))
    assert list(Path.cwd().iterdir()) == []
    assert run("pull", REPO, "./in/../place")[1].startswith(f"{Path('./in/../place')}: ")
    assert [path.name for path in Path.cwd().iterdir()] == ["place"]


# --- strangers -----------------------------------------------------------------------------------------------


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def refused(place: Path, match: str) -> None:
    inside = sorted(place.parent.rglob("*"))
    with pytest.raises(BadInput, match=match):
        pull(REPO, place)
    assert not place.exists()
    assert not place.with_name(f".{place.name}.pull").exists()
    assert sorted(place.parent.rglob("*")) == inside


NAMES = [
    "../out.parquet",
    "tiers/../../out.parquet",
    "/etc/out",
    "tiers//x.parquet",
    "a\\b",
    "tiers/x\n.parquet",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leaves_the_directory_ends_it_before_any_download(
    ladder: Path, hub: HubStandIn, tmp_path: Path, name: str
) -> None:
    push(ladder, REPO)
    hub.repos[REPO].commit(hub.repos[REPO].files | {name: b"x"})
    hub.log.clear()
    refused(tmp_path / "in" / "pulled", "leaves its directory")
    assert not any("/resolve/" in line for line in hub.log)


def test_a_catalogue_from_elsewhere_is_not_even_downloaded(
    ladder: Path, hub: HubStandIn, tmp_path: Path
) -> None:
    push(ladder, REPO, "all")
    evil = {"ladder.duckdb": b"evil", "run.py": b"evil", "report.html": b"<script>"}
    hub.repos[REPO].commit(hub.repos[REPO].files | evil)
    pulled = pull(REPO, tmp_path / "pulled")
    assert not any("/resolve/" in line and line.endswith(("duckdb", ".py", ".html")) for line in hub.log)
    assert b"<script>" not in (tmp_path / "pulled" / "report.html").read_bytes()
    assert rows_of(tmp_path / "pulled", "SELECT count(*) FROM ladder") == [(55,)]
    assert pulled.left == 3


def manifest(hub: HubStandIn) -> tuple[str, dict[str, Any]]:
    (name,) = [name for name in hub.repos[REPO].files if name.startswith("items/import-")]
    return name, json.loads(hub.repos[REPO].files[name])


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "rollouts/rollouts-1.parquet": (b"not Parquet at all", "no sound ladder"),
    "verdicts/verdicts-1.parquet": (parquet(item_id=[1, 2]), "int64 as item_id"),
    "rollouts/rollouts-2.parquet": (parquet(item_id=["../../x"]), "an id that is none"),
    "items/images-1.parquet": (parquet(data=[b""]), "has no hash"),
    "tiers/easy/0123456789ab-00000.parquet": (b"PAR1 no PAR1", "no sound ladder"),
    "tiers/easy/0123456789ab-00001.parquet": (parquet(images=[["/etc/passwd"]]), "as images"),
    MARKER: (b"format_version = 99\n", "format_version 99"),
    "splits/x/split.toml": (b"= =", "not valid TOML"),
    "README.md": (
        b"---\nconfigs:\n- config_name: x\n  data_files: ../../secret.txt\n---\n",
        "outside of its directory",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_not_what_it_should_be_is_refused(
    ladder: Path, hub: HubStandIn, tmp_path: Path, name: str
) -> None:
    data, expected = BAD_FILES[name]
    push(ladder, REPO, "tiers" if name.startswith(("tiers", "README")) else "all")
    hub.repos[REPO].commit(hub.repos[REPO].files | {name: data})
    refused(tmp_path / "in" / "pulled", expected)


@pytest.mark.parametrize(
    "pattern", ["https://e.vil/x.parquet", "/etc/passwd", "zip://x::http://e.vil", "~/x"]
)
def test_a_card_that_names_files_elsewhere_is_refused(
    ladder: Path, hub: HubStandIn, tmp_path: Path, pattern: str
) -> None:
    push(ladder, REPO)
    card = f"---\nconfigs:\n- config_name: x\n  data_files:\n  - split: train\n    path: ['{pattern}']\n---\n"
    changed(hub, **{"README.md": card.encode()})
    refused(tmp_path / "in" / "pulled", "outside of its directory")


def test_items_are_parts_of_the_ladder_and_nothing_else(
    ladder: Path, hub: HubStandIn, tmp_path: Path
) -> None:
    push(ladder, REPO, "all")
    name, said = manifest(hub)
    for items in (["../../../etc/passwd"], ["items-none.parquet"], [7], "x"):
        changed(hub, **{name.replace("/", "__"): json.dumps(said | {"items": items}).encode()})
        refused(tmp_path / "in" / "pulled", "no sound ladder")
    changed(hub, **{name.replace("/", "__"): None})
    refused(tmp_path / "in" / "pulled", "no items")


def test_counts_of_an_import_are_numbers(ladder: Path, hub: HubStandIn, tmp_path: Path) -> None:
    push(ladder, REPO, "all")
    name, said = manifest(hub)
    for source in (5, {"licence": "x"}, {"rows": "<script>"}, {"rows": True}):
        counts = said["counts"] | {"sources": {"digits": source}}
        changed(hub, **{name.replace("/", "__"): json.dumps(said | {"counts": counts}).encode()})
        refused(tmp_path / "in" / "pulled", "no sound ladder: its import says counts.sources.digits")


@pytest.mark.parametrize("ladder_of_it", ['"x"', "{ fingerprint = 5 }", "[]"])
def test_a_split_says_of_which_ladder_it_is_in_texts(
    ladder: Path, hub: HubStandIn, tmp_path: Path, ladder_of_it: str
) -> None:
    push(with_split(ladder), REPO, "all")
    changed(hub, **{"splits__mine__split.toml": f"ladder = {ladder_of_it}\n".encode()})
    refused(tmp_path / "in" / "pulled", r"splits/mine/split\.toml: ladder is no table of texts")


def with_column(hub: HubStandIn, log: str, column: str, change: Any) -> None:
    """Somebody else's commit, in which a column of the parts of a log has other values."""
    files = {name: data for name, data in hub.repos[REPO].files.items() if name.startswith(log)}
    new = {}
    for name, data in files.items():
        table = pq.read_table(pa.BufferReader(data))
        at, field = table.schema.get_field_index(column), table.schema.field(column)
        values = pa.array([change(value) for value in table[column].to_pylist()], field.type)
        sink = pa.BufferOutputStream()
        pq.write_table(table.set_column(at, field, values), sink)
        new[name.replace("/", "__")] = sink.getvalue().to_pybytes()
    changed(hub, **new)


def test_answers_are_of_a_type_that_there_is(ladder: Path, hub: HubStandIn, tmp_path: Path) -> None:
    push(ladder, REPO, "all")
    for kind in ("zzz", None):
        with_column(hub, "items/items-", "answer_type", lambda _, kind=kind: kind)
        refused(tmp_path / "in" / "pulled", "as answer_type")


def test_what_cannot_be_derived_is_refused_in_one_line(ladder: Path, hub: HubStandIn, tmp_path: Path) -> None:
    push(ladder, REPO, "all")
    with_column(hub, "items/items-", "gold_digest", lambda _: None)
    with_column(hub, "items/items-", "gold", lambda _: None)
    refused(tmp_path / "in" / "pulled", "its logs cannot be read: [A-Z][a-zA-Z]+: [^\\n]+$")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"


def with_size(data: bytes, width: int, height: int) -> bytes:
    return data[:16] + struct.pack(">II", width, height) + data[24:]


NO_IMAGES = {
    "another format": lambda _: EPS,
    "nothing": lambda _: b"",
    "null": lambda _: None,
    "cut": lambda data: data[:20],
    "grey": lambda data: data[:25] + b"\0" + data[26:],
    "vast": lambda data: with_size(data, 2**31 - 1, 2**31 - 1),
    "without pixels": lambda data: with_size(data, 0, 56),
}


@pytest.mark.parametrize("how", [*NO_IMAGES, "of another size"])
def test_stored_images_are_pngs_of_the_size_that_is_said(
    ladder: Path, hub: HubStandIn, tmp_path: Path, how: str
) -> None:
    push(ladder, REPO, "all")
    change = NO_IMAGES.get(how, lambda data: with_size(data, 55, 56))
    with_column(hub, "items/images-", "data", change)
    refused(tmp_path / "in" / "pulled", "no sound ladder: images-.*has an image")


@pytest.mark.parametrize("how", NO_IMAGES)
@pytest.mark.parametrize("where", ["tiers/easy/", "splits/mine/train"])
def test_images_of_tiers_and_splits_are_pngs(
    ladder: Path, hub: HubStandIn, tmp_path: Path, how: str, where: str
) -> None:
    sample(Store.open(ladder), validate(SampleSettings, {}), "mine", self_contained=True)
    push(ladder, REPO)
    assert pull(REPO, tmp_path / "sound").files

    def change(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"bytes": NO_IMAGES[how](one["bytes"]), "path": "/etc/passwd"} for one in images]

    with_column(hub, where, "images", change)
    refused(tmp_path / "in" / "pulled", "no sound ladder: .*has an image")


def test_settings_of_strangers_are_validated(ladder: Path, hub: HubStandIn, tmp_path: Path) -> None:
    push(ladder, REPO, "all")
    text = hub.repos[REPO].files[MARKER].decode()
    changed(hub, **{MARKER: text.replace("[build.card]", '[build.card]\nshell = "rm"').encode()})
    refused(tmp_path / "in" / "pulled", "unknown key")
    changed(
        hub,
        **{
            MARKER: text.replace('names = ["unsolved"', 'names = ["../../x"')
            .replace('"unsolved"', '"../../x"')
            .encode()
        },
    )
    refused(tmp_path / "in" / "pulled", "identifiers")
    changed(hub, **{MARKER: text.replace("[views.main]", "[views.other]").encode()})
    refused(tmp_path / "in" / "pulled", "ladder build")


def test_a_link_is_refused(tmp_path: Path) -> None:
    from ladder.hub.checks import check_files

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.parquet").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="is a link"):
        check_files(tmp_path / "a", {"x.parquet"})
    shutil.rmtree(tmp_path / "a")
