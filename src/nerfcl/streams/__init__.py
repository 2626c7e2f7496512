"""Streams: sequences of experiences made from a scene, and the sampling of their pixels."""
