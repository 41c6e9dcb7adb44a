"""What was read: mechanisms with the numbers that a file or a source states of them.

A number that nothing states is    quantile: float | None = 0.5
    rate: float | None = 0.2, and becomes a question to the user.
"""

from dataclasses import dataclass, field
from typing import Literal

from privrobust.accountants import Spent
from privrobust.accountants.release import Message


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A mechanism, and where it is written."""

    where: str
    what: str
    """The class or the function, as its library calls it."""


@dataclass(frozen=True, kw_only=True)
class LocalNoise(Claim):
    """Flower's LocalDpMod: a client clips its update and adds Gaussian noise itself."""

    clipping_norm: float | None = None
    sensitivity: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    rounds: int | None = None
    is_used: bool | None = True
    """Whether clients have it among their mods; None where the source does not tell."""


Sampling = Literal["poisson", "without-replacement", "no-amplification"]


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """Flower's PrivacyConfig."""

    sampling: Sampling | None = None
    population_size: int | None = None
    max_epsilon: float | None = None
    delta: float | None = None
    is_of_wrapper: bool = False
    """Whether the wrapper has an accountant, and so checks weights and the number of replies."""


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """What adapts the clipping norm: `DifferentialPrivacy...AdaptiveClipping`."""

    count_noise: float | None
    """Standard deviation of the noise on the count of clipped updates."""
    quantile: float | None
    rate: float | None


@dataclass(frozen=True, kw_only=True)
class CentralNoise(Claim):
    """Flower's wrappers of a strategy: the server adds Gaussian noise to what the rule returns."""

    rule: str | None = None
    """The strategy inside; None where the source does not tell."""
    cut: float | None = None
    """beta of the trimmed mean."""
    fraction: float | None = None
    """Of the connected clients, how many train in a round."""
    least_clients: int | None = None
    clips_at: Literal["client", "server"] = "server"
    is_clipped: bool | None = True
    """Whether somebody clips; None where the source does not tell."""
    adaptive: Adaptive | None = None
    noise_multiplier: float | None = None
    num_sampled_clients: int | None = None
    clients: int | None = None
    largest_share: float | None = None
    delta: float | None = None
    epsilon: float | None = None
    rounds: int | None = None
    accounting: Accounting | None = None
    secure_aggregation: bool | None = False


@dataclass(frozen=True, kw_only=True)
class SampleNoise(Claim):
    """Opacus in a client's training: DP-SGD, whose unit is the example."""

    noise_multiplier: float | None = None
    epsilon: float | None = None
    """What is claimed; what the noise is found for, where it is."""
    finds_noise: bool = False
    claimed_epochs: float | None = None
    """For how many epochs that is."""
    delta: float | None = None
    dataset_size: int | None = None
    batch_size: int | None = None
    epochs: int | None = None
    rounds: int | None = None
    lasts: bool | None = None
    """Whether one engine lasts over all rounds, so that its epsilon is of all of them."""
    is_poisson: bool = True


@dataclass(frozen=True, kw_only=True)
class SparseVector(Claim):
    """NVFlare's SVTPrivacy, by its own names; the defaults are its own, too."""

    fraction: float = 0.1
    epsilon: float = 0.1
    epsilon_threshold: float | None = None
    epsilon_query: float | None = None
    epsilon_release: float | None = None
    noise_var: float = 0.1
    parameters: int | None = None
    rounds: int | None = None
    is_on_results: bool = True
    """Whether it acts on what a client sends, before the server has it."""


@dataclass(frozen=True, kw_only=True)
class NotPrivate(Claim):
    """What is called privacy and guarantees none that differential privacy knows."""

    claim: str
    reason: str
    is_claim: bool = True
    """Whether it is called privacy, so that somebody may count on it."""


@dataclass(frozen=True, kw_only=True)
class OurUpdates(Claim):
    """Our mod `private_updates`: a client clips its update and adds our noise."""

    clip_norm: float | None = None
    noise_scale: float | None = None
    noise: str | None = None
    message: Message | None = None
    participation: float | None = None
    delta: float | None = None
    rounds: int | None = None
    is_used: bool | None = True


@dataclass(frozen=True, kw_only=True)
class OurExamples(Claim):
    """Our `PrivateWorker` in a client, whose unit is the example."""

    clip_norm: float | None = None
    noise_scale: float | None = None
    batch_size: float | None = None
    sampling_rate: float | None = None
    is_sampled_by_size: bool = False
    """Whether none is given, so that the rate is batch_size / dataset_size."""
    dataset_size: int | None = None
    noise: str | None = None
    message: Message | None = None
    delta: float | None = None
    local_steps: int | None = None
    rounds: int | None = None


@dataclass(frozen=True, kw_only=True)
class OwnRun(Claim):
    """A run of ours, with what it spends by an upper bound."""

    word: str
    """What the claim is of: target_epsilon, max_epsilon, or the accountant that it asks."""
    claimed: float | None
    holds: Spent
    unit: str
    adjacency: str
    against: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Unread(Claim):
    """Something that states privacy and that no reader here knows."""

    claim: str
    question: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All that was read of one configuration."""

    kind: str
    path: str
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = field(default=())
