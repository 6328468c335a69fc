"""The trunk and the dense layer behind it as one OpenVINO graph, cell by cell: what `model.cells` adds up to logits.

Made in memory, when a version is loaded, from the two halves that were published. Grey comes in as it is, one byte a
pixel, and out come a dense layer's worth of numbers for each cell, in float32 whatever the graph computes in.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from model.cells import CellPlan

Array = npt.NDArray[np.float32]


def dense_of(head: Any, plan: CellPlan) -> Any:
    """The node that multiplies the flattened window of a head by a kernel; None if it begins with anything else."""
    (windows,) = head.get_parameters()
    node = only_reader(windows)
    if node is not None and node.get_type_name() == "Reshape":
        node = only_reader(node)
    if node is None or node.get_type_name() != "MatMul":
        return None
    constant = node.input_value(1).get_node()
    features = plan.sharing.window**2 * plan.sharing.depth
    if constant.get_type_name() != "Constant" or features not in constant.data.shape:
        return None
    return node


def kernel_of(dense: Any) -> Array:
    """Its kernel, float32 (features, units)."""
    kernel = np.asarray(dense.input_value(1).get_node().data, np.float32)
    return kernel.T if dense.get_attributes()["transpose_b"] else kernel


def cell_graph(openvino: Any, trunk: Any, kernel: Array, plan: CellPlan) -> Any:
    """The trunk, as it was read, on a block of cells: uint8 (1, height, width, 1) -> (rows * columns, shares)."""
    opset = openvino.opset13
    rows, columns = plan.rows, plan.columns
    side, depth = plan.side, plan.sharing.depth

    def shape(*sizes: int) -> Any:
        return opset.constant(np.array(sizes, np.int64))

    (image,) = trunk.get_parameters()
    channels = image.partial_shape[3].get_length()
    grey = opset.parameter([1, plan.pixels(rows), plan.pixels(columns), 1], np.uint8)
    given = opset.convert(grey, np.float32)
    if channels > 1:
        given = opset.concat([given] * channels, 3)
    # Height and width before depth, so that a row of a cell lies in one piece.
    maps = trunk.get_results()[0].input_value(0)
    image.output(0).replace(given.output(0))
    cut = opset.reshape(maps, shape(rows, side, columns, side * depth), False)
    cells = opset.reshape(opset.transpose(cut, shape(0, 2, 1, 3)), shape(rows * columns, side * side * depth), False)
    # Not copied, which would take 3 ms of the 160 that opening steel-128 takes from the frames judged meanwhile.
    parts = opset.constant(plan.parts(kernel), shared_memory=True)
    shares = opset.matmul(cells, parts, False, False)
    return openvino.Model([opset.result(shares)], [grey], "steelsight_cells")


def rest_of(dense: Any) -> Callable[[Array], Array] | None:
    """What follows on the dense layer's kernel, (n, units) -> logits, in float32; None if it is more than dense layers.

    A few thousand multiplications a tile: compiling a graph for them would take a tenth of a version's loading.
    """
    steps: list[Callable[[Array], Array]] = []
    node = only_reader(dense)
    while node is not None and (kind := node.get_type_name()) != "Result":
        if kind == "Relu":
            steps.append(lambda values: np.maximum(values, 0))
        elif kind == "Add" and (bias := _constant(node)) is not None:
            steps.append(partial(np.add, bias.reshape(1, -1)))
        elif kind == "MatMul" and (kernel := _constant(node)) is not None:
            steps.append(partial(_times, kernel.T if node.get_attributes()["transpose_b"] else kernel))
        else:
            return None
        node = only_reader(node)
    return None if node is None else lambda sums: reduce(lambda values, step: step(values), steps, sums)


def _times(kernel: Array, values: Array) -> Array:
    return values @ kernel


def _constant(node: Any) -> Array | None:
    """The constant that is the second input of a node, float32; None if it has none there."""
    value = node.input_value(1).get_node()
    # A copy: the graph it belongs to does not live as long.
    return np.array(value.data, np.float32) if value.get_type_name() == "Constant" else None


def only_reader(node: Any) -> Any:
    """The one node that reads this node's output; None if there are several."""
    readers = list(node.output(0).get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None
