"""Environments: opens Gymnasium environments, checks what they return, and steps n of them.

Imports npr.backend, npr.errors, npr.system and npr.files.generators; Gymnasium in functions only.
Not public: users pass `env=` to an agent. Other packages of npr use make (open_envs, make_env),
batched (BatchedEnv, ErrorPolicy), spaces (Observations, Actions) and contract (checks).
"""
