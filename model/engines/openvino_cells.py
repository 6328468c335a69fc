"""The trunk and the dense layer behind it as one OpenVINO graph, cell by cell: what `model.cells` adds up to logits.

Made in memory, when a version is loaded, from the two halves that were published. Grey comes in as it is, one byte a
pixel, and out come a dense layer's worth of numbers for each cell, in float32 whatever the graph computes in.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from model.cells import CellPlan


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


def kernel_of(dense: Any) -> npt.NDArray[np.float32]:
    """Its kernel, float32 (features, units)."""
    kernel = np.asarray(dense.input_value(1).get_node().data, np.float32)
    return kernel.T if dense.get_attributes()["transpose_b"] else kernel


def cell_graph(openvino: Any, trunk: Any, kernel: npt.NDArray[np.float32], plan: CellPlan) -> Any:
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
    shares = opset.matmul(cells, opset.constant(plan.parts(kernel)), False, False)
    return openvino.Model([opset.result(shares)], [grey], "steelsight_cells")


def rest_of(openvino: Any, head: Any, dense: Any, units: int) -> Any:
    """What follows on the dense layer's kernel: (n, units) -> logits."""
    sums = openvino.opset13.parameter([-1, units], np.float32)
    dense.output(0).replace(sums.output(0))
    return openvino.Model(head.get_results(), [sums], "steelsight_rest")


def only_reader(node: Any) -> Any:
    """The one node that reads this node's output; None if there are several."""
    readers = list(node.output(0).get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None
