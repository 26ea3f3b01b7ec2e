"""Trained models in the formats of others; the table of them is in `export.table`."""

from hyperpeft.export.table import EXPORTERS, Exporter, export_run, register_exporter

__all__ = ["EXPORTERS", "Exporter", "export_run", "hub", "peft_folders", "register_exporter"]
