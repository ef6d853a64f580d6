"""An Expert Advisor of a trained hierarchy: generated arithmetic, fixed parts and the policies as ONNX."""
