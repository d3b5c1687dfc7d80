from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.training import ExplainerTraining
from neuron_descriptions.training.explainer import train_explainer

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    descriptions = restored(Descriptions, wanted.descriptions, explainer={"model": wanted.explainer})
    settings = restored(ExplainerTraining, wanted.settings, base=wanted.about["base"])
    train_explainer(
        inputs=dict(snakemake.input.items()) | {"readings": wanted.get("readings")},
        explainer=wanted.explainer,
        descriptions=descriptions.model_dump(exclude={"explainer"}),
        settings=settings.model_dump(exclude={"base", "rounds", "devices"}),
        about=wanted.about,
        seed=wanted.seed,
        threads=snakemake.threads,
        code=wanted.code,
        checkpoints=wanted.checkpoints,
        output=snakemake.output.explainer,
    )
