"""The CLIPErase objective as pure functions of tensors (imports torch only)."""
