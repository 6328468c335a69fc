"""Near-duplicates find each other; different surfaces stay apart."""

import numpy as np
import pytest

from synthetic import synthesize
from training.grouping import clusters, with_groups
from training.scan import scan


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


def test_a_given_group_is_kept_and_its_copies_take_it(tmp_path, write_image):
    for number in range(3):
        write_image(tmp_path / f"ok/{number}.png", 7)
    (tmp_path / "labels.csv").write_text("file,label,group\nok/0.png,ok,coil-1\n")
    first, second, third = with_groups(scan(tmp_path))
    assert first.group == "coil-1"
    assert second.group == third.group == "coil-1"


def test_records_that_all_have_groups_are_not_read(tmp_path):
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok/a.png").write_bytes(b"nothing")
    (tmp_path / "labels.csv").write_text("file,label,group\nok/a.png,ok,coil-1\n")
    told = []
    assert with_groups(scan(tmp_path), told.append) == scan(tmp_path)
    assert told == []


def test_an_unreadable_image_gets_a_group_of_its_own(tmp_path):
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok/a.png").write_bytes(b"nothing")
    (tmp_path / "ok/b.png").write_bytes(b"nothing")
    first, second = with_groups(scan(tmp_path))
    assert first.group != second.group


def test_constant_images_are_not_joined_by_having_nothing_in_common(tmp_path, write_image):
    for number in range(40):
        write_image(tmp_path / f"ok/{number}.png", np.full((50, 50), 90 + number % 2, np.uint8))
    assert len({record.group for record in with_groups(scan(tmp_path))}) == 40


def test_clusters_chain():
    assert clusters(5, np.array([[0, 1], [1, 4]])).tolist() == [0, 0, 1, 2, 0]
    assert clusters(3, np.empty((0, 2), np.intp)).tolist() == [0, 1, 2]


def test_a_group_given_to_some_images_reaches_their_twins(tmp_path):
    """Half a table of groups must not part the surfaces it leaves out from those it names."""
    data = tmp_path / "data"
    synthesize(data, 80, 11)
    whole = scan(data)
    true_groups = {record.file: record.group for record in whole}
    table = ["file,label,defect_type,group"]
    named: set[str] = set()
    for record in whole:
        # The first shot of each surface keeps its group, the others lose it.
        group = "" if record.group in named else record.group
        named.add(str(record.group))
        table.append(f"{record.file},{record.label},{record.defect_type},{group}")
    (data / "labels.csv").write_text("\n".join(table) + "\n")
    found = with_groups(scan(data))
    right = [record.group == true_groups[record.file] for record in found]
    assert sum(record.group is None for record in scan(data)) > 20
    assert np.mean(right) > 0.95


@pytest.mark.parametrize("surfaces", [2, 3])
def test_a_few_surfaces_shown_often_are_joined_though_half_of_all_pairs_are_copies(tmp_path, write_image, surfaces):
    rng = np.random.default_rng(0)
    for number in range(12 * surfaces):
        surface = np.random.default_rng(number % surfaces).integers(60, 160, (40, 40))
        exposed = surface * rng.uniform(0.6, 1.4) + rng.normal(0, 4, surface.shape)
        write_image(tmp_path / f"ok/{number:02}.png", np.clip(exposed, 0, 255).astype(np.uint8))
    found = [record.group for record in with_groups(scan(tmp_path))]
    assert found[:surfaces] * 12 == found
    assert len(set(found)) == surfaces
