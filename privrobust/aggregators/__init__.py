"""Aggregation rules: messages of all workers `(..., n, d)` in, one update direction `(..., d)` out.

Rules are small frozen dataclasses with their parameters in the constructor. Pre-aggregators come
before a rule, as in `nnm + trimmed_mean`.

>>> import torch
>>> Median()(torch.tensor([[1.0], [2.0], [9.0], [4.0]]))
tensor([3.])
>>> get_aggregator("nnm + krum", byzantine=1)
Chain(before=(NNM(f=1),), rule=Krum(f=1, neighbours=None))
"""

from privrobust.aggregators.base import Aggregator, Chain, PreAggregator
from privrobust.aggregators.bulyan import Bulyan
from privrobust.aggregators.centred_clipping import CentredClipping
from privrobust.aggregators.coordinate_wise import MeaMed, Mean, Median, TrimmedMean
from privrobust.aggregators.geometric_median import GeometricMedian
from privrobust.aggregators.known_noise import KnownNoise
from privrobust.aggregators.majority_vote import MajorityVote
from privrobust.aggregators.mixing import NNM, Bucketing
from privrobust.aggregators.nearest import MDA, Krum, MoNNA, MultiKrum
from privrobust.aggregators.noise_aware import NoiseAware
from privrobust.aggregators.registry import (
    available_aggregators,
    available_pre_aggregators,
    canonical,
    get_aggregator,
    list_aggregators,
    register_aggregator,
)
from privrobust.aggregators.robust_clipping import ARC, StaticClipping
from privrobust.aggregators.shortest import CGE
from privrobust.aggregators.spectral import CAF, SMEA, DnC
from privrobust.aggregators.trusting import FLTrust
from privrobust.core.parameters import parameter

__all__ = [
    "ARC",
    "CAF",
    "CGE",
    "MDA",
    "NNM",
    "SMEA",
    "Aggregator",
    "Bucketing",
    "Bulyan",
    "CentredClipping",
    "Chain",
    "DnC",
    "FLTrust",
    "GeometricMedian",
    "KnownNoise",
    "Krum",
    "MajorityVote",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NoiseAware",
    "PreAggregator",
    "StaticClipping",
    "TrimmedMean",
    "available_aggregators",
    "available_pre_aggregators",
    "canonical",
    "get_aggregator",
    "list_aggregators",
    "parameter",
    "register_aggregator",
]
