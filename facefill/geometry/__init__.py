"""Geometry of the face: cameras, morphable models, UV atlas, rasterizer, shading, fitting."""
