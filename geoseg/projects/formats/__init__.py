"""Importers and exporters of annotated projects: one module a format."""
