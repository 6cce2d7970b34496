"""Environments: everything that knows Gymnasium, and spaces as plain data.

Imports only the layers below: npr.backend, npr.errors, npr.files.generators. Public to the rest of
npr are the modules; users meet them through `env=` of an agent.
"""
