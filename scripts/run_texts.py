from neuron_descriptions.common.logs import job_log
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.scores.generated_corpus import run_texts

wanted = snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    run_texts(
        subject=Subject.of_job(snakemake.input.model, wanted, snakemake.input.dictionaries),
        inputs={name: snakemake.input[name] for name in ("corpus", "texts", "others")},
        neurons=wanted.neurons,
        passes=Passes(wanted.batch_size, wanted.layers_per_pass, snakemake.threads),
        outputs=dict(zip(wanted.neurons, snakemake.output.peaks)),
    )
