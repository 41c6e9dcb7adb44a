"""Federations of Flower: sound accounting and robust rules in them (extra `flower`).

At the server:

    from flwr.app import ArrayRecord
    from flwr.serverapp import ServerApp
    from privrobust.federated.flower import Ledger, RobustStrategy, UpdatePrivacy

    app = ServerApp()

    @app.main()
    def main(grid, context):
        privacy = UpdatePrivacy(clip_norm=1.0, noise_scale=2.0)
        strategy = RobustStrategy("median", byzantine=2, privacy=privacy,
                                  ledger=Ledger("ledger.db", "digits", max_epsilon=8.0))
        result = strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=100)

At a client, whose own function trains as it always did:

    from flwr.clientapp import ClientApp
    from privrobust.federated.flower import UpdatePrivacy, private_updates

    privacy = UpdatePrivacy(clip_norm=1.0, noise_scale=2.0)
    app = ClientApp(mods=[private_updates(privacy)])

    @app.train()
    def train(msg, context): ...
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes
from privrobust.errors import PrivRobustError

if find_spec("flwr") is None:
    raise PrivRobustError("flower: needs the package flwr: pip install 'privrobust[flower]'")

if TYPE_CHECKING:
    from privrobust.federated.flower.accountant import FlowerAccountant
    from privrobust.federated.flower.attackers import Attacker
    from privrobust.federated.flower.examples import private_gradient
    from privrobust.federated.flower.mods import guarded, private_updates
    from privrobust.federated.flower.replies import Rejected
    from privrobust.federated.flower.strategy import RobustStrategy
    from privrobust.federated.ledger import Ledger
    from privrobust.federated.updates import UpdatePrivacy
    from privrobust.federated.worker import PrivateWorker

__all__ = [
    "Attacker",
    "FlowerAccountant",
    "Ledger",
    "PrivateWorker",
    "Rejected",
    "RobustStrategy",
    "UpdatePrivacy",
    "guarded",
    "private_gradient",
    "private_updates",
]

__getattr__ = attributes(
    "privrobust.federated",
    {
        "Attacker": "flower.attackers",
        "FlowerAccountant": "flower.accountant",
        "Ledger": "ledger",
        "PrivateWorker": "worker",
        "Rejected": "flower.replies",
        "RobustStrategy": "flower.strategy",
        "UpdatePrivacy": "updates",
        "guarded": "flower.mods",
        "private_gradient": "flower.examples",
        "private_updates": "flower.mods",
    },
)
