"""In a real federation, or a training loop of one's own: private messages, and what they spent.

- `PrivateWorker` makes messages that protect a worker's examples, inside any loop.
- `PrivateUpdates` makes whole updates private: what leaves protects the client.
- `Ledger` keeps what was spent on somebody's data, and refuses what would overspend.
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes

if TYPE_CHECKING:
    from privrobust.federated.entries import Entry
    from privrobust.federated.ledger import Ledger
    from privrobust.federated.updates import PrivateUpdates, UpdatePrivacy
    from privrobust.federated.worker import PrivateWorker, set_gradient

__all__ = [
    "Entry",
    "Ledger",
    "PrivateUpdates",
    "PrivateWorker",
    "UpdatePrivacy",
    "set_gradient",
]

__getattr__ = attributes(
    __name__,
    {
        "Entry": "entries",
        "Ledger": "ledger",
        "PrivateUpdates": "updates",
        "PrivateWorker": "worker",
        "UpdatePrivacy": "updates",
        "set_gradient": "worker",
    },
)
