"""A forecast in words, for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ladder.forecast.figures import Figure, Forecast, PassForecast, Prompts
from ladder.progress import clock

_UNKNOWN = "unknown"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def told(forecast: Forecast) -> str:
    """The forecast as lines, pass by pass and in all."""
    items = forecast.items
    lines = [f"{forecast.path}: a dry run, nothing was sampled or written"]
    lines.append(line("items", f"{_UNKNOWN}: the data set does not say" if items is None else shown(items)))
    for each in forecast.passes:
        where = "server, which was not asked" if each.engine == "server" else each.engine
        lines.append(f"  pass {each.name}: {each.asked} rollouts per item by {each.model} on {where}")
        lines += [f"  {line}" for line in _pass_lines(each)]
    if len(forecast.passes) > 1:
        lines.append("  all passes")
        lines += [f"  {line}" for line in _total_lines(forecast)]
    size = forecast.disk_bytes
    if size is not None and size.value > forecast.free_bytes:
        lines.append(f"  warning: only {sized(forecast.free_bytes)} are free on that disk")
    return "\n".join(lines)


def _pass_lines(each: PassForecast) -> Iterator[str]:
    stored = f"; {each.stored:,} are stored" if each.stored else ""
    if each.rollouts is not None and not each.rollouts.value:
        yield line("rollouts", f"nothing to sample{stored}")
        return
    yield line("rollouts", f"{shown(each.rollouts)}{stored}")
    if each.engine == "replay":
        yield line("cost", "none: nothing is sampled")
        return
    yield line("tokens", f"{shown(each.tokens)}: {shown(each.tokens_each)} per rollout")
    if each.prompts is not None:
        yield line("prompts", _prompts(each.prompts))
    yield line("disk", shown(each.disk_bytes, sized))
    yield line("time", _time(each))
    if each.footprint is not None:
        of, room = each.footprint, each.tokens_each.value + (each.prompts.tokens if each.prompts else 0)
        a_sample = f"{sized(of.position_bytes * room)} for the keys and values of each sample that runs"
        yield line("memory", f"{sized(of.weight_bytes)} for the weights in {of.dtype}, {a_sample}")


def _total_lines(forecast: Forecast) -> Iterator[str]:
    yield line("rollouts", shown(forecast.rollouts))
    yield line("tokens", shown(forecast.tokens))
    yield line("disk", shown(forecast.disk_bytes, sized))
    yield line("time", shown(forecast.seconds, clock))


def line(name: str, text: str) -> str:
    """A named line of a forecast."""
    return f"  {name:<9} {text}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def shown(figure: Figure | None, unit: Callable[[float], str] = _count) -> str:
    """A figure with what it is worth and what it comes from."""
    if figure is None:
        return _UNKNOWN
    basis = "" if figure.basis == "exact" else f"{figure.basis} "
    span = "" if figure.low is None or figure.high is None else f"{unit(figure.low)} to {unit(figure.high)}"
    why = ", ".join(text for text in (span, figure.source) if text)
    return f"{basis}{unit(figure.value)}{f' ({why})' if why else ''}"


def _prompts(prompts: Prompts) -> str:
    refused = {
        "too long with their answers": prompts.too_long,
        "of no use to this model": prompts.unencodable,
    }
    said = "".join(f", {count} {why}" for why, count in refused.items() if count)
    return f"about {prompts.tokens:,.0f} tokens ({prompts.encoded} encoded{said})"


def _time(each: PassForecast) -> str:
    if each.rate is None:
        return (
            f"{_UNKNOWN}: give --rate TOKENS_PER_SECOND, or sample a part with --shard 0/100 and look again"
        )
    return f"{shown(each.seconds, clock)} at {each.rate.value:,.0f} tokens/s ({each.rate.source})"


def sized(value: float) -> str:
    """Bytes in the unit that suits them."""
    power = 0
    while value >= 1000 and power < len(_UNITS) - 1:
        value, power = value / 1000, power + 1
    return f"{value:,.0f} {_UNITS[power]}" if not power or value >= 100 else f"{value:.1f} {_UNITS[power]}"
