"""What every neuron of a language model responds to: the library behind the workflow's rules.

Reading order: config, records, storage; then one module per stage: models, corpus, activations,
exemplars, explaining (prompts, clients), simulating, scoring, atlas. Nothing here imports Snakemake.
"""
