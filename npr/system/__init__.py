"""The machine: BLAS and its threads, and the memory that is available.

Imports npr.errors only. Users see it through `npr doctor`.
"""
