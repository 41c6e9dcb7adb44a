"""Byzantine attacks: what f colluding workers send, given every honest message of the step.

An attack is a small callable with its parameters in the constructor. It maps honest messages
`(..., honest, dim)` to Byzantine ones `(..., byzantine, dim)`, whatever the leading axes (the
lanes of a batch of runs).

>>> import torch
>>> SignFlip()(torch.tensor([[1.0, -2.0], [3.0, -4.0]]), byzantine=1)
tensor([[-2.,  3.]])
"""

from privrobust.attacks.alie import ALIE
from privrobust.attacks.large_value import LargeValue
from privrobust.attacks.protocol import Attack
from privrobust.attacks.registry import available_attacks, get_attack
from privrobust.attacks.sign_flip import SignFlip

__all__ = ["ALIE", "Attack", "LargeValue", "SignFlip", "available_attacks", "get_attack"]
