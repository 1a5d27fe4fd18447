"""The forecast of a run in words, for a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

from ladder.forecast import Figure
from ladder.forecast.words import line, shown, sized
from ladder.progress import clock
from ladder.show import one_line
from trainer.forecast.figures import FirstItem, Part, TrainForecast

_SHOWN = 8  # items of a step
_LEAST = 20  # columns of a question
_DEVICES = {"cuda": "GPUs"}


def forecast_text(made: TrainForecast, columns: int | None = None) -> str:
    """The forecast as lines; questions are cut to so many columns, by default those of the terminal."""
    width = shutil.get_terminal_size((110, 24)).columns if columns is None else columns
    lines = [f"{made.split}: a dry run, no weight was loaded and nothing was written"]
    lines += [f"  {text}" for text in (*_run(made), *_memory(made))]
    lines += [f"  warning: {text}" for text in made.warnings]
    more = "" if made.first_sure else ", as they come if p stays what was scored"
    for number, step in enumerate(filter(None, made.first), 1):
        lines += ["", f"step {number}, {len(step):,} items{more}:", *_items(step, width)]
    return "\n".join(lines)


def _run(made: TrainForecast) -> Iterator[str]:
    of = made.parameters
    frozen = f", {of.frozen:,} are frozen" if of.frozen else ", all of them learn"
    where = made.device if made.gpus == 1 else f"{made.gpus} {_DEVICES.get(made.device, 'processes')}"
    yield _line("model", f"{made.model} on {where}: {of.all:,} parameters{frozen}")
    groups = f"{made.prompts:,} groups of {made.group}"
    more = ""
    if made.draws.value > made.prompts:
        more = f"; {made.draws.value:,.1f} groups are sampled to fill one"
    elif made.draws.value < made.prompts:
        more = f", of which there are {made.draws.value:,.0f}"
    yield _line("steps", f"{shown(made.steps)} of {groups}{more}")
    probe = f", and {made.probe_rollouts:,} of the probe" if made.probe_rollouts else ""
    yield _line("rollouts", f"{shown(made.rollouts)}{probe}")
    yield _line("no signal", f"about {made.silent.value:.0%} of the groups ({made.silent.source})")
    yield _line(
        "prompts", f"{_each(made.prompt_tokens)}; {shown(made.step_prompt_tokens)} a step, each group's once"
    )
    yield _line("responses", f"{_each(made.response_tokens)}; {shown(made.step_response_tokens)} a step")
    yield _line("tokens", f"{shown(made.tokens)} sampled in all")
    yield _line("time", _time(made))
    yield _line("disk", f"{shown(made.disk_bytes, sized)}; {sized(made.free_bytes)} are free")


def _each(figure: Figure | None) -> str:
    if figure is None:
        return "unknown"
    basis = "" if figure.basis == "exact" else f"{figure.basis} "
    return f"{basis}{figure.value:,.0f} tokens each ({figure.source})"


def _time(made: TrainForecast) -> str:
    if made.seconds is not None and made.step_seconds is not None:
        each = f"{made.step_seconds.value:,.1f} s a step ({made.step_seconds.source})"
        return f"{shown(made.seconds, clock)} at {each}"
    if made.rollout_seconds is None or made.rate is None:
        return "unknown: nothing has measured this model here; give --rate TOKENS_PER_SECOND, or look again after some steps"
    of = f"{made.rate.value:,.0f} tokens/s ({made.rate.source})"
    return (
        f"{shown(made.rollout_seconds, clock)} for the rollouts at {of}; for learning unknown: look again, with the same "
        "--out, after some steps"
    )


def _memory(made: TrainForecast) -> Iterator[str]:
    free = "" if made.device_bytes is None else f"; {sized(made.device_bytes)} are free"
    each = "" if made.gpus == 1 else " of each process"
    yield _line("memory", f"{shown(made.peak, sized)} at the peak{each}{free}")
    for part in made.memory:
        yield _line("", f"{_size(part):>15}  {part.name}{_when(part)}")


def _size(part: Part) -> str:
    return shown(replace(part.bytes, source=""), sized)


def _when(part: Part) -> str:
    """What is to be said of when a part is there, and of what its size comes from."""
    source = f" ({part.bytes.source})" if part.bytes.source else ""
    if part.when in ("always", "server"):
        return source
    return f", in {part.when.replace(', ', ' and ')} only{source}"


def _line(name: str, text: str) -> str:
    return line(name, text).removeprefix("  ")


def _items(step: tuple[FirstItem, ...], width: int) -> Iterator[str]:
    for item in step[:_SHOWN]:
        rate = "    -" if item.pass_rate is None else f"{item.pass_rate:5.3f}"
        head = f"  {item.sequence:>6,}  slot {item.slot:>3}  {item.tier:<10} {rate}  "
        yield head + _cut(one_line(item.question), max(_LEAST, width - len(head)))
    if len(step) > _SHOWN:
        yield f"  [... {len(step) - _SHOWN:,} more]"


def _cut(text: str, columns: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else set_cell_size(text, columns - 3).rstrip() + "..."
