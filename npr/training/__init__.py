"""Training: the run of an algorithm in one call of learn(), and the evaluation of a policy.

Imports all layers except the algorithms. Users call `agent.learn` and `agent.evaluate`.
"""
