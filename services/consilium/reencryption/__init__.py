"""Sealed key fragments and the release rule."""
