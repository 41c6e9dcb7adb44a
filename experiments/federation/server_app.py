"""The server: a robust rule, every round charged to a ledger before it begins, and a report."""

import json
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from task import Config, model_of, privacy_of

from privrobust.accountants import Release
from privrobust.data import get_dataset
from privrobust.federated.flower import Ledger, RobustStrategy

app = ServerApp()


def strategy_of(config: Config) -> RobustStrategy:
    """Make the strategy of a run's settings; what is wrong with them is said here."""
    return RobustStrategy(
        config["rule"],
        config["byzantine"],
        privacy=Release(steps=config["local-steps"], **privacy_of(config)),
        ledger=Ledger(config["ledger"], config["dataset"], max_epsilon=config["max-epsilon"]),
        server_learning_rate=config["server-learning-rate"],
        min_nodes=config["clients"],
    )


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and write the report of the rounds."""
    config: Config = context.run_config
    model, strategy = model_of(config), strategy_of(config)
    test = get_dataset(config["dataset"]).held_out("test")

    def accuracy(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_state_dict(arrays.to_torch_state_dict())
        with torch.inference_mode():
            predicted = model(test.examples(slice(None))).argmax(-1)
        return MetricRecord({"accuracy": (predicted == test.labels).float().mean().item()})

    result = strategy.start(
        grid,
        ArrayRecord(model.state_dict()),
        num_rounds=config["rounds"],
        timeout=config["timeout"],
        evaluate_fn=accuracy,
    )
    report = {
        "rounds": [
            {"round": number, **result.evaluate_metrics_serverapp[number], **metrics}
            for number, metrics in result.train_metrics_clientapp.items()
        ],
        "rejected": {
            number: [why for _, why in rejected] for number, rejected in strategy.rejections.items()
        },
        "ended": strategy.ended,
    }
    Path(config["report"]).write_text(json.dumps(report), encoding="utf-8")
