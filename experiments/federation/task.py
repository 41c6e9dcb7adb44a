"""What clients and the server have in common: public settings, the model, the data."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from privrobust.aggregators import get_aggregator
from privrobust.attacks import Examples
from privrobust.data import Split, get_dataset, get_partition
from privrobust.federated.flower import Attacker
from privrobust.models import build_model

Config = Mapping[str, Any]


def model_of(config: Config) -> nn.Module:
    """Make the model, with the parameters that training starts from."""
    return build_model(config["model"], get_dataset(config["dataset"]), config["seed"])


def privacy_of(config: Config) -> dict[str, Any]:
    """Return what every client does to a step: arguments of `PrivateWorker` and of `Release`."""
    return {
        "clip_norm": config["clip-norm"],
        "noise_scale": config["noise-scale"],
        "batch_size": config["batch-size"],
        "sampling_rate": config["sampling-rate"],
        "message": get_aggregator(config["rule"], config["byzantine"]).message,
    }


def examples_of(config: Config, place: int) -> Split:
    """Return a client's examples. In a federation of your own it reads its own data here.

    The honest clients share all. One that attacks has those of one of them, or what it makes of
    them.
    """
    dataset, honest = get_dataset(config["dataset"]), config["clients"] - config["byzantine"]
    train = dataset.train
    shares = get_partition(config["partition"]).deal(train.labels, honest, config["seed"])
    held = shares[place % honest]
    data = Examples(train.inputs[held], train.labels[held], dataset.classes)
    if attacker := attacker_of(config, place):
        data = attacker.poison(data)
    return Split(data.inputs, data.labels, train.scaling)


def attacker_of(config: Config, place: int) -> Attacker | None:
    """Return the attack of a client, if it is one of the hostile ones: the last."""
    honest = config["clients"] - config["byzantine"]
    if place < honest:
        return None
    step = config["learning-rate"] * config["noise-scale"]
    return Attacker(
        config["attack"],
        honest=honest,
        byzantine=config["byzantine"],
        aggregator=config["rule"],
        noise_std=step * math.sqrt(config["local-steps"]),
    )
