from neuron_descriptions.explainer_training import train_explainer
from neuron_descriptions.logs import job_log

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    train_explainer(
        inputs=dict(snakemake.input.items()),
        explainer=wanted.explainer,
        descriptions=wanted.descriptions,
        settings=wanted.settings,
        about=wanted.about,
        seed=wanted.seed,
        threads=snakemake.threads,
        code=wanted.code,
        checkpoints=wanted.checkpoints,
        output=snakemake.output.explainer,
    )
