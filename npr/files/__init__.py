"""Files of agents: the file format, older formats, and which attributes of an agent are saved.

Imports npr.backend, npr.errors, npr.system and npr.version, and never runs code from a file. Users
call `agent.save`, `npr.load` and `npr.infer.load`, which use `checkpoint`; `parts` finds what is
saved.
"""
