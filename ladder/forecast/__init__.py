"""`ladder build --dry-run`: what a build would sample, and what that costs, before a model is loaded or a file written.

Everything is checked that a build checks before it begins. A figure is exact, about right (from what was measured), or at
most so much, and says where it comes from; what nobody can know yet is left open. Leaves out the time of import, of loading
a model, and of what is derived in the end.
"""

from ladder.forecast.estimate import forecast
from ladder.forecast.figures import Figure, Forecast, PassForecast
from ladder.forecast.words import told

__all__ = ["Figure", "Forecast", "PassForecast", "forecast", "told"]
