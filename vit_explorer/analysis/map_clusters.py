"""Kinds of maps: pictures that a model judges by like places, found by spectral clustering."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from vit_explorer.analysis.border_relevance import Maps, relevance_shares
from vit_explorer.errors import OptionError
from vit_explorer.options import whole_number
from vit_explorer.sentences import Sentence

# Maps are compared at this many rows and columns at most: places matter, single patches do not.
_SIDE = 8
# With fewer maps a graph of neighbours says nothing; of more, its matrix takes minutes.
FEWEST, MOST = 10, 2000
_MOST_CLUSTERS = 8


@dataclass(frozen=True, eq=False)
class MapClusters:
    """Clusters of n maps, the largest first.

    `labels` (n,) is each map's cluster, counted from 0; `means` (k, gh, gw) the mean of each
    cluster's maps, every map scaled to a sum of 1. `eigenvalues` are the smallest of the graph's
    normalised Laplacian, rising: the number of clusters is where they leap. `silhouette`, -1 to 1,
    says how far the clusters lie apart (Rousseeuw 1987): about 0 where they run into one another,
    above 0.5 where they are clearly separate.
    """

    labels: npt.NDArray[np.int64] = field(repr=False)
    means: npt.NDArray[np.float32] = field(repr=False)
    eigenvalues: npt.NDArray[np.float64] = field(repr=False)
    silhouette: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many maps each cluster has."""
        return tuple(np.bincount(self.labels, minlength=len(self.means)).tolist())


def cluster_maps(maps: Maps | Sequence[Maps], clusters: int | None = None) -> MapClusters:
    """Cluster maps (n, gh, gw) by where their relevance lies: SpRAy.

    Each map is scaled to a sum of 1 and made small; every map is joined with its nearest
    neighbours, and the graph is cut by scikit-learn's spectral clustering.

    Args:
        maps: of one model and method, 10 to 2,000 of them.
        clusters: how many; None takes 2 to 8, where the Laplacian's next eigenvalue is the most
            times as large.

    Raises:
        OptionError: too few or too many maps, or a number of clusters outside 2 to 8.

    Lapuschkin et al., "Unmasking Clever Hans Predictors and Assessing What Machines Really Learn",
    Nature Communications 2019.
    """
    from sklearn.metrics import silhouette_score

    shares = relevance_shares(maps)
    count = len(shares)
    if not FEWEST <= count <= MOST:
        raise OptionError(
            "error.maps.count",
            "{count} maps were given, expected {fewest} to {most}; choose more or fewer pictures.",
            count=count,
            fewest=FEWEST,
            most=MOST,
        )
    if clusters is not None:
        clusters = whole_number(
            Sentence("part.clusters", "number of clusters"), clusters, 2, _MOST_CLUSTERS
        )
    rows = _small(shares)
    affinity = _neighbours(rows)
    eigenvalues = _smallest_eigenvalues(affinity)
    found = clusters or _leap(eigenvalues)
    labels = _by_size(_cut(affinity, found))
    kinds = int(labels.max()) + 1
    return MapClusters(
        labels=labels,
        means=np.stack([shares[labels == one].mean(axis=0) for one in range(kinds)]).astype(
            np.float32
        ),
        eigenvalues=eigenvalues,
        silhouette=float(silhouette_score(rows, labels)) if 1 < kinds < count else 0.0,
    )


def _small(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Maps as rows (n, cells), at most `_SIDE` cells along each side."""
    size = (min(_SIDE, shares.shape[1]), min(_SIDE, shares.shape[2]))
    pooled = F.adaptive_avg_pool2d(torch.from_numpy(shares)[:, None], size)
    return pooled.flatten(1).numpy()


def _neighbours(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The graph (n, n) in which each map is joined with its nearest, 1 where both have the other
    among theirs, ½ where one has."""
    from sklearn.neighbors import kneighbors_graph

    near = min(len(rows) - 1, max(5, round(math.log2(len(rows)))))
    one_way = kneighbors_graph(rows, near, include_self=False).toarray()
    return 0.5 * (one_way + one_way.T)


def _smallest_eigenvalues(affinity: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import laplacian

    matrix = laplacian(affinity, normed=True)
    return eigh(matrix, eigvals_only=True, subset_by_index=(0, _MOST_CLUSTERS)).clip(min=0)


def _leap(eigenvalues: npt.NDArray[np.float64]) -> int:
    """How many eigenvalues, 2 or more, lie before the one that is the most times as large."""
    # Parts without a bridge have zeros; below this two of them differ by rounding alone.
    raised = eigenvalues + 1e-3
    return int(np.argmax(raised[2:] / raised[1:-1])) + 2


def _cut(affinity: npt.NDArray[np.float64], clusters: int) -> npt.NDArray[np.int64]:
    from sklearn.cluster import SpectralClustering

    with warnings.catch_warnings():
        # A graph in several parts is what is looked for: clusters without a bridge.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        cut = SpectralClustering(clusters, affinity="precomputed", random_state=0)
        return cut.fit_predict(affinity).astype(np.int64)


def _by_size(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same clusters, numbered from the largest down; of equal ones that of the first map."""
    names, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = names[np.lexsort((first, -sizes))]
    places = {int(name): place for place, name in enumerate(order)}
    return np.array([places[int(one)] for one in labels], np.int64)
