"""Dashboard *ArcFace Job*: one training from its first pod to its verified accuracy."""

import panels
from panels import CLUSTER, Panel, choice, curves, dashboard, limits, number, row, target

RANKS = f'{CLUSTER},namespace="$namespace",arcface_io_job="$job"'
"""Of the metrics that ranks serve; both labels come from the scrape."""
JOB = f'{CLUSTER},namespace="$namespace",name="$job"'
"""Of the metrics that the operator serves."""
RATE = "[$__rate_interval]"
STEPS = f"sum by (rank) (rate(arcface_train_step_seconds_sum{{{RANKS}}}{RATE}))"
STEP_COUNTS = f"sum by (rank) (rate(arcface_train_step_seconds_count{{{RANKS}}}{RATE}))"
OF_THE_JOBS_PODS = (
    f'on (pod_name) group_left () (max by (pod_name) (label_replace(arcface_train_step{{{RANKS}}}, "pod_name", "$1", '
    '"pod", "(.+)")) >= bool 0)'
)
"""npu-exporter's own namespace label may have been renamed by the scrape; pods are joined by name."""


def quantile(share: float) -> str:
    """Of the step time over all ranks."""
    return f"histogram_quantile({share}, sum by (le) (rate(arcface_train_step_seconds_bucket{{{RANKS}}}{RATE})))"


def last(metric: str) -> str:
    """Of all ranks, also when they have ended."""
    return f"last_over_time({metric}{{{RANKS}}}[$__range])"


def build() -> Panel:
    """The dashboard."""
    variables = [
        choice("namespace", "Namespace", f"label_values(arcface_job_phase{{{CLUSTER}}}, namespace)"),
        choice("job", "Job", f'label_values(arcface_job_phase{{{CLUSTER},namespace="$namespace"}}, name)'),
    ]
    restarts = {
        "name": "Restarts",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": True,
        "iconColor": "red",
        "expr": f"max(changes(arcface_job_restarts_total{{{JOB}}}[2m])) > 0",
        "step": "60s",
        "titleFormat": "Gang restart",
    }
    return dashboard("arcface-job", "ArcFace Job", variables, [*rows()], [restarts])


def rows() -> list[Panel]:
    """What is shown, from the whole to the details."""
    return [
        row("Where it stands", 4, *standing()),
        row("Training", 8, *training()),
        row("Speed", 8, *speed()),
        row("Waiting and saving", 8, *waiting()),
        row("Numbers", 8, *numerics()),
        row("Accuracy", 8, *accuracy()),
        row("IJB templates (filled by the evaluation)", 8, *templates(), is_collapsed=True),
        row("NPUs (needs npu-exporter)", 8, *devices(), is_collapsed=True),
    ]


def standing() -> list[Panel]:
    """Phase and counts."""
    return [
        number(
            "Phase",
            "Phase of the job, as kubectl shows it.",
            "none",
            target(f"max by (phase) (arcface_job_phase{{{JOB}}}) == 1", "{{phase}}"),
            shows_name=True,
            overrides=panels.phase_colours(),
        ),
        number(
            "Pods that run or are done",
            "Share of the gang; of a job that has ended, what it was at the end.",
            "percentunit",
            target(
                f'sum(max by (state) (arcface_job_workers{{{JOB},state=~"ready|succeeded"}})) '
                f'/ max(arcface_job_workers{{{JOB},state="desired"}})'
            ),
            **limits((None, "text"), (1, "green")),
        ),
        number("Epochs done", "Completed epochs.", "none", target(f"max({last('arcface_train_epoch')})")),
        number("Step", "Updates made.", "none", target(f"max({last('arcface_train_step')})")),
        number(
            "Restarts",
            "Gang restarts for any reason; status.failure tells the last one.",
            "none",
            target(f"max(arcface_job_restarts_total{{{JOB}}})"),
            **limits((None, "green"), (1, "orange")),
        ),
        number(
            "Checkpoint age",
            "Work that would be lost now, at most since the ranks began to train; nothing once they have ended.",
            "s",
            target(
                f'time() - max({{__name__=~"arcface_job_(checkpoint|training_start)_timestamp_seconds",{JOB}}}) '
                f"and max(arcface_job_training_start_timestamp_seconds{{{JOB}}})"
            ),
            **limits((None, "green"), (3600, "orange"), (7200, "red")),
        ),
    ]


def training() -> list[Panel]:
    """What is learnt."""
    return [
        curves(
            "Loss",
            "Mean over the images of all ranks. It begins near the value that `arcface plan` foretells.",
            "none",
            target(f"avg(arcface_train_loss{{{RANKS}}})", "loss"),
        ),
        curves(
            "Learning rate",
            "Of the last update.",
            "none",
            target(f"max(arcface_train_learning_rate{{{RANKS}}})", "learning rate"),
        ),
    ]


def speed() -> list[Panel]:
    """How fast."""
    images = f"rate(arcface_train_images_total{{{RANKS}}}{RATE})"
    return [
        curves("Images a second", "Over all ranks.", "none", target(f"sum({images})", "all ranks"), min=0),
        curves(
            "Images a second by rank",
            "Ranks go in step, so all are alike; a rank that is missing has died.",
            "none",
            target(f"sum by (rank) ({images})", "rank {{rank}}"),
            min=0,
        ),
        curves(
            "Step time",
            "Quantiles over all ranks within the buckets of the histogram, and the mean of the slowest rank.",
            "s",
            target(quantile(0.5), "p50"),
            target(quantile(0.99), "p99"),
            target(f"max({STEPS} / {STEP_COUNTS})", "slowest rank"),
            is_logarithmic=True,
        ),
    ]


def waiting() -> list[Panel]:
    """What is not training."""
    return [
        curves(
            "Waiting for images, by rank",
            "Share of the time. One rank that waits makes all wait: its node or its storage is slow. All ranks: "
            "decoding or storage cannot keep up.",
            "percentunit",
            target(f"sum by (rank) (rate(arcface_train_data_wait_seconds_total{{{RANKS}}}{RATE}))", "rank {{rank}}"),
            min=0,
        ),
        curves(
            "Time of a checkpoint and of a verification",
            "A checkpoint is written behind the steps; for a verification the training stands still.",
            "s",
            target(f"max(arcface_train_checkpoint_seconds{{{RANKS}}})", "checkpoint"),
            target(f"max(arcface_train_verification_seconds{{{RANKS}}})", "verification"),
            min=0,
        ),
        curves(
            "Steps since the checkpoint",
            "Updates that a restart would repeat.",
            "none",
            target(
                f"max(arcface_train_step{{{RANKS}}}) - (max(arcface_train_checkpoint_step{{{RANKS}}}) or vector(0))",
                "steps",
            ),
            min=0,
        ),
    ]


def numerics() -> list[Panel]:
    """Whether the numbers are sound."""
    return [
        curves(
            "Loss scale",
            "Factor on the loss before differentiation; 1 in single precision.",
            "none",
            target(f"min(arcface_train_loss_scale{{{RANKS}}})", "loss scale"),
            min=0,
        ),
        curves(
            "Steps left out",
            "Since loss or gradient were not finite. Ten of twenty send the ranks back to a checkpoint, once.",
            "none",
            target(f"max(increase(arcface_train_skipped_steps_total{{{RANKS}}}{RATE}))", "steps"),
            min=0,
        ),
        curves(
            "Length of the embeddings",
            "Before they are normalised. One that grows without end or vanishes comes before trouble.",
            "none",
            target(f"avg(arcface_train_embedding_norm{{{RANKS}}})", "mean length"),
            min=0,
        ),
    ]


def accuracy() -> list[Panel]:
    """What it is worth."""
    verified = f"max by (dataset) (arcface_train_verification_accuracy{{{RANKS}}})"
    return [
        curves(
            "Accuracy during the training",
            "Of spec.evaluation.everyEpochs; on a part of the pairs where a set is large for the training.",
            "percentunit",
            target(verified, "{{dataset}}"),
            max=1,
        ),
        number(
            "Accuracy of the evaluation",
            "Until the evaluation has ended: the last one during the training.",
            "percentunit",
            target(f"max by (dataset) (arcface_job_evaluation_accuracy{{{JOB}}}) or {verified}", "{{dataset}}"),
            decimals=3,
        ),
    ]


def templates() -> list[Panel]:
    """IJB 1:1."""
    return [
        curves(
            "True accept rate at false accept rate",
            "For jobs with spec.evaluation.ijb, once they are evaluated.",
            "percentunit",
            target(f"max by (dataset, far) (arcface_job_evaluation_tar{{{JOB}}})", "{{dataset}} at {{far}}"),
            max=1,
        )
    ]


def devices() -> list[Panel]:
    """The cards of the job's pods, joined by the name of the pod."""
    used, total = (f"npu_chip_info_hbm_{what}_memory{{{CLUSTER}}}" for what in ("used", "total"))
    return [
        curves(
            "AI Core utilisation",
            "Pods of another namespace with the very same names are shown, too.",
            "percent",
            target(f"npu_chip_info_utilization{{{CLUSTER}}} * {OF_THE_JOBS_PODS}", "{{pod_name}} card {{id}}"),
            min=0,
            max=100,
        ),
        curves(
            "HBM in use",
            "Share of the card's memory.",
            "percentunit",
            target(f"({used} / {total}) * {OF_THE_JOBS_PODS}", "{{pod_name}} card {{id}}"),
            min=0,
            max=1,
        ),
    ]
