"""A client: it steps along clipped, noisy gradients of its examples, and nothing else leaves it."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from task import Config, attacker_of, examples_of, model_of, privacy_of

from privrobust.federated.flower import Ledger, PrivateWorker, guarded, private_gradient


def hostile(msg: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Let the hostile clients attack. You need it only to test a federation of your own."""
    attacker = attacker_of(context.run_config, int(context.node_config["partition-id"]))
    return attacker(msg, context, call_next) if attacker else call_next(msg, context)


app = ClientApp(mods=[hostile, guarded()])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Take a few private steps from the model that was sent."""
    config: Config = context.run_config
    node: Config = context.node_config
    ledger = None
    if "ledger" in node:  # the owner's, as is the limit: whatever the run's settings say
        ledger = Ledger(node["ledger"], "my examples", max_epsilon=node["max-epsilon"])
    model, data = model_of(config), examples_of(config, int(node["partition-id"]))
    worker = PrivateWorker(model, data, ledger=ledger, **privacy_of(config))
    return private_gradient(
        msg,
        model,
        worker,
        local_steps=config["local-steps"],
        learning_rate=config["learning-rate"],
    )
