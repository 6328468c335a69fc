"""The same ONNX file behind this service and behind what people would use instead, on one machine in one run."""
