"""Sparse findings made of whole ones."""

import numpy as np

from defectkit.findings import Finding, SparseFinding, best_layers


def sparse(finding: Finding) -> SparseFinding:
    """Return what a sparse finding has of a finding."""
    mask, scores = finding.mask, finding.score_map
    return SparseFinding(
        size=mask.shape,
        pixels=np.flatnonzero(mask).astype(np.int32),
        layers=best_layers(scores[:, mask]).astype(np.int16),
        highest=np.packbits((scores == scores.max()).any(axis=0), axis=1),
        regions=finding.regions,
        score=finding.score,
    )


def assert_same(found: SparseFinding, expected: Finding) -> None:
    """Check that a sparse finding has what a finding has."""
    wanted = sparse(expected)
    assert found.size == wanted.size
    for name in ("pixels", "layers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    rows = slice(0, found.size[0])
    np.testing.assert_array_equal(found.highest_in(rows), wanted.highest_in(rows))
    assert found.regions == wanted.regions
    assert found.score == wanted.score
