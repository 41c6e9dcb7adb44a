"""Our accountants behind Flower's protocol, for strategies of the FedAvg path.

from flwr.serverapp import NeighboringRelation, PrivacyConfig, SamplingMethod
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from privrobust.federated.flower import FlowerAccountant, Ledger

accountant = FlowerAccountant(
    PrivacyConfig(
        target_delta=1e-5,
        population_size=10,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,
        max_epsilon=8.0,
    ),
    ledger=Ledger("ledger.db", "digits"),
)
strategy = DifferentialPrivacyServerSideFixedClipping(
    FedAvg(), 1.0, 1.0, 10, accountant=accountant
)
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyAccountant,
    PrivacyConfig,
    PrivacySpent,
    SamplingMethod,
)

from privrobust.accountants import Release, delta, get_accountant, spend
from privrobust.core.numbers import as_float, as_whole, shown
from privrobust.errors import SpecError
from privrobust.federated.flower.charging import check_ledger
from privrobust.federated.ledger import Ledger

_VERSION = 1


class FlowerAccountant(PrivacyAccountant):
    """Flower's `PrivacyAccountant`, computed by ours: pld and the others that `auto` asks.

    Flower's events are Gaussian noise on the mean of n clipped updates, of scale
    `noise_multiplier * C / n`. A client moves that mean by C / n at most while the others stay.
    Where n is less than the population and nothing amplifies, they do not: without that client the
    sample has another one in its place, and the mean moves by up to 2 C / n. That is what is
    charged then, and for "replace-one"; Flower's own accountant charges C / n.

    With a ledger, a round is on disk before `compose` returns, which is before the strategy hands
    its aggregate on; another process that opens the same ledger goes on from there. Without one,
    `state_dict` is all there is, and it is the user's to keep.

    Formal guarantee:
        The epsilon is an upper bound for real-valued noise of that scale. The noise of Flower's own
        strategies is drawn in floating point by numpy's global generator: what its low bits tell,
        and who knows the seed, is not covered. Of sampling, Poisson amplifies; samples of a fixed
        size are charged as if every client took part, which is never too little.

    Args:
        config: Flower's; where it has no `max_epsilon`, the ledger's alone counts.
        accountant: the name of one of ours.
        ledger: where rounds are kept.

    Raises:
        SpecError: one of the three is none.

    """

    def __init__(
        self, config: PrivacyConfig, accountant: str = "auto", ledger: Ledger | None = None
    ) -> None:
        if not isinstance(config, PrivacyConfig):
            raise SpecError(f"config: {shown(config)} is not accepted: a PrivacyConfig of Flower's")
        if accountant != "auto":
            get_accountant(accountant)
        check_ledger(ledger)
        if ledger is not None and config.max_epsilon is None:
            # Flower asks `would_exceed` before a round only where there is a number
            config = replace(config, max_epsilon=sys.float_info.max)
        self._config = config
        self._accountant = accountant
        self._ledger = ledger
        self._events: Counter[GaussianPrivacyEvent] = Counter()

    @property
    def config(self) -> PrivacyConfig:
        """Flower's settings."""
        return self._config

    @property
    def num_releases(self) -> int:
        """How many releases there were, in the ledger if there is one."""
        return sum(release.steps for release in self._releases())

    def compose(self, event: GaussianPrivacyEvent, count: int = 1) -> None:
        """Add equal releases.

        Raises:
            BudgetExhausted: the ledger refuses them.
            SpecError: they are of another population, or of a count that is none.

        """
        release = self._release(event, count)
        if self._ledger is not None:
            self._ledger.charge(release, note="flower")
        self._events[event] += count

    def get_epsilon(self, delta: float) -> float:
        """Return what all releases spend at that delta."""
        releases = self._releases()
        return spend(releases, delta, self._accountant).epsilon if releases else 0.0

    def get_delta(self, epsilon: float) -> float:
        """Return the delta at which all releases spend that epsilon."""
        releases = self._releases()
        return delta(releases, epsilon, self._accountant) if releases else 0.0

    def get_privacy_spent(self, delta: float | None = None) -> PrivacySpent:
        """Return what all releases spend, at Flower's `target_delta` unless told."""
        at, releases = self._config.target_delta if delta is None else delta, self._releases()
        if not releases:
            return PrivacySpent(0.0, at, 0, self._accountant)
        spent = spend(releases, at, self._accountant)
        return PrivacySpent(spent.epsilon, at, self.num_releases, spent.accountant)

    def would_exceed(
        self, event: GaussianPrivacyEvent, max_epsilon: float | None = None, count: int = 1
    ) -> bool:
        """Tell whether more releases would spend more than is allowed, by the ledger too.

        Raises:
            SpecError: nothing says what is allowed, or as `compose`.

        """
        most = self._config.max_epsilon if max_epsilon is None else max_epsilon
        if most is None:
            raise SpecError("max_epsilon: none is given; accepted: one here or in PrivacyConfig")
        most = as_float("max_epsilon", most, "a finite number above 0", above=0.0)
        release = self._release(event, count)
        if self._ledger is not None and self._ledger.would_exceed(release):
            return True
        spent = spend([*self._releases(), release], self._config.target_delta, self._accountant)
        return spent.epsilon > most

    def state_dict(self) -> dict[str, object]:
        """Return what this accountant has composed itself, for JSON."""
        return {
            "schema_version": _VERSION,
            "backend": "privrobust",
            "config": _settings(self._config),
            "compositions": [
                {"event": vars(event).copy(), "count": count}
                for event, count in self._events.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a `state_dict`; a ledger keeps what it has, whatever the state says.

        Raises:
            SpecError: it is none, or of other settings.

        """
        if not isinstance(state, Mapping) or (
            state.get("schema_version"),
            state.get("backend"),
        ) != (_VERSION, "privrobust"):
            raise SpecError(f"state: {shown(state)} is no state of this accountant")
        if state.get("config") != _settings(self._config):
            raise SpecError(
                f"state: its config is {shown(state.get('config'), 300)}, not this one's"
            )
        events: Counter[GaussianPrivacyEvent] = Counter()
        try:
            for each in _entries(state["compositions"]):
                event = GaussianPrivacyEvent(**each["event"])
                self._release(event, each["count"])
                events[event] += each["count"]
        except (KeyError, TypeError, ValueError) as error:
            raise SpecError(
                f"state: its compositions cannot be read ({shown(str(error))})"
            ) from None
        self._events = events

    def _releases(self) -> list[Release]:
        if self._ledger is not None:
            return [entry.release for entry in self._ledger.entries]
        return [self._release(event, count) for event, count in self._events.items()]

    def _release(self, event: GaussianPrivacyEvent, count: int) -> Release:
        config = self._config
        if event.population_size != config.population_size:
            raise SpecError(
                f"population_size: {event.population_size} is not that of the config, "
                f"{config.population_size}"
            )
        rate = event.sample_size / event.population_size
        is_poisson = config.sampling_method is SamplingMethod.POISSON
        is_replaced = config.neighboring_relation is NeighboringRelation.REPLACE_ONE
        moves_twice = is_replaced or (rate < 1 and not is_poisson)
        return Release(
            noise_scale=event.noise_multiplier,
            clip_norm=2.0 if moves_twice else 1.0,  # in units of C / n
            unit="worker",
            steps=as_whole("count", count, "a whole number, 1 or more", least=1),
            worker_sampling_rate=rate if is_poisson else None,
        )


def _settings(config: PrivacyConfig) -> dict[str, object]:
    """Write Flower's settings for JSON."""
    return {
        "target_delta": config.target_delta,
        "population_size": config.population_size,
        "neighboring_relation": config.neighboring_relation.value,
        "sampling_method": config.sampling_method.value,
        "max_epsilon": config.max_epsilon,
    }


def _entries(compositions: object) -> Iterable[dict[str, Any]]:
    if not isinstance(compositions, list) or not all(
        isinstance(each, dict) for each in compositions
    ):
        raise TypeError("no list of compositions")
    return compositions
