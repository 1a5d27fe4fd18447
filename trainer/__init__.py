"""The slim progressive-GRPO trainer: one module per concern, group-relative mathematics as pure functions.

Names of tensors end in the axes they have: P prompts, G group members, T tokens.
"""
