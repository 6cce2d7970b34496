"""Training: what one call of learn() does around an algorithm, and the evaluation of a policy.

Imports every layer but the algorithms. Users call `agent.learn` and `agent.evaluate`.
"""
