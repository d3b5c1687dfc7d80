from neuron_descriptions.atlas.rechecking import Describing, Scoring, recheck_rows
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.harvest.subject import Subject

given, wanted = snakemake.input, snakemake.params
with job_log(snakemake.log[0], snakemake.rule):
    describing, scoring = wanted.describing, wanted.scoring
    described = restored(Descriptions, describing["settings"], explainer=describing["explainer"])
    recheck_rows(
        neurons=wanted.neurons,
        tables={layer: {name: given[f"{name}_{layer}"] for name in wanted.names} for layer in wanted.neurons},
        atlas=given.atlas,
        subject=Subject.of_job(given.subject, wanted, given.dictionaries),
        describing=Describing(
            settings=described,
            subject=given.subject,
            prompt=given.explainer_prompt,
            begins=describing["begins"],
            seed=describing["seed"],
            prompts_by_type={kind: given[f"explainer_prompt_{kind}"] for kind in described.prompts_by_type},
        ),
        scoring=Scoring(
            settings=restored(Scores, scoring["settings"], simulator=scoring["simulator"]),
            models={"subject": given.subject} | {name: given.get(name) for name in ("simulator", "prompt")},
            nulls=given.nulls,
            seed=scoring["seed"],
            threads=snakemake.threads,
            choice=scoring.get("choice", ""),
            rules=given.get("rules"),
        ),
        about=wanted.about,
        outputs={name: snakemake.output[name] for name in ("json", "text")},
    )
