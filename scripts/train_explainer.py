from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.training import ExplainerTraining
from neuron_descriptions.training.explainer import train_explainer
from neuron_descriptions.training.fine_tuning import Checkpoints

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    train_explainer(
        inputs=dict(snakemake.input.items()) | {"readings": wanted.get("readings")},
        descriptions=restored(Descriptions, wanted.descriptions, explainer={"model": wanted.explainer}),
        settings=restored(ExplainerTraining, wanted.settings, base=wanted.about["base"]),
        about=wanted.about,
        seed=wanted.seed,
        threads=snakemake.threads,
        checkpoints=Checkpoints(wanted.checkpoints, wanted.code),
        output=snakemake.output.explainer,
    )
