"""Lambda functions: they notice what has happened and start what must follow."""
