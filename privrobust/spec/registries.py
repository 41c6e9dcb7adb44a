"""All that a spec may name, by kind."""

from typing import Any

from privrobust.accountants.registry import ACCOUNTANTS
from privrobust.aggregators.registry import AGGREGATORS
from privrobust.attacks.registry import ATTACKS
from privrobust.core.registry import Registry
from privrobust.data.partitions import PARTITIONS
from privrobust.data.registry import DATASETS
from privrobust.gradients.losses import LOSSES
from privrobust.models.registry import MODELS
from privrobust.noise.laws import REGISTRY as NOISE_LAWS
from privrobust.schedules import SCHEDULES

REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (
        ACCOUNTANTS, AGGREGATORS, ATTACKS, DATASETS, LOSSES, MODELS, NOISE_LAWS, PARTITIONS,
        SCHEDULES,
    )
}  # fmt: skip
