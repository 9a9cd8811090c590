"""Shadow models: which records each is trained on, and the engine that trains them."""
