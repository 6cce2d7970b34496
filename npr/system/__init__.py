"""The machine: BLAS and its threads, available memory, the standard streams, and clusters of Ray.

Imports npr.errors and npr.version only. Users see it through `npr doctor`.
"""
