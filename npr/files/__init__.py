"""Files: the container, its older formats, and the state of an agent in it.

Imports npr.backend and npr.errors only, and runs no code from a file. Users call `agent.save`,
`npr.load` and `npr.infer.load`.
"""
