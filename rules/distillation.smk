# A small simulator that imitates another one: what that says, and who learns it. Only where asked for.
TEACHER = CFG.distillation.teacher
# Keys that say how a student learns, not what its teacher is asked.
LEARNS = [
    "layers",
    "rank",
    "adapted_blocks",
    "steps",
    "batch_size",
    "batch_tokens",
    "learning_rate",
    "bins_learning_rate",
    "validation_neurons",
    "validate_every",
]
DISTILLATION_RULES = project_file(CFG.distillation.rules, "distillation.rules")


rule teach:
    input:
        **simulator_prompt(TEACHER, "distillation.teacher"),
        train=CORPUS["train"],
        valid=CORPUS["valid"],
        exemplars=all_chunks(EVIDENCE["exemplars"], KEPT),
        descriptions=(
            all_chunks(TABLES["descriptions"])
            if CFG.distillation.candidates_share
            else []
        ),
        rules=DISTILLATION_RULES,
        subject=model_folder(CFG.subject.model),
        teacher=simulator_folder(TEACHER),
    output:
        lessons="<results>/lessons.parquet",
    log:
        "<logs>/teach.log",
    benchmark:
        "<benchmarks>/teach.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("teach"),
        runtime=minutes("teach"),
        gpu=gpus("teach"),
        gpu_job=1,
    params:
        code=digest("teach.py", without=simulating_without(TEACHER)),
        settings=tracked(CFG.distillation, exclude=["base", "rules", *LEARNS]),
        base=untracked(CFG.distillation.base),
        seed=CFG.seed,
        read=held(DISTILLATION_RULES, simulator_prompt(TEACHER, "distillation.teacher")),
        weights=simulator_weights(TEACHER),
        checkpoints=lambda wildcards: PATHVARS.apply("<results>/checkpoints"),
    message:
        "Asking the teacher"
    script:
        "../scripts/teach.py"


rule distil_simulator:
    input:
        lessons="<results>/lessons.parquet",
        train=CORPUS["train"],
        valid=CORPUS["valid"],
        exemplars=all_chunks(EVIDENCE["exemplars"], KEPT),
        rules=DISTILLATION_RULES,
        subject=model_folder(CFG.subject.model),
        base=model_folder(CFG.distillation.base),
    output:
        simulator=directory("<results>/student"),
    log:
        "<logs>/distil_simulator.log",
    benchmark:
        "<benchmarks>/distil_simulator.tsv"
    conda:
        "../envs/models.yaml"
    threads: 4
    resources:
        mem_mb=memory("distil_simulator"),
        runtime=minutes("distil_simulator"),
        gpu=gpus("distil_simulator"),
        gpu_job=1,
    params:
        code=digest("distil_simulator.py"),
        settings=tracked(CFG.distillation, exclude=["base", "rules"]),
        about={
            "subject": CFG.subject.model,
            "teacher": TEACHER.model,
            "base": CFG.distillation.base,
            "texts": origins(CFG.corpus),
            "layers described": list(KEPT.neurons),
            "command": f"`make distil-simulator`, configuration of the run {CFG.run}",
        },
        seed=CFG.seed,
        read=held(DISTILLATION_RULES),
        weights=weights(CFG.subject.model, CFG.distillation.base),
        checkpoints=lambda wildcards: PATHVARS.apply("<results>/checkpoints"),
    message:
        "Distilling a simulator"
    script:
        "../scripts/distil_simulator.py"
