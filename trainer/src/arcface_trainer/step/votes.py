"""What the ranks tell each other and the host at each step, in the message that carries the last gradients.

Tensor suffix: N votes of a rank, 4 + world_size float32 numbers which are summed over ranks: 1 to stop, 1 to save, the
bit of a save that is under way, 1 to keep the state in memory, and the seconds that each rank waited for its images, at
the place of its number.
"""

from dataclasses import dataclass

from mindspore import Tensor, float32

from arcface_trainer.step.faults import IN_A_SUM, Fault


@dataclass(frozen=True, slots=True)
class StepVotes:
    """What a rank, or any rank, wants after this step."""

    stop: bool = False
    save: bool = False
    saving_bits: int = 0
    """The bit of `checkpoint.saving`: this rank's, and after the step the sum of all ranks'."""
    keep: bool = False
    """A copy of the state in the pods' memory."""


NO_VOTES = StepVotes()


def votes_size(world_size: int) -> int:
    """N."""
    return 4 + world_size


def encode_votes(votes: StepVotes, wait: float, world_size: int, rank: int) -> Tensor:
    """This rank's votes and wait as `votes_N`."""
    waits = [wait if number == rank else 0.0 for number in range(world_size)]
    wishes = [float(wish) for wish in (votes.stop, votes.save, votes.saving_bits, votes.keep)]
    return Tensor([*wishes, *waits], float32)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the host learns from one step; the same on every rank but for length and time."""

    loss: float
    """Mean over the images of all ranks."""
    embedding_norm: float
    """Mean length of this rank's embeddings."""
    is_applied: bool
    """False when loss or gradient were not finite and the state stayed as it was."""
    votes: StepVotes
    """Whether any rank votes to stop, save or keep: all ranks learn it at the same step."""
    waits: tuple[float, ...]
    """Seconds that each rank waited for its images."""
    ended_at: float
    """Seconds of this rank's `time.monotonic`, when the device had ended the step."""
    loss_scale: float | None = None
    """Factor on the next step's loss before differentiation; None where the precision needs none."""
    fault: Fault = IN_A_SUM
    """What was not finite in a step that was not applied."""
    compared: float | None = None
    """Classes of all ranks that the step compared with; None where it is all of them, always."""
