"""The machine: BLAS and its threads, available memory, and the standard streams.

Imports npr.errors only. Users see it through `npr doctor`.
"""
