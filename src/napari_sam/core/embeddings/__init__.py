"""Embeddings of planes: encoded once, kept in memory and on disk."""
