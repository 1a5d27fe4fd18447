"""Verbs over whole ladders as they lie on disk: compare, publish, hand on, migrate. Each only reads options and prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ladder.cli.app import Json, Set, app
from ladder.errors import BadInput

__all__ = ["app"]


@app.command(short_help="Split -> the files and settings of another trainer.")
def export(
    split: Annotated[Path, typer.Argument(help="A split's directory, LADDER/splits/NAME.")],
    to: Annotated[
        str,
        typer.Option("--to", help="verl, easyr1, trl, openrlhf, lmm-r1, ms-swift, llava, r1v or mmpr."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The export's directory [default: SPLIT-TRAINER].")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="train, validation, probe or all.")] = "all",
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="A prompt template [default: the ladder's].")
    ] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Example:  ladder export my-ladder/splits/neuraladder --to verl

    Write a split for another trainer, in its order, with the settings that keep the trainer from shuffling it.
    """
    from ladder.config import validate
    from ladder.export import ExportSettings, told
    from ladder.export import export as run
    from ladder.splits import open_split

    opened = open_split(split)
    values = {"to": to, "part": part} | ({"prompt": prompt} if prompt else {})
    settings = validate(ExportSettings, values, set_ or (), where="--set")
    exported = run(opened, settings, out or Path(f"{opened.path.name}-{settings.to}"))
    if json_:
        return typer.echo(json.dumps(asdict(exported) | {"path": str(exported.path)}, ensure_ascii=False))
    typer.echo(told(exported))
    return None


@app.command(short_help="What changed between two ladders, or two splits.")
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A ladder's directory, or a split's.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    json_: Json = False,
) -> None:
    """Example:  ladder diff my-ladder my-ladder-2

    Settings, items, golds, tiers, pass rates (how many differ by more than chance) and verdicts; of splits the order.
    """
    from ladder.diff import diff as run

    found, told = run(a, b)
    typer.echo(json.dumps(found, default=str, ensure_ascii=False) if json_ else told)


@app.command(short_help="Bring a ladder of an older format version forward.")
def migrate(
    ladder: Annotated[Path, typer.Argument(help="A ladder's directory.")],
    json_: Json = False,
) -> None:
    """Example:  ladder migrate my-ladder

    Rewrite what this version stores otherwise, and derive catalogue, tiers, card and report anew. Samples nothing.
    """
    from ladder.migrate import migrate as run
    from ladder.migrate import told

    report = run(ladder)
    typer.echo(json.dumps(asdict(report)) if json_ else told(report))


@app.command(short_help="A ladder to the Hugging Face Hub.")
def push(
    ladder: Annotated[Path, typer.Argument(help="A ladder's directory.")],
    repo: Annotated[str, typer.Argument(help="A data set of the Hub, OWNER/NAME.")],
    what: Annotated[
        str, typer.Option("--what", help="tiers: card, tiers and splits; all: the logs too, to go on from.")
    ] = "tiers",
    private: Annotated[bool, typer.Option("--private", help="Make it a private one.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Push though a source's licence is unknown or closed.")
    ] = False,
    json_: Json = False,
) -> None:
    """Example:  ladder push my-ladder me/my-ladder --private

    One commit with the ladder as it is now. Log in with `hf auth login`, or set HF_TOKEN.
    """
    if what not in ("tiers", "all"):
        raise BadInput(f"--what {what!r}: tiers or all")
    from ladder.hub.push import push as run
    from ladder.hub.push import told

    pushed = run(ladder, repo, "all" if what == "all" else "tiers", private, yes)
    typer.echo(json.dumps(asdict(pushed), ensure_ascii=False) if json_ else told(pushed))


@app.command(short_help="A ladder from the Hugging Face Hub.")
def pull(
    repo: Annotated[str, typer.Argument(help="A data set of the Hub, OWNER/NAME.")],
    place: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A new or empty directory [default: NAME].")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="A branch, tag or commit [default: the latest].")
    ] = None,
    json_: Json = False,
) -> None:
    """Example:  ladder pull me/my-ladder

    Checked, for it is somebody else's; where its logs came along, everything else is derived from them here.
    """
    from ladder.hub.pull import pull as run
    from ladder.hub.pull import told

    pulled = run(repo, place, revision)
    typer.echo(json.dumps(asdict(pulled), ensure_ascii=False) if json_ else told(pulled))
