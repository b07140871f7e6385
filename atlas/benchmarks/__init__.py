"""Benchmarks of editing: files of the field read into cases, edits made of them and measured."""
