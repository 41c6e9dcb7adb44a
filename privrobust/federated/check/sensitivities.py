"""By how much one client moves what a strategy of Flower's returns, when its update turns to zero.

In clipping norms, of updates that are clipped and a number n of replies that is public:

- **Means**: its share of the weights.
- **Median**: each coordinate of one update moves by at most itself, and an order statistic by no
  more than one of the n values does: by at most 1 where n is odd, which it attains where others
  balance. For an even n it is the mean of two, whose sum moves by no more than the value: 1/2.
- **Trimmed mean** of k kept values: likewise 1 / k.
- **Krum, MultiKrum**: what is chosen may turn on one client, and any two choices are within 2.
- **Optimisers of the server** (FedAdam and others) carry moments that were not noised, or divide
  by them: no bound is known here.
"""

import math
from dataclasses import dataclass

from privrobust.federated.check.claims import CentralNoise

MEANS = {"FedAvg", "FedProx", "FaultTolerantFedAvg", "FedAvgAndroid"}
_CHOICES = {"Krum", "MultiKrum"}


@dataclass(frozen=True)
class Moved:
    """The most that one client moves an aggregate by."""

    norms: float | None
    """In clipping norms; None where it cannot be told, or no bound is known."""
    why: str
    missing: tuple[str, ...] = ()
    is_unbounded: bool = False


def moved(claim: CentralNoise) -> Moved:
    """Return the most that one client moves what the strategy inside a wrapper returns."""
    rule, replies = claim.rule, trained(claim)
    if rule in MEANS or rule is None:
        return _of_mean(claim)
    if rule == "FedMedian":
        if replies is not None and replies % 2 == 0:
            return Moved(0.5, "one client moves a median of an even number by half its update")
        return Moved(1.0, "one client moves a median by its whole update")
    if rule == "FedTrimmedAvg":
        if replies is None or claim.cut is None:
            return Moved(None, "how many updates are left is not stated", ("clients",))
        if claim.cut >= 0.5:
            return Moved(None, f"Flower refuses it: beta {claim.cut:g} is not below 0.5")
        kept = replies - 2 * int(claim.cut * replies)
        return Moved(1 / kept, f"{kept} of {replies} updates are left in each coordinate")
    if rule in _CHOICES:
        return Moved(2.0, f"which updates {rule} chooses may turn on one client")
    return Moved(None, f"no bound is known on what one client moves in {rule}", is_unbounded=True)


def _of_mean(claim: CentralNoise) -> Moved:
    share, divisor = claim.largest_share, claim.num_sampled_clients
    if share is None and claim.rule and claim.accounting and claim.accounting.is_of_wrapper:
        # with an accountant Flower refuses unequal weights and any other number of replies
        share = None if divisor is None else 1 / divisor
    if share is not None:
        share = max(share, 1 / (trained(claim) or math.inf))  # equal weights are the least
        return Moved(share, f"one client is at most {share:.3g} of what is released")
    if claim.rule is None:
        return Moved(None, "the strategy inside is not one of Flower's", ("largest_share",))
    return Moved(
        None,
        "clients weigh what they report as num-examples, and the noise is for equal weights",
        ("largest_share",),
    )


def trained(claim: CentralNoise) -> int | None:
    """Return how many clients train in a round by Flower's FedAvg, if that can be told."""
    if claim.clients is None or claim.fraction is None or claim.least_clients is None:
        return None
    train = min(claim.clients, max(int(claim.clients * claim.fraction), claim.least_clients))
    return train if train > 0 else None
