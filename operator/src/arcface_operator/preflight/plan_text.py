"""An estimate as people read it: one figure a line."""

from arcface_operator.preflight.estimate import Collective, Estimate

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def plan_text(plan: Estimate) -> str:
    """One figure a line."""
    rows = [*_course(plan), *_device(plan), *_host(plan), *_traffic(plan), *_storage(plan)]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _course(plan: Estimate) -> list[tuple[str, str]]:
    """What is trained on, and for how long."""
    first = "below a fresh network's" if plan.initial_loss is None else f"{plan.initial_loss:.2f}"
    return [
        ("identities", f"{plan.counts.identities:,}"),
        ("images", f"{plan.counts.images:,}"),
        ("images per update", f"{plan.total_batch_size:,}{_parts(plan)}"),
        ("backbone parameters", f"{plan.parameters:,}"),
        ("steps per epoch", f"{plan.steps_per_epoch:,}"),
        ("steps in all", f"{plan.total_steps:,}"),
        ("learning rate", f"{plan.learning_rate:g}"),
        ("expected first loss", first),
    ]


def _parts(plan: Estimate) -> str:
    """What accumulation makes of them."""
    return f", by each rank in {plan.micro_batches} parts" if plan.micro_batches > 1 else ""


def _device(plan: Estimate) -> list[tuple[str, str]]:
    """Memory of a rank."""
    memory, small = plan.memory, plan.memory_when_small
    return [
        ("memory per rank, about", size(memory.total)),
        *([] if small is None else [("  with minReplicas pods, about", size(small))]),
        *((f"  of {size(card.bytes)} ({card.chips})", f"{card.percent:.0f} %") for card in plan.cards),
        ("  weights", size(memory.weights)),
        ("  momentum", size(memory.momentum)),
        ("  gradients", size(memory.gradients)),
        ("  head shard", size(memory.head)),
        ("  logits, no less with more ranks", size(memory.logits)),
        ("  temporaries of the head", size(memory.temporaries)),
        ("  activations, roughly", size(memory.activations)),
    ]


def _host(plan: Estimate) -> list[tuple[str, str]]:
    """Memory of a node."""
    host, small = plan.host, plan.host_when_small
    rows = [
        ("memory of pod 0 on its node, at least", size(host.total)),
        *([] if small is None else [("  with minReplicas pods, at least", size(small))]),
        ("  MindSpore itself", size(host.mindspore)),
        ("  index of the images", size(host.index)),
        ("  decoded images", size(host.batches)),
        ("  copy while a checkpoint is written", size(host.snapshot)),
    ]
    ranks = [("  ranks, as above", size(host.device))] if host.device else []
    return [*rows, *ranks, ("newest states in its memory, where there is room", size(host.states))]


def _traffic(plan: Estimate) -> list[tuple[str, str]]:
    """What a rank hands over in a step, and has of it afterwards."""
    title = "traffic of a rank in a step, handed over and received"
    messages = plan.collectives
    if not messages:
        return [(title, "none")]
    handed_over, received = (
        sum(numbers)
        for numbers in zip(*((m.times * m.handed_over, m.times * m.received) for m in messages), strict=True)
    )
    return [
        (title, f"{size(handed_over)}, {size(received)}"),
        *((f"  {_title(m)}", f"{size(m.handed_over)}, {size(m.received)}") for m in messages),
    ]


def _title(message: Collective) -> str:
    """Name and operation, and how often where that is more than once."""
    times = f", {message.times} times" if message.times > 1 else ""
    return f"{message.name}, {message.operation}{times}"


def _storage(plan: Estimate) -> list[tuple[str, str]]:
    """What the claim of the checkpoints must hold."""
    found = plan.storage
    return [
        ("one checkpoint, about", size(found.checkpoint)),
        (f"claim of the checkpoints, {found.checkpoints} at once", size(found.claim)),
    ]


def size(count: int) -> str:
    """Bytes with a binary unit, e.g. `248.6 MiB`."""
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
