"""Near-duplicates find each other; different surfaces stay apart."""

import numpy as np
import pytest

from training.grouping import clusters, structure, with_groups
from training.scan import scan
from training.synthetic import synthesize


def test_exposures_of_one_synthetic_surface_share_a_cluster_and_others_do_not(tmp_path):
    synthesize(tmp_path / "data", 80, 11)
    records = scan(tmp_path / "data")
    true_groups = [record.group for record in records]
    (tmp_path / "data/labels.csv").unlink()
    found = [record.group for record in with_groups(scan(tmp_path / "data"))]
    pairs = [(i, j) for i in range(len(found)) for j in range(i)]
    same = [pair for pair in pairs if true_groups[pair[0]] == true_groups[pair[1]]]
    other = [pair for pair in pairs if true_groups[pair[0]] != true_groups[pair[1]]]
    joined = np.mean([found[i] == found[j] for i, j in same])
    wrongly_joined = np.mean([found[i] == found[j] for i, j in other])
    assert len(same) > 20
    assert joined > 0.9
    assert wrongly_joined < 0.01


def test_a_given_group_is_kept(tmp_path, write_image):
    for number in range(3):
        write_image(tmp_path / f"ok/{number}.png", 7)
    (tmp_path / "labels.csv").write_text("file,label,group\nok/0.png,ok,coil-1\n")
    first, second, third = with_groups(scan(tmp_path))
    assert first.group == "coil-1"
    assert second.group == third.group != "coil-1"


def test_an_unreadable_image_gets_a_group_of_its_own(tmp_path):
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok/a.png").write_bytes(b"nothing")
    (tmp_path / "ok/b.png").write_bytes(b"nothing")
    first, second = with_groups(scan(tmp_path))
    assert first.group != second.group


@pytest.mark.parametrize("count", [1, 2, 700])
def test_constant_images_are_not_joined_by_having_nothing_in_common(count):
    assert len(set(clusters(np.stack([structure(np.full((50, 50), 90, np.uint8))] * count)))) == count


def test_clusters_join_through_a_chain_over_block_borders():
    rng = np.random.default_rng(0)
    surfaces = [rng.integers(0, 256, (64, 64), np.uint8) for _ in range(600)]
    labels = clusters(np.stack([structure(surface) for surface in (*surfaces, surfaces[0])]))
    assert labels[0] == labels[600]
    assert len(set(labels)) == 600
