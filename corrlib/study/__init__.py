"""A study: its parameters, its plan, its runs' folders, and how it is reproduced."""
