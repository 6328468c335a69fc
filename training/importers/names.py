"""What the names of folders and annotations stand for: good surface, defects of no named class, masks, parts."""

OK_WORDS = frozenset({"ok", "okay", "good", "normal"})
# "none" is how labels.csv and the replies of the server say that there is no defect.
OK_NAMES = OK_WORDS | {
    *("none", "no_defect", "no_defects", "non_defective", "defect_free", "without_defect", "faultless"),
}
DEFECT_NAMES = frozenset(
    {"defect", "defects", "defective", "bad", "ng", "nok", "not_ok", "no_good", "not_good", "anomaly", "anomalous"}
)
PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
MASK_WORDS = frozenset({"mask", "masks", "gt", "groundtruth"})
# Image files in a folder of labels or annotations are drawn, not photographed.
MASK_NAMES = MASK_WORDS | {"ground_truth", "labels", "annotations"}


def plain(name: str) -> str:
    """One spelling of a name: lower case, its words joined by `_`.

    >>> plain("Defect-Free"), plain("no  defect")
    ('defect_free', 'no_defect')
    """
    return "_".join(words(name))


def words(name: str) -> list[str]:
    """The words of a name, in lower case.

    >>> words("OK_front-side")
    ['ok', 'front', 'side']
    """
    return name.lower().replace("-", " ").replace("_", " ").split()
