"""Adapters to other people's tools, which are imported when one is asked for."""
