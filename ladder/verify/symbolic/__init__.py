"""Formulas and statements: read in bounded time, and compared.

Text -> `tokens` -> `formula` (a scalar's `tree`) or `statement` (lists, equations, inequalities, matrices; `regions` are sets of
numbers, `quantity` a scalar with its unit) -> `equality`, which compares by `evaluate` (`exact` where that is rational, else
`values` to many digits) and asks `library` (math-verify) for notation that is not read here. What an answer is, and how long
it may take, is left to `ladder.verify.expressions` and `ladder.verify.pool`.
"""
