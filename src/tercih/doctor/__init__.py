"""What would go wrong, said before hours are spent: each check reads the model, the data or a small sample of both.

A recipe takes part by defining `inspect(config) -> Inspection`, which says what it is going to use.
"""
