"""Byzantine attacks: what f colluding workers send.

An attack is a small frozen dataclass with its parameters in the constructor. It maps the messages
that it sees, `(..., honest, d)`, to Byzantine ones, `(..., f, d)`, whatever the leading axes (the
lanes of a batch of runs). What it may see is its knowledge: every honest message, or only what
Byzantine workers can compute from data of their own.

>>> import torch
>>> SignFlip()(torch.tensor([[1.0, -2.0], [3.0, -4.0]]), byzantine=1)
tensor([[-2.,  3.]])
"""

from privrobust.attacks.alie import ALIE, NoiseAwareALIE
from privrobust.attacks.backdoor import Backdoor, EdgeCase
from privrobust.attacks.base import Attack, Craft, Setting, collude
from privrobust.attacks.camouflage import Camouflage
from privrobust.attacks.drift import Drift
from privrobust.attacks.examples import Examples
from privrobust.attacks.extremes import MedianExtreme, VoteExtreme
from privrobust.attacks.faults import Gaussian, Infinity, NotANumber, Zero
from privrobust.attacks.inner_product import InnerProduct
from privrobust.attacks.label_poisoning import LabelFlip, LabelShift
from privrobust.attacks.large_value import LargeValue
from privrobust.attacks.line_search import LineSearch
from privrobust.attacks.mimic import Mimic
from privrobust.attacks.min_max import MinMax, MinSum
from privrobust.attacks.registry import (
    available_attacks,
    get_attack,
    list_attacks,
    register_attack,
)
from privrobust.attacks.replay import Replay
from privrobust.attacks.sign_flip import OwnSignFlip, SignFlip
from privrobust.core.parameters import parameter

__all__ = [
    "ALIE",
    "Attack",
    "Backdoor",
    "Camouflage",
    "Craft",
    "Drift",
    "EdgeCase",
    "Examples",
    "Gaussian",
    "Infinity",
    "InnerProduct",
    "LabelFlip",
    "LabelShift",
    "LargeValue",
    "LineSearch",
    "MedianExtreme",
    "Mimic",
    "MinMax",
    "MinSum",
    "NoiseAwareALIE",
    "NotANumber",
    "OwnSignFlip",
    "Replay",
    "Setting",
    "SignFlip",
    "VoteExtreme",
    "Zero",
    "available_attacks",
    "collude",
    "get_attack",
    "list_attacks",
    "parameter",
    "register_attack",
]
