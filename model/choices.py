"""What whoever runs a version chooses, a server as well as a command, and the bounds within which that works."""

from typing import Annotated, Literal

from pydantic import Field

# `auto`: see `model.precision.chosen`.
EngineChoice = Literal["auto", "onnx", "keras", "openvino", "openvino-bf16", "openvino-int8"]
# px. What is larger is a slip of the pen; a stride is at most a tile.
Stride = Annotated[int, Field(ge=1, le=65_536)]
# As `model.image.Limits`. Past it an array's size would be none.
MaxPixels = Annotated[int, Field(ge=1, le=2**40)]
# A frame is extended to a tile by reflection, which needs two pixels a side.
MinSide = Annotated[int, Field(ge=2, le=65_536)]
