"""What every neuron of a language model responds to: the library behind the workflow's rules.

One package per stage, each imports only those below it; pyproject.toml has the order, which `make lint` checks.
Nothing here imports Snakemake.
"""
