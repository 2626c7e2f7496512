"""What is learned: fields, the renderers that turn them into pixels, and the compiled kernels of both."""
