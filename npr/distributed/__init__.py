"""Training with environments in other processes and on other machines."""
