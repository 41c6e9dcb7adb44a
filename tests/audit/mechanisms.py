"""Mechanisms with one fault each, beside the sound ones: sums of 8 clipped rows, over B = 4."""

import numpy as np
import torch

DIM, B = 16, 4


def clipped(rows, norm=1.0):
    """Clip each row to the norm; what is not finite is left out."""
    rows = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0)
    norms = rows.norm(dim=1, keepdim=True)
    return rows * (norm / norms.clamp(min=1e-300)).clamp(max=1)


class Gaussian:
    """Sum, over B, and noise of sigma C / B; parts of it are exchanged by faults."""

    def __init__(self, sigma=2.0, seed=0):
        self.b = sigma / B
        self.torch = torch.Generator().manual_seed(seed)

    def noise(self, like):
        return self.b * torch.randn(like.shape[-1], generator=self.torch, dtype=torch.float64)

    def average(self, rows):
        return clipped(rows).sum(0) / B

    def __call__(self, rows):
        return self.average(rows) + self.noise(rows)


class Laplace(Gaussian):
    """L1 noise, of the L1 norm 1."""

    def __init__(self, b=1.0, seed=0):
        super().__init__(seed=seed)
        self.numpy, self.scale = np.random.default_rng(seed), b

    def __call__(self, rows):
        rows = np.nan_to_num(rows.double().numpy(), nan=0.0, posinf=0.0, neginf=0.0)
        norms = np.abs(rows).sum(1, keepdims=True)
        rows = rows / np.maximum(norms, 1.0)
        return rows.sum(0) + self.numpy.laplace(scale=self.scale, size=rows.shape[1])


class Sampled(Gaussian):
    """Each row joins with probability q, and its noise is of half the sigma."""

    q = 0.5

    def average(self, rows):
        joined = torch.rand(len(rows), generator=self.torch) < self.q
        return clipped(rows[joined]).sum(0) / B


class RealisedBatch(Sampled):
    """Divides by how many joined."""

    def average(self, rows):
        joined = torch.rand(len(rows), generator=self.torch) < self.q
        return clipped(rows[joined]).sum(0) / max(1, int(joined.sum()))


class RealisedCount(Gaussian):
    def average(self, rows):
        return clipped(rows).sum(0) / max(1, len(rows))


class Unclipped(Gaussian):
    def average(self, rows):
        return torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0).sum(0) / B


class ClippedAfter(Gaussian):
    def average(self, rows):
        total = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0).sum(0, keepdim=True)
        return clipped(total / B)[0]


class ClippedByCoordinate(Gaussian):
    def average(self, rows):
        return torch.nan_to_num(rows.double(), 0.0).clamp(-1, 1).sum(0) / B


class NoiseOfAll(Gaussian):
    """Adds one number to all coordinates."""

    def noise(self, like):
        return super().noise(like)[:1].expand(like.shape[-1])


class NoiseOnHalf(Gaussian):
    def noise(self, like):
        noise = super().noise(like)
        noise[0] = 0
        return noise


class NoiseKept(Gaussian):
    """Draws once."""

    kept = None

    def noise(self, like):
        if self.kept is None:
            self.kept = super().noise(like)
        return self.kept


class NoiseEveryTwo(Gaussian):
    """Two calls share their noise."""

    count = 0

    def noise(self, like):
        if self.count % 2 == 0:
            self.kept = super().noise(like)
        self.count += 1
        return self.kept


class NoiseEveryThree(Gaussian):
    count = 0

    def noise(self, like):
        if self.count % 3 == 0:
            self.kept = super().noise(like)
        self.count += 1
        return self.kept


class NoiseOfFewSeeds(Gaussian):
    """Seeds are from a pool of 20."""

    def noise(self, like):
        seed = int(torch.randint(20, (), generator=self.torch))
        return Gaussian(seed=seed).noise(like)


class SeedReused(Gaussian):
    def noise(self, like):
        return self.b * torch.randn(like.shape[-1], generator=torch.Generator().manual_seed(7))


class WrongDivisor(Gaussian):
    """Noise is divided by the number of rows, the sum by B."""

    def __init__(self):
        super().__init__()
        self.b /= 2


class NoiseOfData(Gaussian):
    """Noise is as large as the largest row."""

    def __call__(self, rows):
        rows = clipped(rows)
        return rows.sum(0) / B + self.noise(rows) * (0.1 + rows.norm(dim=1).max())


class NormalisedByLargest(Gaussian):
    def average(self, rows):
        rows = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0)
        return (rows / rows.norm(dim=1).max().clamp(min=1e-9)).sum(0) / B


class MeanSubtracted(Gaussian):
    def average(self, rows):
        rows = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0)
        return clipped(rows - rows.mean(0)).sum(0) / B


class ClippedAtMedian(Gaussian):
    def average(self, rows):
        rows = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0)
        return clipped(rows, rows.norm(dim=1).quantile(0.5)).sum(0) / B


class NanComesThrough(Gaussian):
    def average(self, rows):
        return (rows * (1 / rows.norm(dim=1, keepdim=True)).clamp(max=1)).sum(0) / B


class NormOfHalfPrecision(Gaussian):
    """Squares above 65504 are infinite: those norms are taken for none."""

    def average(self, rows):
        rows = torch.nan_to_num(rows, 0.0, 0.0, 0.0)
        norms = torch.nan_to_num(rows.half().square().sum(1).sqrt().float(), 0.0, 0.0, 0.0)
        return (rows * (1 / norms.clamp(min=1.0)).unsqueeze(1)).sum(0) / B


class RaisesOnBroken(Gaussian):
    def average(self, rows):
        if not rows.isfinite().all():
            raise ValueError("a gradient is not finite")
        return super().average(rows)


class SkipsBatches(Gaussian):
    """A batch with a large row is left out."""

    def average(self, rows):
        rows = torch.nan_to_num(rows, 0.0, 0.0, 0.0)
        return super().average(rows) * float(rows.norm(dim=1).max() < 50)


class LastRowUnclipped(Gaussian):
    def average(self, rows):
        rows = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0)
        return (clipped(rows[:-1]).sum(0) + rows[-1:].sum(0)) / B


class FirstRowUnclipped(Gaussian):
    def average(self, rows):
        rows = torch.nan_to_num(rows.double(), 0.0, 0.0, 0.0)
        return (clipped(rows[1:]).sum(0) + rows[:1].sum(0)) / B


class SendsCount(Gaussian):
    """Tells how many rows were clipped."""

    def __call__(self, rows):
        large = int((rows.norm(dim=1) > 1).sum())
        return {"message": super().__call__(rows), "clipped": large}


class SendsLoss(Gaussian):
    """Sends a metric along, without noise."""

    def __call__(self, rows):
        return [super().__call__(rows), float(torch.nan_to_num(rows).square().mean())]


# Each is seen through its own weakness, not by noise that is somewhat too small.
class NoiseNegated(Gaussian):
    """The noise of every second call is that of the one before, turned around."""

    kept = None

    def noise(self, like):
        if self.kept is None:
            self.kept = super().noise(like)
            return self.kept
        turned, self.kept = -self.kept, None
        return turned


FAULTS = [
    Unclipped,
    ClippedAfter,
    NoiseOfAll,
    NoiseOnHalf,
    NoiseKept,
    NoiseEveryTwo,
    NoiseNegated,
    NoiseEveryThree,
    NoiseOfFewSeeds,
    SeedReused,
    NoiseOfData,
    NormalisedByLargest,
    ClippedAtMedian,
    NanComesThrough,
    NormOfHalfPrecision,
    RaisesOnBroken,
    SkipsBatches,
    LastRowUnclipped,
    FirstRowUnclipped,
    SendsCount,
    SendsLoss,
]
