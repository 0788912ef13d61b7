"""An estimate as text for people."""

from arcface_operator.preflight.estimate import Estimate

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def plan_text(plan: Estimate) -> str:
    """One figure a line."""
    memory, traffic = plan.memory, plan.traffic
    rows = [
        ("identities", f"{plan.counts.identities:,}"),
        ("images", f"{plan.counts.images:,}"),
        ("backbone parameters", f"{plan.parameters:,}"),
        ("steps per epoch", f"{plan.steps_per_epoch:,}"),
        ("steps in all", f"{plan.total_steps:,}"),
        ("learning rate", f"{plan.learning_rate:g}"),
        ("expected first loss", f"{plan.initial_loss:.2f}"),
        ("memory per rank, about", size(memory.total)),
        ("  weights", size(memory.weights)),
        ("  momentum", size(memory.momentum)),
        ("  gradients", size(memory.gradients)),
        ("  head shard", size(memory.head)),
        ("  logits", size(memory.logits)),
        ("  activations, roughly", size(memory.activations)),
        ("traffic per step: gradients, all-reduce", size(traffic.gradients)),
        ("traffic per step: embeddings, all-gather", size(traffic.embeddings)),
        ("traffic per step: their gradients, all-reduce", size(traffic.embedding_gradients)),
        ("one checkpoint, about", size(plan.checkpoint_bytes)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def size(count: int) -> str:
    """Bytes with a binary unit, e.g. `248.6 MiB`."""
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
