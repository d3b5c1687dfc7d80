from neuron_descriptions.common.logs import job_log
from neuron_descriptions.corpus.building import Cut
from neuron_descriptions.scores.generated_corpus import gather_texts

with job_log(snakemake.log[0], snakemake.rule):
    gather_texts(
        parts=list(snakemake.input.texts),
        model_folder=snakemake.input.model,
        source=snakemake.wildcards.scorer,
        cut=Cut(**snakemake.params.cut),
        others=snakemake.params.others,
        seed=snakemake.params.seed,
        outputs=dict(snakemake.output.items()),
    )
