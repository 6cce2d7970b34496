"""Training with environments in other processes and on other machines: what it costs, and what it
gains. It imports nothing of other folders but errors.
"""
