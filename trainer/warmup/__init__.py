"""The cold start: rebuild the embedded policy from nothing, on the observe-think-answer format.

A starting point for reinforcement learning, not a good model: kinds with few possible answers are nearly untaught, and
a last phase shows imperfect demonstrations. Its weakness never comes from noise on the weights.
"""
