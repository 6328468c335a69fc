"""Two versions side by side: what differs is paired by group, and flips are counted and shown."""

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.artifact import read_manifest
from model.image import decode
from model.verdict import Thresholds
from training.command import main
from training.compare import FIGURES, PAGE, compare, verdicts, write_comparison
from training.config import Experiment
from training.errors import DataFault
from training.identity import pixel_digest
from training.labelled_folder import LabelledFolder
from training.ranking import Scores, figures
from training.resampling import Draws, difference
from training.scan import scan


def darkest(tiles):
    """Scores a tile by how far its darkest pixel lies below the mean."""
    return np.clip((tiles.mean(axis=(1, 2)) - tiles.min(axis=(1, 2))) / 160, 0, 1)


@pytest.fixture(scope="module")
def a(examine, synthetic_folder):
    return examine(synthetic_folder, darkest, version="first")


@pytest.fixture(scope="module")
def b(a):
    """A version that is a little surer of every defect, and so better; everything else it sees alike."""
    better = np.clip(a.probabilities + 0.15 * a.tiles.defect, 0, 1)
    return replace(a, manifest=a.manifest.model_copy(update={"version": "second"}), probabilities=better)


def test_a_version_does_not_differ_from_itself(a):
    found = compare(a, a)
    for each in found.metrics.values():
        assert (each.difference.value, each.difference.low, each.difference.high, each.shown) == (0, 0, 0, "")
        assert each.a == each.b
    for table in found.flips().values():
        assert all(count == 0 for of_a, row in table.items() for of_b, count in row.items() if of_a != of_b)


def test_a_better_version_is_shown_to_be_better_and_the_other_way_round_worse(a, b):
    forth, back = compare(a, b), compare(b, a)
    assert {forth.metrics[name].shown for name in ("auroc", "average_precision", "escape_rate")} == {"better"}
    assert {back.metrics[name].shown for name in ("auroc", "average_precision", "escape_rate")} == {"worse"}
    assert forth.metrics["overkill_rate"].shown == ""
    for name, each in forth.metrics.items():
        mirrored = back.metrics[name].difference
        assert each.difference.value == pytest.approx(-mirrored.value)
        assert each.difference.low == pytest.approx(-mirrored.high)


def test_equal_versions_seldom_differ_on_few_groups():
    """Which of two equally good versions is luckier depends on 8 surfaces; percentiles marked one in seven."""
    rng, thresholds, marked = np.random.default_rng(0), Thresholds(review=0.3, defect=0.7), Counter()
    group = np.repeat(np.arange(8), 12).astype(str)
    for _ in range(200):
        defect, surface = rng.random(96) < 0.4, rng.normal(0, 0.7, 8)
        of_both = [
            figures(Scores(defect, 1 / (1 + np.exp(-2 * logit)), group, thresholds), Draws.of(group, 0))
            for logit in 2.2 * defect
            - 1.1
            + np.repeat(surface + rng.normal(0, 0.6, (2, 8)), 12, axis=1)
            + rng.normal(0, 0.6, (2, 96))
        ]
        for name in ("escape_rate_at_defect", "overkill_rate"):
            apart = difference(of_both[1][name] - of_both[0][name], groups=8)
            marked[name] += not apart.low <= 0 <= apart.high
    # One in twenty is 10, and 200 draws of that pass 19 three times in 1,000.
    assert max(marked.values()) <= 19


def test_pairing_narrows_the_interval(a):
    """Of versions that find the same groups hard: without pairing, the groups drawn would hide the difference."""
    slightly = np.random.default_rng(0).normal(0, 0.02, len(a.probabilities))
    auroc = compare(a, replace(a, probabilities=np.clip(a.probabilities + slightly, 0, 1))).metrics["auroc"]
    unpaired = np.hypot(auroc.a.high - auroc.a.low, auroc.b.high - auroc.b.low)
    assert auroc.difference.high - auroc.difference.low < 0.6 * unpaired


def test_flips_count_every_tile_once_and_only_changed_verdicts_off_the_diagonal(a, b):
    flips = compare(a, b).flips()
    for label, chosen in (("ok", ~a.tiles.defect), ("defect", a.tiles.defect)):
        assert sum(sum(row.values()) for row in flips[label].values()) == chosen.sum()
    changed = sum(count for table in flips.values() for x, row in table.items() for y, count in row.items() if x != y)
    assert changed == (verdicts(a) != verdicts(b)).sum() > 0
    assert flips["defect"]["defect"]["ok"] == 0


def test_the_page_shows_flips_and_stands_alone(a, b, tmp_path):
    found = compare(a, b)
    write_comparison(tmp_path, found)
    assert json.loads((tmp_path / FIGURES).read_text()) == found.summary()
    page = re.sub(r"(?<=base64,)[^\"]*", "", (tmp_path / PAGE).read_text())
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<script|<link", page)
    assert page.count("b is better") == sum(each.shown == "better" for each in found.metrics.values()) > 0
    (tiles,) = re.findall(r"Defects that only b calls</h2>\s*<p class=\"quiet\">(\d+) tiles", page)
    assert int(tiles) == sum(found.flips()["defect"]["ok"][verdict] for verdict in ("review", "defect"))
    captions = re.findall(r"a (0\.\d+), b ([01]\.\d+)", page)
    assert captions
    # A caption is about the tile above it: b gives every defect 0.15 more, until certainty.
    assert all(float(of_b) == pytest.approx(min(1, float(of_a) + 0.15), abs=0.0011) for of_a, of_b in captions)


def test_versions_with_other_tiles_are_compared_without_flips(a, examine, synthetic_folder, tmp_path):
    other = examine(synthetic_folder, darkest, version="small", tile=32)
    found = compare(a, other)
    assert found.flips() is None
    assert found.metrics["auroc"].difference.low is not None
    write_comparison(tmp_path, found)
    assert "no tile by tile comparison" in (tmp_path / PAGE).read_text()


def test_different_groups_cannot_be_paired(a):
    kept = a.tiles.group != a.tiles.group[0]
    fewer = replace(a, tiles=a.tiles.select(kept), probabilities=a.probabilities[kept])
    with pytest.raises(DataFault, match="same groups"):
        compare(a, fewer)


def test_defects_of_a_type_that_both_versions_do_not_know_leave_out_the_figures_of_defect_classes(a, b):
    """Of the tiles only the ok ones have a class: which defect class was named cannot be right or wrong."""
    told = np.stack([1 - a.probabilities, a.probabilities], axis=1)
    manifests = [each.manifest.model_copy(update={"classes": ("ok", "hole")}) for each in (a, b)]
    versions = [
        replace(each, manifest=manifest, class_probabilities=told)
        for each, manifest in zip((a, b), manifests, strict=True)
    ]
    found = compare(*versions)
    assert list(found.metrics) == [*compare(a, b).metrics, "class_accuracy", "balanced_class_accuracy"]
    assert json.dumps(found.summary(), allow_nan=False)


@pytest.mark.parametrize("command", [["evaluate", "v"], ["compare", "v", "w"]])
def test_a_report_that_cannot_be_written_is_told_before_the_work(command, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert main([*command, "no-data", "--models", str(tmp_path), "--report", str(tmp_path / "taken")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: --report {tmp_path / 'taken'} cannot be made")


@pytest.fixture
def trained_models(own_models):
    """Two published networks whose manifests say how they were trained, the first on every other group."""
    experiment = Experiment(stride=64).model_dump(mode="json")
    for file in own_models.glob("*/manifest.json"):
        manifest = json.loads(file.read_text())
        manifest["training"] = {"experiment": experiment}
        file.write_text(json.dumps(manifest))
    return own_models


@pytest.fixture
def versions(trained_models):
    return sorted(path.parent.name for path in trained_models.glob("*/manifest.json"))


def test_the_command_prints_json_and_writes_the_page(trained_models, versions, synthetic_folder, tmp_path, capsys):
    command = ["compare", *versions, str(synthetic_folder), "--models", str(trained_models), "--json"]
    assert main([*command, "--report", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert [summary["a"], summary["b"]] == versions
    assert summary == json.loads((tmp_path / "out" / FIGURES).read_text())
    assert "auroc" in printed.err


def test_evaluate_writes_the_report_and_prints_the_same_figures(
    trained_models, versions, synthetic_folder, tmp_path, capsys
):
    command = ["evaluate", versions[0], str(synthetic_folder), "--models", str(trained_models), "--json"]
    assert main([*command, "--report", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert {name: found[name] for name in printed} == printed
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_unseen_leaves_out_what_the_version_was_trained_on(trained_models, versions, examine, synthetic_folder, capsys):
    groups = np.unique(examine(synthetic_folder, darkest).tiles.group).tolist()
    file = trained_models / versions[0] / "manifest.json"
    manifest = json.loads(file.read_text())
    used = set(groups[::2])
    manifest["data"] = {"split": {group: "train" if group in used else "test" for group in groups}}
    file.write_text(json.dumps(manifest))
    shared = [str(synthetic_folder), "--models", str(trained_models), "--json"]

    def measured(*command: str) -> int:
        assert main([*command, *shared]) == 0
        return json.loads(capsys.readouterr().out)["groups"]

    assert measured("evaluate", versions[0]) == len(groups)
    assert measured("evaluate", versions[0], "--unseen") == len(groups) - len(used)
    assert measured("evaluate", versions[1], "--unseen") == len(groups)
    assert measured("compare", *versions, "--unseen") == len(groups) - len(used)


def test_nothing_unseen_is_a_fault_of_the_data(trained_models, versions, examine, synthetic_folder, capsys):
    groups = np.unique(examine(synthetic_folder, darkest).tiles.group).tolist()
    file = trained_models / versions[0] / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["data"] = {"split": dict.fromkeys(groups, "train")}
    file.write_text(json.dumps(manifest))
    assert main(["evaluate", versions[0], str(synthetic_folder), "--models", str(trained_models), "--unseen"]) == 1
    assert "holds no group" in capsys.readouterr().err


PATTERN = r"/(coil\d+)_"


@pytest.fixture
def coils(tmp_path, write_image):
    """12 coils of two images that do not look alike, every other with a masked defect; only file names tell coils."""
    for coil in range(12):
        for shot in range(2):
            name = f"coil{coil:02}_{shot}.png"
            write_image(tmp_path / "coils" / ("defect" if coil % 2 else "ok") / name, 2 * coil + shot, (64, 64))
            if coil % 2:
                mask = np.zeros((64, 64), np.uint8)
                mask[10:30, 10:30] = 255
                write_image(tmp_path / "coils/masks" / name, mask)
    return tmp_path / "coils"


def digests(records) -> list[str]:
    return sorted(pixel_digest(decode(record.path.read_bytes())) for record in records)


@pytest.fixture
def by_name_and_by_likeness(trained_models, versions, coils):
    """Versions with the same labels that name groups differently, each fitted on four coils.

    The first has groups from file names, coils 0 to 3 its own; the second near-duplicates, coils 4 to 7 in its own.
    """
    clustered = LabelledFolder(coils).records(Experiment())
    first = [each for each in clustered if each.path.name < "coil04"]
    second = [each for each in clustered if "coil04" <= each.path.name < "coil08"]
    own = (
        (PATTERN, first, {f"coil{coil:02}": "train" if coil < 4 else "test" for coil in range(12)}),
        (None, second, {each.group: "calibration" if each in second else "test" for each in clustered}),
    )
    for version, (pattern, used, split) in zip(versions, own, strict=True):
        file = trained_models / version / "manifest.json"
        manifest = json.loads(file.read_text())
        manifest["training"]["experiment"]["group_pattern"] = pattern
        manifest["data"] = {"split": split, "images_used": digests(used)}
        file.write_text(json.dumps(manifest))
    return versions


@pytest.mark.parametrize("turned", [False, True])
def test_unseen_and_the_warning_go_by_files_where_versions_name_their_groups_differently(
    by_name_and_by_likeness, trained_models, coils, turned, capsys
):
    names = by_name_and_by_likeness[::-1] if turned else by_name_and_by_likeness

    def compared(*flags: str) -> dict:
        assert main(["compare", *names, str(coils), "--models", str(trained_models), "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)

    everything, unseen = compared(), compared("--unseen")
    # A cluster is one image here, a coil two; groups are those of the first version.
    images = 2 if turned else 1
    assert everything["groups"] == 12 * images
    assert everything["known_groups"] == {"a": 4 * images, "b": 4 * images}
    assert (unseen["groups"], unseen["tiles"]) == (4 * images, {"a": 8, "b": 8})
    assert unseen["known_groups"] == {"a": 0, "b": 0}


def test_the_command_says_where_figures_flatter(by_name_and_by_likeness, trained_models, coils, capsys):
    """As it prints them: who reads no report would take them for those of new surfaces."""
    version = by_name_and_by_likeness[0]
    command = ["evaluate", version, str(coils), "--models", str(trained_models), "--json"]
    for flags, known in (([], 4), (["--unseen"], 0)):
        assert main([*command, *flags]) == 0
        told = capsys.readouterr()
        assert json.loads(told.out)["known_groups"] == known
        warned = f"4 of the 12 groups hold images that {version} was fitted or tuned on" in told.err
        assert warned == bool(known)


def test_near_duplicates_are_sought_once_for_all_versions(coils):
    folder = LabelledFolder(coils)
    assert folder.records(Experiment()) is folder.records(Experiment(seed=5))
    elsewhere = folder.records(Experiment(group_pattern=r"(line\d)"))
    assert elsewhere is folder.records(Experiment()), "a pattern that names nothing leaves it to near-duplicates"


def test_a_pattern_that_names_some_files_only_is_mended_in_the_folder(
    by_name_and_by_likeness, trained_models, coils, capsys
):
    (coils / "ok/coil00_1.png").rename(coils / "ok/roll_1.png")
    shared = [str(coils), "--models", str(trained_models)]
    assert main(["evaluate", by_name_and_by_likeness[0], *shared]) == 1
    told = capsys.readouterr().err
    assert "for 23 files" in told
    assert "for 1 others it does not, the first is ok/roll_1.png; give these files their group in labels.csv" in told
    assert "widen" not in told
    # Whose groups the pattern does not make, it does not hinder.
    assert main(["compare", *by_name_and_by_likeness[::-1], *shared, "--unseen"]) == 0


def known(models, version, folder) -> set[str] | None:
    used = LabelledFolder(folder).files_used(read_manifest(models / version))
    return None if used is None else {file.rpartition("/")[2] for file in used}


OWN = {f"coil{coil:02}_{shot}.png" for coil in range(4, 8) for shot in range(2)}


def test_images_are_known_again_whatever_files_lie_beside_them(
    by_name_and_by_likeness, trained_models, coils, write_image
):
    version = by_name_and_by_likeness[1]
    assert known(trained_models, version, coils) == OWN
    write_image(coils / "ok/aaa.png", 100, (64, 64))
    assert known(trained_models, version, coils) == OWN
    # Another exposure of one that was used shows no new surface, and does not make the others of its group new.
    dimmed = (decode((coils / "ok/coil04_0.png").read_bytes()) * 0.6).astype(np.uint8)
    write_image(coils / "ok/0000.png", dimmed)
    assert known(trained_models, version, coils) == OWN | {"0000.png"}


def test_images_are_known_again_under_other_names_groups_and_formats(
    by_name_and_by_likeness, trained_models, coils, tmp_path
):
    moved = tmp_path / "moved"
    (moved / "ok").mkdir(parents=True)
    rows = ["file,label,group"]
    for number, path in enumerate(sorted(coils.rglob("ok/*.png"), reverse=True)):
        Image.fromarray(decode(path.read_bytes())).save(moved / f"ok/{number}.bmp")
        rows.append(f"ok/{number}.bmp,ok,roll-{number // 2}")
    (moved / "labels.csv").write_text("\n".join(rows))
    # Good coils are the even ones: 10, 8, 6, 4, 2, 0, two images each.
    assert known(trained_models, by_name_and_by_likeness[1], moved) == {f"{number}.bmp" for number in range(4, 8)}


def test_clusters_of_another_folder_are_not_taken_for_those_of_the_version(
    by_name_and_by_likeness, trained_models, tmp_path, write_image
):
    for number in range(24):
        write_image(tmp_path / f"foreign/ok/{number}.png", 1000 + number, (64, 64))
    assert known(trained_models, by_name_and_by_likeness[1], tmp_path / "foreign") == set()


def test_a_camera_s_black_frame_makes_no_group_known(by_name_and_by_likeness, trained_models, tmp_path, write_image):
    write_image(tmp_path / "black/ok/black.png", np.zeros((64, 64), np.uint8))
    file = trained_models / by_name_and_by_likeness[1] / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["data"]["images_used"] += digests(scan(tmp_path / "black"))
    file.write_text(json.dumps(manifest))
    assert known(trained_models, by_name_and_by_likeness[1], tmp_path / "black") == set()


def test_a_version_without_a_list_of_images_does_not_guess_from_the_numbers_of_clusters(
    by_name_and_by_likeness, trained_models, coils, capsys
):
    by_name, by_likeness = by_name_and_by_likeness
    for version in by_name_and_by_likeness:
        file = trained_models / version / "manifest.json"
        manifest = json.loads(file.read_text())
        del manifest["data"]["images_used"]
        file.write_text(json.dumps(manifest))
    command = ["compare", by_name, by_likeness, str(coils), "--models", str(trained_models), "--json"]
    assert main([*command, "--unseen"]) == 1
    assert f"{by_likeness} was published without a list of the images" in capsys.readouterr().err
    assert main([*command, "--report", str(coils / "report")]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["known_groups"] == {"a": 4, "b": None}
    assert f"warning: {by_likeness} was published without a list" in told.err
    assert f"{by_likeness} was published without a list" in (coils / "report" / PAGE).read_text()
    # Names that a person or a pattern gave still tell, where every file has one.
    assert known(trained_models, by_name, coils) == {f"coil{coil:02}_{shot}.png" for coil in range(4) for shot in "01"}
    (coils / "ok/coil00_1.png").rename(coils / "ok/roll_1.png")
    assert known(trained_models, by_name, coils) is None


def test_what_unseen_leaves_out_is_counted(by_name_and_by_likeness, trained_models, coils, capsys):
    command = ["evaluate", by_name_and_by_likeness[1], str(coils), "--models", str(trained_models)]
    assert main([*command, "--unseen"]) == 0
    assert "left out: 8 of 24 images that were used already" in capsys.readouterr().err
    assert main(command) == 0
    assert "left out" not in capsys.readouterr().err
