from neuron_descriptions.common.logs import job_log
from neuron_descriptions.training.explainer import train_explainer

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
