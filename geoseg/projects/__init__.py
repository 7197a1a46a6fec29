"""Annotated projects: figures, formats, reading, writing, checking, counting."""
