"""The slim progressive-GRPO trainer: one module per concern, group-relative mathematics as pure functions.

`loop` is the algorithm; `run` is what goes on around it. Names of tensors end in the axes they have: P prompts, G responses
of a group, R responses of a forward, T tokens.
"""
