"""Fields, the renderers that turn them into pixels, and the kernels of both."""
