"""Pure metrics, one a file: tensors in, one value per image out. Nothing else of the project."""
