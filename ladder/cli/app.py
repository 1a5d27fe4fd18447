"""The verbs and their options."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ladder.errors import BadInput

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn raw multimodal question pools into a curriculum for your own vision-language model, and train on it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting (dotted key).")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random [default: 0].")]


@app.command(short_help="Raw pool -> scored, tiered, ordered ladder.")
def build(
    pipeline: Annotated[
        str, typer.Argument(help="A shipped pipeline's name (digits), or a path to a TOML file.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The ladder's directory [default: the pipeline's name].")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model that scores [default: the pipeline's].")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the sampling [default: the pipeline's].")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="audit", help="Stop there: import and audit, no model.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Engines in processes of their own, one per GPU.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Sample one of N shares of the items (job arrays)."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS", help="Engines as Ray actors: a cluster's address, auto, or local."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and forecast the cost; write nothing.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Generated tokens per second, for the forecast of time.")
    ] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Example:  ladder build digits --out my-ladder --set sampling.k=16

    Import a raw pool, audit every item, sample k answers per item, verify them, score difficulty, cut tiers, order.
    The same command again does only what is missing; interrupted, it goes on.
    """
    from ladder.config import shipped, with_options
    from ladder.settings import pipeline_settings

    options = {"--model": ("model.name", model), "--seed": ("sampling.seed", seed)}
    settings = pipeline_settings(shipped("pipelines", pipeline), with_options(set_ or (), options))
    place = out or Path(settings.name)
    if rate is not None and not dry_run:
        raise BadInput("--rate is for the forecast of time: give --dry-run too, or leave it out")
    if (dry_run or until is not None) and (workers or shard or ray or (dry_run and until is not None)):
        raise BadInput(
            "--dry-run and --until sample nothing: leave out the other, --workers, --shard and --ray"
        )
    if dry_run:
        return _forecast(settings, place, rate, json_)
    if until is not None:
        return _build_until(until, settings, place, json_)
    from ladder.build import Running, Shard, told
    from ladder.build import build as run

    report = run(settings, place, Running(workers, ray, None if shard is None else Shard.parse(shard)))
    if json_:
        return _print_json(asdict(report))
    lines, warnings = told(report)
    typer.echo("\n".join(lines))
    for warning in warnings:
        typer.echo(f"  {warning}", err=True)
    return None


def _forecast(settings: Any, out: Path, rate: float | None, json_: bool) -> None:
    from ladder.forecast import forecast, told

    expected = forecast(settings, out, rate)
    return _print_json(asdict(expected)) if json_ else typer.echo(told(expected))


def _build_until(stage: str, settings: Any, out: Path, json_: bool) -> None:
    if stage != "audit":
        raise BadInput(f"--until {stage!r}: a build can stop after its audit only")
    from ladder.importing.stage import build_until_audit

    audited = build_until_audit(settings, out)
    if json_:
        return _print_json(asdict(audited))
    rejects = sum(audited.rejects.values())
    typer.echo(f"{audited.path}: {audited.rows:,} rows, {audited.items:,} items, {rejects:,} rejects")
    for title in ("rejects", "flags", "answer_types"):
        for name, count in getattr(audited, title).items():
            typer.echo(f"  {title.removesuffix('s'):<12} {name:<24} {count:>8,}")
    return None


@app.command(short_help="Ladder -> ordered training split and fixed probe.")
def sample(
    ladder: Annotated[Path, typer.Argument(help="A ladder's directory.")],
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            help="neuraladder [default], sorted, shuffled or reversed (controls), band, stages, gaussian, balanced.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The split's name [default: the strategy's].")
    ] = None,
    difficulty: Annotated[
        str | None,
        typer.Option("--difficulty", help="offline [default], or online: as training has seen it since."),
    ] = None,
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Write the items with their images, not ids.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another split of this name.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the split would contain; write nothing.")
    ] = False,
    seed: Seed = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Example:  ladder sample my-ladder --strategy neuraladder --set probe.per_tier=100

    Draw an ordered training split and a fixed probe, held out by item and by cluster of near-identical images.
    """
    from ladder.config import validate, with_options
    from ladder.splits import SampleSettings, look
    from ladder.splits import sample as run
    from ladder.splits.told import preview, summary
    from ladder.store import Store

    store = Store.open(ladder)
    options = {"--strategy": ("strategy.strategy", strategy), "--difficulty": ("difficulty", difficulty)}
    overrides = with_options(set_ or (), options | {"--seed": ("seed", seed)})
    values = {"strategy": {"strategy": "neuraladder"}}
    settings = validate(SampleSettings, values, overrides, where="--set")
    if dry_run:
        found = look(store, settings)
        return _print_json(found) if json_ else typer.echo(preview(found))
    split = run(store, settings, settings.strategy.strategy if name is None else name, self_contained, force)
    if json_:
        return _print_json({"path": str(split.path), **split.facts})
    held, *rest = summary(split.facts["counts"], split.facts["left_out"])
    typer.echo("\n".join([f"{split.path}: {held}", *(f"  {line}" for line in rest)]))
    return None


@app.command(short_help="Progressive GRPO on a split's order.")
def train(
    split: Annotated[Path, typer.Argument(help="A split's directory, LADDER/splits/NAME.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Shipped name, directory or Hub id [default: the ladder's].")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="observe-r1, othink-mr1, grpo, or a path [default: as the ladder's pipeline says].",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The run's directory.")] = Path("run"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, forecast memory, tokens and time; write nothing."),
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Sampled tokens per second, for the forecast of time.")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", help="GPUs that train, for the forecast [default: torchrun's processes]."),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option("--gpu-memory", help="GB of each GPU, for the forecast of another machine."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything random [default: the recipe's].")
    ] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Example:  ladder train my-ladder/splits/neuraladder --model Qwen/Qwen2.5-VL-3B-Instruct --recipe observe-r1

    Progressive GRPO on a split's order. The same command again goes on from the latest checkpoint.
    """
    forecast_only = {"--rate": rate, "--gpus": gpus, "--gpu-memory": gpu_memory}
    for option, value in forecast_only.items():
        if value is not None and not dry_run:
            raise BadInput(f"{option} is for the forecast: give --dry-run too, or leave it out")
    from ladder.config import with_options
    from ladder.splits import open_split
    from trainer.setup import settings_for
    from trainer.setup import train as run

    opened = open_split(split)
    chosen = settings_for(opened, model, recipe, with_options(set_ or (), {"--seed": ("seed", seed)}))
    if dry_run:
        from trainer.forecast import forecast, forecast_text

        expected = forecast(opened, chosen.model, chosen.settings, out, rate, gpus, gpu_memory)
        return _print_json(asdict(expected)) if json_ else typer.echo(forecast_text(expected))
    report = run(opened, chosen, out)
    if json_:
        return _print_json(asdict(report))
    typer.echo(f"{report.model}: {report.steps} steps")
    return None


@app.command("eval", short_help="mean@n, greedy and pass@n of a model on a split.")
def evaluate(
    split: Annotated[Path, typer.Argument(help="A split's directory, LADDER/splits/NAME.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Shipped name, directory or Hub id [default: the ladder's].")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Samples per item.")] = 8,
    part: Annotated[str, typer.Option("--part", help="train, probe or validation.")] = "probe",
    out: Annotated[
        Path | None, typer.Option("--out", help="Keep the evaluation as JSON, for `ladder compare`.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the samples.")] = 1,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Example:  ladder eval my-ladder/splits/neuraladder --model run/model --n 8 --out after.json

    mean@n at the sampling temperature, greedy accuracy and pass@n, by tier and subject, with 95% intervals.
    """
    if part not in ("train", "probe", "validation"):
        raise BadInput(f"--part {part!r}: train, probe or validation")
    from ladder.config import said
    from ladder.splits import open_split
    from trainer.setup import build_settings_of
    from trainer.tables import evaluation_table

    for option, key in {"--model": "model.name", "--n": "sampling.k", "--seed": "sampling.seed"}.items():
        if said(set_ or (), key) is not None:
            raise BadInput(f"--set {key} is of the ladder's build; an evaluation has its own: give {option}")
    opened = open_split(split)
    settings = build_settings_of(opened, set_ or ())
    from trainer.evaluate import evaluate as run
    from trainer.evaluate import summary

    evaluation = run(opened, getattr(opened, part), model or settings.model.name, settings, n, seed)
    if out is not None:
        evaluation.save(out)
    if json_:
        return _print_json(summary(evaluation))
    typer.echo(evaluation_table(summary(evaluation), n))
    return None


@app.command(short_help="Paired differences between two evaluations.")
def compare(
    before: Annotated[Path, typer.Argument(help="An evaluation that `ladder eval --out` wrote.")],
    after: Annotated[Path, typer.Argument(help="Another one, of the same items.")],
    json_: Json = False,
) -> None:
    """Example:  ladder compare before.json after.json

    Paired differences between two evaluations of the same items, with 95% intervals.
    """
    from trainer.evaluate import Evaluation
    from trainer.evaluate import compare as run
    from trainer.tables import comparison_table

    first, second = Evaluation.read(before), Evaluation.read(after)
    rows = run(first, second)
    if json_:
        return _print_json(rows)
    typer.echo(comparison_table(rows, second.n))
    return None


@app.command(short_help="Judge an answer, a file of cases, or a ladder again.")
def verify(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[CASES|LADDER]", help="A JSONL file (- is stdin), or a ladder's directory."),
    ] = None,
    gold: Annotated[str | None, typer.Option("--gold", help="The right answer, of one case.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="The response, or a bare answer.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", help="An option's text; repeat it.")] = None,
    options: Annotated[str | None, typer.Option("--options", help="red|green, or a JSON list.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The answer type [default: inferred].")] = None,
    tolerance: Annotated[str | None, typer.Option("--tolerance", help="5%, ±0.1 or 2 decimals.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="The gold's unit.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes.")] = None,
    deadline: Annotated[float | None, typer.Option("--deadline", help="Seconds for a case.")] = None,
    set_: Set = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each case.")] = False,
) -> None:
    """Example:  ladder verify --gold "5 cm" --answer "50 mm"

    Judge one answer; a file of cases, one JSON object a line with gold and response; or, after the verifier changed,
    the stored rollouts of a ladder, without sampling anything.
    """
    from ladder.cli.verify import Judging, run

    one = {"gold": gold, "response": answer, "option": option, "options": options, "answer_type": type_}
    one |= {"tolerance": tolerance, "unit": unit}
    run(what, one, Judging(tuple(set_ or ()), workers, deadline), json_)


@app.command(short_help="SQL over a ladder's catalogue.")
def sql(
    ladder: Annotated[Path, typer.Argument(help="A ladder's directory.")],
    query: Annotated[
        str,
        typer.Argument(help="SQL over ladder, items, rejects, scores, passes, doubts, runs, build, ..."),
    ],
    json_: Json = False,
) -> None:
    """Example:  ladder sql my-ladder "SELECT tier, count(*), avg(pass_rate) FROM ladder GROUP BY 1"

    Ask the catalogue, as plain DuckDB on my-ladder/ladder.duckdb does, and rollouts, verdicts and outcomes besides.
    """
    from ladder.api import Ladder

    found = Ladder(ladder).sql(query)
    if json_:
        return _print_json(list(found))
    typer.echo("\t".join(found.columns))
    for row in found.rows:
        typer.echo("\t".join(str(cell) for cell in row))
    return None


@app.command(short_help="Page through items or rejects; what training saw.")
def show(
    what: Annotated[str, typer.Argument(metavar="items|rejects|outcomes", help="What to show.")],
    ladder: Annotated[Path, typer.Argument(help="A ladder's directory.")],
    id_: Annotated[
        list[str] | None, typer.Option("--id", help="An item's id, or its id in its source.")
    ] = None,
    source: Annotated[list[str] | None, typer.Option("--source", help="Its source.")] = None,
    split: Annotated[list[str] | None, typer.Option("--split", help="An item's split.")] = None,
    subject: Annotated[list[str] | None, typer.Option("--subject", help="An item's subject.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="An item's answer type.")] = None,
    flag: Annotated[
        list[str] | None, typer.Option("--flag", help="What the audit noticed of an item.")
    ] = None,
    tier: Annotated[
        list[str] | None, typer.Option("--tier", help="An item's tier, once it is scored.")
    ] = None,
    reason: Annotated[list[str] | None, typer.Option("--reason", help="Why a reject is one.")] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="A text in question, options or gold.")
    ] = None,
    run_: Annotated[
        str | None, typer.Option("--run", help="The run whose outcomes are shown [default: the latest].")
    ] = None,
    offset: Annotated[int, typer.Option("--offset", min=0, help="How many to pass over.")] = 0,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="How many, or how many on a page [default: 20, or a screen]."),
    ] = None,
    images: Annotated[
        str, typer.Option("--images", help="Thumbnails: auto, kitty, iterm, blocks or none.")
    ] = "auto",
    width: Annotated[int, typer.Option("--width", min=1, help="A thumbnail's width in characters.")] = 40,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write the images that are shown there.")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON, a line for each; all unless --limit.")
    ] = False,
) -> None:
    """Example:  ladder show rejects my-ladder --reason image_missing

    Page through a ladder's items or rejects, with thumbnails where the terminal can. A filter given twice lets pass
    either value. On a terminal a key turns the page; elsewhere --offset and --limit say which one it is.
    `outcomes` tells how the difficulty of each tier moved in training.
    """
    filters = {"id": id_, "source": source, "split": split, "subject": subject, "type": type_, "flag": flag}
    filters |= {"tier": tier, "reason": reason, "search": [search] if search else None}
    if what == "outcomes":
        from ladder.cli.outcomes import run as show_outcomes

        return show_outcomes(ladder, run_, [name for name, values in filters.items() if values], json_)
    if run_ is not None:
        raise BadInput(f"--run selects outcomes: `ladder show outcomes {ladder} --run {run_}`")
    from ladder.cli.show import Look, run

    return run(what, ladder, filters, Look(offset, limit, images, width, save, json_))


@app.command(short_help="Write a ladder's report again.")
def report(
    ladder: Annotated[Path, typer.Argument(help="A ladder's directory.")],
    json_: Json = False,
) -> None:
    """Example:  ladder report my-ladder

    Write report.html again, with what training has seen so far. A build writes it too, and so does a run at its end.
    """
    from ladder.report import refresh_report
    from ladder.store import Store

    path = refresh_report(Store.open(ladder))
    return _print_json({"path": str(path)}) if json_ else typer.echo(str(path))


@app.command(short_help="Rebuild the embedded policy from nothing.")
def warmup(
    out: Annotated[Path, typer.Argument(help="Where to put the model.")],
    seed: Seed = None,
    set_: Set = None,
) -> None:
    """Example:  ladder warmup my-policy --seed 0

    Rebuild the embedded policy from nothing: the supervised cold start on the observe-think-answer format.
    """
    from ladder.config import validate, with_options
    from ladder.progress import stage_lines
    from trainer.warmup.settings import WarmupSettings

    overrides = with_options(set_ or (), {"--seed": ("seed", seed)})
    settings = validate(WarmupSettings, {}, overrides, where="--set")
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"{out} is not empty; name a new directory")
    from trainer.warmup.stages import warmup as run

    run(out, settings, stage_lines)
    typer.echo(str(out))


@app.command(short_help="The main job on the embedded pool and policy.")
def demo(
    out: Annotated[Path, typer.Option("--out", help="The demo's directory.")] = Path("ladder-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of everything random.")] = 0,
    json_: Json = False,
) -> None:
    """Example:  ladder demo --out ladder-demo

    The main job on the embedded pool and policy: build, sample, evaluate, train, evaluate again, compare.
    """
    from trainer.demo import demo as run

    result = run(out, seed)
    if json_:
        _print_json(result)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=str, ensure_ascii=False))
