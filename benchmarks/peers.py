"""The same training step as people build it today, from opacus and ByzFL."""

from collections.abc import Callable, Iterator
from typing import Any

import byzfl
import torch
from byzfl.attacks import ALittleIsEnough, SignFlipping
from elsewhere import Step
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

Attack = Callable[[Tensor], Tensor]


def forever(loader: DataLoader[Any]) -> Iterator[list[Tensor]]:
    while True:
        yield from loader


def flat(tensors: Iterator[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class OpacusWorker:
    """One honest worker: a PrivacyEngine, its own loader, its own copy of the model."""

    def __init__(
        self,
        model: nn.Module,
        data: TensorDataset,
        batch_size: int,
        clip_norm: float,
        noise_multiplier: float,
    ) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        self._model, self._optimizer, loader = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=DataLoader(data, batch_size=batch_size),
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_norm,
        )
        self._batches = forever(loader)

    def message(self, parameters: Tensor) -> Tensor:
        """Its noisy average gradient at these parameters, `(dim,)`."""
        nn.utils.vector_to_parameters(parameters, self._model.parameters())
        inputs, labels = next(self._batches)
        self._optimizer.zero_grad()
        cross_entropy(self._model(inputs), labels).backward()
        self._optimizer.pre_step()
        return flat(parameter.grad for parameter in self._model.parameters())


def pipeline(
    workers: list[OpacusWorker],
    start: Tensor,
    attack: Attack | None,
    byzantine: int,
    aggregate: Callable[[Tensor], Tensor],
    learning_rate: float,
) -> Step:
    """One step of opacus workers under ByzFL's attack and aggregator."""
    parameters = start.clone()

    def step() -> None:
        messages = torch.stack([worker.message(parameters) for worker in workers])
        if attack is not None and byzantine:
            message = attack(messages)
            messages = torch.cat([messages, message.expand(byzantine, -1)])
        parameters.sub_(aggregate(messages), alpha=learning_rate)

    return step


def byzfl_step(
    model_name: str, datasets: list[TensorDataset], byzantine: int, batch_size: int
) -> Step:
    """One step of ByzFL's own training loop (benchmark/train.py), without any privacy."""
    shared = {
        "model_name": model_name,
        "device": "cpu",
        "optimizer_name": "SGD",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
    }
    loaders = [DataLoader(data, batch_size=batch_size, shuffle=True) for data in datasets]
    clients = [
        byzfl.Client(
            shared
            | {
                "loss_name": "NLLLoss",
                "LabelFlipping": False,
                "training_dataloader": loader,
                "momentum": 0.0,
                "nb_labels": 10,
                "store_per_client_metrics": False,
            }
        )
        for loader in loaders
    ]
    server = byzfl.Server(
        shared
        | {
            "test_loader": loaders[0],
            "aggregator_info": {"name": "Median", "parameters": {}},
            "pre_agg_list": [],
        }
    )
    attackers = byzfl.ByzantineClient(
        {"name": "ALittleIsEnough", "f": byzantine, "parameters": {"tau": 1.5}}
    )

    def step() -> None:
        for client in clients:
            client.compute_gradients()
        honest = [client.get_flat_gradients_with_momentum() for client in clients]
        server.update_model_with_gradients(honest + attackers.apply_attack(honest))
        state = server.get_dict_parameters()
        for client in clients:
            client.set_model_state(state)

    return step


def byzfl_attack(name: str) -> Attack:
    """Return an attack of the quickstart from ByzFL, which has no large value but infinity."""
    attacks: dict[str, Attack] = {
        "alie": ALittleIsEnough(1.5),
        "sign_flip": SignFlipping(),
        "large_value": byzfl.Inf(),
    }
    return attacks[name]
