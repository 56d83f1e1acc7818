"""N-LEEP: LEEP with the clusters of a Gaussian mixture in place of source classes, for checkpoints without a head.

Li, Jia, Sang, Zhu, Green, Wang, Gong: Ranking Neural Checkpoints, CVPR 2021: the features are reduced by PCA and
described by a Gaussian mixture with five times as many components v as there are target classes; LEEP (Nguyen et al.,
ICML 2020, equation 2) of the posteriors P(v|x) is the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hf_leep import arrays
from hf_leep.arrays import Float64, FloatMatrix, Integers, Labels
from hf_leep.measures.leep import value_of
from hf_leep.measures.measure import Measure
from hf_leep.measures.resampling import Kept, half_samples, labels_of
from hf_leep.measures.spectrum import Spectrum, spectrum

ENERGY = 0.8  # share of the variance that the principal axes keep
PER_CLASS = 5  # components per target class
PER_COMPONENT = 5  # examples per component, at least
_SEARCHED = 2  # axes among which those of a half are searched, relative to those of all the examples
_MAX_FLOAT64 = 2**16  # numbers in the coordinates of a half; more are in float32
SEED = 0
TOLERANCE, MAX_STEPS = 5e-5, 100  # the fit ends when a step gains less, in nats per example and axis
_PART_TOLERANCE = 5e-4  # the same for a half of the examples, whose score only makes the standard error
FLOOR = 1e-6  # added to each variance, in features of mean variance 1


def n_leep(features: ArrayLike, labels: ArrayLike) -> float:
    """Score how well clusters of the features explain the target labels, in nats; higher is better.

    The paper leaves some choices open, and public implementations differ. Here: as few principal axes as hold 80 % of
    the variance; diagonal covariances, since full ones have more parameters than there are examples; 5 t components,
    but at most n/5, since with as many clusters as examples any features reach 0; one run of EM from k-means++ with a
    fixed seed, on rows sorted by distance from the mean, so that the score does not depend on their order. The score
    is the mean of log P(y|x), as in LEEP; some implementations omit the logarithm.

    Args:
        features: penultimate features, ``[n, d]``.
        labels: target labels, ``[n]``: integers ≥ 0, booleans or strings.

    Returns:
        A score in (−∞, 0]; −Ĥ(Y), the negative entropy of the classes, if there is one cluster (n < 10, or features
        that do not vary). Invariant to the order of rows, to shifting, rotating and rescaling the features as a whole
        and to renaming the labels; up to rounding errors, which EM can magnify if two fits are equally good. EM ends
        when a step gains less than 5e-5 nats per example and axis; more steps would change the score by less than
        another seed does.

    Raises:
        InputError: wrong shapes, NaN or infinite values, negative labels, or fewer than two classes.

    Cost: O(n·d·min(n, d) + min(n, d)³ + n·q·c·(log c + steps of EM)) time for q axes and c = min(5 t, n/5) components,
    usually with 10 to 50 steps; O(n·(q + c) + d·min(n, d)) memory.

    Not for: small differences, since another seed finds other clusters, which changes the score by a few hundredths.
    Not for comparing targets: the score is in-sample, as LEEP is, and rises with the number of classes, and each
    target has its own floor −Ĥ(Y).

    Reference: Li et al. 2021.

    Examples:
        Two clusters of ten examples, each with nine examples of one class and one of the other:

        >>> import numpy as np
        >>> from hf_leep import measures
        >>> labels = np.repeat([0, 1], 10)
        >>> features = 10.0 * labels[:, None] + np.linspace(0, 1, 20)[:, None]
        >>> round(measures.n_leep(features, np.roll(labels, 1)), 3)
        -0.233
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    return _score(reduced(matrix, target), target)


def influence(features: ArrayLike, labels: ArrayLike, draws: Integers | None = None) -> tuple[float, Float64]:
    """Return N-LEEP in nats and its deviations on `resampling.half_samples`, ``[10]``, mean 0.

    The principal axes of a half are searched among twice as many axes of all the examples as the score uses.

    Args:
        features: as for `n_leep`.
        labels: as for `n_leep`.
        draws: index of the draw that each example belongs to, ``[n]``; by default each is its own draw.

    Errors: as for `n_leep`.
    """
    matrix = arrays.features(features)
    target = arrays.labels(labels, len(matrix))
    decomposed = spectrum(matrix, target, whitened=False, centred=True)
    ascending = decomposed.eigenvalues
    num_axes = min(_SEARCHED * _num_axes(ascending), len(ascending))
    coordinates = np.empty((len(matrix), num_axes))
    for rows, block in decomposed.coordinate_blocks(num_axes):
        coordinates[rows] = block
    rest = np.maximum(_squared_lengths(decomposed) - np.vecdot(coordinates, coordinates), 0.0)  # on the other axes

    def score(kept: Kept) -> float:
        points = _reduced(decomposed) if kept is None else _reduced_part(coordinates[kept], float(rest[kept].sum()))
        narrow = kept is not None and points.size > _MAX_FLOAT64
        tolerance = TOLERANCE if kept is None else _PART_TOLERANCE
        return _score(points.astype(np.float32) if narrow else points, labels_of(target, kept), tolerance)

    return half_samples(score, len(matrix), draws)


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture with diagonal covariances: weights ``[c]``, means and variances ``[c, q]``."""

    weights: Float64
    means: Float64
    variances: Float64

    def log_joint(self, block: FloatMatrix) -> FloatMatrix:
        """Return the log of weight times density of each component at each row, ``[b, c]``, in the block's dtype."""
        precisions = 1 / self.variances
        constant = np.log(self.weights) - 0.5 * (
            np.log(2 * np.pi * self.variances).sum(axis=1) + (self.means**2 * precisions).sum(axis=1)
        )
        joint = block @ (self.means * precisions).T.astype(block.dtype)
        joint -= block**2 @ (0.5 * precisions).T.astype(block.dtype)
        joint += constant.astype(block.dtype)
        return np.asarray(joint)


def reduced(matrix: FloatMatrix, target: Labels) -> Float64:
    """Return coordinates on the leading principal axes, of mean variance 1, ``[n, q]``; q = 0 if nothing varies."""
    return _reduced(spectrum(matrix, target, whitened=False, centred=True))


def _reduced(decomposed: Spectrum) -> Float64:
    n, ascending = len(decomposed.features), decomposed.eigenvalues
    num_axes = _num_axes(ascending)
    coordinates = np.empty((n, num_axes))
    for rows, block in decomposed.coordinate_blocks(num_axes):
        coordinates[rows] = block
    if num_axes:
        coordinates /= np.sqrt(ascending[-num_axes:].mean() / n)
    return coordinates


def _reduced_part(coordinates: Float64, rest: float) -> Float64:
    """Return the same for some of the examples.

    Args:
        coordinates: theirs on leading axes of all the examples, ``[m, p]``.
        rest: sum of their squares on the other axes.
    """
    centred = coordinates - coordinates.mean(axis=0)
    ascending, axes = np.linalg.eigh(centred.T @ centred)
    num_axes = min(_num_axes(ascending, rest), len(ascending))
    if not num_axes:
        return np.asarray(centred[:, :0])
    return np.asarray(centred @ axes[:, -num_axes:] / np.sqrt(ascending[-num_axes:].mean() / len(centred)))


def _num_axes(ascending: Float64, rest: float = 0.0) -> int:
    """Return how many of the largest eigenvalues hold `ENERGY` of their sum and of the rest."""
    if not len(ascending) or not ascending[-1] > 0:
        return 0
    explained = np.cumsum(ascending[::-1]) / (ascending.sum() + rest)
    return int(np.searchsorted(explained, ENERGY * (1 - 1e-12))) + 1


def _squared_lengths(decomposed: Spectrum) -> Float64:
    """Return the squared distance of each example from the mean, ``[n]``."""
    lengths = np.empty(len(decomposed.features))
    for rows, block in decomposed.point_blocks():
        lengths[rows] = np.vecdot(block, block)
    return lengths


def start(points: FloatMatrix, num_components: int) -> Mixture:
    """Return the mixture of points ``[n, q]`` assigned to the nearest of k-means++ seeds, without empty components."""
    from sklearn.cluster import kmeans_plusplus

    order = np.argsort(np.vecdot(points, points), kind="stable")  # by distance from the mean, whatever the input order
    if points.dtype == np.float64:
        seeds, _ = kmeans_plusplus(points[order], num_components, random_state=SEED)
    else:
        seeds = points[order][_seeds(points[order], num_components)]
    half = 0.5 * np.vecdot(seeds, seeds)
    nearest = np.empty(len(points), dtype=np.int64)
    for rows, block in _blocks(points, num_components):
        nearest[rows] = (block @ seeds.T - half).argmax(axis=1)
    _, nearest = np.unique(nearest, return_inverse=True)
    sums = _Sums(int(nearest.max()) + 1, points.shape[1])
    for rows, block in _blocks(points, num_components):
        sums.add(np.eye(len(sums.mass), dtype=points.dtype)[nearest[rows]], block)
    return sums.mixture()


def _seeds(points: FloatMatrix, number: int) -> Integers:
    """Return the positions of k-means++ seeds, as scikit-learn draws them but for the generator; faster in float32.

    Each seed is the best of several points, which are drawn in proportion to their squared distance from the seeds.
    """
    generator, trials = np.random.default_rng(SEED), 2 + int(np.log(number))
    lengths = np.vecdot(points, points)
    seeds = [int(generator.integers(len(points)))]
    closest = np.maximum(lengths + lengths[seeds[0]] - 2 * points @ points[seeds[0]], 0)
    ones = np.ones_like(lengths)
    left = np.column_stack([-2 * points, ones, lengths])  # left @ right: all squared distances
    right = np.vstack([points.T, lengths, ones])
    for _ in range(number - 1):
        reached = np.cumsum(closest, dtype=np.float64)
        drawn = np.searchsorted(reached, generator.random(trials) * reached[-1]).clip(max=len(points) - 1)
        distances = left[drawn] @ right
        np.clip(distances, 0, closest, out=distances)
        best = int(distances.sum(axis=1).argmin())
        seeds.append(int(drawn[best]))
        closest = distances[best]
    return np.array(seeds)


def fit(points: FloatMatrix, mixture: Mixture, tolerance: float = TOLERANCE) -> Mixture:
    """Run EM from a mixture until a step raises the mean log-likelihood by less than the tolerance per axis."""
    before = -np.inf
    for _ in range(MAX_STEPS):
        sums, likelihood = _Sums(*mixture.means.shape), 0.0
        for _, block in _blocks(points, len(mixture.weights)):
            posterior, log_density = _posterior(mixture, block)
            likelihood += float(log_density.sum()) / len(points)
            sums.add(posterior, block)
        mixture = sums.mixture()
        if abs(likelihood - before) < tolerance * points.shape[1]:
            break
        before = likelihood
    return mixture


def posteriors(points: FloatMatrix, mixture: Mixture) -> Float64:
    """Return P(v|x) of each point, ``[n, c]``."""
    result = np.empty((len(points), len(mixture.weights)))
    for rows, block in _blocks(points, len(mixture.weights)):
        result[rows] = _posterior(mixture, block)[0]
    return result


def _score(points: FloatMatrix, target: Labels, tolerance: float = TOLERANCE) -> float:
    num_components = min(PER_CLASS * target.num_classes, len(points) // PER_COMPONENT)
    if num_components < 2 or not points.shape[1]:  # one cluster
        return value_of(np.ones((len(points), 1)), target)
    return value_of(posteriors(points, fit(points, start(points, num_components), tolerance)), target)


class _Sums:
    """Running sums of an M step over the components: mass ``[c]``, first and second moments ``[c, q]``."""

    def __init__(self, num_components: int, num_axes: int) -> None:
        self.mass = np.zeros(num_components)
        self.first = np.zeros((num_components, num_axes))
        self.second = np.zeros((num_components, num_axes))

    def add(self, posterior: FloatMatrix, block: FloatMatrix) -> None:
        self.mass += posterior.sum(axis=0)
        self.first += posterior.T @ block
        self.second += posterior.T @ (block * block)

    def mixture(self) -> Mixture:
        """Return the most likely mixture; a component without mass is left out."""
        present = self.mass > 0
        mass = self.mass[present, None]
        means = self.first[present] / mass
        variances = np.maximum(self.second[present] / mass - means**2, 0.0) + FLOOR
        return Mixture(mass[:, 0] / mass.sum(), means, variances)


def _posterior(mixture: Mixture, block: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Return P(v|x) ``[b, c]`` and the log density ``[b]`` of each row."""
    posterior = mixture.log_joint(block)
    largest = posterior.max(axis=1, keepdims=True)
    posterior -= largest
    np.exp(posterior, out=posterior)
    total = posterior.sum(axis=1, keepdims=True)
    posterior /= total
    return posterior, (largest + np.log(total))[:, 0]


def _blocks(points: FloatMatrix, num_components: int) -> Iterator[tuple[slice, FloatMatrix]]:
    """Yield ``(rows, points)`` such that neither a block nor its posteriors exceed `arrays.BLOCK_BYTES`."""
    height = max(1, arrays.BLOCK_BYTES // (8 * max(points.shape[1], num_components)))
    for start in range(0, len(points), height):
        rows = slice(start, min(start + height, len(points)))
        yield rows, points[rows]


MEASURE = Measure(
    name="n-leep",
    title="N-LEEP",
    needs="features",
    unit="nats",
    reference="Li et al., CVPR 2021",
    summary="LEEP with clusters of the features in place of source classes; needs no head",
    function=n_leep,
    influence=influence,
    resamples=True,
    mean_of="log-likelihoods",
)
