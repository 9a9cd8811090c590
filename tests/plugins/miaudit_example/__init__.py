"""A package that adds an attack, a recipe, a target and a wire format to miaudit."""
