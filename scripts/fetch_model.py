from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.models import Model
from neuron_descriptions.models.fetching import fetch_model

with job_log(snakemake.log[0], snakemake.rule):
    settings = {key: value for key, value in snakemake.params.spec.items() if key != "content"}
    fetch_model(spec=restored(Model, settings), folder=snakemake.output.model)
