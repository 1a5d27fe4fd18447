"""`ladder train --dry-run`: what a run would take and do, before a weight is loaded or a file written.

Everything that can be known is checked: memory by part, tokens, steps, rollouts, how many groups will carry no signal, time
where something has measured it, the checkpoints' size, and the first items of the curriculum. A figure says what it is worth,
as in ladder.forecast; what nobody can know yet is left open. Leaves out the time of loading a model and of writing.
"""

from trainer.forecast.estimate import forecast
from trainer.forecast.figures import FirstItem, Parameters, Part, TrainForecast
from trainer.forecast.words import forecast_text

__all__ = ["FirstItem", "Parameters", "Part", "TrainForecast", "forecast", "forecast_text"]
