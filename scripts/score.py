from neuron_descriptions.logs import job_log
from neuron_descriptions.records import SPLITS
from neuron_descriptions.score_tables import score_chunk

with job_log(snakemake.log[0], snakemake.rule):
    score_chunk(
        neurons=snakemake.params.neurons,
        layer=int(snakemake.wildcards.layer),
        corpus={split: snakemake.input[split] for split in SPLITS},
        exemplars=[snakemake.input.exemplars],
        statistics=[snakemake.input.statistics],
        descriptions=snakemake.input.descriptions,
        null_pool=snakemake.input.get("pool"),
        null_descriptions=snakemake.input.nulls,
        subject_folder=snakemake.input.subject,
        simulator_folder=snakemake.input.simulator,
        simulator=snakemake.params.simulator,
        prompt=snakemake.input.get("prompt"),
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        threads=snakemake.threads,
        scores=snakemake.output.scores,
        simulations=snakemake.output.simulations,
    )
